"""What the default rule finds: planted computations are computed edges, what the residual stream
carries is carried, and random directions have no edges beyond the nominal share.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from scircuit.core import edge_rules
from scircuit.tracing.direction_null.direction_tests import HeldOut, direction_p
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.statistics.sign_flip import rounded_up
from tests.support.tiny_models import tiny_model
from tests.support.tiny_null import Traced, traced
from tests.support.tiny_tracer import setup
from tests.support.toy_adapter import Toy, toy_tracer

WIDTH, LATENTS = 64, 32
# source -> target; sources that fire in at least 14 of 16 cells, for over fewer no sign-flip p is
# small enough here
COMPUTED = {
    5: 20,
    6: 11,
    10: 2,
    14: 5,
    15: 30,
    16: 0,
    20: 9,
    21: 14,
    23: 17,
    24: 28,
    27: 31,
    31: 12,
}
CARRIED = {2: 23, 12: 7, 22: 1, 18: 26}


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm()


# with twelve true edges among 1,024 pairs q <= 0.05 is p <= 6e-4: 0.6 false ones are expected, and
# more than three are rarer than one time in 200
FALSE = 3


def set_apart(dictionaries) -> None:
    """Directions of sources and encoders of targets without overlap, but for targets that read the
    direction of a source itself; every target fires somewhere.
    """
    g = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g))[0]
    source, target = dictionaries[0], dictionaries[1]
    source.w_dec = 0.6 * basis[:, :LATENTS]
    target.w_enc = basis[:, LATENTS : 2 * LATENTS].T.contiguous()
    for f, own in CARRIED.items():
        target.w_enc[own] = basis[:, f]
    target.k = LATENTS


def plant_pairs(dictionaries, up, down, gain: float) -> None:
    """Hidden units that read the direction of a source and write that of a target's encoder."""
    for row, (f, g) in enumerate(COMPUTED.items()):
        up[row] = gain * unit(dictionaries[0].w_dec[:, f])
        down[:, row] = gain * unit(dictionaries[1].w_enc[g])


def planted(kind: str, context: str = "frozen", rotated: bool = False):
    """Tracer of a model with known edges from layer 0 to 1; `rotated`: the sources remove other
    directions, of the same lengths.
    """
    if kind == "parallel":
        adapter = Toy(layers=2, width=WIDTH, attention=0.1, feed=0.2)
        up, down, bias = (adapter.weights[1][name] for name in ("up", "down", "bias"))
    else:
        model = tiny_model(layers=2, width=WIDTH, ffn=2 * WIDTH)
        layer = model.bert.encoder.layer[1]
        up, bias = layer.intermediate.dense.weight.data, layer.intermediate.dense.bias.data
        down, adapter = layer.output.dense.weight.data, Geneformer(model, "tiny", "")
    bias[: len(COMPUTED)] = 8.0  # where the activation function is the identity

    def change(dictionaries) -> None:
        set_apart(dictionaries)
        plant_pairs(dictionaries, up, down, gain=1.2)
        if rotated:
            g = torch.Generator().manual_seed(5)
            own = dictionaries[0].w_dec
            drawn = torch.randn(own.shape, generator=g)
            dictionaries[0].w_dec = drawn / drawn.norm(dim=0) * own.norm(dim=0)

    return toy_tracer(adapter, 0, (1,), 16, LATENTS, 8, change=change, context=context)


@pytest.fixture(scope="module", params=["parallel", "post-norm"])
def found(request) -> Traced:
    return traced(planted(request.param))


def test_planted_computations_are_computed_edges(found):
    wanted, called = set(COMPUTED.items()), found.called(edge_rules.COMPUTED)
    assert wanted <= called
    assert len(called - wanted) <= FALSE
    edges = {(e["source"], e["target"]): e for e in found.edges.to_pylist()}
    for f, g in wanted:
        e = edges[str(found.tracer.address(0, f)), found.tracer.target_names[g]]
        assert e["q_computed"] <= 0.02 and abs(e["z_computed"]) > 4.5
        assert e["computed"] < 0 and e["computed_cells"] >= 6


def test_what_the_stream_carries_is_carried_and_not_computed(found):
    wanted, called = set(CARRIED.items()), found.called(edge_rules.CARRIED)
    assert wanted <= called
    assert not wanted & found.called(edge_rules.COMPUTED)
    assert not called & set(COMPUTED.items())
    assert len(called - wanted) <= FALSE


@pytest.mark.parametrize("kind", ["parallel", "post-norm"])
def test_planted_pairs_vanish_when_the_sources_remove_other_directions(kind):
    """The same weights, targets, cells and lengths."""
    other = traced(planted(kind, rotated=True))
    pairs = {*COMPUTED.items(), *CARRIED.items()}
    for rule in (edge_rules.COMPUTED, edge_rules.CARRIED):
        called = other.called(rule)
        assert not called & pairs and len(called) <= 1
    assert other.results[0].total.counts.sum() > 100


def test_planted_pairs_in_the_exact_context():
    exact = traced(planted("parallel", "exact"))
    assert set(COMPUTED.items()) <= exact.called(edge_rules.COMPUTED)


@pytest.fixture(scope="module", params=["exact", "frozen"])
def random(request) -> Traced:
    """Random weights and dictionaries: encoders, decoders and weights know nothing of each
    other.
    """
    return traced(setup(cells=12, context=request.param)[0])


def test_directions_held_out_are_rare_as_their_p_says(random):
    held = sum(r.held_out for r in random.results)
    for kind, part in enumerate(held):
        tests = part.sum()
        assert tests > 20_000, kind
        for p in (0.05, 0.01, 0.001):
            # a bin more is counted, 3.7 %; 16 directions are few, and their targets go together
            share = HeldOut.up_to(part, p) / tests / p
            assert 0.5 < share < 1.35 if p > 0.005 else share < 1.5, (kind, p, share)


def test_random_features_have_no_more_edges_than_nominal(random):
    """Every own direction is one more random direction: no edge is true."""
    assert sum(int(r.computed.counts.sum()) for r in random.results) > 2000
    for rule in (edge_rules.COMPUTED, edge_rules.CARRIED):
        assert len(random.called(rule)) <= 2
    # while almost everything is not zero
    assert len(random.called(edge_rules.CALIBRATED)) > 200


def test_q_of_every_edge_is_that_of_benjamini_and_hochberg_over_callable_pairs(random):
    """Also of direct effects, whose p is found again from their z."""
    edges = random.edges.to_pylist()
    for name in ("direct", "computed"):
        counted = [getattr(r, name) for r in random.results]
        p = np.concatenate([np.repeat(c.p, c.counts) for c in counted])
        q = dict(zip(p.tolist(), stats.false_discovery_control(p).tolist(), strict=True))
        if name == "computed":
            own = [e["p_computed"] for e in edges]
        else:
            z = np.array([np.nan if e["z_direct"] is None else e["z_direct"] for e in edges])
            again = rounded_up(direction_p(z, random.tracer.settings.null_draws))
            own = [None if np.isnan(x) else x for x in again.tolist()]
        known = [x for x in own if x is not None]
        assert 1000 < len(known) < len(edges)
        assert [e[f"q_{name}"] is None for e in edges] == [x is None for x in own]
        found = [e[f"q_{name}"] for e in edges if e[f"q_{name}"] is not None]
        np.testing.assert_allclose(found, [q[x] for x in known], rtol=1e-9)


@pytest.mark.parametrize("context", ["exact", "frozen", "3"])
def test_how_the_work_is_cut_changes_no_bit_of_any_column(context):
    """Units, batches and threads: of the edges, the random directions, their audit and the counts
    of those held out.
    """
    found = []
    for threads, sizes in (
        (1, {"unit_features": 1000}),
        (3, {"unit_features": 1, "batch_pairs": 1, "batch_rows": 16}),
    ):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found.append(traced(setup(cells=8, context=context, null_draws=24, **sizes)[0]))
        finally:
            torch.set_num_threads(before)
    one, other = found
    assert len(one.results) < len(other.results)
    order = [("source", "ascending"), ("target", "ascending")]
    a, b = (x.edges.sort_by(order) for x in found)
    assert a.equals(b) and a.num_rows > 1000 and a["z_computed"].null_count < a.num_rows
    assert one.changes is not None and one.ratios.keys() == other.ratios.keys() != set()
    for key, ratio in one.ratios.items():
        assert ratio[:-1] == other.ratios[key][:-1]
        np.testing.assert_array_equal(ratio.targets, other.ratios[key].targets)
    np.testing.assert_array_equal(one.changes, other.changes)
    held = [sum(r.held_out for r in x.results) for x in found]
    np.testing.assert_array_equal(*held)
    assert held[0].sum() > 0


def test_every_edge_of_direct_or_computed_effects_is_stored_whatever_the_gate():
    """A tight gate for total effects leaves theirs alone, down to a p of 0.01."""
    kept = traced(planted("parallel"))
    tracer = planted("parallel")
    tracer.settings = replace(tracer.settings, gate_p=0.01)
    gated = traced(tracer, kept.changes, kept.ratios)
    assert gated.edges.num_rows < kept.edges.num_rows
    for rule in (edge_rules.COMPUTED, edge_rules.CARRIED):
        assert gated.called(rule) == kept.called(rule) != set()
    for name in ("direct", "computed"):
        a, b = getattr(gated.families, name), getattr(kept.families, name)
        np.testing.assert_array_equal(a.q, b.q)
