"""Controls: what they must find in a model whose circuits are known, and that they can refute."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_oracle import SOURCE, TARGETS, setup

from tracing.calibrate import q_table
from tracing.controls import random_directions, swapped_directions


@pytest.fixture(scope="module")
def traced():
    tracer = setup(cells=14)[0]
    tracer.config = replace(tracer.config, control_features=10)
    results = [tracer.run_unit(u) for u in tracer.units]
    table = q_table([r.p_values for r in results], [r.p_counts for r in results])
    return tracer, table, tracer.run_controls(table.threshold(0.05), min_support=4), results


def rows(control, kind):
    return [r for r in control.tables["Control"].to_pylist() if r["control"] == kind]


def test_one_record_per_kind_and_layer_pair(traced):
    _, _, control, _ = traced
    kinds = {"zero_edit", "random_direction", "feature_swap", "passthrough", "split_half"}
    table = control.tables["Control"].to_pylist()
    assert {(r["control"], r["target_layer"]) for r in table} == {(k, t) for k in kinds for t in TARGETS}
    assert len({r["id"] for r in table}) == len(table) == control.tables["Control-FROM-Run"].num_rows
    assert all(r["sources"] == 10 and r["source_layer"] == SOURCE and r["run"] == "trace-test" for r in table)


def test_zero_edit_is_the_floor_and_gives_no_edges(traced):
    tracer, _, control, _ = traced
    for r in rows(control, "zero_edit"):
        assert r["max_abs_effect"] <= tracer.floors[tracer.columns(r["target_layer"])][0]
        assert r["control_edges"] == r["control_edges_legacy"] == 0
    assert control.numbers["zero_edit_above_floor"] == 0


def test_edges_are_those_of_the_same_sources_in_the_real_run(traced):
    _, table, control, results = traced
    sample = {r["id"] for r in control.tables["Feature"].to_pylist()}
    threshold = table.threshold(0.05)
    for t in TARGETS:
        wanted = sum(
            e["source"] in sample and f"/L{t:02d}/" in e["target"] and e["p"] <= threshold and e["n_pos"] + e["n_neg"] >= 4
            for r in results for e in r.edges.to_pylist()
        )  # fmt: skip
        found = {r["edges"] for r in control.tables["Control"].to_pylist() if r["target_layer"] == t}
        assert found == {wanted}
    assert control.numbers["edges"] == sum(r["edges"] for r in rows(control, "feature_swap"))


def test_split_half_counts_edges_that_hold_twice(traced):
    _, _, control, _ = traced
    for r in rows(control, "split_half"):
        assert r["control_edges"] <= r["edges"]
        if r["edges"]:
            assert r["agreement"] == pytest.approx(r["control_edges"] / r["edges"])


def test_directions_have_the_norm_of_the_source_and_do_not_depend_on_the_sample(traced):
    tracer = traced[0]
    features = tracer.sources
    own = tracer.dictionaries[SOURCE].columns(torch.as_tensor(features))
    for make in (random_directions, swapped_directions):
        directions = make(tracer, features, own)
        torch.testing.assert_close(directions.norm(dim=1), own.norm(dim=1))
        alone = make(tracer, features[3:4], own[3:4])
        torch.testing.assert_close(alone[0], directions[3])
        cosine = torch.nn.functional.cosine_similarity(directions, own)
        assert float(cosine.abs().max()) < 0.9
    swapped = swapped_directions(tracer, features, own)
    columns = tracer.dictionaries[SOURCE].w_dec.T
    best = torch.nn.functional.cosine_similarity(swapped[:, None], columns[None], dim=-1).argmax(1)
    assert (best.numpy() != features).all()
    np.testing.assert_allclose(torch.nn.functional.cosine_similarity(swapped, columns[best]), 1, atol=1e-5)


def test_controls_can_refute():
    """Where all directions of a dictionary are the same one, swapping features must reproduce every edge."""
    tracer, *_ = setup(cells=12)
    d = tracer.dictionaries[SOURCE]
    d.w_dec = d.w_dec[:, :1].repeat(1, d.n_features)
    control = tracer.run_controls(0.05, 4)
    for r in rows(control, "feature_swap"):
        assert r["control_edges"] == r["edges"]
    assert control.numbers["swap_edges"] == control.numbers["edges"] > 0


def test_controls_are_reproducible(traced):
    _, table, control, _ = traced
    again = setup(cells=14)[0]
    again.config = replace(again.config, control_features=10)
    other = again.run_controls(table.threshold(0.05), min_support=4)
    assert all(other.tables[k].equals(control.tables[k]) for k in control.tables)
