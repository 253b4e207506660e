r"""Terms whose features have more edges in one cohort than in another.

For a feature f with deg_A(f) of the N_A edges of run A, at either end,

    x(f) = deg_A(f) / N_A  -  deg_B(f) / N_B,

and of a term the sum of x over its features. If cohorts do not differ in the term, each of its
features could as well have gained as lost: the sign of every x(f) is flipped at random, and

    p = (1 + flips with a sum as far from 0) / (1 + flips),     q: Benjamini-Hochberg over terms.

The unit is the feature and not the edge, as edges of one feature come and go together. Terms with
fewer than six features that have edges are not tested: they cannot reach p = 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.consensus.replication import positions_in
from scircuit.analysis.finding import Finding, untested

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.consensus.compared_run import ComparedRun

NAME, TITLE = "term_contrast", "Terms with more edges in one cohort"
FLIPS, FEWEST, ALPHA = 9999, 6, 0.05
COLUMNS = (
    "term", "name", "library", "features", "share_first", "share_second", "difference", "p", "q",
)  # fmt: skip


def term_contrast(a: ComparedRun, b: ComparedRun, *, flips: int = FLIPS, seed: int = 0) -> Finding:
    """Contrast of every term between two runs with the same dictionaries.

    Parameters
    ----------
    a, b
        The runs; the terms are those of `a`, and of `b` where `a` was not annotated.
    flips, seed
        Of the null.
    """
    import pandas as pd
    from scipy import sparse

    from scircuit.analysis.enrichment.fdr import benjamini_hochberg

    first = a if a.inputs.terms is not None else b
    second = b if first is a else a
    terms = first.inputs.terms
    if terms is None:
        return _untested("neither run was annotated")
    n = first.edges.size, second.edges.size
    if min(n) == 0:
        return _untested(f"the runs have {n[0]:,} and {n[1]:,} edges")
    to = positions_in(first, second)
    degree = [(e.out_degree + e.in_degree).astype(float) for e in (first.edges, second.edges)]
    other = np.where(to >= 0, degree[1][to], 0.0)
    share = degree[0] / (2 * n[0]), other / (2 * n[1])
    unique = terms.drop_duplicates(["feature", "term"])
    names = unique.drop_duplicates("term").set_index("term").sort_index()
    number = {t: i for i, t in enumerate(names.index)}
    live = (share[0] + share[1] > 0) & (to >= 0)
    unique = unique.loc[live[unique["feature"].to_numpy(np.int64)]]
    row = np.array([number[term] for term in unique["term"]], np.int64)
    column = unique["feature"].to_numpy(np.int64)
    table = sparse.csr_matrix(
        (np.ones(row.size), (row, column)), shape=(len(names), first.inputs.nodes.id.size)
    )
    features = np.diff(table.indptr)
    tested = np.flatnonzero(features >= FEWEST)
    if not tested.size:
        most = int(features.max(initial=0))
        return _untested(
            f"none of {len(names):,} terms has {FEWEST} features with edges; at most {most} have"
        )
    table, x = table[tested], share[0] - share[1]
    observed = table @ x
    rng, hits = np.random.default_rng([seed, 37]), np.zeros(tested.size, np.int64)
    slack = 1e-12 * max(float(np.abs(x).max()), 1e-300)
    for start in range(0, flips, 500):
        signs = rng.integers(0, 2, (x.size, min(500, flips - start))) * 2 - 1
        hits += (np.abs(table @ (signs * x[:, None])) >= np.abs(observed)[:, None] - slack).sum(1)
    p = (1 + hits) / (1 + flips)
    frame = pd.DataFrame(
        {
            "term": names.index[tested],
            "name": names["name"].to_numpy()[tested],
            "library": names["library"].to_numpy()[tested],
            "features": features[tested],
            "share_first": table @ share[0],
            "share_second": table @ share[1],
            "difference": observed,
            "p": p,
            "q": benjamini_hochberg(p, p.size),
        }
    ).sort_values(["q", "p", "term"], ignore_index=True)
    found = frame[frame["q"] <= ALPHA]
    text = (
        f"{len(found):,} of {len(frame):,} terms have more edges in one cohort than in the other (q"
        f" <= {ALPHA})"
    )
    if len(found):
        best = found.iloc[0]
        more = first.run if best["difference"] > 0 else second.run
        text += (
            f"; most clearly {best['name'] or best['term']}, more in {more}, with"
            f" {best['share_first']:.1%} of the ends of edges in {first.run} and"
            f" {best['share_second']:.1%} in {second.run} (q = {best['q']:.2g})"
        )
    return Finding(
        NAME,
        TITLE,
        text,
        f"{flips:,} random signs of the change of every feature; Benjamini-Hochberg over"
        f" {len(frame):,} terms with at least {FEWEST} features",
        frame,
        {"flips": flips, "terms": len(frame), "standing_out": len(found)},
        draw=draw,
    )


def _untested(why: str) -> Finding:
    return untested(NAME, TITLE, f"terms were not contrasted: {why}", columns=COLUMNS, flips=0)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Difference of the terms with the smallest q."""
    from scircuit.analysis.plot_style import BLUE, GREY

    rows = frame.head(12).iloc[::-1]
    colours = [BLUE if q <= ALPHA else GREY for q in rows["q"]]
    ax.barh(np.arange(len(rows)), 100 * rows["difference"], color=colours)
    ax.set_yticks(np.arange(len(rows)), [str(n)[:40] for n in rows["name"]])
    ax.axvline(0, color="black", lw=0.8)
    ax.set_xlabel("ends of edges, first minus second run, percentage points")
