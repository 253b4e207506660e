"""The engine's invariances, its refusals, and edges planted in a model where they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import scircuit.tracing.hardware.memory_plan
from scircuit.core.errors import UserError
from scircuit.core.schema import arrow_schema
from scircuit.tracing.engine.input_records import describe
from scircuit.tracing.engine.tracer import Tracer, open_tracers
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model
from tests.support.tiny_tracer import (
    SOURCE,
    TARGETS,
    edges_of,
    open_tracer,
    setup,
    tiny_config,
    tiny_settings,
)


@pytest.fixture(scope="module")
def tracer() -> Tracer:
    return setup()[0]


def test_zero_edit_is_at_the_floor_in_several_batch_shapes(tracer):
    features = tracer.sources
    for batch in (1, 3, tracer.plan.pairs, 16):
        found = tracer.effects(features, torch.zeros(len(features), 32), batch=batch)
        assert (np.abs(found.effects) <= tracer.floors).all()
        for changes in (found.total, found.direct):
            moved = tracer.readout.of(changes.reshape(-1, tracer.state_values))
            assert (np.abs(moved) <= tracer.change_floors).all()
    assert (tracer.floors < 1e-5).all() and (tracer.floors > 0).all()


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_batches_do_not_change_effects(tracer, batch):
    ours, other = tracer.effects(tracer.sources), tracer.effects(tracer.sources, batch=batch)
    np.testing.assert_allclose(ours.effects, other.effects, atol=2e-6)
    np.testing.assert_allclose(ours.total, other.total, atol=2e-6)
    np.testing.assert_allclose(ours.direct, other.direct, atol=2e-6)


def test_units_in_any_order_on_a_fresh_tracer_are_bit_equal(tracer):
    forward = {u: tracer.run_unit(u) for u in tracer.units}
    again = setup()[0]
    assert len(again.units) > 2
    for unit in reversed(again.units):
        result = again.run_unit(unit)
        assert result.edges.equals(forward[unit].edges)
        np.testing.assert_array_equal(result.total.p, forward[unit].total.p)
        assert (result.live, result.pairs, result.zero_edit_max) == (
            forward[unit].live,
            forward[unit].pairs,
            forward[unit].zero_edit_max,
        )


def test_units_cover_every_source_once(tracer):
    sources = [e["source"] for u in tracer.units for e in tracer.run_unit(u).edges.to_pylist()]
    assert {str(tracer.address(SOURCE, f)) for f in tracer.sources} >= set(sources)
    assert sum(tracer.run_unit(u).pairs for u in tracer.units) == tracer.pairs


@pytest.mark.parametrize("context", ["exact", "frozen", "4"])
def test_the_size_of_units_changes_no_bit(context):
    """Batches are made inside tiles, and units are whole tiles."""
    found = []
    for unit_features in (1, 7, 1000):
        tracer = setup(unit_features=unit_features, context=context, batch_rows=16)[0]
        found.append((len(tracer.units), edges_of(tracer)))
    assert found[0][0] >= found[1][0] > found[2][0] == 1
    assert found[0][1] == found[1][1] == found[2][1]


def test_source_layers_share_the_clean_pass_and_give_what_each_gives_alone():
    tracer, _, dictionaries, tokens = setup(target_layers=())
    config = tiny_config(source_layers=(1, 2), target_layers=())
    settings = tiny_settings(tracer.adapter, dictionaries, config)
    both = open_tracers(tracer.adapter, dictionaries, tiny_cohort(tokens), settings, "trace-test")
    assert list(both) == [1, 2] and both[1].cells is both[2].cells
    assert not {*both[1].units} & {*both[2].units}
    for layer, one in both.items():
        alone = open_tracer(
            tracer.adapter,
            dictionaries,
            tiny_cohort(tokens),
            replace(config, source_layers=(layer,)),
            "trace-test",
        )
        assert one.targets == alone.targets == tuple(t for t in (2, 3, 4) if t > layer)
        assert edges_of(one) == edges_of(alone)
    features = describe(list(both.values()), tiny_cohort(tokens))["Feature"].to_pylist()
    assert len(features) == 4 * 48
    assert {f["layer"] for f in features if f["traced"]} == {1, 2}


def test_states_on_disk_give_the_same_bits(monkeypatch):
    plain = edges_of(setup(context="frozen")[0])
    monkeypatch.setattr(
        scircuit.tracing.hardware.memory_plan,
        "_DEFAULT",
        {"cpu": (20_000, *scircuit.tracing.hardware.memory_plan._DEFAULT["cpu"][1:])},
    )
    tracer = setup(context="frozen")[0]
    assert 0 < tracer.cells.on_disk < len(tracer.cells)
    assert edges_of(tracer) == plain


def test_gate_stores_small_p_and_legacy_edges_but_counts_all_live_tests():
    everything, gated = setup()[0], setup()[0]
    gated.settings = replace(gated.settings, gate_p=0.1)
    for unit in everything.units:
        a, b = everything.run_unit(unit), gated.run_unit(unit)
        cells = a.edges["n_pos"].to_numpy() + a.edges["n_neg"].to_numpy()
        assert a.live == b.live == len(a.edges) > 0
        # fewer than six cells with an effect cannot be called: not in the family
        assert a.total.counts.sum() == (cells >= 6).sum() < len(a.edges)
        small = b.total.p <= 0.1  # larger ones are counted as 1
        np.testing.assert_array_equal(a.total.p[a.total.p <= 0.1], b.total.p[small])
        np.testing.assert_array_equal(a.total.counts[a.total.p <= 0.1], b.total.counts[small])
        assert a.total.counts.sum() == b.total.counts.sum() and (b.total.p[~small] == 1).all()
        share = (
            np.maximum(
                a.edges["n_pos"].to_numpy(), (a.edges["n"].to_numpy() - a.edges["n_pos"].to_numpy())
            )
            / a.edges["n"].to_numpy()
        )
        keep = (a.edges["p"].to_numpy() <= 0.1) | (
            (np.abs(a.edges["d"].to_numpy()) > 0.5) & (share > 0.7)
        )
        assert b.edges.equals(a.edges.filter(keep.tolist()))
        assert len(b.edges) < len(a.edges)


def test_edge_table_is_the_declared_kind_without_q(tracer):
    edges = tracer.run_unit(tracer.units[0]).edges
    # q comes when all tests are known; consistency is what imported edges have in the place of
    # counts
    late = ("q", "q_computed", "q_direct", "consistency")
    wanted = [n for n in arrow_schema("Feature-AFFECTS-Feature").names if n not in late]
    assert edges.column_names == wanted


def test_progress_reaches_the_end(tracer):
    calls: list[tuple[int, int, int]] = []
    result = tracer.run_unit(tracer.units[-1], progress=lambda *a: calls.append(a))
    assert calls[-1] == (result.pairs, result.pairs, len(result.edges))
    assert [c[0] for c in calls] == sorted(c[0] for c in calls)


def test_records_describe_what_fires(tracer):
    tables = describe([tracer], tiny_cohort([]))
    assert set(tables) == {
        "Model",
        "Dictionary",
        "Dictionary-OF-Model",
        "Feature",
        "Feature-OF-Dictionary",
        "Cohort",
    }
    features = tables["Feature"].to_pylist()
    assert {f["layer"] for f in features} == {SOURCE, *TARGETS}
    genes = sum(len(c.genes) for c in tracer.cells)
    for f in features[:40]:
        per_cell = [c.codes[f["layer"]] for c in tracer.cells]
        fires = [
            ((v > 0) & (i == f["index"]))[c.genes]
            for (v, i), c in zip(per_cell, tracer.cells, strict=True)
        ]
        assert f["cells_active"] == sum(bool(x.any()) for x in fires)
        assert f["firing_rate"] == pytest.approx(sum(int(x.sum()) for x in fires) / genes)
    assert sum(f["traced"] for f in features) == len(tracer.sources)
    assert tables["Dictionary-OF-Model"].num_rows == 4
    assert tables["Feature-OF-Dictionary"].num_rows == len(features)
    assert set(tables["Feature-OF-Dictionary"].column("target").to_pylist()) == set(
        tables["Dictionary"].column("id").to_pylist()
    )


def test_blocks_that_do_nothing_compute_nothing():
    """With zero output projections all of an effect goes through the residual stream and its norms,
    however large the edit.
    """
    model = tiny_model(layers=3)
    for layer in model.bert.encoder.layer:
        for module in (layer.attention.output.dense, layer.output.dense):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in (0, 1, 2)}
    for context in ("exact", "frozen", "3"):
        config = tiny_config(source_layers=(0,), target_layers=(1, 2), context=context)
        tracer = open_tracer(
            Geneformer(model, "tiny", ""), dictionaries, tiny_cohort(tiny_cells(6)), config, "r"
        )
        found = tracer.effects(tracer.sources)
        assert found.direct is not None
        np.testing.assert_allclose(found.total, found.direct, atol=2e-6)
        assert np.abs(found.direct).max() > 0.5
        edges = edges_of(tracer).values()
        limit = 10 * tracer.change_floors.max()
        assert max(abs(e["computed"]) for e in edges) < limit < 1e-3
        assert max(abs(e["direct"]) for e in edges) > 0.5


def test_planted_edges_are_found_and_others_are_not():
    """Identity blocks and dictionaries of orthonormal directions: feature f feeds exactly the
    target that reads its direction.
    """
    width, n = 32, 16
    model = tiny_model(layers=2)
    for layer in model.bert.encoder.layer:
        for module in (layer.attention.output.dense, layer.output.dense):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    basis = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))[
        0
    ][:, :n]
    dictionaries = {}
    for t in (0, 1):
        d = TinyDictionary(t, width, n, n, seed=t)
        d.w_enc, d.w_dec = basis.T.clone(), basis.clone()
        d.b_enc, d.b_dec, d.mean = (
            torch.full((n,), 0.5 if t else 0.0),
            torch.zeros(width),
            torch.zeros(width),
        )
        dictionaries[t] = d
    config = tiny_config(source_layers=(0,), target_layers=(1,))
    tracer = open_tracer(
        Geneformer(model, "tiny", ""),
        dictionaries,
        tiny_cohort(tiny_cells(12, seed=9)),
        config,
        "r",
    )
    edges = edges_of(tracer)
    own = [e for (s, t), e in edges.items() if s[-5:] == t[-5:]]
    cross = [e for (s, t), e in edges.items() if s[-5:] != t[-5:]]
    assert len(own) == n
    assert all(e["p"] <= 2 ** -(e["n"] - 1) and abs(e["d"]) > 2 for e in own)
    assert min(abs(e["mean"]) for e in own) > 3 * max(abs(e["mean"]) for e in cross)
    assert all(e["mean"] < 0 for (s, t), e in edges.items() if s[-5:] == t[-5:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_layers": (5,)}, "source layer 5 has no dictionary"),
        (
            {"source_layers": (4,), "target_layers": ()},
            "no layer after source layer 4 has a dictionary",
        ),
        ({"target_layers": (1,)}, "do not come after source layer 1"),
        ({"target_layers": (5,)}, "target layer 5 has no dictionary"),
        ({"target_layers": (1, 2)}, "target layers 1 do not come after"),
        ({"source_layers": ()}, "no source layer"),
        ({"features": (99,)}, "feature 99 is not in"),
    ],
)
def test_refusals_name_the_fault_and_the_fix(change, message):
    _, model, dictionaries, tokens = setup()
    with pytest.raises(UserError, match=message) as caught:
        open_tracer(
            Geneformer(model, "tiny", ""),
            dictionaries,
            tiny_cohort(tokens),
            tiny_config(**change),
            "r",
        )
    assert caught.value.fix


def test_wrong_width_and_unknown_unit(tracer):
    wide = {t: TinyDictionary(t, 16, 48, 4, seed=t) for t in (SOURCE, *TARGETS)}
    with pytest.raises(UserError, match="width 16"):
        open_tracer(tracer.adapter, wide, tiny_cohort([]))
    with pytest.raises(ValueError, match="no work unit"):
        tracer.run_unit("L09-0000")


@pytest.mark.parametrize(("cells", "message"), [(0, "no cells"), (1, "one cell")])
def test_a_cohort_without_a_test_is_refused_before_the_clean_pass(cells, message, monkeypatch):
    tracer, _, dictionaries, tokens = setup()
    monkeypatch.setattr(
        tracer.adapter, "clean_states", lambda *_: pytest.fail("computed something")
    )
    with pytest.raises(UserError, match=f"{message}; an effect is tested over at least 2"):
        open_tracer(tracer.adapter, dictionaries, tiny_cohort(tokens[:cells]))
