"""Pairs of genes that a circuit links, as a finding: how many are beyond the null, the best ones,
and how many of those are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.finding import Finding
from scircuit.analysis.gene_predictions.gene_pairs import GenePairs
from scircuit.analysis.gene_predictions.known_pairs import known_pairs
from scircuit.analysis.genesets.regulons import Regulons

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NAME = "gene_pairs"


def pair_finding(
    pairs: GenePairs,
    source: np.ndarray,
    target: np.ndarray,
    regulons: Regulons | None,
    *,
    min_edges: int,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """The best pairs with their strongest edge and what is known of them.

    Parameters
    ----------
    pairs
        Scores of pairs of genes.
    source, target
        Addresses of the ends of the edges that the pairs were made from, [edges].
    regulons
        Known pairs.
    min_edges, alpha
        Fewest edges of a pair; largest q of one that is called.
    """
    frame = pairs.frame
    known = known_pairs(frame["source"].tolist(), frame["target"].tolist(), regulons, seed=seed)
    at = frame["strongest"].to_numpy(np.int64)
    shown = frame.drop(columns="strongest").assign(
        known=known.mode, strongest_source=source[at], strongest_target=target[at]
    )
    library = regulons.name if regulons else "none"
    numbers: dict[str, object] = {
        "pairs": pairs.pairs,
        "beyond_null": pairs.beyond,
        "expected_by_chance": pairs.expected,
        "stored": len(frame),
        "edges": pairs.edges,
        "library": library,
        "known": known.known,
        "known_by_chance": known.expected,
        "known_p": known.p,
    }
    null = (
        f"gene lists of the targets permuted within layer and class of in-degree, {pairs.draws}"
        " draws; known pairs: source and target genes of the best pairs combined anew, 1,000 draws"
    )
    return Finding(
        NAME,
        "Pairs of genes that the circuit links",
        _sentence(pairs, shown, known.known, known.expected, known.p, library, min_edges, alpha),
        null,
        shown,
        numbers,
        draw=draw,
    )


def _sentence(
    pairs: GenePairs,
    frame: pd.DataFrame,
    known: int,
    expected: float,
    p: float,
    library: str,
    min_edges: int,
    alpha: float,
) -> str:
    if not pairs.pairs:
        return (
            f"no pair of genes is linked by {min_edges} edges or more: {pairs.edges:,} edges have"
            " genes on both sides"
        )
    text = (
        f"{pairs.beyond:,} of {pairs.pairs:,} pairs of genes with {min_edges} edges or more are"
        f" beyond permuted gene lists (q <= {alpha:g}; {pairs.expected:.3g} by chance)"
    )
    best = frame.iloc[0]
    if pairs.beyond:
        effect = "supports" if best["score"] > 0 else "suppresses"
        text += f", first {best['source']} {effect} {best['target']}"
    if library == "none":
        return text
    more = "more" if p <= 0.05 else "not more"
    return (
        f"{text}; {library} states {known} of the {len(frame):,} best, {more} than of the same"
        f" genes combined anew ({expected:.1f}, p = {p:.2g})"
    )


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all findings
    """The best pairs by z, support in blue and suppression in orange."""
    from scircuit.analysis.plot_style import BLUE, ORANGE

    best = frame.head(15).iloc[::-1]
    color = [BLUE if s > 0 else ORANGE for s in best["score"]]
    names = [f"{s} → {t}" for s, t in zip(best["source"], best["target"], strict=True)]
    ax.barh(range(len(best)), best["z"].abs(), color=color)
    ax.set_yticks(range(len(best)), names)
    ax.set_xlabel("|z| against permuted gene lists (blue: support, orange: suppression)")
