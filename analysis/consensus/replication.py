r"""Two runs with the same dictionaries, on other cells or with another seed: which edges replicate,
which belong to one cohort, and how stable degrees are.

Only tests that both runs could make are compared: the source was ablated in both, and the target
fires in the cells of both. An edge of A is

- *replicated* if it is an edge of B with the same sign;
- *specific to A* if it is none in B although B had the power to find it, and the effects differ:

      power = Phi( |d_A| sqrt(n_B) - t_B ) >= 0.8,       t_B: smallest |d| sqrt(n) of an edge of B,
      z = (m_A - m_B) / sqrt(s_A^2 / n_A + s_B^2 / n_B),  BH over all such edges, q <= 0.05,

  with mean m and standard deviation s of the effect over n cells (0 and s_A where B did not even
  store the test, as it stores all that come near to an edge);
- *undecided* otherwise: fewer cells, an effect that B would miss, or no clear difference.

The number of replicated edges stands beside its nulls
(`scircuit.analysis.coherence.pair_nulls`), which count the same: edges of B with the same sign. An
edge takes its sign along when its target is resampled, and edges of each sign are rewired among
themselves, so that every feature keeps how many of its edges are positive and how many negative.
The rank correlation of degrees is also given beyond firing rates, which make degrees alike by
themselves (`scircuit.analysis.structure.rank_stability`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.coherence.edge_coherence import plain, share_as_large
from scircuit.analysis.coherence.pair_nulls import PairNulls, kept, pair_nulls
from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.consensus.agreed_edges import measured_in
from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.layered_edges import layered_edges

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.consensus.compared_run import ComparedRun

NAME, TITLE = "replication", "Replication of edges between cohorts"
DRAWS, FEWEST, POWER, ALPHA = 1000, 10, 0.8, 0.05
COLUMNS = (
    "run", "other", "edges", "tested_in_both", "replicated", "share", "expected", "expected_low",
    "expected_high", "rewired", "p", "p_rewired", "same_sign", "specific", "undecided",
)  # fmt: skip


class Compared(NamedTuple):
    """Edges of one run that another could have made too.

    Parameters
    ----------
    source, target
        Positions in the features of that run.
    same
        The other has the edge, with the same sign.
    opposite
        The other has the edge, with the opposite sign.
    specific
        The other had the power to find it, and has another effect.
    """

    source: np.ndarray
    target: np.ndarray
    same: np.ndarray
    opposite: np.ndarray
    specific: np.ndarray


def positions_in(a: ComparedRun, b: ComparedRun) -> np.ndarray:
    """Position in `b` of every feature of `a`; -1 where it has none."""
    at = {address: i for i, address in enumerate(b.inputs.nodes.id)}
    return np.array([at.get(address, -1) for address in a.inputs.nodes.id], dtype=np.int64)


def compared(a: ComparedRun, b: ComparedRun) -> Compared:
    """What becomes of the edges of `a` in `b`."""
    to = positions_in(a, b)
    ones, others = a.inputs.circuit, b.inputs.edges
    size = b.inputs.nodes.id.size
    # position -1 reads the last entry, which is put right by the first condition
    testable = (to[ones.source] >= 0) & (to[ones.target] >= 0)
    testable &= b.inputs.nodes.traced[to[ones.source]] & measured_in(b)[to[ones.target]]
    ones = ones.keep(testable)
    order = np.lexsort((ones.target, ones.source))
    ones = ones.keep(order)
    code = to[ones.source] * size + to[ones.target]
    stored = others.source * size + others.target
    sort = np.argsort(stored, kind="stable")
    place = np.searchsorted(stored[sort], code)
    place = np.minimum(place, max(stored.size - 1, 0))
    known = stored[sort][place] == code if stored.size else np.zeros(code.size, bool)
    at = sort[place] if stored.size else np.zeros(code.size, np.int64)
    name = a.inputs.rule.effect
    mine, theirs = getattr(ones, name), np.zeros(code.size)
    is_edge = np.zeros(code.size, bool)
    theirs[known] = getattr(others, b.inputs.rule.effect)[at[known]]
    is_edge[known] = b.inputs.called[at[known]]
    same = is_edge & (np.sign(mine) == np.sign(theirs))
    specific = ~is_edge & _specific(a, b, ones, at, known, is_edge)
    return Compared(ones.source, ones.target, same, is_edge & ~same, specific)


def _specific(
    a: ComparedRun, b: ComparedRun, ones: object, at: np.ndarray, known: np.ndarray,
    is_edge: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Edges that `b` had the power to find, and whose effects differ."""
    from scipy.stats import norm

    from scircuit.analysis.enrichment.fdr import benjamini_hochberg

    theirs, found = b.inputs.edges, b.inputs.circuit
    d, n, mean, sd = (np.asarray(getattr(ones, c), float) for c in ("d", "n", "mean", "sd"))
    other_n = cells_active(b, a, ones)
    other_n[known] = theirs.n[at[known]]
    other_mean = np.zeros(d.size)
    other_mean[known] = theirs.mean[at[known]]
    other_sd = sd.copy()
    other_sd[known] = theirs.sd[at[known]]
    strength = np.abs(found.d) * np.sqrt(found.n)
    strength = strength[np.isfinite(strength)]
    if not strength.size or not d.size:
        return np.zeros(d.size, bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        power = norm.sf(strength.min() - np.abs(d) * np.sqrt(other_n))
        z = (mean - other_mean) / np.sqrt(sd**2 / n + other_sd**2 / other_n)
    candidates = ~is_edge & np.isfinite(z) & np.isfinite(power) & (power >= POWER)
    chosen = np.zeros(d.size, bool)
    p = 2 * norm.sf(np.abs(z[candidates]))
    if p.size:
        chosen[candidates] = benjamini_hochberg(p, p.size) <= ALPHA
    return chosen


def cells_active(b: ComparedRun, a: ComparedRun, ones: object) -> np.ndarray:
    """Cells of `b` in which each edge's source is active: the largest n of its stored tests; 0
    where it has none.
    """
    most = np.zeros(b.inputs.nodes.id.size)
    np.maximum.at(most, b.inputs.edges.source, np.nan_to_num(b.inputs.edges.n))
    return most[positions_in(a, b)[np.asarray(getattr(ones, "source"))]]  # noqa: B009 - a column


def replication(
    a: ComparedRun, b: ComparedRun, *, draws: int = DRAWS, seed: int = 0
) -> tuple[Finding, tuple[Compared, Compared]]:
    """Replication in both directions.

    Parameters
    ----------
    a, b
        Runs with the same dictionaries.
    draws, seed
        Of the nulls.
    """
    import pandas as pd

    found = compared(a, b), compared(b, a)
    stability = degree_stability(a, b, seed=seed)
    if max(f.source.size for f in found) < FEWEST:
        finding = untested(
            NAME,
            TITLE,
            f"replication was not tested: {found[0].source.size:,} of {a.edges.size:,} edges of"
            f" {a.run} and {found[1].source.size:,} of {b.edges.size:,} of {b.run} could be tested"
            f" in both runs, and at least {FEWEST} are needed",
            columns=COLUMNS,
            draws=0,
            degrees=stability,
        )
        return finding, found
    rows = [
        replicated(one, other, f, draws, seed)
        for one, other, f in ((a, b, found[0]), (b, a, found[1]))
        if f.source.size
    ]
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    shared = len(a.barcodes & b.barcodes)
    numbers = {
        "draws": draws,
        "cells": [a.cells, b.cells],
        "cells_in_both": shared if a.barcodes and b.barcodes else None,
        "runs": [{k: plain(v) for k, v in r.items()} for r in frame.to_dict("records")],
        "degrees": stability,
    }
    return (
        Finding(
            NAME,
            TITLE,
            _sentence(frame, stability, numbers),
            f"{draws:,} draws each, over the edges of one run while the other stays, counting edges"
            " of the same sign: targets resampled within layer and firing rate, and edges of each"
            " sign rewired within each pair of layers; degrees: features permuted",
            frame,
            numbers,
            draw=draw,
        ),
        found,
    )


def replicated(
    a: ComparedRun, b: ComparedRun, f: Compared, draws: int, seed: int
) -> dict[str, object]:
    """One row of the finding: what becomes of the edges of `a` in `b`, beside both nulls."""
    nulls = same_sign_nulls(a, b, draws=draws, seed=seed)
    _, expected, resampled, rewired = nulls.total(0)
    n, same, opposite = f.source.size, int(f.same.sum()), int(f.opposite.sum())
    low, high = (float(v) / n for v in np.quantile(resampled, [0.025, 0.975]))
    values = (
        a.run,
        b.run,
        a.edges.size,
        n,
        same,
        same / n,
        expected / n,
        low,
        high,
        float(rewired.mean()) / n,
        share_as_large(resampled, same),
        share_as_large(rewired, same),
        same / (same + opposite) if same + opposite else None,
        int(f.specific.sum()),
        n - same - opposite - int(f.specific.sum()),
    )
    return dict(zip(COLUMNS, values, strict=True))


def same_sign_nulls(a: ComparedRun, b: ComparedRun, *, draws: int, seed: int) -> PairNulls:
    """Edges of `a` that `b` has with the same sign, and the same under both nulls; only edges that
    `b` could have made.

    Every source stands twice, once with its positive and once with its negative edges, the latter
    in layers of their own. So the edges of either sign are rewired by themselves, and both signs
    see the same resampled targets.
    """
    from scipy import sparse

    edges, other, to = a.edges, b.edges, positions_in(a, b)
    testable = (to >= 0) & measured_in(b)[to]
    traced = (to >= 0) & b.inputs.nodes.traced[to]
    edges = kept(edges, traced[edges.source] & testable[edges.target])
    n, size = edges.features, b.inputs.nodes.id.size
    graphs = [
        sparse.csr_matrix(
            (np.ones(int(own.sum()), np.int32), (other.source[own], other.target[own])),
            shape=(size, size),
        ).tocsc()
        for own in (other.effect > 0, other.effect < 0)
    ]

    def properties(sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        negative = bool(sources[0] >= n)  # the sources of one pair of layers have one sign
        graph = graphs[negative][:, to[targets]].tocsr()
        return graph[to[sources % n]].toarray().astype(np.uint8)

    stratum = strata(edges.layer, np.ones(n, np.int64), a.inputs.nodes.firing_rate, testable)
    twice = layered_edges(
        edges.source + n * (edges.effect < 0),
        edges.target,
        edges.effect,
        np.concatenate([edges.layer, edges.layer + 1 + int(edges.layer.max())]),
    )
    no_target = np.full(n, -1, stratum.dtype)
    both = np.concatenate([stratum, no_target])
    return pair_nulls(twice, both, properties, draws=draws, seed=seed)


def degree_stability(
    a: ComparedRun, b: ComparedRun, *, seed: int = 0
) -> dict[str, dict[str, object]]:
    """How alike both runs rank the degrees of the features that both have
    (`scircuit.analysis.structure.rank_stability`).

    Returns
    -------
    dict
        ``out`` for features ablated in both and ``into`` for those measured in both: the fields of
        `RankStability`, and its sentence.
    """
    from scircuit.analysis.structure.rank_stability import rank_stability

    to = positions_in(a, b)
    nodes, found = a.inputs.nodes, {}
    kinds = {
        "out": ("out_degree", nodes.traced & (to >= 0) & b.inputs.nodes.traced[to]),
        "into": ("in_degree", measured_in(a) & (to >= 0) & measured_in(b)[to]),
    }
    for name, (degree, use) in kinds.items():
        at = np.flatnonzero(use)
        rate = nodes.firing_rate[at]
        result = rank_stability(
            getattr(a.edges, degree)[at],
            getattr(b.edges, degree)[to[at]],
            firing_rate=rate if np.isfinite(rate).any() else None,
            draws=200,
            seed=seed,
        )
        found[name] = {**result._asdict(), "sentence": result.sentence}
    return found


def _sentence(
    frame: pd.DataFrame,
    stability: Mapping[str, Mapping[str, object]],
    numbers: Mapping[str, object],
) -> str:
    parts = []
    for i, r in enumerate(frame.to_dict("records")):
        beside = (
            f"{'targets resampled ' if i == 0 else ''}{r['expected']:.1%},"
            f" {'rewired ' if i == 0 else ''}{r['rewired']:.1%},"
            f" p <= {max(r['p'], r['p_rewired']):.2g}"
        )
        parts.append(
            f"{r['share']:.1%} of {r['tested_in_both']:,} edges of {r['run']} have the same sign in"
            f" {r['other']} ({beside}), {r['specific']:,} are specific to it"
            if i == 0
            else f"of {r['run']} {r['share']:.1%} of {r['tested_in_both']:,} ({beside}),"
            f" {r['specific']:,} specific"
        )
    out = stability["out"]
    if isinstance(out["rho"], float):
        beyond, hubs = out["beyond_rate"], int(str(out["hubs"]))
        parts.append(
            f"out-degrees correlate {out['rho']:.2f}"
            + (f" ({beyond:.2f} beyond firing rate)" if isinstance(beyond, float) else "")
            + (f", {out['shared']} of {hubs} hubs shared" if hubs else "")
            + (f" ({out['shared_chance']:.1f} by chance)" if hubs else "")
        )
    shared = numbers["cells_in_both"]
    if isinstance(shared, int) and shared:
        parts.append(f"{shared:,} cells in both")
    return "; ".join(parts)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """What becomes of each run's edges in the other, and what chance replicates."""
    from scircuit.analysis.plot_style import BLUE, GREEN, GREY, ORANGE

    at, n = np.arange(len(frame)), frame["tested_in_both"]
    start = np.zeros(len(frame))
    opposite = n - frame["replicated"] - frame["specific"] - frame["undecided"]
    kinds = (
        ("replicated", frame["replicated"], BLUE),
        ("opposite sign", opposite, ORANGE),
        ("specific", frame["specific"], GREEN),
        ("undecided", frame["undecided"], GREY),
    )
    for name, values, colour in kinds:
        share = (values / n).to_numpy(float)
        ax.bar(at, share, 0.6, bottom=start, color=colour, label=name)
        start = start + share
    ax.hlines(
        frame["expected"], at - 0.35, at + 0.35, color="black", ls="--", label="targets resampled"
    )
    ax.set_xticks(at, [f"edges of {r}" for r in frame["run"]])
    ax.set_ylabel("share of edges tested in both")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
