"""The audit against plain sets and sums over two whole runs; its sample, and its memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.controls.audit import MIN_SAMPLE, run_audit
from scircuit.tracing.engine.jobs import parts_of
from tests.support.plain_engine import brute_force_p
from tests.support.tiny_tracer import RULE, setup


def test_an_audit_holds_the_effects_of_one_tile_and_finds_what_it_finds_at_once(monkeypatch):
    tracer = setup(cells=6, context="frozen", audit=0.9)[0]
    calls: list[int] = []
    wanted = run_audit(tracer, RULE)
    of_source = 4 * tracer.ablation.values * len(tracer.cells)
    tracer.plan = replace(tracer.plan, effects=4 * of_source)
    plain, asked = tracer.effects, []
    monkeypatch.setattr(
        tracer,
        "effects",
        lambda features, **options: asked.append(len(features)) or plain(features, **options),
    )
    found = run_audit(tracer, RULE, lambda done, _total, _found: calls.append(done))
    assert max(asked) == 4 and calls == sorted(calls)
    for a, b in zip(found, wanted, strict=True):
        assert (a.context, a.sources, a.edges, a.exact_edges) == (
            b.context,
            b.sources,
            b.edges,
            b.exact_edges,
        )
        assert a.correlation == pytest.approx(
            b.correlation, abs=1e-4
        ) and a.cross_share == pytest.approx(b.cross_share, abs=1e-4)


def test_the_audit_samples_its_share_of_all_sources_and_none_that_are_exact():
    """At least 20 where there are so many, never more than are not exact; its tables are those of
    the stated formulas.
    """
    tracer = setup(context="1", audit=0.5)[0]
    local = np.setdiff1d(tracer.sources, tracer.exact_sources)
    share = int(np.ceil(0.5 * len(tracer.sources)))
    assert len(tracer.exact_sources)
    sizes = {}
    for audit in (0.0, 0.5, 1.0):
        tracer.settings = replace(tracer.settings, audit=audit)
        sizes[audit] = {a.sources for a in run_audit(tracer, RULE, further=False)}
    assert sizes == {
        0.0: {min(MIN_SAMPLE, len(local))},
        0.5: {min(len(local), max(MIN_SAMPLE, share))},
        1.0: {len(local)},
    }


def test_what_the_audit_says_is_what_two_runs_give():
    """Precision, recall, correlation and share of the total effect from plain sets and sums over
    all sources.
    """
    tracer = setup(cells=12, context="frozen", audit=1.0)[0]
    tracer.__dict__["exact_sources"] = tracer.sources[:0]
    found = {a.target_layer: a for a in run_audit(tracer, RULE, further=False)}
    tests = {}
    for context in (FROZEN, EXACT):
        # in the batches of the audit: others differ in the last digits of float32
        parts = [
            tracer.effects(part, context=context)
            for part in parts_of(tracer, tracer.sources[np.argsort(tracer.sources)])
        ]
        effects, active = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("effects", "active")
        )
        for i, j in np.ndindex(len(tracer.sources), tracer.n_targets):
            x = effects[i, active[i], j].astype(float)
            x[np.abs(x) <= tracer.floors[j]] = 0
            if x.any():
                sd = max(x.std(ddof=1), 1e-10)
                # under RULE an edge has p <= 0.05, here by listing all signs, and six cells with an
                # effect
                edge = (x != 0).sum() >= 6 and brute_force_p(x) <= 0.05
                legacy = (
                    abs(x.mean() / sd) > 0.5 and max((x > 0).sum(), (x <= 0).sum()) / len(x) > 0.7
                )
                tests[context, i, j] = (x.mean(), x.mean() / sd, edge, legacy)
    for t, a in found.items():
        inside = [
            (i, j)
            for i in range(len(tracer.sources))
            for j in range(tracer.columns(t).start, tracer.columns(t).stop)
        ]
        nothing = (0.0, 0.0, False, False)
        ours, theirs = (
            np.array([tests.get((c, *at), nothing) for at in inside], float).T
            for c in (FROZEN, EXACT)
        )
        for k, (precision, recall) in (
            (2, (a.precision, a.recall)),
            (3, (a.precision_legacy, a.recall_legacy)),
        ):
            both = (ours[k] * theirs[k]).sum()
            assert precision == pytest.approx(both / ours[k].sum()) and recall == pytest.approx(
                both / theirs[k].sum()
            )
        assert (a.edges, a.exact_edges) == (ours[2].sum(), theirs[2].sum())
        live = (ours[1] != 0) & (theirs[1] != 0)
        assert a.correlation == pytest.approx(
            np.corrcoef(ours[1][live], theirs[1][live])[0, 1], abs=1e-6
        )
        assert a.cross_share == pytest.approx(
            np.abs(theirs[0] - ours[0]).sum() / np.abs(theirs[0]).sum(), abs=1e-6
        )
    assert any(a.precision != a.recall for a in found.values())
