"""Figures of interventions: joint ablations beside additive effects, and doses of steering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.plot_style import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = (
    "#1f6f9e",
    "#4f8a5b",
    "#8a5a83",
    "#b5552f",
    "#3b4d8f",
    "#7a7a2e",
    "#2e7a78",
    "#96484f",
)
FEATURES = len(_COLORS)


def draw_interaction(ax: Axes, shifts: pd.DataFrame, q: float = 0.05) -> None:
    """Joint effect on every stored target against the sum of the single effects.

    Parameters
    ----------
    ax
        Axes to draw on.
    shifts
        One row a target: joint, additive, q.
    q
        Largest q of a contrast that counts as different from zero.
    """
    joint, additive = (shifts[c].to_numpy(float) for c in ("joint", "additive"))
    differs = shifts["q"].to_numpy(float) <= q
    end = 1.08 * float(np.nanmax(np.abs(np.r_[joint, additive]), initial=1e-12))
    ax.plot([-end, end], [-end, end], color=ORANGE, lw=1.4, label="exactly additive")
    ax.axhline(0, color=GREY, lw=0.8)
    ax.axvline(0, color=GREY, lw=0.8)
    for keep, color, size, words in (
        (~differs, "#8fb3ca", 4, "not different from additive"),
        (differs, BLUE, 5.5, f"contrast differs from 0 (q ≤ {q:g})"),
    ):
        if keep.any():
            style = {"ms": size, "color": color, "mec": "white", "mew": 0.4}
            label = f"{words}: {int(keep.sum()):,}"
            ax.plot(additive[keep], joint[keep], "o", **style, label=label)
    ax.set(xlabel="sum of the single effects", ylabel="effect of the joint ablation")
    ax.set(xlim=(-end, end), ylim=(-end, end))
    ax.legend(loc="upper left", fontsize=8.5, bbox_to_anchor=(0, -0.14), ncols=1)


def draw_ratios(ax: Axes, pairs: pd.DataFrame) -> None:
    """Ratio of joint to single effects of every set, beside that of exactly additive effects."""
    y = np.arange(len(pairs))[::-1]
    ratio, null = (pairs[c].to_numpy(float) for c in ("ratio", "ratio_null"))
    ax.axvline(1, color=GREY, lw=1, ls=":")
    ax.hlines(y, null, ratio, color="#d5dbe1", lw=3)
    ax.plot(ratio, y, "o", ms=8, color=BLUE, mec="white", label="measured")
    ax.plot(null, y, "D", ms=4.5, color=ORANGE, label="exactly additive")
    ax.set_yticks(y, [str(p) for p in pairs["pair"]])
    ax.set_ylim(-0.6, len(pairs) - 0.4)
    ax.set_xlabel("median |joint effect| / sum of |single effects|")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.12 - 0.6 / max(len(pairs), 4)), ncols=2)


def draw_ratio_cloud(ax: Axes, sets: pd.DataFrame) -> None:
    """Ratio of joint to single effects of every set against the ratio of exactly additive effects,
    one mark a set: colour by class, shape by number of features.
    """
    names = sets["set_class"].fillna("") if "set_class" in sets else [""] * len(sets)
    orders = sets["order"].astype(int)
    low = float(np.nanmin(sets[["ratio", "ratio_null"]].to_numpy(float)))
    high = float(np.nanmax(sets[["ratio", "ratio_null"]].to_numpy(float)))
    room = 0.05 * max(high - low, 0.1)
    ends = (low - room, high + room)
    ax.plot(ends, ends, color=ORANGE, lw=1.4, label="exactly additive")
    shapes = dict(zip(sorted(set(orders)), "osD^vPX*", strict=False))
    colors = dict(zip(dict.fromkeys(names), _COLORS, strict=False))
    kinds = list(zip(names, orders.tolist(), strict=True))
    for name, order in sorted(set(kinds)):
        own = sets.loc[[kind == (name, order) for kind in kinds]]
        ax.plot(
            own["ratio_null"].to_numpy(float),
            own["ratio"].to_numpy(float),
            shapes.get(order, "o"),
            ms=5,
            color=colors.get(name, GREY),
            mec="white",
            mew=0.5,
            label=f"{order} features{f', {name}' if name else ''}: {len(own)}",
        )
    ax.set(xlim=ends, ylim=ends, ylabel="median |joint effect| / sum of |single effects|")
    ax.set_xlabel("the same for exactly additive effects on the same cells")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2, fontsize=8.5)


def draw_readouts(figure: Figure, frame: pd.DataFrame, clamped: bool = False) -> None:
    """Change of each readout against the dose, one panel a readout, one line a feature; grey: mean
    and spread of random directions of equal norm. The dose of `clamped` features is a change of the
    activation, and no factor.
    """
    names = list(dict.fromkeys(frame["readout"]))[:READOUTS]
    features = list(dict.fromkeys(frame["feature"]))[:FEATURES]
    columns = min(len(names), 3)
    grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
    for ax, name in zip(grid, names, strict=False):
        own = frame.loc[frame["readout"] == name]
        ax.axhline(0, color=GREY, lw=0.8)
        for color, feature in zip(_COLORS, features, strict=False):
            rows = own.loc[own["feature"] == feature].sort_values("dose")
            x, y, low, high, mean, sd = (
                rows[c].to_numpy(float)
                for c in ("dose", "effect", "low", "high", "control", "control_sd")
            )
            ax.fill_between(x, mean - sd, mean + sd, color=GREY, alpha=0.25, lw=0)
            ax.fill_between(x, low, high, color=color, alpha=0.13, lw=0)
            ax.plot(x, y, "o-", ms=3.5, lw=1.5, color=color, label=feature)
        unit = str(own["unit"].iloc[0] or "")
        ax.set_title(_two_lines(str(name), 24), fontsize=9.5)
        ax.set_ylabel(_two_lines(unit, 24), fontsize=9)
    for ax in grid[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel(
        "dose: change of the activation in units of its mean active value (0: no change)"
        if clamped
        else "dose (0: no change, -1: ablated)",
        fontsize=10,
    )
    lines, words = grid[0].get_legend_handles_labels()
    figure.legend(lines, words, loc="outside upper left", ncols=4, fontsize=8.5)


READOUTS = 9  # that are drawn; all are in the CSV


def readout_size(frame: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches."""
    panels = min(frame["readout"].nunique(), READOUTS)
    return 7.2, 1.2 + 2.2 * -(-panels // 3)


def draw_steering(
    figure: Figure, doses: pd.DataFrame, readout: str, axis: str, one_is_clean: bool
) -> None:
    """Readout against coefficient: one panel a feature with its interval, all on one scale.

    Parameters
    ----------
    figure
        Figure to draw on.
    doses
        One row a feature and coefficient: effect, effect_low, effect_high, beyond_norm, and
        control_size, the size of the change by one random direction of equal norm, drawn as a band
        of either sign.
    readout, axis
        Labels of the axes.
    one_is_clean
        Whether a coefficient of 1 changes nothing, and so gets a line.
    """
    names = list(dict.fromkeys(doses["feature"]))[:FEATURES]
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
    for i, ax in enumerate(grid.ravel()):
        if i >= len(names):
            ax.set_visible(False)
            continue
        own = doses.loc[doses["feature"] == names[i]].sort_values("coefficient")
        x, y, low, high, size = (
            own[c].to_numpy(float)
            for c in ("coefficient", "effect", "effect_low", "effect_high", "control_size")
        )
        ax.axhline(0, color=GREY, lw=0.8)
        if one_is_clean:
            ax.axvline(1, color=GREY, lw=0.8, ls=":")
        if np.isfinite(size).any():
            words = "size of one random direction, either sign"
            ax.fill_between(x, -size, size, color=ORANGE, alpha=0.22, lw=0, label=words)
        ax.fill_between(x, low, high, color=BLUE, alpha=0.16, lw=0)
        ax.plot(x, y, "o-", ms=4.5, lw=1.7, color=BLUE, label="feature, 95 % interval over cells")
        if "beyond_norm" in own and (beyond := own["beyond_norm"].eq(True).to_numpy(bool)).any():
            words = "beyond the norms of clean states"
            ax.plot(x[beyond], y[beyond], "o", ms=9, mfc="none", color="#b3362b", label=words)
        ax.set_title(names[i], fontsize=9.5)
        if i + columns >= len(names):
            ax.xaxis.set_tick_params(labelbottom=True)
    handles = {}
    for ax in grid.ravel():
        for line, words in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(words, line)
    figure.supxlabel(axis, fontsize=10)
    figure.supylabel(_two_lines(readout), fontsize=10)
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=2, fontsize=8.5)


def _two_lines(text: str, signs: int = 40) -> str:
    """A label of at most so many signs a line."""
    import textwrap

    return textwrap.fill(text, signs)


def steering_size(doses: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches."""
    features = min(doses["feature"].nunique(), FEATURES)
    return 7.2, max(1.1 + 2.0 * -(-features // 3), 3.4)
