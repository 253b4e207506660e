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
    judged = (
        f"{found.pairs:,} responses (q <= {found.alpha:g}) of {found.knock_outs} of the"
        f" {len(changes.knocked)} knock-outs"
    )
    if not found.judged:
        signs = "" if found.pairs == 0 or 0 < found.rising < 1 else ", all of them in one direction"
        return (
            f"the circuit foretells {judged}{signs}: {LEAST_PAIRS} responses in both directions of"
            f" {LEAST_KNOCK_OUTS} knock-outs are needed to say whether it is right"
        )
    frame = found.frame.set_index("rule")
    own = frame.loc[CIRCUIT]
    right = found.p <= 0.05 and own["balanced_accuracy"] > 0.5
    verdict = "foretells" if right else "does not foretell"
    text = (
        f"the circuit {verdict} the direction of {judged}: balanced accuracy"
        f" {own['balanced_accuracy']:.2f}{_interval(own['low'], own['high'])}, exchanged knock-outs"
        f" {found.null_mean:.2f} ({found.null_low:.2f} to {found.null_high:.2f}, p ="
        f" {found.p:.2g}), MCC {own['mcc']:.2f}"
    )
    parts = [
        f"{BASELINES[str(rule)]} {row['balanced_accuracy']:.2f} ({_verdict(row)})"
        for rule, row in frame.iterrows()
        if rule != CIRCUIT
    ]
    return f"{text}; on the same pairs {', '.join(parts)}"


def _verdict(row: pd.Series) -> str:
    """What the interval of the difference says."""
    low, high = row["difference_low"], row["difference_high"]
    if not (math.isfinite(low) and math.isfinite(high)):
        return "difference not testable"
    word = "better" if low > 0 else "worse" if high < 0 else "no better"
    return f"the circuit is {word}: {row['difference']:+.2f}, {low:+.2f} to {high:+.2f}"


def _interval(low: float, high: float) -> str:
    return f" ({low:.2f} to {high:.2f})" if math.isfinite(low) and math.isfinite(high) else ""


def _seen(seen: bool | None) -> str:
    if seen is None:
        return "; whether the model was trained on these cells is not known"
    if not seen:
        return ""
    return (
        "; the model or its dictionaries were trained on cells of this file, so this is no test on"
        " cells that it has not seen"
    )


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
