"""Texts of an HDF5 file that were overwritten with zeros: refused before HDF5 walks for ever."""

from __future__ import annotations

import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.cells.expression_files import open_expression
from scircuit.tracing.cells.storage.string_heaps import endless_heap
from tests.tracing.test_h5ad_sweep import digest, small_h5ad

SIGNATURE = b"GCOL\x01\0\0\0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_h5ad(tmp_path_factory.mktemp("heaps") / "cells.h5ad")


def test_heaps_of_whole_files_end(whole, examples):
    assert endless_heap(whole) is None and whole.read_bytes().count(SIGNATURE) >= 4
    assert all(endless_heap(path) is None for path in examples.rglob("*.h5ad"))


def test_zeros_in_any_heap_are_found(whole, tmp_path):
    """Not opened by HDF5 at all: it would not return."""
    content = whole.read_bytes()
    path = tmp_path / "cells.h5ad"
    start, found = content.find(SIGNATURE), 0
    while start >= 0:
        path.write_bytes(content[: start + 16] + bytes(64) + content[start + 80 :])
        assert endless_heap(path) == start
        with pytest.raises(UserError, match="is damaged: the texts stored at byte"):
            digest(path)
        found += 1
        start = content.find(SIGNATURE, start + 1)
    assert found >= 4


def test_sizes_that_lead_back_to_the_start(whole, tmp_path):
    content = bytearray(whole.read_bytes())
    start = content.find(SIGNATURE)
    content[start + 24 : start + 32] = (2**64 - 16).to_bytes(8, "little")
    path = tmp_path / "cells.h5ad"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"), open_expression(path):
        pass


def test_files_without_texts_pass(tmp_path):
    path = tmp_path / "x"
    for content in (b"", SIGNATURE, SIGNATURE + b"\xff" * 8, SIGNATURE + bytes(8)):
        path.write_bytes(content)
        assert endless_heap(path) is None
