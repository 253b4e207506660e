"""Sentences of an annotate run: every rate with that of matched random lists beside it."""

from __future__ import annotations

from collections.abc import Sequence

from scircuit.analysis.enrichment.matched_null import Rate


def percent(share: float) -> str:
    """Percentage with as many digits as a small share needs."""
    value = 100 * share
    return f"{value:.1f} %" if abs(value) >= 1 or value == 0 else f"{value:.2g} %"


def excess_sentence(excess: float, low: float, high: float) -> str:
    """By how much annotation exceeds chance, with the 95 % interval; that it does not exceed it
    where the interval contains zero.
    """
    interval = f"95 % interval {percent(low)} to {percent(high)}"
    if not low > 0:
        return (
            f"annotation does not exceed chance: {percent(excess)} of features beyond matched"
            f" random lists ({interval})"
        )
    return f"annotation exceeds chance by {percent(excess)} of features ({interval})"


def annotation_sentences(rates: Sequence[Rate], q: float, family_size: int) -> tuple[str, ...]:
    """The first sentence says by how much annotation exceeds chance, or that it does not."""
    by_rule = {x.rule: x for x in rates if x.library == "all"}
    r, lax, pooled = by_rule["calibrated"], by_rule["overlap2"], by_rule["pooled"]
    libraries = [x for x in rates if x.rule == "calibrated" and x.library != "all"]
    return (
        (
            f"{excess_sentence(r.excess, r.excess_low, r.excess_high)}: {r.annotated:,} of"
            f" {r.lists:,} ({percent(r.rate)}) have a term at calibrated q <= {q:g}, as do"
            f" {percent(r.null_rate)} of matched random gene lists"
        ),
        "by library: "
        + ", ".join(
            f"{x.library} {percent(x.rate)} (matched random {percent(x.null_rate)})"
            for x in libraries
        ),
        (
            "a rule that tests only overlaps of two or more genes would annotate"
            f" {percent(lax.rate)} of features and {percent(lax.null_rate)} of matched random"
            " lists"
        ),
        (
            f"Benjamini-Hochberg over all {family_size:,} pairs annotates"
            f" {percent(pooled.rate)} of features; {percent(pooled.null_rate)} of matched random"
            " lists pass the same threshold"
        ),
    )
