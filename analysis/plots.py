"""Figures of the findings. Every function draws on the Axes it is given, or on new ones, and
returns them.

One palette for the whole project: blue what was measured, orange its control or expectation, grey
context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuits.annotation_bias import AnnotationBias
    from scircuit.analysis.circuits.heavy_tail import TailFit
    from scircuit.analysis.circuits.hubs import HubFit
    from scircuit.analysis.enrichment.matched_null import Rate

BLUE, ORANGE, GREY, INK, GREEN = "#1f6f9e", "#d9822b", "#9aa5b1", "#22303c", "#4f8a5b"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#b8c1ca",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "axes.axisbelow": True,
    "svg.hashsalt": "scircuit",
}


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> Axes:
    """The given Axes, or those of a new pyplot figure in the project's style."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return plt.subplots(figsize=size, layout="constrained")[1]


def _nothing(ax: Axes, text: str) -> Axes:
    ax.set_axis_off()
    ax.text(
        0.5, 0.5, text, ha="center", va="center", color="#52606d", wrap=True, transform=ax.transAxes
    )
    return ax


def plot_tail(tail: TailFit, ax: Axes | None = None) -> Axes:
    """Share of features with at least this degree; the power law and the lognormal drawn on the
    tail only.
    """
    from scipy.special import zeta

    ax = axes_or_new(ax)
    if not tail.degrees.size:
        return _nothing(ax, "no feature has an edge")
    values, counts = np.unique(tail.degrees, return_counts=True)
    above = counts[::-1].cumsum()[::-1] / tail.degrees.size
    ax.loglog(values, above, "o", ms=3.2, color=BLUE, mec="none", alpha=0.75, label="features")
    if tail.fit:
        f = tail.fit
        x = np.unique(np.geomspace(f.xmin, values[-1], 200).astype(int))
        share = f.n_tail / tail.degrees.size
        ax.loglog(
            x,
            share * zeta(f.alpha, x.astype(float)) / zeta(f.alpha, float(f.xmin)),
            color=ORANGE,
            lw=2,
            label=f"power law, alpha = {f.alpha:.2f}",
        )
        lognormal = next((c for c in tail.comparisons if c.name == "lognormal"), None)
        if lognormal:
            grid = np.arange(f.xmin, max(values[-1] * 30, f.xmin + 1000))
            log_p = -np.log(grid) - (np.log(grid) - lognormal.params["mu"]) ** 2 / (
                2 * lognormal.params["sigma"] ** 2
            )
            p = np.exp(log_p - log_p.max())
            ccdf = p[::-1].cumsum()[::-1] / p.sum()
            ax.loglog(
                x, share * ccdf[x - f.xmin], color=GREEN, lw=1.6, ls=(0, (4, 2)), label="lognormal"
            )
        ax.axvline(f.xmin, color=GREY, lw=1, ls=":")
        ax.text(
            f.xmin,
            1.25,
            f" tail: {f.n_tail:,} of {tail.degrees.size:,}",
            color="#52606d",
            fontsize=9,
            va="bottom",
        )
    ax.set(xlabel="out-degree (edges)", ylabel="share of sources with at least this degree")
    ax.set_ylim(0.6 / tail.degrees.size, 2.4)
    ax.legend(loc="lower left")
    return ax


def plot_hubs(fit: HubFit, ax: Axes | None = None, labels: dict[int, str] | None = None) -> Axes:
    """Degree against firing rate with the expectation; the strongest residual hubs named."""
    ax = axes_or_new(ax)
    if not fit.degree.size:
        return _nothing(ax, "no source was ablated")
    rate = np.nan_to_num(fit.firing_rate)
    use = rate > 0
    top = fit.hub_rank <= min(10, fit.degree.size // 4)
    ax.plot(
        rate[use & ~top],
        fit.degree[use & ~top] + 1,
        "o",
        ms=3.4,
        color=BLUE,
        alpha=0.45,
        mec="none",
        label="sources",
    )
    ax.plot(
        rate[use & top],
        fit.degree[use & top] + 1,
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
        fit.expected[use][order] + 1,
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
        spot = (float(np.log10(rate[position])), float(np.log10(fit.degree[position] + 1)))
        # names that would overlap one already drawn are left to the table
        if any(abs(spot[0] - a) < 0.35 and abs(spot[1] - b) < 0.11 for a, b in placed):
            continue
        placed.append(spot)
        ax.annotate(
            text,
            (rate[position], fit.degree[position] + 1),
            xytext=(-6, 3),
            ha="right",
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
        )
    ax.set(xlabel="firing rate (share of gene positions)", ylabel="out-degree + 1")
    ax.legend(loc="lower right", fontsize=8.5)
    return ax


def plot_rates(rates: Sequence[Rate], ax: Axes | None = None) -> Axes:
    """Annotation rate per library beside the same rule on matched random lists (calibrated rule)."""
    ax = axes_or_new(ax)
    shown = [r for r in rates if r.rule == "calibrated"]
    if not shown:
        return _nothing(ax, "nothing was annotated")
    y = np.arange(len(shown))[::-1]
    ax.barh(y + 0.19, [100 * r.rate for r in shown], 0.36, color=BLUE, label="features")
    ax.barh(
        y - 0.19,
        [100 * r.null_rate for r in shown],
        0.36,
        color=ORANGE,
        label="matched random gene lists",
    )
    for yi, r in zip(y, shown, strict=True):
        ax.text(100 * r.rate, yi + 0.19, f"  {100 * r.rate:.1f} %", va="center", fontsize=9)
        ax.text(
            100 * r.null_rate,
            yi - 0.19,
            f"  {100 * r.null_rate:.2f} %",
            va="center",
            fontsize=9,
            color="#52606d",
        )
    ax.set_yticks(y, ["any library" if r.library == "all" else r.library for r in shown])
    ax.set_xlabel("annotated (%)")
    ax.set_xlim(0, max(100 * max(r.rate for r in shown), 1.0) * 1.2)
    ax.legend(loc="lower right", fontsize=9)
    return ax


def plot_bias(bias: AnnotationBias, ax: Axes | None = None) -> Axes:
    """Share annotated among the top k by degree and by residual, beside features of like firing
    rate (mean, two sd).
    """
    ax = axes_or_new(ax)
    if not bias.fisher:
        return _nothing(ax, bias.sentence)
    y = np.arange(len(bias.fisher))[::-1]
    null = np.array([100 * m.null_mean for m in bias.matched])
    spread = np.array([200 * m.null_sd for m in bias.matched])
    ax.errorbar(
        null,
        y,
        xerr=np.vstack([np.minimum(spread, null), np.minimum(spread, 100 - null)]),
        fmt="D",
        ms=5,
        color=ORANGE,
        lw=2,
        capsize=3,
        label="like firing rate (mean ± 2 sd)",
    )
    ax.plot(
        [100 * f.top_share for f in bias.fisher],
        y,
        "o",
        ms=8,
        color=BLUE,
        mec="white",
        label="hubs",
    )
    ax.axvline(100 * bias.annotated / bias.features, color=GREY, lw=1, ls=":", label="all sources")
    ax.set_yticks(y, [f"top {f.k} by {f.ranking}" for f in bias.fisher])
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


def _pair(row: Any) -> str:
    return f"L{int(row.source_layer):02d} → L{int(row.target_layer):02d}"


def plot_signs(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of support by layer pair with intervals, and agreement in sign with the pass-through
    baseline.
    """
    ax = axes_or_new(ax)
    used: Any = frame[frame["edges"] > 0] if len(frame) else frame
    if not len(used):
        return _nothing(ax, "there is no edge")
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
        100 * used["passthrough_sign"].to_numpy(),
        y,
        "D",
        ms=5.5,
        color=ORANGE,
        label="sign of the pass-through",
    )
    ax.set_yticks(y, [_pair(r) for r in used.itertuples(index=False)])
    ax.set(xlim=(-2, 102), xlabel="edges (%)")
    ax.set_ylim(-0.6, y[0] + 0.6)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8.5)
    return ax


def plot_attenuation(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Edges per source by target layer, with the share in which both halves of the cells agree, of
    those that have enough cells.
    """
    ax = axes_or_new(ax)
    used: Any = frame[frame["edges"] > 0] if len(frame) else frame
    if not len(used):
        return _nothing(ax, "there is no edge")
    x = np.arange(len(used))
    values = used["edges_per_source"].to_numpy()
    ax.bar(x, values, 0.62, color="#bcd5e4", label="edges per source")
    again = np.nan_to_num((used["agree"] * used["testable"]).to_numpy(float)) * values
    ax.bar(x, again, 0.62, color=BLUE, label="of these, halves of the cells agree")
    for xi, v in zip(x, values, strict=True):
        ax.text(float(xi), float(v), f"{v:,.0f}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(x, [_pair(r) for r in used.itertuples(index=False)])
    ax.set_ylabel("edges per source")
    ax.set_ylim(0, values.max() * 1.25)
    ax.legend(loc="upper right", fontsize=8.5)
    return ax
