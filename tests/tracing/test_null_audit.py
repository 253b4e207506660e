"""The audit of the pooled null: its ratios as defined, near 1 where it must be right, widened where
other positions matter, and refused where effects are far from linear.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scircuit.core import edge_rules
from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.controls.null_records import null_findings, null_notes, null_tables
from scircuit.tracing.direction_null.null_audit import (
    DRAWS,
    SOURCES,
    audit_null,
    audited_sources,
    ratios_of,
)
from scircuit.tracing.direction_null.null_ratios import Ratio, factors
from scircuit.tracing.direction_null.pooled_null import null_part, random_direction, source_norms
from tests.support.tiny_null import audited, traced
from tests.support.tiny_tracer import TARGETS, setup
from tests.support.toy_adapter import Toy, toy_tracer

SAMPLE = np.arange(DRAWS)


def test_a_ratio_is_that_of_directions_really_removed():
    """One source and one direction at a time, with the means and deviations of numpy."""
    tracer = setup(cells=6, context="frozen")[0]
    pooled = null_part(tracer, SAMPLE)
    norms = source_norms(tracer)
    place = {f: i for i, f in enumerate(tracer.sources.tolist())}
    for features in audited_sources(tracer):
        part = audit_null(tracer, features, pooled[[place[f] for f in features.tolist()]])
        assert part.context == (EXACT if features[0] in tracer.exact_sources else FROZEN)
        for i, f in list(enumerate(features.tolist()))[::3]:
            drawn = []
            for k in range(DRAWS):
                delta = torch.as_tensor(norms[place[f]] * random_direction(tracer, k)).float()
                found = tracer.effects(np.array([f]), delta[None])
                assert found.direct is not None
                on = found.active[0]
                moved = (x[0, on].astype(float).mean(0) for x in (found.total, found.direct))
                drawn.append(np.stack(list(moved)))
            for j, kind in enumerate(("direct", "computed")):
                both = []
                for values in (np.stack(drawn), pooled[place[f]].astype(float)):
                    change = values[:, 1] if kind == "direct" else values[:, 0] - values[:, 1]
                    read = [
                        change[:, 32 * n : 32 * n + 32] @ tracer.dictionaries[t].w_enc.numpy().T
                        for n, t in enumerate(TARGETS)
                    ]
                    both.append(np.concatenate(read, 1).std(0))
                wanted = np.where(tracer.alive, both[0] / both[1], np.nan)
                np.testing.assert_allclose(part.ratios[j, i], wanted, rtol=2e-3)


def test_ratios_of_a_layer_pair_are_medians_over_sources_and_targets():
    tracer = setup(cells=6)[0]
    pooled = null_part(tracer, SAMPLE)
    (features,) = audited_sources(tracer)
    place = [tracer.sources.tolist().index(f) for f in features]
    part = audit_null(tracer, features, pooled[place])
    found = ratios_of(tracer, [part])
    assert set(found) == {(EXACT, t, kind) for t in TARGETS for kind in ("direct", "computed")}
    for (_, t, kind), ratio in found.items():
        values = part.ratios[("direct", "computed").index(kind)][:, tracer.columns(t)]
        wanted = np.nanpercentile(values.astype(float), [50, 5, 95])
        np.testing.assert_allclose([ratio.median, ratio.low, ratio.high], wanted)
        assert ratio.sources == len(features) == SOURCES


def test_the_sample_has_rare_and_frequent_sources_of_every_context():
    tracer = setup(context="2")[0]
    groups, counts = audited_sources(tracer), tracer.ablation.counts.sum(1)
    assert len(groups) == 2 and all(len(g) <= SOURCES for g in groups)
    for group, exact in zip(groups, (False, True), strict=True):
        pool = tracer.sources[np.isin(tracer.sources, tracer.exact_sources) == exact]
        assert np.isin(group, pool).all() and (np.diff(group) > 0).all()
        assert counts[group].min() == counts[pool].min()
        assert counts[group].max() == counts[pool].max()
    alone = setup(context="frozen", features=(1, 9, 20))[0]
    assert [g.tolist() for g in audited_sources(alone)] == [sorted(alone.sources.tolist())]


def test_near_one_where_effects_are_nearly_linear():
    """Direct effects are linear in the edit here: 1 to rounding. The computed ones bend a little,
    and edited rows see each other.
    """
    tracer = toy_tracer(Toy(attention=0.1, feed=0.2), context="frozen", cells=12)
    ratios = audited(tracer, null_part(tracer, SAMPLE))
    assert {context for context, *_ in ratios} == {FROZEN}
    for (_, _, kind), ratio in ratios.items():
        limit = 1e-3 if kind == "direct" else 0.1
        assert abs(ratio.median - 1) < limit
        assert kind == "computed" or max(abs(ratio.low - 1), abs(ratio.high - 1)) < limit
    assert null_notes(tracer, ratios) == []


def mixing(strength: float, context: str):
    """Uniform attention and no feed-forward: all that is computed comes through positions, with the
    edit at one of them returning through all others.
    """
    adapter = Toy(feed=0.0)
    for w in adapter.weights:
        w["qkv"][: 2 * adapter.width] = 0
        w["qkv"][2 * adapter.width :] = torch.eye(adapter.width)
        w["out"] = torch.nn.Parameter(
            strength * torch.roll(torch.eye(adapter.width), 1, 0), requires_grad=False
        )
    return toy_tracer(adapter, cells=8, context=context)


def test_widened_in_the_exact_context_where_other_positions_pass_effects_on():
    local, whole = mixing(1.0, "frozen"), mixing(1.0, "exact")
    near, far = (audited(t, null_part(t, SAMPLE)) for t in (local, whole))
    # two layers on, what came back through other positions is in the exact effect only
    assert far[EXACT, 2, "computed"].median > 1.1 * near[FROZEN, 2, "computed"].median
    ratio = far[EXACT, 2, "computed"]
    assert 1.1 < ratio.median < 2
    widened = [ratio.factor(positions) for positions, _ in ratio.steps]
    known = [factor for factor in widened if not np.isnan(factor)]
    assert known == sorted(known) and known[-1] > known[0] >= 1 and known == widened[: len(known)]
    at = {t: whole.columns(t) for t in whole.targets}
    positions = ratio.steps[len(known) - 1][0]
    applied = factors(far, EXACT, at, positions)
    assert (applied[1, at[2]] >= known[-1]).all() and (applied[0] >= 1).all()
    np.testing.assert_array_equal(applied[1, at[2]], ratio.factors(positions))
    assert np.isnan(widened[-1])  # rows of the most frequent source react to each other too much
    (note,) = [n for n in null_notes(whole, far) if "layers 0 to 2" in n and "one by one" in n]
    assert f"vary {ratio.median:.2f} times" in note and "sources that fire often" in note
    # and so every z is smaller by the factor of its source
    changes = null_part(whole, np.arange(20))
    ones = {k: r._replace(median=1.0, steps=((1, 1.0),), targets=None) for k, r in far.items()}
    wide, narrow = (traced(whole, changes, r).edges.to_pandas() for r in (far, ones))
    wide, narrow = (e.set_index(["source", "target"])["z_computed"] for e in (wide, narrow))
    both = wide.to_frame("wide").join(narrow.to_frame("narrow"), how="inner").dropna()
    both = both[both.index.get_level_values("target").str.contains("/L02/")]
    assert len(both) > 200
    often = whole.ablation.counts.sum(1)
    of = {
        (str(whole.address(0, f)), str(whole.address(2, j))): factor
        for f in whole.sources
        for j, factor in enumerate(ratio.factors(int(often[f])))
    }
    factor = [of[pair] for pair in both.index]
    np.testing.assert_allclose(both["wide"] * factor, both["narrow"], rtol=1e-9)


def test_targets_that_vary_far_more_than_others_are_named():
    tracer = toy_tracer(Toy(), context="frozen", cells=6)
    relative = np.ones((2, tracer.columns(1).stop - tracer.columns(1).start))
    relative[1, :3] = 2.5
    ratio = Ratio(1.0, 0.9, 1.1, 2, ((5, 1.0), (50, 1.0)), relative)
    (note,) = null_notes(tracer, {(FROZEN, 1, "computed"): ratio})
    assert f"at 3 of {relative.shape[1]} targets" in note and "up to 2.5 times" in note
    assert null_notes(tracer, {(FROZEN, 1, "computed"): ratio._replace(targets=None)}) == []


def cubic(x: torch.Tensor) -> torch.Tensor:
    return x**3


def loud(dictionaries) -> None:
    """A few frequent features are weak, all others are strong: the strength in the middle says
    nothing of these.
    """
    source = dictionaries[0]
    source.w_dec *= 6
    source.b_enc[:4] += 6.0
    source.w_dec[:, :4] *= 0.02


@pytest.fixture(scope="module")
def bent():
    """A model whose effects grow with the cube of the edit, traced."""
    adapter = Toy(attention=0.0, feed=0.5, act=cubic)
    return traced(toy_tracer(adapter, change=loud, cells=10, targets=(1,), context="frozen"))


def test_far_from_linear_nothing_computed_is_called(bent):
    ratio = bent.ratios[FROZEN, 1, "computed"]
    assert not 0.5 <= ratio.median <= 2
    assert all(np.isnan(ratio.factor(positions)) for positions, _ in ratio.steps)
    assert bent.ratios[FROZEN, 1, "direct"].factor(9) == pytest.approx(1, abs=1e-3)
    columns = {t: bent.tracer.columns(t) for t in bent.tracer.targets}
    applied = factors(bent.ratios, FROZEN, columns, 9)
    assert np.isnan(applied[1, columns[1]]).all() and not np.isnan(applied[0]).any()
    exact = {str(bent.tracer.address(0, f)) for f in bent.tracer.exact_sources}
    assert len(exact) == 4  # the weak ones, which have a ratio of their own
    edges = [e for e in bent.edges.to_pylist() if e["source"] not in exact]
    assert len(edges) > 300
    assert all(e["p_computed"] is None and e["q_computed"] is None for e in edges)
    assert all(e["z_computed"] is None and e["computed"] is not None for e in edges)
    assert any(e["q_direct"] is not None for e in edges)
    assert {f for f, _ in bent.called(edge_rules.COMPUTED)} <= set(bent.tracer.exact_sources)
    units = [
        u
        for u in bent.tracer.units
        if not np.isin(bent.tracer.features_of(u), bent.tracer.exact_sources).any()
    ]
    local = [r for r in bent.results if r.name in units]
    held = sum(r.held_out for r in local)
    assert not held[1, 0].any() and held[0, 0].any()
    assert not any(r.computed.counts.sum() for r in local)


def test_total_effects_stay_and_the_note_says_so(bent):
    without = [bent.tracer.run_unit(u) for u in bent.tracer.units]
    for a, b in zip(without, bent.results, strict=True):
        np.testing.assert_array_equal(a.total.p, b.total.p)
        np.testing.assert_array_equal(a.total.counts, b.total.counts)
    (note,) = [n for n in null_notes(bent.tracer, bent.ratios) if "frozen: computed" in n]
    assert "layers 0 to 1, frozen: computed effects" in note
    assert "no computed effect of sources that fire often is called there" in note
    assert "total effects are stored" in note
    found = null_findings(
        bent.tracer,
        bent.ratios,
        sum(r.held_out for r in bent.results),
        {"direct": 0.01, "computed": 0.0},
        {1: {"computed": 0, "carried": 3, "generic": 5}},
    )
    (row,) = null_tables("run", found)["Control"].to_pylist()
    assert (row["source_layer"], row["target_layer"], row["draws"]) == (0, 1, 64)
    assert row["sigma_ratio"] == bent.ratios[FROZEN, 1, "computed"].median
    assert (row["edges"], row["carried"], row["generic"]) == (0, 3, 5)
    assert row["expected_false"] == 0.0 and found[0].expected_false_direct > 0


@pytest.mark.parametrize(
    ("median", "factor"),
    [(0.3, None), (0.49, None), (0.5, 1.0), (0.9, 1.0), (1.3, 1.3), (2.0, 2.0), (2.01, None)],
)
def test_what_follows_from_a_ratio(median, factor):
    found = Ratio(median, 0.0, 9.0, 8, ((10, median),)).factor(25)
    assert np.isnan(found) if factor is None else found == factor


def test_the_factor_rises_with_the_number_of_positions():
    ratio = Ratio(1.2, 0.9, 1.8, 4, ((10, 0.9), (100, 1.4), (400, 1.3), (1000, 1.8)))
    found = [ratio.factor(n) for n in (1, 10, 31, 100, 200, 1000, 9999)]
    assert found == sorted(found) and found[0] == found[1] == 1.0
    np.testing.assert_allclose(found[3:], [1.4, 1.4, 1.8, 1.8])
    assert 1.0 < found[2] < 1.4
    steep = Ratio(1.2, 0.9, 3.0, 2, ((10, 1.0), (1000, 2.6)))
    assert steep.factor(10) == 1.0 and np.isnan(steep.factor(1000))


def test_a_layer_pair_that_was_not_audited_is_not_called():
    columns = {1: slice(0, 3), 2: slice(3, 7)}
    known = {
        (EXACT, 1, kind): Ratio(value, 1, 1, 8, ((5, value),))
        for kind, value in (("computed", 1.2), ("direct", 1.0))
    }
    found = factors(known, EXACT, columns, 5)
    assert (
        (found[1, :3] == 1.2).all() and (found[0, :3] == 1).all() and np.isnan(found[:, 3:]).all()
    )
    assert np.isnan(factors(known, FROZEN, columns, 5)).all()


def test_progress_and_few_draws():
    tracer = setup(cells=6)[0]
    tracer.settings = replace(tracer.settings, null_draws=4)
    (features,) = audited_sources(tracer)
    seen = []
    pooled = null_part(tracer, SAMPLE[:5])
    place = [tracer.sources.tolist().index(f) for f in features]
    audit_null(tracer, features, pooled[place], lambda *a: seen.append(a))
    pairs = 5 * tracer.pairs_of(features)
    assert seen[-1] == (pairs, pairs, 0) and len(seen) == len(features)
