"""The published calibration of the legacy rule, recomputed from its shipped files."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scircuit.tracing.legacy.published_calibration import read_calibration, recompute

EXACT = {  # published numbers that the shipped files determine
    "observed edges of the tested features": 327_609,
    "expected null edges": 11_914.602,
    "empirical FDR": 0.036368359843594024,
    "live tests": 3_586_535,
    "their share": 0.30396050784392176,
    "calibrated edges": 261_564,
    "share of |g| edges that survive": 0.8618054937777382,
    "share of edges that survive, chunk 1": 0.7505333739713502,
    "share of edges that survive, chunk 10": 0.8206256109481916,
    "|d| > 0.3, consistency > 0.7: FDR": 0.3498083,
    "|d| > 0.5, consistency > 0.7: FDR": 0.036368359843594024,
    "|d| > 0.5, consistency > 0.7: total": 327_609,
    "|d| > 0.5, consistency > 0.7: median": 409,
    "|d| > 0.5, consistency > 0.7: share above 1,000": 0.12,
    "|d| > 0.5, consistency > 0.7: null edges per feature": 19.85767,
}


@pytest.fixture(scope="module")
def lines(shared_data):
    return recompute(shared_data / "published")


def test_what_the_files_determine_is_recomputed_exactly(lines):
    found = {line.quantity: line.recomputed for line in lines}
    for quantity, published in EXACT.items():
        assert found[quantity] == pytest.approx(published, rel=1e-6), quantity
    estimates = ("share of all edges that is calibrated", "calibrated edges of all features")
    determined = [
        line for line in lines if line.recomputed is not None and line.quantity not in estimates
    ]
    assert len(determined) == 51
    for line in determined:
        assert line.recomputed == pytest.approx(line.published, rel=1e-12), line.quantity


def test_what_they_do_not_determine_is_said(lines):
    missing = {line.quantity: line.how for line in lines if line.recomputed is None}
    assert set(missing) == {
        "tests with q <= 0.05",
        "edges with |g| > 0.5",
        "totals at the other 29 thresholds, together",
    }
    assert all("not shipped" in how for how in missing.values())


def test_the_extrapolation_and_its_fault(lines):
    shares = [line for line in lines if line.quantity == "share of all edges that is calibrated"]
    totals = [line for line in lines if line.quantity == "calibrated edges of all features"]
    assert [line.published for line in totals] == [1_103_965] * 2
    assert [line.recomputed for line in shares] == pytest.approx([0.7911986, 0.7904908], abs=1e-7)
    assert [round(line.recomputed) for line in totals] == [1_104_083, 1_103_343]
    # the whole is a sum over 4,065 features of which 1,115 are known exactly: within 0.02 % of what
    # was published
    assert totals[0].recomputed == pytest.approx(1_103_965, rel=2e-4)


def test_the_sweep_and_the_draws_are_consistent(shared_data):
    c = read_calibration(shared_data / "published")
    totals, nulls = {}, {}
    for row in c.sweep:
        at = (row["d_threshold"], row["consistency_threshold"])
        totals[at], nulls[at] = row["total_edges"], row["expected_null_edges_per_feature"]
        assert row["mean_edges"] * row["n_features"] == pytest.approx(row["total_edges"])
    for grid in (totals, nulls):  # a stricter threshold never gives more edges
        assert all(grid[a] >= grid[b] for a in grid for b in grid if a[0] <= b[0] and a[1] <= b[1])
    assert all(
        abs(e * 500 - round(e * 500)) < 1e-6 for e in c.expected.tolist()
    )  # means of 500 draws
    assert [c.degree[f] for f in c.tested.tolist()] == c.observed.tolist()


def test_as_a_command(shared_data):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "scircuit.tracing.legacy.published_calibration",
            str(shared_data / "published"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert (
        "empirical FDR: published 0.03636835984, recomputed 0.03636835984 (expected / observed)"
        in done.stdout
    )
