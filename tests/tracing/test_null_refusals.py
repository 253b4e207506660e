"""Too few random directions are refused before anything is computed; what cannot be compared with
them does not stop the run.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from scircuit.core import edge_rules
from scircuit.core.context import EXACT, FROZEN
from scircuit.core.errors import UserError
from scircuit.tracing.direction_null.null_audit import audited_sources
from scircuit.tracing.engine.settings import check_options
from tests.support.tiny_null import traced
from tests.support.tiny_tracer import setup, tiny_config
from tests.support.toy_adapter import Toy, toy_tracer


@pytest.mark.parametrize("draws", [-1, 1, 2, 3])
def test_fewer_than_four_have_no_mean_deviation_and_direction_held_out(draws):
    with pytest.raises(UserError, match=f"null_draws is {draws}: a mean") as refused:
        check_options(tiny_config(null_draws=draws))
    assert "at least 4" in refused.value.problem and "or 0" in refused.value.fix
    check_options(tiny_config(null_draws=4))
    check_options(tiny_config(null_draws=0))


def test_too_few_for_the_targets_of_a_source():
    """The message names the smallest p and a number that is just enough."""
    with pytest.raises(UserError, match=r"null_draws is 8: with 8 random directions") as refused:
        setup(null_draws=8)
    smallest = 2 * stats.t(7).sf(np.sqrt(32 / (1 + 1 / 8)))
    assert (
        f"of 32 dimensions the smallest p of an effect is {smallest:.2g}" in refused.value.problem
    )
    assert "a source has 144 targets" in refused.value.problem and smallest * 144 > 0.05
    named = re.search(r"--null-draws (\d+) or more", refused.value.fix)
    assert named is not None and "0 to trace total effects only" in refused.value.fix
    enough = int(named[1])
    assert setup(cells=2, null_draws=enough)[0].settings.null_draws == enough
    with pytest.raises(UserError, match=f"null_draws is {enough - 1}: with"):
        setup(cells=2, null_draws=enough - 1)


def test_every_source_layer_counts_its_own_targets():
    """From the last source layer but one, one layer is measured: fewer are enough."""
    with pytest.raises(UserError, match="a source has 144 targets"):
        setup(null_draws=10, source_layers=(1, 2), target_layers=())
    assert setup(null_draws=10, source_layers=(3,), target_layers=(4,))[0].settings.null_draws == 10


def test_where_no_number_is_enough_the_message_says_so():
    with pytest.raises(UserError, match="no computed or carried edge could be found") as refused:
        toy_tracer(Toy(width=8), latents=4000)
    assert "measure fewer layers" in refused.value.fix and "or more" not in refused.value.fix


@pytest.mark.parametrize("options", [{"null_draws": 0}, {"legacy": True, "null_draws": 64}])
def test_none_are_drawn_for_total_effects_alone(options):
    tracer = setup(cells=8, **options)[0]
    assert tracer.settings.null_draws == 0
    found = traced(tracer)
    assert found.changes is None and found.ratios == {}
    edges = found.edges.to_pylist()
    assert len(edges) > 1000 and all(e["computed"] is not None for e in edges)
    empty = ("z_direct", "z_computed", "p_computed", "q_computed", "q_direct")
    assert all(e.get(name) is None for e in edges for name in empty)
    assert not found.called(edge_rules.COMPUTED) and not found.called(edge_rules.CARRIED)
    assert found.called(edge_rules.CALIBRATED) and found.families.total.threshold() > 0


def everywhere(dictionaries) -> None:
    """Every feature of the source layer fires at every gene."""
    source = dictionaries[0]
    source.k, source.b_enc = source.n_features, source.b_enc + 8.0
    source.w_dec *= 0.05


@pytest.mark.parametrize("context", ["exact", "frozen"])
def test_sources_that_fire_at_every_position(context):
    """Traced exactly in every context; the null is that of rows edited alone, and the audit
    measures what that leaves out.
    """
    tracer = toy_tracer(Toy(), cells=7, change=everywhere, context=context)
    genes = sum(len(c.genes) for c in tracer.cells)
    assert (tracer.ablation.counts[tracer.sources].sum(1) == genes).all()
    assert len(tracer.exact_sources) == len(tracer.sources) == 48
    assert len(audited_sources(tracer)) == 1
    found = traced(tracer)
    assert {key[0] for key in found.ratios} == {EXACT}
    assert found.ratios[EXACT, 1, "direct"].median == pytest.approx(1, abs=1e-3)
    assert sum(int(r.direct.counts.sum()) for r in found.results) > 1000
    assert found.edges.num_rows > 1000


@pytest.mark.parametrize("cells", [2, 5])
def test_too_few_cells_for_an_edge_still_give_effects(cells):
    found = traced(setup(cells=cells, context="frozen")[0])
    assert {key[0] for key in found.ratios} <= {EXACT, FROZEN}
    edges = found.edges.to_pylist()
    assert len(edges) > 100 and all(e["computed"] is not None for e in edges)
    assert all(e["p_computed"] is None and e["q_direct"] is None for e in edges)
    assert sum(int(r.computed.counts.sum() + r.direct.counts.sum()) for r in found.results) == 0
    assert found.families.computed.threshold() == 0 and not found.called(edge_rules.COMPUTED)


def test_sources_without_a_direction_are_not_compared_and_stop_nothing():
    def some(dictionaries) -> None:
        dictionaries[0].w_dec[:, ::2] = 0

    tracer = toy_tracer(Toy(), cells=10, change=some, features=tuple(range(0, 48, 3)))
    found = traced(tracer)
    edges = found.edges.to_pylist()
    with_p = {e["source"][-4:] for e in edges if e["p_computed"] is not None}
    assert with_p and all(int(f) % 2 for f in with_p)
    assert all(np.isfinite(r.median) for r in found.ratios.values())
