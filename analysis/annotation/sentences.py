"""What an annotate run may say: every rate with the rate of matched random lists beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scircuit.analysis.enrichment.matched_null import Rate


def percent(share: float) -> str:
    """Percentage with as many digits as a small share needs."""
    value = 100 * share
    return f"{value:.1f} %" if abs(value) >= 1 or value == 0 else f"{value:.2g} %"


def excess_words(excess: float, low: float, high: float) -> str:
    """By how much annotation exceeds chance, with the 95 % interval, and that it does not where the
    interval holds nothing.
    """
    interval = f"95 % interval {percent(low)} to {percent(high)}"
    if not low > 0:
        return (
            f"annotation does not exceed chance: {percent(excess)} of features beyond matched"
            f" random lists ({interval})"
        )
    return f"annotation exceeds chance by {percent(excess)} of features ({interval})"


def sentences_of(rates: Sequence[Rate], findings: Mapping[str, Any]) -> tuple[str, ...]:
    """The first says by how much annotation exceeds chance, or that it does not."""
    by_rule = {x.rule: x for x in rates if x.library == "all"}
    r, lax, pooled = by_rule["calibrated"], by_rule["overlap2"], by_rule["pooled"]
    libraries = [x for x in rates if x.rule == "calibrated" and x.library != "all"]
    return (
        (
            f"{excess_words(r.excess, r.excess_low, r.excess_high)}: {r.annotated:,} of {r.lists:,}"
            f" ({percent(r.rate)}) have a term at calibrated q <= {findings['q']:g}, and so have"
            f" {percent(r.null_rate)} of matched random gene lists"
        ),
        "by library: "
        + ", ".join(
            f"{x.library} {percent(x.rate)} (matched random {percent(x.null_rate)})"
            for x in libraries
        ),
        (
            "a rule that tests only overlaps of two genes or more would annotate"
            f" {percent(lax.rate)} of features, but {percent(lax.null_rate)} of matched random"
            " lists as well"
        ),
        (
            f"Benjamini-Hochberg over all {findings['family_size']:,} pairs annotates"
            f" {percent(pooled.rate)} of features and {percent(pooled.null_rate)} of matched random"
            " lists at its threshold"
        ),
    )
