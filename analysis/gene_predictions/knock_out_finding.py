"""The circuit held against real knock-outs, as a finding: balanced accuracy of the circuit and of
every simple rule, with intervals and null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from scircuit.analysis.finding import Finding
from scircuit.analysis.gene_predictions.screen_baselines import BASELINES
from scircuit.analysis.gene_predictions.screen_changes import ScreenChanges
from scircuit.analysis.gene_predictions.screen_validation import (
    CIRCUIT,
    LEAST_KNOCK_OUTS,
    LEAST_PAIRS,
    ScreenValidation,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NAME = "knock_outs"


def knock_out_finding(
    found: ScreenValidation, changes: ScreenChanges, *, seen: bool | None = None
) -> Finding:
    """The validation as a finding.

    Parameters
    ----------
    found, changes
        Of one screen.
    seen
        Whether the model or its dictionaries were trained on these cells; None: not known.
    """
    numbers: dict[str, object] = {
        "knock_outs": len(changes.knocked),
        "knock_outs_judged": found.knock_outs,
        "pairs": found.pairs,
        "controls": changes.controls,
        "pseudo_count": changes.pseudo_count,
        "alpha": found.alpha,
        "rising": _known(found.rising),
        "null_mean": _known(found.null_mean),
        "null_low": _known(found.null_low),
        "null_high": _known(found.null_high),
        "p": _known(found.p),
        "balanced_accuracy_all_pairs": _known(found.all_pairs),
        "seen_in_training": seen,
        "rules": [
            {k: _known(v) if isinstance(v, float) else v for k, v in row.items()}
            for row in found.frame.to_dict("records")
        ],
        "by_knock_out": found.by_knock_out.to_dict("records"),
    }
    null = (
        f"labels of the {found.knock_outs} judged knock-outs exchanged, {found.draws:,} draws;"
        " intervals by bootstrap over perturbed genes; every knock-out is held out from the rules"
        " that foretell it"
    )
    return Finding(
        NAME,
        "Direction of responses to knock-outs",
        _sentence(found, changes) + _seen(seen),
        null,
        found.frame,
        numbers,
        draw=draw,
    )


def _sentence(found: ScreenValidation, changes: ScreenChanges) -> str:
    judged = f"{found.pairs:,} responses of {found.knock_outs} of the {len(changes.knocked)}"
    if not found.judged:
        signs = "" if found.pairs == 0 or 0 < found.rising < 1 else ", all of them in one direction"
        return (
            f"the circuit foretells {judged} knock-outs{signs}: {LEAST_PAIRS} responses in both"
            f" directions of {LEAST_KNOCK_OUTS} knock-outs are needed to say whether it is right"
        )
    frame = found.frame.set_index("rule")
    own = frame.loc[CIRCUIT]
    right = found.p <= 0.05 and own["balanced_accuracy"] > 0.5
    verdict = "foretells" if right else "does not foretell"
    others = frame.drop(index=CIRCUIT)
    best = others.loc[others["balanced_accuracy"].idxmax()]
    return (
        f"the circuit {verdict} the direction of {judged} knock-outs: balanced accuracy"
        f" {own['balanced_accuracy']:.2f}{_interval(own['low'], own['high'])}, exchanged knock-outs"
        f" {found.null_mean:.2f} (p = {found.p:.2g}), {BASELINES[str(best.name)]}"
        f" {best['balanced_accuracy']:.2f} ({_verdict(best)})"
    )


def _verdict(row: pd.Series) -> str:
    """What the interval of the difference to the circuit says."""
    low, high = row["difference_low"], row["difference_high"]
    if not (math.isfinite(low) and math.isfinite(high)):
        return "the best simple rule; difference not testable"
    word = "better" if low > 0 else "worse" if high < 0 else "no better"
    return f"the best simple rule; the circuit is {word}, by {low:+.2f} to {high:+.2f}"


def _interval(low: float, high: float) -> str:
    return f" ({low:.2f} to {high:.2f})" if math.isfinite(low) and math.isfinite(high) else ""


def _seen(seen: bool | None) -> str:
    if seen is None:
        return "; whether the model was trained on these cells is not known"
    return "; the model or its dictionaries were trained on these cells" if seen else ""


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:
    """Balanced accuracy of circuit and rules with intervals; the null in grey."""
    from scircuit.analysis.plot_style import BLUE, GREY, ORANGE

    low, high = numbers.get("null_low"), numbers.get("null_high")
    if isinstance(low, float) and isinstance(high, float):
        ax.axvspan(low, high, color=GREY, alpha=0.3, label="exchanged knock-outs, middle 95 %")
    shown = frame.iloc[::-1].reset_index(drop=True)
    for i, row in shown.iterrows():
        color = BLUE if row["rule"] == CIRCUIT else ORANGE
        if math.isfinite(row["low"]) and math.isfinite(row["high"]):
            ax.plot([row["low"], row["high"]], [i, i], color=color)
        ax.plot(row["balanced_accuracy"], i, "o", color=color)
    ax.axvline(0.5, color=GREY, linewidth=1)
    ax.set_yticks(range(len(shown)), [str(r).replace("_", " ") for r in shown["rule"]])
    ax.set_xlabel("balanced accuracy")
    ax.legend(fontsize=8)
