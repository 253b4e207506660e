"""What steering moved, and by layer: the same in pandas."""

from __future__ import annotations

import pytest

from scircuit.queries.api import query
from tests.queries.expected import same
from tests.queries.small_names import STEER, address

pytestmark = pytest.mark.server
SLOPES = ["feature", "slope", "low", "high", "q", "p_random", "control", "matched", "cells", "run"]


def slopes(study):
    table = study.frames["Feature-STEERS-Readout"].rename(columns={"source": "feature"})
    return table.assign(
        readout=table.target.str.rpartition("/")[2],
        layer=table.feature.str.extract(r"/L(\d+)/", expand=False).astype(int),
        size=table.slope.abs(),
    )


def test_slopes_of_all_steered_features(study):
    expected = slopes(study)
    answer = query(study.connection, "steered_readouts", limit=1000)
    assert len(answer) == len(expected) == 20
    order = ["readout", "feature"]
    same(answer.sort_values(order), expected.sort_values(order), SLOPES)
    probe = answer[answer.readout == "pseudotime"]
    assert set(probe.accuracy) == {0.4} and set(probe.baseline) == {-0.1}
    for _, part in answer.groupby("readout"):
        assert list(part.p_random) == sorted(part.p_random)


def test_slopes_of_one_feature_up_to_a_q(study):
    expected = slopes(study)
    expected = expected[(expected.feature == address(3, 0)) & ~(expected.q > 0.1)]
    answer = query(study.connection, "steered_readouts", feature=address(3, 0), q=0.1)
    same(answer.sort_values("readout"), expected.sort_values("readout"), SLOPES)
    fixed = answer[answer.closed_form]
    assert len(fixed) == 1 and fixed.q.isna().all()  # never left out by its q


def test_slopes_that_random_directions_do_not_reach(study):
    """Nearly every direction passes a q over cells; p_random tells the feature from others."""
    expected = slopes(study)
    expected = expected[expected.p_random <= 0.2]
    answer = query(study.connection, "steered_readouts", p_random=0.2, limit=1000)
    order = ["readout", "feature"]
    same(answer.sort_values(order), expected.sort_values(order), SLOPES)
    assert 0 < len(answer) < 20 and (answer.p_random <= 0.2).all()
    assert query(study.connection, "steered_readouts", p_random=0.1).empty


def test_layers_are_compared_by_feature(study):
    known = slopes(study)
    known = known[known.slope.notna()]
    expected = (
        known.groupby(["readout", "layer"])
        .agg(
            features=("slope", "size"),
            median_slope=("slope", "median"),
            median_size=("size", "median"),
            median_control=("control", "median"),
            positive=("slope", lambda x: (x > 0).sum()),
            above_random=("above_random", "sum"),
            closed_form=("closed_form", "all"),
        )
        .reset_index()
    )
    answer = query(study.connection, "steering_by_layer")
    same(answer, expected, list(expected.columns))
    assert set(answer.run) == {STEER} and set(answer.switch) == {""}
    assert list(answer.features) == [5, 5, 4, 4]
