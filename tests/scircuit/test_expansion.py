"""Compressed input: what expands far beyond its size is refused before it takes memory, in every
reader of it; published files pass.
"""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from scircuit.analysis.genesets.gene_files import read_text
from scircuit.core.errors import UserError
from scircuit.core.expansion import TEXT, Ceiling, check_zip, copy_gzip, expand_gzip
from scircuit.ingest.importers.atlas.json_fields import file_content
from scircuit.ingest.importers.attribution_graph.torch_format import _load as load_graph
from scircuit.ingest.importers.edges.per_feature_format import _edges_from_cells
from scircuit.ingest.importers.exhaustive_map.map_interventions import (
    Interventions,
    read_signatures,
)
from scircuit.ingest.importers.strict_files import read_json
from scircuit.tracing.dictionaries.formats.safe_files import read_checkpoint
from scircuit.tracing.models.weight_files import read_tensors

SMALL = Ceiling(size=10_000, ratio=20, free=1_000)


def test_the_ceiling_is_by_size_and_by_ratio():
    assert [SMALL.of(n) for n in (1, 50, 51, 499, 501, 10**9)] == [
        1_000,
        1_000,
        1_020,
        9_980,
        10_000,
        10_000,
    ]


@pytest.mark.parametrize("members", [1, 3])
def test_expansion_stops_at_the_ceiling_and_not_before(members, tmp_path):
    rng = np.random.default_rng(0)
    text = rng.integers(0, 256, 9_000, dtype=np.uint8).tobytes()
    step = -(-len(text) // members)
    raw = b"".join(gzip.compress(text[i : i + step]) for i in range(0, len(text), step))
    assert expand_gzip(raw, "x", SMALL) == text
    (tmp_path / "x.gz").write_bytes(raw)
    target = io.BytesIO()
    assert copy_gzip(tmp_path / "x.gz", target, SMALL) == 9_000 and target.getvalue() == text
    exact = Ceiling(9_000, 20, 0)
    assert expand_gzip(raw, "x", exact) == text
    with pytest.raises(UserError, match=r"x has 9\.\d+ kB and expands to more than 9 kB"):
        expand_gzip(raw, "x", exact._replace(size=8_999))
    with pytest.raises(UserError, match="x is a damaged gzip file"):
        expand_gzip(raw[:-9], "x", SMALL)


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """A gzip file, an npz and a checkpoint that expand 1,000 times, to 2.5 GB and more."""
    folder = tmp_path_factory.mktemp("bombs")
    # whole members of zeros repeated: what is written is small and made in no time
    (folder / "x.json.gz").write_bytes(gzip.compress(bytes(10**7)) * 250)
    for name in ("x.npz", "x.pt"):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(4):
                archive.writestr(f"a{i}.npy", bytes(3 * 10**7))
    return folder


READERS = {
    "gene sets": (read_text, "x.json.gz"),
    "atlas": (file_content, "x.json.gz"),
    "results": (read_json, "x.json.gz"),
    "effects in cells": (lambda path: _edges_from_cells(path, 0, 0, 0), "x.npz"),
    "signatures": (lambda path: read_signatures(Interventions(), path), "x.npz"),
    "attribution graph": (load_graph, "x.pt"),
    "dictionary": (read_checkpoint, "x.pt"),
    "model": (read_tensors, "x.pt"),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_what_expands_without_end(bombs, reader):
    read, name = READERS[reader]
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="when expanded; at most") as refused:
            read(bombs / name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert name in refused.value.problem and "expand it yourself" in refused.value.fix
    assert peak < 400e6


def test_a_checkpoint_that_is_compressed_little_is_read(tmp_path):
    torch.save({"a": torch.arange(1000.0)}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        for member in source.infolist():
            copy.writestr(member.filename, source.read(member))
    assert torch.equal(read_tensors(tmp_path / "y.pt")["a"], torch.arange(1000.0))


def test_damage_and_other_kinds_are_left_to_their_readers(tmp_path):
    for content in (b"", b"PK\x03\x04", b"\x00" * 100, json.dumps({}).encode()):
        (tmp_path / "x").write_bytes(content)
        check_zip(tmp_path / "x", SMALL)
    check_zip(tmp_path / "absent", SMALL)


def test_published_files_are_far_below_the_ceiling(shared_data):
    found = [
        path
        for folder in ("atlas", "genesets", "published", "cells", "vocabulary")
        for path in sorted(Path(shared_data / folder).rglob("*.gz"))
    ]
    assert len(found) > 50
    half = TEXT._replace(ratio=TEXT.ratio // 5, free=0)
    for path in found:
        assert expand_gzip(path.read_bytes(), path, half)
