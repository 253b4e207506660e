"""Edges by layer pair: number, size and sign, and the share for which both halves of the cells
agree.

Targets of one source are correlated, so intervals resample sources, not edges (cluster bootstrap).
Signs are compared with the direct effect (what the residual stream alone carries),
attenuation with the number of possible targets. Agreement of the halves has no control: edges were
selected on both, which alone makes them agree. Replication is measured where one half selects and
the other tests (`split_half` of the controls).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.circuits.circuit_plots import plot_attenuation, plot_signs
from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def cluster_share(
    hits: np.ndarray, totals: np.ndarray, *, draws: int = 500, seed: int = 0
) -> tuple[float, float, float]:
    """``sum(hits) / sum(totals)`` with a 95 % interval from resampling the clusters; NaN when there
    is nothing.

    Parameters
    ----------
    hits, totals
        Counts per cluster, shapes (clusters,).
    """
    used = totals > 0
    hits, totals = hits[used].astype(float), totals[used].astype(float)
    if not totals.size:
        return float("nan"), float("nan"), float("nan")
    share = float(hits.sum() / totals.sum())
    pick = np.random.default_rng(seed).integers(0, totals.size, size=(draws, totals.size))
    low, high = np.quantile(hits[pick].sum(axis=1) / totals[pick].sum(axis=1), [0.025, 0.975])
    return share, float(low), float(high)


@dataclass(frozen=True)
class LayerPairs:
    """One row a (source layer, target layer) in `frame`; sentences for signs, replication and
    attenuation.

    Columns: source_layer, target_layer, sources, targets, edges, edges_per_source, share_of_pairs,
    legacy_edges, support_share (low, high), direct_sign (share of edges whose sign is that of the
    direct effect), testable (share of edges whose halves both have six cells or more
    with an effect), agree (share of these with the same sign and p <= 0.05 in both; low, high),
    mean_abs_effect, median_abs_d.
    """

    frame: pd.DataFrame
    sentences: tuple[str, ...]

    def plot_signs(self, ax: Axes | None = None) -> Axes:
        """Share of support by layer pair, with intervals."""
        return plot_signs(self.frame, ax)

    def plot_attenuation(self, ax: Axes | None = None) -> Axes:
        """Edges per source by target layer."""
        return plot_attenuation(self.frame, ax)


def _share_by_source(
    edges: EdgeArrays, mask: np.ndarray, base: np.ndarray, size: int, seed: int
) -> tuple[float, float, float]:
    hits = np.bincount(edges.source[mask & base], minlength=size)
    totals = np.bincount(edges.source[base], minlength=size)
    return cluster_share(hits, totals, seed=seed)


def layer_pairs(
    features: FeatureArrays,
    edges: EdgeArrays,
    good: np.ndarray,
    legacy: np.ndarray,
    *,
    seed: int = 0,
) -> LayerPairs:
    """Describe every layer pair.

    Parameters
    ----------
    features, edges
        Of one trace run.
    good, legacy
        Masks of the edges by the calibrated and the legacy rule.
    seed
        Of the cluster bootstrap.
    """
    import pandas as pd

    size = features.id.size
    source_layer, target_layer = features.layer[edges.source], features.layer[edges.target]
    has_halves, has_direct = (
        np.isfinite(edges.halves),
        np.isfinite(edges.direct) & (edges.direct != 0),
    )
    agree = has_halves & (edges.halves >= 2)
    rows = []
    for pair in sorted({(int(a), int(b)) for a, b in zip(source_layer, target_layer, strict=True)}):
        inside = (source_layer == pair[0]) & (target_layer == pair[1])
        use = inside & good
        sources = int((features.traced & (features.layer == pair[0])).sum())
        targets = int((features.layer == pair[1]).sum())
        count = int(use.sum())
        support = _share_by_source(edges, edges.mean < 0, use, size, seed)
        same = _share_by_source(
            edges, np.sign(edges.direct) == np.sign(edges.mean), use & has_direct, size, seed
        )
        halves = _share_by_source(edges, agree, use & has_halves, size, seed)
        rows.append(
            {
                "source_layer": pair[0],
                "target_layer": pair[1],
                "sources": sources,
                "targets": targets,
                "edges": count,
                "edges_per_source": count / max(sources, 1),
                "share_of_pairs": count / max(sources * targets, 1),
                "legacy_edges": int((inside & legacy).sum()),
                "support_share": support[0],
                "support_low": support[1],
                "support_high": support[2],
                "direct_sign": same[0],
                "testable": float(has_halves[use].mean()) if count else float("nan"),
                "agree": halves[0],
                "agree_low": halves[1],
                "agree_high": halves[2],
                "mean_abs_effect": float(np.abs(edges.mean[use]).mean()) if count else float("nan"),
                "median_abs_d": float(np.median(np.abs(edges.d[use]))) if count else float("nan"),
            }
        )
    frame = pd.DataFrame(rows)
    sentences = (
        _signs(edges, good, size, seed),
        _agreement(edges, good, agree, has_halves, size, seed),
        _attenuation(frame),
    )
    return LayerPairs(frame, sentences)


def _signs(edges: EdgeArrays, good: np.ndarray, size: int, seed: int) -> str:
    if not good.any():
        return "sign of the edges: no edge passes the calibrated rule"
    share, low, high = _share_by_source(edges, edges.mean < 0, good, size, seed)
    usable = good & np.isfinite(edges.direct) & (edges.direct != 0)
    text = (
        f"{100 * share:.0f} % of edges are support (95 % interval {100 * low:.0f} to"
        f" {100 * high:.0f} %, sources resampled): ablation lowers the target"
    )
    if usable.any():
        same = float((np.sign(edges.direct) == np.sign(edges.mean))[usable].mean())
        text += f"; {100 * same:.0f} % have the same sign as the direct effect"
    return text


def _agreement(
    edges: EdgeArrays,
    good: np.ndarray,
    agree: np.ndarray,
    testable: np.ndarray,
    size: int,
    seed: int,
) -> str:
    if not (good & testable).any():
        return "halves of the cells: no edge has six cells with an effect in both"
    share, low, high = _share_by_source(edges, agree, good & testable, size, seed)
    return (
        f"the two halves of the cells agree (same sign, p <= 0.05 in both) for {100 * share:.0f} %"
        f" ({100 * low:.0f} to {100 * high:.0f} %) of the edges with six cells with an effect in"
        f" each half ({100 * testable[good].mean():.0f} % of all edges); edges were selected on"
        " both halves, so this is not a replication"
    )


def _attenuation(frame: pd.DataFrame) -> str:
    if frame.empty or not frame["edges"].sum():
        return "attenuation: no edge passes the calibrated rule"
    parts = [
        f"L{int(r['target_layer']):02d} {r['edges_per_source']:.0f}"
        f" ({100 * r['share_of_pairs']:.1f} %)"
        for r in frame.to_dict("records")
    ]
    return "edges per source by target layer (share of possible targets): " + ", ".join(parts)
