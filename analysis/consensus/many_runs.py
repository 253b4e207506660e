"""Findings about several pairs of runs as one, with q over all of them.

Every pair of runs is a chance more to find something, so the p of all pairs are one family: q is
Benjamini-Hochberg over the tests of all pairs. Rows of single layer pairs are a family of their
own, and those of the published null that permutes names are no test. A p that holds for all
domain pairs of two runs is multiplied by the number of pairs of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.finding import Finding

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
_SINGLE = {"term_contrast": "terms", "consensus_pairs": "domain pairs"}
"""Findings whose rows are many single things, and what these are."""

Part = tuple[tuple[str, str], Finding]
"""The two runs, and what was found."""


def over_all_pairs(parts: Sequence[Part]) -> Finding:
    """One finding of those about each pair of runs; `frame` says of which runs every row is
    (first, second), and has q (and q_rewired) over all pairs; `numbers` has those of each pair with
    its sentence.

    Parameters
    ----------
    parts
        Two or more, of one name.
    """
    import pandas as pd

    first = next((f for _, f in parts if len(f.frame)), parts[0][1])
    numbers = {f"{a} {b}": {**f.numbers, "sentence": f.sentence} for (a, b), f in parts}
    frames = [f.frame.assign(first=a, second=b) for (a, b), f in parts if len(f.frame)]
    if not frames:
        sentence = f"none of {len(parts)} pairs of runs could be tested: {first.sentence}"
        return replace(first, sentence=sentence, numbers=numbers)
    frame = pd.concat(frames, ignore_index=True)
    tests = _corrected(frame)
    if "p_family" in frame:
        frame["p_family"] = np.minimum(frame["p_family"].astype(float) * len(parts), 1.0)
    return replace(
        first,
        sentence=_sentence(first.name, frame, tests, [runs for runs, _ in parts]),
        null=f"{first.null}; q: Benjamini-Hochberg over all {len(parts)} pairs of runs",
        frame=frame,
        numbers=numbers,
    )


def _corrected(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Adds q to the frame; q column -> rows that are tests of the runs as a whole."""
    from scircuit.analysis.enrichment.fdr import benjamini_hochberg

    size = len(frame)
    whole, real = np.ones(size, bool), np.ones(size, bool)
    if "source_layer" in frame:
        whole = frame["source_layer"].isna().to_numpy()
    if "null" in frame:
        real = (frame["null"] != "names permuted").to_numpy()
    columns = [c for c in ("p", "p_rewired") if c in frame]
    p = np.stack([frame[c].astype(float).to_numpy() for c in columns])
    q = np.full(p.shape, np.nan)
    for rows in (whole, ~whole):
        tested = np.isfinite(p) & (rows & real)
        q[tested] = benjamini_hochberg(p[tested])
    for column, values in zip(columns, q, strict=True):
        frame[column.replace("p", "q", 1)] = values
    return {
        column.replace("p", "q", 1): np.isfinite(values) & whole
        for column, values in zip(columns, q, strict=True)
    }


def _sentence(
    name: str,
    frame: pd.DataFrame,
    tests: dict[str, np.ndarray],
    runs: Sequence[tuple[str, str]],
) -> str:
    number = sum(int(rows.sum()) for rows in tests.values())
    if "p_family" in frame:
        found = int((frame["p_family"] <= ALPHA).sum())
        return (
            f"{found:,} of {number:,} {_SINGLE[name]} stand out (family-wise p <= {ALPHA} over all"
            f" {len(runs)} pairs of runs)"
        )
    if name in _SINGLE:
        found = int((frame["q"] <= ALPHA).sum())
        return (
            f"{found:,} of {number:,} {_SINGLE[name]} stand out (q <= {ALPHA} over all"
            f" {len(runs)} pairs of runs)"
        )
    clear, untested = [], []
    for a, b in runs:
        own = ((frame["first"] == a) & (frame["second"] == b)).to_numpy()
        q = np.concatenate([frame.loc[rows & own, c].to_numpy() for c, rows in tests.items()])
        if not q.size:
            untested.append(f"{a} and {b}")
        elif (q <= ALPHA).all():
            clear.append(f"{a} and {b}")
    text = (
        f"{len(clear)} of {len(runs)} pairs of runs agree beyond every null (q <= {ALPHA} over all"
        f" {number} tests)"
    )
    shown = ", ".join(clear[:3]) + (f" and {len(clear) - 3} more" if len(clear) > 3 else "")
    text += f": {shown}" if clear else ""
    return f"{text}; {len(untested)} could not be tested" if untested else text
