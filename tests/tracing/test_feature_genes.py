"""The catalogue equals a count in loops over dense codes."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.feature_genes import build_catalogue
from tests.support.demo_parts import demo_parts


@pytest.fixture(scope="module")
def parts(examples):
    return demo_parts(examples, cells=5, length=60, layers=(0, 4), features=40, k=6)


@pytest.fixture(scope="module")
def catalogue(parts):
    return build_catalogue(*parts)


def test_every_pair_equals_a_count_in_loops(parts, catalogue):
    adapter, dictionaries, cohort = parts
    total, count = defaultdict(float), defaultdict(int)
    for tokens in cohort.tokens:
        states = adapter.clean_states(tokens)
        for layer, dictionary in dictionaries.items():
            z = dictionary.encode(states[layer])
            for position in range(1, len(tokens) - 1):
                gene = adapter.vocabulary.gene_of_token[tokens[position]]
                for feature in np.flatnonzero(z[position] > 0):
                    total[layer, int(feature), gene] += float(z[position, feature])
                    count[layer, int(feature), gene] += 1
    rows = catalogue.table.to_pylist()
    assert {(r["layer"], r["index"], r["gene"]): r["fire_count"] for r in rows} == dict(count)
    assert len(rows) == len(count) > 500
    for r in rows:
        key = r["layer"], r["index"], r["gene"]
        assert r["mean_activation"] == pytest.approx(total[key] / count[key], rel=1e-6)


def test_activity_cell_by_cell_equals_a_sum_in_loops(parts):
    adapter, dictionaries, cohort = parts
    found = build_catalogue(*parts, by_cell=True).activity
    sums = {
        (int(c), int(la), int(f)): float(t)
        for c, la, f, t in zip(found.cell, found.layer, found.index, found.total, strict=True)
    }
    expected = {}
    for cell, tokens in enumerate(cohort.tokens):
        assert found.gene_positions[cell] == len(tokens) - 2
        states = adapter.clean_states(tokens)
        for layer, dictionary in dictionaries.items():
            z = dictionary.encode(states[layer])[1 : len(tokens) - 1].sum(axis=0)
            expected |= {(cell, layer, int(f)): float(z[f]) for f in np.flatnonzero(z > 0)}
    assert sums.keys() == expected.keys() and len(sums) > 100
    # sums of some tens of float32 values, in another order
    assert all(sums[k] == pytest.approx(v, rel=1e-5) for k, v in expected.items())
    assert build_catalogue(*parts).activity is None


def test_rows_are_ordered(catalogue):
    keys = [(r["layer"], r["index"], -r["mean_activation"]) for r in catalogue.table.to_pylist()]
    assert keys == sorted(keys)


def test_detection_and_firing_rate(parts, catalogue):
    _, _, cohort = parts
    vocabulary = parts[0].vocabulary
    inputs = [{vocabulary.gene_of_token[t] for t in tokens[1:-1]} for tokens in cohort.tokens]
    assert catalogue.detection == {g: sum(g in i for i in inputs) / 5 for g in set.union(*inputs)}
    assert (catalogue.cells, catalogue.positions) == (5, 5 * 58)
    table = catalogue.table.to_pandas().groupby(["layer", "index"]).fire_count.sum()
    for (layer, index), fired in table.items():
        assert catalogue.firing_rate[layer][index] == pytest.approx(fired / catalogue.positions)


def test_merging_in_parts_changes_nothing(parts, catalogue, monkeypatch):
    from scircuit.tracing.clean_pass import feature_genes as module

    original = module._Tally.add

    def add(self, *args):
        original(self, *args)
        self.merge()

    monkeypatch.setattr(module._Tally, "add", add)
    again = build_catalogue(*parts)
    assert again.table.drop_columns("mean_activation").equals(
        catalogue.table.drop_columns("mean_activation")
    )
    np.testing.assert_allclose(
        again.table["mean_activation"], catalogue.table["mean_activation"], rtol=1e-12
    )


def test_nothing_to_count_is_refused(parts):
    with pytest.raises(UserError, match="no genes of features from 0 cells and 2 dictionaries"):
        build_catalogue(parts[0], parts[1], SimpleNamespace(tokens=[]))


def test_progress_counts_cells(parts):
    seen = []
    build_catalogue(*parts, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(1, 6)]
