"""The audit: it passes where frozen is exact, improves with more rows, and reports low recall where
effects travel through other positions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.controls.audit import audit_tables, run_audit
from scircuit.tracing.engine.input_records import describe
from scircuit.tracing.engine.tracer import Tracer
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model
from tests.support.tiny_tracer import RULE, open_tracer, setup, tiny_config


def by_context(found, target):
    return {a.context: a for a in found if a.target_layer == target}


def test_exact_runs_need_none():
    assert run_audit(setup()[0], RULE) == [] and audit_tables("r", []) == {}


def test_frozen_agrees_at_the_next_layer_and_improves_with_more_rows():
    tracer = setup(cells=12, context="frozen")[0]
    found = run_audit(tracer, RULE)
    assert {a.sources for a in found} == {20} and len(found) == 3 * 4
    first = by_context(found, 2)["frozen"]
    assert first.precision == first.recall == 1.0 and first.cross_share < 1e-4
    shares = [by_context(found, 4)[c].cross_share for c in ("frozen", "16", "32")]
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 1e-4  # no cell has 32 other positions, so that is exact


def test_a_sample_is_the_same_each_time_and_another_with_another_seed():
    tracer = setup(cells=6, context="frozen")[0]
    first, again = (run_audit(tracer, RULE) for _ in range(2))
    assert first == again
    tracer.settings = replace(tracer.settings, seed=1)
    assert run_audit(tracer, RULE) != first


def mixing_tracer(strength: float) -> Tracer:
    """Uniform attention whose output is `strength` times the mean of all states: what an edit does
    returns through every position.
    """
    model = tiny_model(layers=4)
    for layer in model.bert.encoder.layer:
        attention = layer.attention
        for module in (attention.self.query, attention.self.key, layer.output.dense):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
        torch.nn.init.eye_(attention.self.value.weight)
        attention.output.dense.weight.data = strength * torch.roll(torch.eye(32), 1, 0)
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in (0, 1, 3)}
    config = tiny_config(source_layers=(0,), target_layers=(1, 3), context="frozen")
    return open_tracer(
        Geneformer(model, "tiny", ""),
        dictionaries,
        tiny_cohort(tiny_cells(12, seed=3, low=30, high=36)),
        config,
        "r",
    )


def test_planted_paths_through_other_positions_give_low_recall():
    strong, none = (by_context(run_audit(mixing_tracer(s), RULE), 3)["frozen"] for s in (8.0, 0.0))
    assert strong.recall is not None and strong.recall < 0.8
    assert strong.cross_share is not None and strong.cross_share > 0.3
    assert none.recall == 1.0 and none.cross_share is not None and none.cross_share < 1e-4


def test_records_stand_beside_the_other_controls():
    tracer = setup(cells=6, context="3")[0]
    found = run_audit(tracer, RULE)
    assert {a.context for a in found} == {"3", "6", "12"}
    table = audit_tables("r", found)["Control"].to_pylist()
    assert len({row["id"] for row in table}) == len(table) == len(found)
    for row, a in zip(table, found, strict=True):
        assert (row["control"], row["context"], row["edges"], row["control_edges"]) == (
            "context",
            a.context,
            a.edges,
            a.exact_edges,
        )
        assert (row["precision"], row["recall"], row["agreement"]) == (
            a.precision,
            a.recall,
            a.correlation,
        )


def test_frequent_sources_are_traced_exactly_and_say_so():
    tracer = setup(context="2")[0]
    often = tracer.exact_sources
    assert 0 < len(often) < len(tracer.sources)
    rows = tracer.ablation.counts.sum(1)
    assert rows[often].min() > np.median(rows[tracer.sources])
    rare = np.setdiff1d(tracer.sources, often)
    mixed = tracer.effects(tracer.sources).effects
    at = {int(f): i for i, f in enumerate(tracer.sources)}
    for features, context in ((often, EXACT), (rare, 2)):
        alone = tracer.effects(features, context=context).effects
        np.testing.assert_allclose(mixed[[at[int(f)] for f in features]], alone, atol=2e-6)
    described = {
        f["index"]: f["context"]
        for f in describe([tracer], tiny_cohort([]))["Feature"].to_pylist()
        if f["layer"] == tracer.layer
    }
    assert {described[int(f)] for f in often} == {"exact"} and {
        described[int(f)] for f in rare
    } == {"2"}
    assert {described[f] for f in set(range(48)) - set(tracer.sources.tolist())} <= {None}


@pytest.mark.parametrize("context", ["frozen", "5"])
def test_features_of_a_tile_do_not_leak_into_each_other(context):
    tracer = setup(context=context)[0]
    together = tracer.effects(tracer.sources, context=tracer.context)
    for i, f in list(enumerate(tracer.sources))[::5]:
        alone = tracer.effects(np.array([f]), context=tracer.context)
        np.testing.assert_allclose(together.effects[i], alone.effects[0], atol=2e-6)
        np.testing.assert_allclose(together.total[i], alone.total[0], atol=2e-5)


def test_as_many_further_positions_as_there_are_is_exact():
    tracer = setup(context="frozen")[0]
    exact = tracer.effects(tracer.sources, context=EXACT)
    np.testing.assert_allclose(
        tracer.effects(tracer.sources, context=99).effects, exact.effects, atol=2e-5
    )
    assert (
        np.abs(tracer.effects(tracer.sources, context=FROZEN).effects - exact.effects).max() > 1e-3
    )
