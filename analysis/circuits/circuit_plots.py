"""Figures of the circuit analysis. Every function draws on the Axes it is given, or on new ones,
and returns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import zeta

from scircuit.analysis.circuits.discrete_power_law import PowerLaw
from scircuit.analysis.circuits.hub_annotation_tests import FisherTest, MatchedNull
from scircuit.analysis.circuits.tail_alternatives import Comparison
from scircuit.analysis.plot_style import BLUE, GREEN, GREY, INK, ORANGE, axes_or_new, no_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_tail(
    degrees: np.ndarray,
    fit: PowerLaw | None,
    comparisons: Sequence[Comparison],
    ax: Axes | None = None,
) -> Axes:
    """Share of features with at least this degree; power law and lognormal on the tail only."""
    ax = axes_or_new(ax)
    if not degrees.size:
        return no_data(ax, "no feature has an edge")
    values, counts = np.unique(degrees, return_counts=True)
    above = counts[::-1].cumsum()[::-1] / degrees.size
    ax.loglog(values, above, "o", ms=3.2, color=BLUE, mec="none", alpha=0.75, label="features")
    if fit:
        x = np.unique(np.geomspace(fit.xmin, values[-1], 200).astype(int))
        share = fit.n_tail / degrees.size
        ax.loglog(
            x,
            share * zeta(fit.alpha, x.astype(float)) / zeta(fit.alpha, float(fit.xmin)),
            color=ORANGE,
            lw=2,
            label=f"power law, alpha = {fit.alpha:.2f}",
        )
        lognormal = next((c for c in comparisons if c.name == "lognormal"), None)
        if lognormal:
            grid = np.arange(fit.xmin, max(values[-1] * 30, fit.xmin + 1000))
            log_p = -np.log(grid) - (np.log(grid) - lognormal.params["mu"]) ** 2 / (
                2 * lognormal.params["sigma"] ** 2
            )
            p = np.exp(log_p - log_p.max())
            ccdf = p[::-1].cumsum()[::-1] / p.sum()
            ax.loglog(
                x,
                share * ccdf[x - fit.xmin],
                color=GREEN,
                lw=1.6,
                ls=(0, (4, 2)),
                label="lognormal",
            )
        ax.axvline(fit.xmin, color=GREY, lw=1, ls=":")
        ax.text(
            fit.xmin,
            1.25,
            f" tail: {fit.n_tail:,} of {degrees.size:,}",
            color="#52606d",
            fontsize=9,
            va="bottom",
        )
    ax.set(xlabel="out-degree (edges)", ylabel="share of sources with at least this degree")
    ax.set_ylim(0.6 / degrees.size, 2.4)
    ax.legend(loc="lower left")
    return ax


def plot_hubs(
    degree: np.ndarray,
    firing_rate: np.ndarray,
    expected: np.ndarray,
    hub_rank: np.ndarray,
    ax: Axes | None = None,
    labels: Mapping[int, str] | None = None,
) -> Axes:
    """Degree against firing rate with the expectation; the strongest residual hubs named."""
    ax = axes_or_new(ax)
    if not degree.size:
        return no_data(ax, "no source was ablated")
    rate = np.nan_to_num(firing_rate)
    use = rate > 0
    top = hub_rank <= min(10, degree.size // 4)
    ax.plot(
        rate[use & ~top],
        degree[use & ~top] + 1,
        "o",
        ms=3.4,
        color=BLUE,
        alpha=0.45,
        mec="none",
        label="sources",
    )
    ax.plot(
        rate[use & top],
        degree[use & top] + 1,
        "o",
        ms=6.5,
        color=BLUE,
        mec="white",
        mew=0.8,
        label="strongest for their firing rate",
    )
    order = np.argsort(rate[use])
    ax.plot(
        rate[use][order],
        expected[use][order] + 1,
        color=ORANGE,
        lw=2.2,
        label="expected from the firing rate",
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    placed: list[tuple[float, float]] = []
    for position, text in (labels or {}).items():
        if not rate[position] > 0:
            continue
        spot = (float(np.log10(rate[position])), float(np.log10(degree[position] + 1)))
        # names that would overlap one already drawn are left to the table
        if any(abs(spot[0] - a) < 0.35 and abs(spot[1] - b) < 0.11 for a, b in placed):
            continue
        placed.append(spot)
        ax.annotate(
            text,
            (rate[position], degree[position] + 1),
            xytext=(-6, 3),
            ha="right",
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
        )
    ax.set(xlabel="firing rate (share of gene positions)", ylabel="out-degree + 1")
    ax.legend(loc="lower right", fontsize=8.5)
    return ax


def plot_bias(
    fisher: Sequence[FisherTest],
    matched: Sequence[MatchedNull],
    all_sources: float,
    ax: Axes | None = None,
) -> Axes:
    """Share annotated among the top k by degree and by residual, beside features with similar
    firing rates (mean, two sd) and the share of `all_sources`.
    """
    ax = axes_or_new(ax)
    y = np.arange(len(fisher))[::-1]
    null = np.array([100 * m.null_mean for m in matched])
    spread = np.array([200 * m.null_sd for m in matched])
    ax.errorbar(
        null,
        y,
        xerr=np.vstack([np.minimum(spread, null), np.minimum(spread, 100 - null)]),
        fmt="D",
        ms=5,
        color=ORANGE,
        lw=2,
        capsize=3,
        label="similar firing rates (mean ± 2 sd)",
    )
    ax.plot(
        [100 * f.top_share for f in fisher],
        y,
        "o",
        ms=8,
        color=BLUE,
        mec="white",
        label="hubs",
    )
    ax.axvline(100 * all_sources, color=GREY, lw=1, ls=":", label="all sources")
    ax.set_yticks(y, [f"top {f.k} by {f.ranking}" for f in fisher])
    ax.set_xlim(-4, 104)
    ax.set_ylim(-0.6, y[0] + 0.6)
    ax.set_xlabel("annotated (%)")
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=3,
        fontsize=8.5,
        handletextpad=0.4,
        columnspacing=1.2,
    )
    return ax


def _with_edges(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Layer pairs with edges, and their names."""
    used = frame.loc[frame["edges"] > 0] if len(frame) else frame
    if not len(used):
        return used, []
    return used, [
        f"L{int(source):02d} → L{int(target):02d}"
        for source, target in zip(used["source_layer"], used["target_layer"], strict=True)
    ]


def plot_signs(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of support by layer pair with intervals, and agreement in sign with the direct
    effect.
    """
    ax = axes_or_new(ax)
    used, names = _with_edges(frame)
    if not names:
        return no_data(ax, "no edges")
    y = np.arange(len(used))[::-1]
    share, low, high = (
        100 * used[c].to_numpy() for c in ("support_share", "support_low", "support_high")
    )
    ax.axvline(50, color=GREY, lw=1, ls=":")
    ax.errorbar(
        share,
        y,
        xerr=np.vstack([share - low, high - share]),
        fmt="o",
        ms=7,
        color=BLUE,
        lw=2,
        capsize=3,
        label="support",
    )
    ax.plot(
        100 * used["direct_sign"].to_numpy(),
        y,
        "D",
        ms=5.5,
        color=ORANGE,
        label="sign of the direct effect",
    )
    ax.set_yticks(y, names)
    ax.set(xlim=(-2, 102), xlabel="edges (%)")
    ax.set_ylim(-0.6, y[0] + 0.6)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8.5)
    return ax


def plot_attenuation(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Edges per source by target layer, with the share in which both halves of the cells agree, of
    those that have enough cells.
    """
    ax = axes_or_new(ax)
    used, names = _with_edges(frame)
    if not names:
        return no_data(ax, "no edges")
    x = np.arange(len(used))
    values = used["edges_per_source"].to_numpy()
    ax.bar(x, values, 0.62, color="#bcd5e4", label="edges per source")
    again = np.nan_to_num((used["agree"] * used["testable"]).to_numpy(float)) * values
    ax.bar(x, again, 0.62, color=BLUE, label="of these, halves of the cells agree")
    for xi, v in zip(x, values, strict=True):
        ax.text(float(xi), float(v), f"{v:,.0f}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(x, names)
    ax.set_ylabel("edges per source")
    ax.set_ylim(0, values.max() * 1.25)
    ax.legend(loc="upper right", fontsize=8.5)
    return ax
