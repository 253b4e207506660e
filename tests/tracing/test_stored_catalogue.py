"""A catalogue of the genes of features is computed once: what is read from disk is what was
computed, and nothing else is ever taken for it.
"""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from scircuit.tracing.clean_pass import feature_genes, stored_catalogue
from tests.support.demo_parts import demo_parts

VERSIONS = {"scircuit": "1", "torch": "2"}


@pytest.fixture(scope="module")
def parts(examples):
    return demo_parts(examples, cells=4, length=40, layers=(2, 0), features=30, k=4)


class Counted:
    """Catalogues of one folder, and how often one was computed."""

    def __init__(self, folder, patch):
        self.folder, self.passes = folder, 0
        real = feature_genes.build_catalogue

        def build(*arguments, **options):
            self.passes += 1
            return real(*arguments, **options)

        patch.setattr(stored_catalogue, "build_catalogue", build)

    def __call__(self, *parts, versions=VERSIONS, **options):
        return stored_catalogue.stored_catalogue(self.folder, *parts, versions=versions, **options)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    return Counted(tmp_path / "catalogues", monkeypatch)


def same(a, b):
    assert a.table.schema == b.table.schema
    for name in a.table.column_names:
        x, y = (t.table.column(name).to_numpy() for t in (a, b))
        assert x.dtype == y.dtype and (
            x.tobytes() == y.tobytes() if x.dtype != object else (x == y).all()
        )
    assert list(a.detection.items()) == list(b.detection.items())
    assert list(a.firing_rate) == list(b.firing_rate)
    for layer, rate in a.firing_rate.items():
        assert rate.dtype == b.firing_rate[layer].dtype
        assert rate.tobytes() == b.firing_rate[layer].tobytes()
    assert (a.cells, a.positions) == (b.cells, b.positions)
    assert (a.activity is None) == (b.activity is None)
    if a.activity is not None:
        for field in dataclasses.fields(a.activity):
            x, y = (getattr(c.activity, field.name) for c in (a, b))
            assert x.dtype == y.dtype and x.tobytes() == y.tobytes()


@pytest.mark.parametrize("by_cell", [False, True])
def test_what_is_read_is_what_was_computed(parts, stored, by_cell):
    computed = feature_genes.build_catalogue(*parts, by_cell=by_cell)
    same(stored(*parts, by_cell=by_cell), computed)
    same(stored(*parts, by_cell=by_cell), computed)
    assert stored.passes == 1 and computed.table.num_rows > 500
    # one with the activity of each cell serves who does not ask for it
    without = stored(*parts)
    assert stored.passes == 1 and without.activity is None
    stored(*parts, by_cell=True)
    assert stored.passes == 2 - by_cell


def other(parts, what):
    adapter, dictionaries, cohort = parts
    if what == "another model":
        adapter = _with(adapter, sha256="other")
    if what == "another configuration":
        adapter = _with(adapter, config_sha256="other")
    if what == "another arithmetic":
        adapter = _with(adapter, numerics="bfloat16")
    if what == "another dictionary":
        dictionaries = {**dictionaries, 2: _with(dictionaries[2], sha256="other")}
    if what == "fewer layers":
        dictionaries = {2: dictionaries[2]}
    tokens = [np.array(cell) for cell in cohort.tokens]
    if what == "another token":
        tokens[-1][5] = tokens[-1][6]
    if what == "fewer cells":
        tokens = tokens[:-1]
    if what == "cells in another order":
        tokens = tokens[::-1]
    if what == "another vocabulary":
        vocabulary = adapter.vocabulary
        names = (*vocabulary.gene_of_token[:-1], "ENSG00000000001")
        adapter = _with(adapter, vocabulary=_with(vocabulary, gene_of_token=names))
    return adapter, dictionaries, SimpleNamespace(tokens=tokens)


def _with(thing, **changed):
    """The same thing, but for some attributes."""
    return type(
        type(thing).__name__, (), {"__getattr__": lambda _, n: getattr(thing, n)} | changed
    )()


@pytest.mark.parametrize(
    "what",
    [
        "another model",
        "another configuration",
        "another arithmetic",
        "another dictionary",
        "fewer layers",
        "another token",
        "fewer cells",
        "cells in another order",
        "another vocabulary",
    ],
)
def test_another_question_is_computed_anew(parts, stored, what):
    stored(*other(parts, "the same"))
    stored(*parts)
    assert stored.passes == 1
    changed = other(parts, what)
    same(stored(*changed), feature_genes.build_catalogue(*changed))
    assert stored.passes == 2


def test_other_software_computes_anew(parts, stored):
    stored(*parts)
    stored(*parts, versions={**VERSIONS, "torch": "3"})
    assert stored.passes == 2


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "absent": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "one bit": _flip,
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "another kind": lambda path: path.write_text(json.dumps([1, {"is": None}])),
    "null": lambda path: path.write_text('{"is": null, "sha256": null}'),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("ending", [".json", ".parquet", "-cells.parquet"])
def test_damage_is_computed_anew_and_mended(parts, stored, ending, damage):
    computed = stored(*parts, by_cell=True)
    (path,) = [
        p for p in stored.folder.glob(f"*{ending}") if ending != ".parquet" or "-" not in p.name
    ]
    DAMAGE[damage](path)
    same(stored(*parts, by_cell=True), computed)
    assert stored.passes == 2
    if damage != "a folder":  # what others put there is not removed
        same(stored(*parts, by_cell=True), computed)
        assert stored.passes == 2


def test_a_catalogue_of_another_key_is_not_taken(parts, stored):
    stored(*parts)
    stored(*parts, versions={**VERSIONS, "torch": "3"})
    first, second = sorted(stored.folder.glob("*.json"))
    first.write_bytes(second.read_bytes())
    for versions in (VERSIONS, {**VERSIONS, "torch": "3"}):
        stored(*parts, versions=versions)
    assert stored.passes == 3


def test_a_folder_that_cannot_be_written_stops_nothing(parts, stored):
    stored.folder.write_text("a file where the folder should be")
    same(stored(*parts), feature_genes.build_catalogue(*parts))
