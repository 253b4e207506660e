"""Does attribution predict what ablation does, on the same features and cells.

For a pair of features, attribution says what the source adds to the target's pre-activation with
attention patterns, norms and MLP outputs held; ablation measures what goes when the source is
removed and everything reacts. By layers between the two:

    sign agreement    share of pairs where ablation takes away what attribution adds
    by chance         the same for two independent sets of signs: p+ q+ + p- q-
    rank correlation  Spearman's rho of attribution and minus the effect
    slope             median of -effect / attribution over the stronger half: 1 if ablation takes
                      away exactly what attribution adds. Attribution is averaged over positions
                      where the target fires, ablation over those where the source does, so a slope
                      below 1 is no fault by itself.
    exchanged         rho when the effects are exchanged between the pairs of the same distance:
                      mean and 95 % interval of the draws

Only pairs that both stored are compared: strong attributions, and effects that passed the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.plot_style import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NAME, TITLE = "attribution_and_ablation", "Attribution and ablation"
DRAWS, LEAST = 199, 20
COLUMNS = ("layers", "pairs", "same_sign", "by_chance", "rho", "low", "high", "slope")


def agreement(pairs: pd.DataFrame, seed: int = 0) -> Finding:
    """Compare attribution with ablation.

    Parameters
    ----------
    pairs
        One row per pair: layers, weight (attribution), direct and computed (effect of the ablation
        on the pre-activation).
    seed
        Seed of the exchanged pairs.
    """
    import pandas as pd

    if len(pairs) < LEAST:
        return untested(
            NAME,
            TITLE,
            f"{len(pairs)} pairs have both an attribution and an ablation edge; {LEAST} are needed"
            " to compare them",
            columns=COLUMNS,
            pairs=len(pairs),
        )
    rng = np.random.default_rng([seed, 17])
    rows = [_row(0, pairs, rng)]
    for layers, places in pairs.groupby("layers", sort=True).indices.items():
        if len(places) >= LEAST:
            rows.append(_row(int(str(layers)), pairs.iloc[places], rng))
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    whole = rows[0]
    numbers = {
        "pairs": whole["pairs"],
        "same_sign": whole["same_sign"],
        "by_chance": whole["by_chance"],
        "rho": whole["rho"],
        "slope": whole["slope"],
    }
    apart = frame.loc[frame["layers"] > 0, ["layers", "rho"]].to_numpy()
    steps = ", ".join(f"{rho:.2f} at {int(n)}" for n, rho in apart)
    sentence = (
        f"ablation takes away what attribution adds in {whole['same_sign']:.0%} of"
        f" {whole['pairs']:,} pairs ({whole['by_chance']:.0%} by chance); rank correlation"
        f" {whole['rho']:.2f}, exchanged pairs {whole['low']:.2f} to {whole['high']:.2f}"
    )
    if steps:
        sentence += f"; by layers between them {steps}"
    return Finding(
        NAME,
        TITLE,
        sentence,
        f"Effects are exchanged between pairs of the same distance {DRAWS} times; by chance is the"
        " agreement of independent signs.",
        frame,
        numbers,
        draw=draw,
    )


def _row(layers: int, pairs: pd.DataFrame, rng: np.random.Generator) -> dict[str, float | int]:
    from scipy.stats import rankdata

    x = pairs["weight"].to_numpy(float)
    y = -(pairs["direct"] + pairs["computed"]).to_numpy(float)
    up, right = float((x > 0).mean()), float((y > 0).mean())
    rank_x, rank_y = rankdata(x), rankdata(y)
    distance = pairs["layers"].to_numpy()
    draws = [_correlation(rank_x, rank_y[_exchanged(distance, rng)]) for _ in range(DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    strong = np.abs(x) >= np.median(np.abs(x))
    return {
        "layers": layers,
        "pairs": len(pairs),
        "same_sign": float((np.sign(x) == np.sign(y)).mean()),
        "by_chance": up * right + (1 - up) * (1 - right),
        "rho": _correlation(rank_x, rank_y),
        "low": float(low),
        "high": float(high),
        "slope": float(np.median(y[strong] / x[strong])) if (x[strong] != 0).all() else 0.0,
    }


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / size) if size else 0.0


def _exchanged(distance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A permutation of the pairs within each distance."""
    order = np.arange(len(distance))
    for value in np.unique(distance):
        at = np.flatnonzero(distance == value)
        order[at] = rng.permutation(at)
    return order


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Rank correlation and sign agreement by layers between the features, beside their nulls."""
    rows = frame.loc[frame["layers"] > 0]
    rows = rows if len(rows) else frame
    at = rows["layers"].to_numpy(float)
    ax.fill_between(at, rows["low"], rows["high"], color=GREY, alpha=0.4, linewidth=0)
    ax.plot(at, rows["rho"], "o-", color=BLUE, label="rank correlation (grey: exchanged pairs)")
    ax.plot(at, rows["same_sign"], "s-", color=ORANGE, label="same sign")
    ax.plot(at, rows["by_chance"], "--", color=ORANGE, label="same sign by chance")
    ax.set_xticks(at)
    ax.set_ylim(min(-0.1, float(rows["low"].min())), 1.02)
    ax.set(xlabel="layers between source and target", ylabel="agreement with ablation")
    ax.legend()
