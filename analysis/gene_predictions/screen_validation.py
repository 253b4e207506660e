"""Whether a circuit foretells the direction of responses to real knock-outs.

A knock-out removes the source, so a pair of genes that the circuit links by support (score > 0)
foretells that the target falls:

    predicted sign (g, t) = -sign(score(g, t)).

Judged are pairs whose observed change is told from zero, of which the circuit has a score, without
the knocked-out gene itself. Every rule of `scircuit.analysis.gene_predictions.screen_baselines` is
judged on the same pairs; each knock-out is held out from the rules that learn. The unit is the
perturbed gene: intervals come from a bootstrap over perturbed genes, and the null exchanges the
knock-outs' labels, that is, every knock-out is foretold by the circuit of a random one:

    p = (1 + #{balanced accuracy of exchanged labels >= observed}) / (1 + draws),

over the draws that have one: exchanged labels can leave only rises, or only falls, to judge.

Exchanged labels keep which genes respond and in which direction, so a circuit that only knows those
has no small p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.gene_predictions.gene_pairs import GenePairs
from scircuit.analysis.gene_predictions.screen_baselines import baseline_signs
from scircuit.analysis.gene_predictions.screen_changes import ScreenChanges
from scircuit.analysis.gene_predictions.sign_scores import (
    balanced_accuracy,
    confusion,
    interval,
    matthews,
    resampled,
)
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

LEAST_KNOCK_OUTS = 3
LEAST_PAIRS = 20
CIRCUIT = "circuit"


@dataclass(frozen=True)
class ScreenValidation:
    """Directions foretold by a circuit and by simple rules.

    Parameters
    ----------
    frame
        One row a rule, the circuit first: rule, balanced_accuracy, low, high, mcc, mcc_low,
        mcc_high, accuracy, difference (balanced accuracy of the circuit less that of the rule),
        difference_low, difference_high, p (of the circuit alone). NaN where undefined.
    by_knock_out
        One row a knock-out: knocked, cells, responding, judged, agree (of the judged), and agree by
        each rule.
    pairs, knock_outs, rising
        Judged pairs, knock-outs with some, and share of the pairs whose target rises.
    null_mean, null_low, null_high, p
        Balanced accuracy with exchanged labels: mean and middle 95 %, and p.
    all_pairs
        Balanced accuracy over all tested pairs, those that do not respond included.
    draws, alpha
        Draws of the null in which both directions were judged; largest q of a response.
    """

    frame: pd.DataFrame
    by_knock_out: pd.DataFrame
    pairs: int
    knock_outs: int
    rising: float
    null_mean: float
    null_low: float
    null_high: float
    p: float
    all_pairs: float
    draws: int
    alpha: float

    @property
    def judged(self) -> bool:
        """Are there enough pairs, knock-outs and both signs."""
        return (
            self.pairs >= LEAST_PAIRS
            and self.knock_outs >= LEAST_KNOCK_OUTS
            and 0 < self.rising < 1
        )


def require_overlap(known: set[str], changes: ScreenChanges) -> tuple[str, ...]:
    """Knocked-out genes that are among the top genes of features.

    Raises
    ------
    UserError
        If there are fewer than three.
    """
    found = tuple(g for g in changes.knocked if g in known)
    if len(found) < LEAST_KNOCK_OUTS:
        missing = ", ".join([g for g in changes.knocked if g not in known][:8])
        raise UserError(
            f"{len(found)} of the {len(changes.knocked)} knocked-out genes are among the top genes"
            f" of features with edges, expected {LEAST_KNOCK_OUTS} or more; not among them:"
            f" {missing}",
            "give a screen of genes that the model reads, trace more sources, or use more"
            " --top-genes",
        )
    return found


def scores_of(pairs: GenePairs, changes: ScreenChanges) -> np.ndarray:
    """Scores of the knocked-out genes as sources and the measured genes as targets, [knock-outs,
    genes]; NaN where the circuit says nothing.
    """
    row = {g: i for i, g in enumerate(pairs.requested)}
    column = {g: i for i, g in enumerate(pairs.genes)}
    found = np.full((len(changes.knocked), len(changes.genes)), np.nan)
    measured = [(j, column[g]) for j, g in enumerate(changes.genes) if g in column]
    at, of = np.array(measured, dtype=np.int64).reshape(-1, 2).T
    for i, gene in enumerate(changes.knocked):
        if gene in row:
            found[i, at] = pairs.rows[row[gene], of]
    return found


def validate(
    scores: np.ndarray,
    changes: ScreenChanges,
    *,
    alpha: float = 0.05,
    draws: int = 1000,
    seed: int = 0,
) -> ScreenValidation:
    """Hold the scores of gene pairs against a screen.

    Parameters
    ----------
    scores
        Score of each knocked-out gene as source and each measured gene as target, [knock-outs,
        genes]; NaN or 0 where the circuit says nothing.
    changes
        Observed changes.
    alpha
        Largest q of a response.
    draws, seed
        Of the bootstrap and of the null.
    """
    tested = np.isfinite(changes.q)
    responding = changes.responding(alpha)
    observed = np.sign(changes.change)
    said = np.nan_to_num(scores) != 0
    circuit = -np.sign(np.nan_to_num(scores))
    used = responding & said
    rules = {CIRCUIT: circuit, **_decided(baseline_signs(changes, responding))}
    counts = {name: confusion(sign, observed, used) for name, sign in rules.items()}
    has = used.any(axis=1)
    null = _exchanged(circuit, said, observed, responding, np.flatnonzero(has), draws, seed)
    value = float(balanced_accuracy(counts[CIRCUIT].sum(axis=0)))
    low, high = interval(null)
    # exchanged labels that leave only rises or only falls judge nothing: such draws do not count
    null = null[np.isfinite(null)]
    hits = int((null >= value - 1e-12).sum())
    has_p = bool(np.isfinite(value)) and null.size > 0
    pairs = int(used.sum())
    return ScreenValidation(
        _table(counts, has, draws, seed),
        _per_knock_out(counts, changes, responding, used),
        pairs,
        int(has.sum()),
        float((observed[used] > 0).mean()) if pairs else float("nan"),
        float(null.mean()) if null.size else float("nan"),
        low,
        high,
        (1 + hits) / (1 + null.size) if has_p else float("nan"),
        float(balanced_accuracy(confusion(circuit, observed, tested & said).sum(axis=0))),
        int(null.size),
        alpha,
    )


def _decided(rules: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rules with the majority where they say nothing, and a fall where that says nothing."""
    usual = np.where(rules["majority"] != 0, rules["majority"], -1.0)
    return {name: np.where(sign != 0, sign, usual) for name, sign in rules.items()}


def _exchanged(
    circuit: np.ndarray,
    said: np.ndarray,
    observed: np.ndarray,
    responding: np.ndarray,
    rows: np.ndarray,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Balanced accuracy with the labels of the knock-outs exchanged, [draws]."""
    if rows.size < 2:
        return np.full(draws, np.nan)
    # counts of knock-out i foretold by the circuit of j
    counts = np.stack(
        [
            confusion(
                np.broadcast_to(circuit[j], (rows.size, circuit.shape[1])),
                observed[rows],
                responding[rows] & said[j],
            )
            for j in rows.tolist()
        ],
        axis=1,
    )
    rng = np.random.default_rng([seed, 1])
    order = np.argsort(rng.random((draws, rows.size)), axis=1)
    return balanced_accuracy(counts[np.arange(rows.size), order].sum(axis=1))


def _table(counts: dict[str, np.ndarray], has: np.ndarray, draws: int, seed: int) -> pd.DataFrame:
    import pandas as pd

    weight = resampled(int(has.sum()), draws, seed) if has.any() else np.zeros((draws, 0))
    resample = {name: weight @ c[has] for name, c in counts.items()}
    whole = {name: c.sum(axis=0) for name, c in counts.items()}
    circuit = balanced_accuracy(resample[CIRCUIT])
    rows = []
    for name, total in whole.items():
        spread = balanced_accuracy(resample[name])
        low, high = interval(spread)
        mcc_low, mcc_high = interval(matthews(resample[name]))
        apart = interval(circuit - spread)
        sums = total.sum()
        rows.append(
            {
                "rule": name,
                "balanced_accuracy": float(balanced_accuracy(total)),
                "low": low,
                "high": high,
                "mcc": float(matthews(total)),
                "mcc_low": mcc_low,
                "mcc_high": mcc_high,
                "accuracy": float((total[0] + total[2]) / sums) if sums else float("nan"),
                "difference": float(balanced_accuracy(whole[CIRCUIT]) - balanced_accuracy(total)),
                "difference_low": apart[0],
                "difference_high": apart[1],
            }
        )
    return pd.DataFrame(rows)


def _per_knock_out(
    counts: dict[str, np.ndarray],
    changes: ScreenChanges,
    responding: np.ndarray,
    used: np.ndarray,
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "knocked": changes.knocked,
            "cells": changes.cells,
            "responding": responding.sum(axis=1),
            "judged": used.sum(axis=1),
            **{name: c[:, 0] + c[:, 2] for name, c in counts.items()},
        }
    )
