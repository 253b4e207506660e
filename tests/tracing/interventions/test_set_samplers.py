"""Classes of sets: disjoint, matched, of the groups they claim, and plain about what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.interventions.ablation import Candidate, sample_classes


def candidates(each: int = 400, layers=(0, 5, 11), groups: int = 8, labelled: float = 0.9, seed=0):
    """Features whose rate depends on whether they have a group, so that matching has work to do."""
    rng = np.random.default_rng(seed)
    found = []
    for t in layers:
        for i in range(each):
            group = f"g{rng.integers(groups)}" if rng.random() < labelled else ""
            rate = float(np.exp(rng.normal(-4 + 1.0 * (group == "g0") - 1.5 * (group == ""), 0.7)))
            found.append(Candidate(Address("m", "s", t, i), rate, group))
    return found


@pytest.mark.parametrize("layers", [(0, 5, 11), (5, 5), (0, 0, 5)])
def test_classes_are_disjoint_of_their_groups_and_matched(layers):
    given = candidates()
    sampled = sample_classes(given, layers, 40)
    group = {c.address: c.group for c in given}
    rate = {c.address: c.firing_rate for c in given}
    members = [f for s in sampled.sets for f in s.members]
    assert len(set(members)) == len(members)
    by_kind = {k: [s for s in sampled.sets if s.kind == k] for k in ("same", "cross", "random")}
    assert {k: len(v) for k, v in by_kind.items()} == {"same": 40, "cross": 40, "random": 40}
    for s in sampled.sets:
        assert sorted(f.layer for f in s.members) == sorted(layers)
        named = [group[f] for f in s.members if group[f]]
        if s.kind == "same":
            assert set(named) == {s.pathway} and len(named) == len(layers)
        else:
            assert len(set(named)) == len(named)
        if s.kind == "cross":
            assert len(named) == len(layers)
    assert len({s.pathway for s in by_kind["same"]}) == 8
    # a template's rate is met within what the nearest of a layer spread over
    logs = {k: np.log([rate[f] for s in v for f in s.members]) for k, v in by_kind.items()}
    every = np.log([c.firing_rate for c in given])
    for k in ("cross", "random"):
        assert abs(np.median(logs[k]) - np.median(logs["same"])) < 0.25 * every.std()
    assert abs(np.median(every[[c.group == "" for c in given]]) - np.median(logs["same"])) > 1


def test_draws_depend_on_the_seed_and_not_on_the_order_of_features():
    given = candidates()
    one = sample_classes(given, (0, 5, 11), 10)
    assert one == sample_classes(given[::-1], (11, 0, 5), 10)
    assert one.sets != sample_classes(given, (0, 5, 11), 10, seed=1).sets


def test_fewer_sets_are_drawn_where_features_do_not_suffice_and_it_is_said_why():
    sampled = sample_classes(candidates(each=30, groups=3), (0, 5, 11), 100)
    counts = {k: sum(s.kind == k for s in sampled.sets) for k in ("same", "cross", "random")}
    assert 0 < counts["same"] < 30 and counts["same"] + counts["cross"] + counts["random"] <= 30
    assert f"{counts['same']} of 100 same sets drawn: 3 of 3 groups have" in sampled.notes[0]
    assert all("of 100" in note for note in sampled.notes)
    none = sample_classes(candidates(each=30, labelled=0.0), (0, 5), 5)
    assert [s.kind for s in none.sets] == ["random"] * 5
    assert "none of 0 groups" in none.notes[0]


def test_refusals():
    with pytest.raises(UserError, match=r"layer 3 has 0 feature\(s\)"):
        sample_classes(candidates(), (0, 3), 5)
    with pytest.raises(UserError, match="no set of 2 features"):
        sample_classes(candidates(labelled=0.0), (0, 5), 5, classes=("same",))
