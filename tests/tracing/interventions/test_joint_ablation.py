"""Joint ablation equals one whole pass for each condition, whatever is shared and batched."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.address import Address
from scircuit.core.context import EXACT, FROZEN
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.interventions.ablation import FeatureSet, ablate_pairs, ablate_sets
from scircuit.tracing.interventions.ablation import joint_ablation as module
from scircuit.tracing.interventions.ablation.cell_effects import effects_in_cell
from scircuit.tracing.interventions.ablation.condition_runs import Work
from scircuit.tracing.interventions.ablation.conditions import (
    blocks,
    conditions_of,
    layer_passes,
    without_absent,
)
from scircuit.tracing.models.geneformer import Geneformer
from tests.support import plain_ablation
from tests.support.plain_engine import brute_force_p, clean_pass
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model

LAYERS = (1, 2, 4)
KEY = [tuple(i for i in range(3) if m >> i & 1) for m in range(1, 8)]


@pytest.fixture(scope="module")
def world():
    adapter = Geneformer(tiny_model(layers=6), "tiny", "0" * 64)
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in LAYERS}
    cohort = tiny_cohort(tiny_cells(9, seed=3))
    codes = {
        t: sum(
            (clean_pass(adapter.model, dictionaries, c, (t,)).codes[t] > 0).sum(0)
            for c in cohort.tokens
        )
        for t in LAYERS
    }
    order = {t: counts.argsort(descending=True).tolist() for t, counts in codes.items()}

    def feature(layer: int, rank: int) -> Address:
        return Address("tiny", "set", layer, order[layer][rank])

    return SimpleNamespace(
        adapter=adapter, dictionaries=dictionaries, cohort=cohort, feature=feature
    )


def work_of(world, counted, pairs=16, rows=8192):
    return Work(
        world.adapter, world.dictionaries, (4,), pairs, rows, counted.append, lambda _text: None
    )


@pytest.mark.parametrize("context", [EXACT, FROZEN])
@pytest.mark.parametrize("layers", [(1, 1, 1), (1, 2, 2), (1, 1, 2)])
def test_every_effect_equals_a_whole_pass_of_its_own(world, layers, context):
    """Rounding of float32 over four layers; effects are of size 0.01 to 1."""
    members = tuple(sorted({world.feature(t, i + 3 * (t == 2)) for i, t in enumerate(layers)}))
    one = FeatureSet(members)
    compared = 0
    for tokens in world.cohort.tokens:
        plain = plain_ablation.plain_effects(
            world.adapter.model, world.dictionaries, tokens, members, 4, context == FROZEN
        )
        with torch.inference_mode():
            cell = clean_cell(world.adapter, world.dictionaries, tokens, range(1, 5))
            fast = effects_in_cell(work_of(world, []), cell, [one], context == FROZEN)
        assert bool(fast.active[0]) == (plain is not None)
        if plain is None:
            continue
        encoder = world.dictionaries[4].encoder.numpy()
        for place, key in enumerate(KEY):
            np.testing.assert_allclose(fast.effects[4][0, place], plain.effects[key], atol=2e-5)
            for found, wanted in ((fast.total, plain.total), (fast.direct, plain.direct)):
                np.testing.assert_allclose(found[4][0, place] @ encoder.T, wanted[key], atol=5e-5)
        compared += 1
    assert compared >= 6


@pytest.mark.parametrize("context", [EXACT, FROZEN])
def test_results_do_not_depend_on_what_is_computed_together(world, monkeypatch, context):
    """All sets at once, in batches of one, and every set on its own: bit for bit."""
    sets = [
        (world.feature(1, 0), world.feature(1, 1), world.feature(2, 0)),
        (world.feature(1, 0), world.feature(1, 1), world.feature(2, 1)),
        (world.feature(1, 2), world.feature(1, 1)),
        (world.feature(1, 2), world.feature(2, 1)),
    ]

    def shifts(**limits):
        for name, value in limits.items():
            monkeypatch.setattr(module, name, value)
        tables = ablate_sets(
            world.adapter, world.dictionaries, world.cohort, sets, run="r", context=context
        )
        monkeypatch.undo()
        return tables

    plan = module.make_plan

    def narrow(*args, **kwargs):
        return plan(*args, **kwargs, pairs=1, rows=8)

    together = shifts()
    assert together["Intervention-SHIFTED-Feature"].num_rows > 20
    for other in (shifts(_STATES={"cpu": 1}), shifts(make_plan=narrow)):
        assert all(table.equals(other[kind]) for kind, table in together.items())


def test_states_do_not_depend_on_the_order_of_sets(world):
    sets = [(world.feature(1, i), world.feature(2, j)) for i in range(3) for j in range(2)]
    args = world.adapter, world.dictionaries, world.cohort
    one = ablate_sets(*args, sets, run="r")
    other = ablate_sets(*args, [s[::-1] for s in reversed(sets)], run="r")
    for kind, table in one.items():
        rows = [sorted(map(str, t.to_pylist())) for t in (table, other[kind])]
        assert rows[0] == rows[1], kind


def test_a_triplet_takes_65_layer_passes():
    """Layers 0, 5, 11 read at 17; one whole pass for each condition takes 7 x 17 - 5 ... = 95 even
    without the layers before the first removal, the published script 342.
    """
    one = FeatureSet(tuple(Address("m", "s", t, 0) for t in (0, 5, 11)))
    assert layer_passes(conditions_of(one), 17) == 65
    assert sum(17 - c[0][0] for c in conditions_of(one)) == 4 * 17 + 2 * 12 + 6
    twice = [one, FeatureSet((*one.members[:2], Address("m", "s", 11, 1)))]
    # C, AC, BC and ABC of the second set are new; {A}, {B}, {AB} are shared
    every = {c for s in twice for c in conditions_of(s)}
    assert layer_passes(every, 17) == 65 + 4 * 6


def test_the_passes_counted_are_the_passes_planned(world):
    """In a cell where all members are active, and none is wasted in one where they are not."""
    sets = [
        FeatureSet((world.feature(1, 0), world.feature(1, 1), world.feature(2, 0))),
        FeatureSet((world.feature(1, 0), world.feature(1, 2), world.feature(2, 0))),
    ]
    full = 0
    for tokens in world.cohort.tokens:
        counted: list[int] = []
        with torch.inference_mode():
            cell = clean_cell(world.adapter, world.dictionaries, tokens, range(1, 5))
            found = effects_in_cell(work_of(world, counted), cell, sets, False)
        planned = set()
        for s in sets:
            active = {
                (f.layer, f.index) for f in s.members if len(cell.firing[f.layer].rows(f.index)[0])
            }
            planned |= {without_absent(c, active) for c in conditions_of(s)}
        assert sum(counted) == layer_passes(planned, 4)
        if found.together.all():
            full += 1
            assert planned == {c for s in sets for c in conditions_of(s)}
    assert full > 0


def test_absent_members_are_left_out_only_where_they_change_nothing():
    a, b, c = (0, 1), (0, 2), (3, 1)
    assert without_absent((a, b, c), {b}) == (b, c)
    assert without_absent((a, b, c), {c}) == (c,)
    assert without_absent((a, b, c), {a, b}) == (a, b, c)  # c may become active
    assert without_absent((a, b), set()) == ()


@pytest.mark.parametrize(("second_layer", "wakes"), [(1, False), (2, True)])
def test_contrasts_of_features_that_are_not_active_together(world, second_layer, wakes):
    """Zero exactly within a layer; across layers the later one can wake without the earlier one."""
    sets = [
        FeatureSet((world.feature(1, i), world.feature(second_layer, j)))
        for i in range(6)
        for j in range(6, 20)
    ]
    apart = differ = 0
    for tokens in world.cohort.tokens:
        with torch.inference_mode():
            cell = clean_cell(world.adapter, world.dictionaries, tokens, range(1, 5))
            found = effects_in_cell(work_of(world, []), cell, sets, False)
        own = found.active & ~found.together
        first, second, joint = np.moveaxis(found.effects[4][own], 1, 0)
        apart += len(joint)
        differ += int((np.abs(joint - first - second).max(1) > 1e-4).sum())
    assert apart > 50 and (differ > 0) == wakes


def test_blocks_share_conditions_and_hold_every_set_once():
    features = [Address("m", "s", 0, i) for i in range(12)]
    sets = [FeatureSet((f, g)) for i, f in enumerate(features) for g in features[:i]]
    found = blocks(sets, 30, 1000)
    assert sorted(i for block in found for i in block) == list(range(len(sets)))
    sizes = [len({c for i in block for c in conditions_of(sets[i])}) for block in found]
    assert max(sizes) <= 30
    # six features and their 15 pairs make 21 conditions; a list in order would share fewer
    assert max(map(len, found)) >= 20
    assert [len(b) for b in blocks(sets, 10**6, 25)] == [25, 25, 16]


@pytest.mark.parametrize("second_layer", [1, 2])
def test_records_of_pairs(world, second_layer):
    a, b = world.feature(1, 0), world.feature(second_layer, 1)
    tables = ablate_pairs(
        world.adapter, world.dictionaries, world.cohort, [b, str(a)], run="r", q=1.0
    )
    a, b = sorted((a, b), key=lambda f: (f.layer, f.index))
    found = [
        e
        for c in world.cohort.tokens
        if (
            e := plain_ablation.plain_effects(world.adapter.model, world.dictionaries, c, (a, b), 4)
        )
    ]
    contrasts = {
        part: np.stack([plain_ablation.contrast(f(e), (0, 1)) for e in found])
        for part, f in {
            "total": lambda e: e.effects,
            "computed": lambda e: {c: e.total[c] - e.direct[c] for c in e.total},
        }.items()
    }
    joint = np.stack([e.effects[0, 1] for e in found])
    j = np.where(np.abs(contrasts["total"]) > 1e-5, contrasts["total"], 0)
    k = contrasts["computed"]
    stored = {int(r["target"][-4:]): r for r in tables["Intervention-SHIFTED-Feature"].to_pylist()}
    assert len(stored) > 5
    for t, row in stored.items():
        assert row["interaction"] == pytest.approx(j[:, t].mean(), abs=2e-5)
        assert row["effect"] == pytest.approx(joint[:, t].mean(), abs=1e-5)
        assert row["low"] <= row["interaction"] <= row["high"] and row["order"] == 2
        assert row["p"] is None or row["p"] == brute_force_p(j[:, t])
        if row["p_computed"] is not None:
            assert row["computed"] == pytest.approx(k[:, t].mean(), abs=5e-5)
    for t in range(48):
        small = bool(j[:, t].any()) and brute_force_p(j[:, t]) <= 0.1
        assert t in stored or not small
        assert t not in stored or small or stored[t]["p_computed"] <= 0.1
    node = tables["Intervention"].to_pylist()[0]
    assert node["id"] == f"r/ablate/L{a.layer:02d}F{a.index:04d}+L{b.layer:02d}F{b.index:04d}/L04"
    assert node["cells"] == len(found) and node["set"] == node["id"]
    assert node["tested"] == node["significant"] == int(j.any(0).sum())
    roles = tables["Feature-PART_OF-Intervention"].to_pylist()
    assert [(r["source"], r["role"]) for r in roles] == [(str(a), "A"), (str(b), "B")]


def test_records_of_a_triplet_hold_every_subset(world):
    members = (world.feature(1, 0), world.feature(1, 1), world.feature(2, 0))
    tables = ablate_sets(
        world.adapter,
        world.dictionaries,
        world.cohort,
        [FeatureSet(members, "same", "mitosis")],
        run="r",
        q=0.2,
    )
    nodes = tables["Intervention"].to_pylist()
    assert [n["order"] for n in nodes] == [2, 2, 2, 3]
    assert len({n["set"] for n in nodes}) == 1 and nodes[3]["set"] == nodes[3]["id"]
    assert nodes[1]["id"].endswith("/AC/L04")
    assert {(n["set_class"], n["pathway"]) for n in nodes} == {("same", "mitosis")}
    for n in nodes:
        assert n["significant"] <= n["tested"] and n["significant_computed"] <= n["tested_computed"]
        assert n["subadditive"] + n["additive"] + n["superadditive"] == (
            n["subadditive_null"] + n["additive_null"] + n["superadditive_null"]
        )
        assert n["signed_ratio_low"] <= n["signed_ratio"] <= n["signed_ratio_high"]
    shifted = tables["Intervention-SHIFTED-Feature"].to_pylist()
    for n in nodes:
        of_node = [r for r in shifted if r["source"] == n["id"]]
        assert sum(r["q"] is not None and r["q"] <= 0.2 for r in of_node) == n["significant"]
        assert {r["order"] for r in of_node} <= {n["order"]}
    roles = {
        (r["target"][-6:-4], r["role"]) for r in tables["Feature-PART_OF-Intervention"].to_pylist()
    }
    assert {role for where, role in roles if where == "AC"} == {"A", "C"}
    summaries = {r["id"]: r for r in tables["Feature"].to_pylist()}
    assert {r["ablation_partners"] for r in summaries.values()} == {2}
    first = sum(n["significant"] for n in nodes if members[0].short in n["name"])
    assert summaries[str(sorted(members)[0])]["interactions"] == first


def test_refusals(world):
    args = world.adapter, world.dictionaries
    a, b = world.feature(1, 0), world.feature(1, 1)
    many = [world.feature(1, i) for i in range(7)]
    silent = next(
        i
        for i in range(48)
        if not any(
            (clean_pass(world.adapter.model, world.dictionaries, c, (1,)).codes[1][:, i] > 0).any()
            for c in world.cohort.tokens
        )
    )
    dead = Address("tiny", "set", 1, silent)
    for sets, message in (
        ([(a, a)], "2 features, 1 of them different"),
        ([(a,)], "1 feature"),
        ([many], "127 conditions"),
        ([], "no set"),
        ([(a, world.feature(4, 0))], "cannot read layers"),
        ([(a, "tiny/set/L01/F0999")], "not in the dictionaries"),
        ([(a, "other/set/L01/F0001")], "different models"),
        ([(a, b), ("other/set/L01/F0000", "other/set/L01/F0001")], "different models"),
        ([(a, "nonsense")], "parts"),
        ([(a, dead)], "in none of the 9 cells are all"),
        ([(dead, dead._replace(index=silent))], "different"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            ablate_sets(*args, world.cohort, sets, run="r")
        assert caught.value.fix
    few = tiny_cohort(world.cohort.tokens[:1])
    with pytest.raises(UserError, match="1 cell"):
        ablate_sets(*args, few, [(a, b)], run="r")
    with pytest.raises(UserError, match="exact or frozen"):
        ablate_sets(*args, world.cohort, [(a, b)], run="r", context=3)
