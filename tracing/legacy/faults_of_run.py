"""What is wrong with the published activity and edge rules, measured on the given run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.edge_rules import MIN_SUPPORT, legacy_edges, symmetric_edges
from scircuit.core.preflight import CheckLine
from scircuit.tracing.legacy.activity_rule import (
    NEAR,
    SOURCE_FREQUENCY,
    decided_by_rounding,
    faults_of_rule,
    legacy_sources,
)
from scircuit.tracing.legacy.fault_line import fault
from scircuit.tracing.legacy.sign_flip_null import LegacyNull, legacy_null
from scircuit.tracing.legacy.ties import FILE

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.clean_pass.clean_pass import Firing
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.engine.tracer import Tracer


def faults_before(tracer: Tracer) -> list[CheckLine]:
    """Lines about a legacy run that need its clean pass, but no ablation."""
    firing = [cell.firing[tracer.layer] for cell in tracer.cells]
    choice = fault_of_sources(firing, tracer.dictionaries[tracer.layer], tracer.settings.features)
    return [*faults_of_rule(len(tracer.cells)), fault_of_activity(firing, tracer.sources), choice]


def faults_after(
    tracer: Tracer, edges: pa.Table, zero_edit_max: float, calibrated: np.ndarray
) -> list[CheckLine]:
    """Lines about a complete legacy run; the published null is drawn for a random sample of
    ``control_features`` sources.

    Parameters
    ----------
    tracer
        The run.
    edges, zero_edit_max, calibrated
        See `faults_of_edges`.
    """
    size, seed = min(tracer.settings.control_features, len(tracer.sources)), tracer.settings.seed
    sample = np.sort(np.random.default_rng(seed).choice(tracer.sources, size, replace=False))
    found = tracer.effects(sample)
    return faults_of_edges(
        edges,
        zero_edit_max,
        calibrated,
        legacy_null(found.effects, found.active, sample, seed=seed),
    )


def fault_of_activity(firing: Sequence[Firing], sources: np.ndarray) -> CheckLine:
    """Where the source layer's features count as active although their value is 0.

    Parameters
    ----------
    firing
        Inverted index of the source layer of each cell
        (`scircuit.tracing.clean_pass.clean_pass.Firing`), members of the top k with value 0
        included.
    sources
        Features that will be ablated.
    """
    member = np.stack([np.diff(cell.start) for cell in firing])[:, sources]
    above = np.stack([cell.above() for cell in firing])[:, sources]
    silent, counted = int((member - above).sum()), int(member.sum())
    empty_pairs, pairs = int(((member > 0) & (above == 0)).sum()), int((member > 0).sum())
    return fault(
        "activity",
        not silent,
        "active where the value is above 0",
        f"{silent:,} of {counted:,} active positions have value 0; in {empty_pairs:,} of {pairs:,}"
        " (feature, cell) pairs nothing is removed,",
        "and the cell counts with effects of exactly 0",
    )


def fault_of_sources(
    firing: Sequence[Firing], dictionary: Dictionary, named: Sequence[int]
) -> CheckLine:
    """Which features the published code uses as sources, and how that differs from those active in
    these cells.

    Parameters
    ----------
    firing
        As in `fault_of_activity`.
    dictionary
        Dictionary of the source layer.
    named
        Features that were asked for instead; empty: none.
    """
    instead = "features active in at least 2 of these cells"
    known, chosen = getattr(dictionary, "catalogue", None) is not None, legacy_sources(dictionary)
    rule = (
        f"activation_freq of the dictionary's catalogue, not these cells, chooses {len(chosen):,}"
        f" of {dictionary.n_features:,} features"
    )
    if not known:
        rule = (
            f"the dictionary has no catalogue to choose by; all {dictionary.n_features:,} features"
            " are used"
        )
    if named:
        return fault(
            "sources",
            True,
            instead,
            f"{len(set(named)):,} named with --features; without it, {rule}",
        )
    if not known:
        return fault("sources", True, instead, rule)
    fires = (np.stack([cell.above() for cell in firing]) > 0).sum(0) >= 2
    idle, left_out = int((~fires[chosen]).sum()), int(fires.sum() - fires[chosen].sum())
    return fault(
        "sources",
        not left_out,
        instead,
        f"{rule}: {idle:,} of them fire in fewer",
        f"than 2 cells here, and {left_out:,} others fire in more but are left out (below"
        f" {SOURCE_FREQUENCY})",
    )


def faults_of_edges(
    edges: pa.Table,
    zero_edit_max: float = 0.0,
    calibrated: np.ndarray | None = None,
    null: LegacyNull | None = None,
) -> list[CheckLine]:
    """What the published edge rule did to the tests of a run.

    Parameters
    ----------
    edges
        Tests of kind Feature-AFFECTS-Feature; those of
        `scircuit.tracing.legacy.activity_rule.near_edges` must be among them for the counts to be
        complete.
    zero_edit_max
        Largest effect of editing nothing.
    calibrated
        Which of them are edges by the calibrated rule.
    null
        The published sign-flip null on a sample of sources.
    """
    n, n_pos, n_neg, d, mean = (
        edges.column(name).to_numpy(zero_copy_only=False)
        for name in ("n", "n_pos", "n_neg", "d", "mean")
    )
    edge = legacy_edges(d, n, n_pos)
    symmetric = symmetric_edges(d, n, n_pos, n_neg)
    negated = legacy_edges(-d, n, n_neg)
    few, noise = edge & (n_pos + n_neg < MIN_SUPPORT), edge & (np.abs(mean) <= zero_edit_max)
    tied = decided_by_rounding(d)
    total = f"{edge.sum():,}"
    lines = [
        fault(
            "signs",
            bool((edge == symmetric).all()),
            "the same edges for negated effects",
            f"{(edge & (d < 0)).sum():,} of {total} edges are negative; with all effects negated"
            f" there are {negated.sum():,} edges;",
            f"counting signs among effects that are not 0, {(edge & ~symmetric).sum():,} edges go"
            f" and {(symmetric & ~edge).sum():,} come,",
            f"{(symmetric & (d > 0)).sum():,} of {symmetric.sum():,} positive",
        ),
        fault(
            "support",
            not few.any(),
            "none",
            f"{few.sum():,} of {total} edges have an effect in fewer than {MIN_SUPPORT} cells,"
            " where no sign-flip p reaches 0.05",
        ),
        fault(
            "floor",
            not noise.any(),
            "none",
            f"{noise.sum():,} edges have a mean effect up to that of editing nothing"
            f" ({zero_edit_max:.1e})",
        ),
        fault(
            "rounding",
            not tied.any(),
            "none",
            f"{tied.sum():,} tests have |d| within {NEAR} of 0.5, where rounding decides (listed in"
            f" the run's {FILE})",
        ),
    ]
    if calibrated is not None:
        both = edge & calibrated
        lines.append(
            fault(
                "edges",
                bool((both == edge).all()),
                "all",
                f"{both.sum():,} of {total} are edges by the calibrated rule too",
            )
        )
    if null is not None:
        tests, kept = null.surviving()
        lines.append(
            fault(
                "null",
                null.fdr <= 0.05,
                "at most 5%; published 3.64%",
                f"FDR {null.fdr:.2%} on {len(null.features)} sources by the published sign-flip"
                " null",
                f"({null.expected.sum():,.1f} expected for {null.observed.sum():,} edges);",
                f"{tests:,} of {null.tests.sum():,} live tests and {kept.sum():,} edges survive q"
                " 0.05",
            )
        )
    return lines
