"""The later controls of the map: random directions (P1c), importance of hubs for the masked-LM loss
(P6), other cells (P7) and the CRISPRi screen (P9).

The published loss of a feature that is inactive in some cells is a mean over the active cells less
the baseline of all cells. Among features active in every cell the two are paired.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.exhaustive.known_degrees import HUBS, NORMMATCHED, SUMMARY
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.study_files import StudyFiles

_P7 = "revision/P7_ts_native/summary.json"
_P9 = "revision/P9_crispri/association.json"
_ARMS = ("hub", "freq_matched", "random")


def _pairs(files: StudyFiles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = files.json(NORMMATCHED)["per_feature"]
    keys = ("edges_real", "edges_normmatched", "observed_degree")
    real, random, degree = (np.array([r[k] for r in rows], dtype=float) for k in keys)
    return real, random, degree


def _specificity(files: StudyFiles) -> Value:
    real, random, _ = _pairs(files)
    return [real.mean(), random.mean(), real.mean() / random.mean()]


def _excess(files: StudyFiles) -> float:
    real, random, _ = _pairs(files)
    return float((real.mean() - random.mean()) / real.mean())


def _wilcoxon(files: StudyFiles) -> Value:
    from scipy.stats import wilcoxon

    real, random, _ = _pairs(files)
    w, p = np.asarray(wilcoxon(real, random), dtype=float)
    return [float(w), float(p)]


def _rho_random(files: StudyFiles) -> float:
    from scipy.stats import spearmanr

    _, random, degree = _pairs(files)
    return float(np.asarray(spearmanr(degree, random))[0])


def _retraced(files: StudyFiles) -> Value:
    real, _, degree = _pairs(files)
    difference = np.abs(real - degree)
    return [f"{int((difference == 0).sum())}/{real.size}", int(difference.max())]


def _arm(files: StudyFiles, name: str, everywhere: bool = False) -> list[Any]:
    study = files.json(HUBS)
    cells = study["baseline"]["n_cells_active"]
    return [f for f in study["arms"][name] if not everywhere or f["n_cells_active"] == cells]


def _loss(rows: list[Any]) -> list[float]:
    return [f["delta_ce"] for f in rows]


def _greater(one: str, two: str) -> Callable[[StudyFiles], Value]:
    def test(files: StudyFiles) -> Value:
        from scipy.stats import mannwhitneyu

        a, b = _loss(_arm(files, one)), _loss(_arm(files, two))
        return [float(v) for v in mannwhitneyu(a, b, alternative="greater")]

    return test


def _all_arms(files: StudyFiles, everywhere: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [f for name in _ARMS for f in _arm(files, name, everywhere)]
    keys = ("edges", "freq", "delta_ce")
    edges, rate, loss = (np.array([r[k] for r in rows], dtype=float) for k in keys)
    return np.log10(edges + 1), np.log10(rate), loss


def _rho_loss(everywhere: bool) -> Callable[[StudyFiles], Value]:
    def test(files: StudyFiles) -> Value:
        from scipy.stats import spearmanr

        edges, _, loss = _all_arms(files, everywhere)
        return [float(v) for v in np.asarray(spearmanr(edges, loss), dtype=float)]

    return test


def _partial_loss(everywhere: bool) -> Callable[[StudyFiles], Value]:
    """Spearman of the residuals of ranks after a line in the rank of firing rate."""

    def test(files: StudyFiles) -> Value:
        from scipy.stats import rankdata, spearmanr

        edges, rate, loss = (rankdata(v) for v in _all_arms(files, everywhere))
        design = np.column_stack([np.ones(rate.size), rate])
        left = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (edges, loss)]
        return [float(v) for v in np.asarray(spearmanr(*left), dtype=float)]

    return test


def _mean_loss(name: str, everywhere: bool = False) -> Callable[[StudyFiles], Value]:
    return lambda files: statistics.mean(_loss(_arm(files, name, everywhere)))


def _stored_means(files: StudyFiles) -> Value:
    return [statistics.mean(_loss(_arm(files, name))) for name in _ARMS[1:]]


def _product(files: StudyFiles) -> float:
    part = files.json(_P7)["k562_same_downstream"]
    return part["mean_edges"] * part["n_features"]


def _first_layer(files: StudyFiles) -> float:
    return files.json(SUMMARY)["total_edges"] - _product(files)


_P1C, _P6 = (NORMMATCHED,), (HUBS,)
_OWN_CELLS = "summary only; needs the degrees of the features, which were not published"

LATER = Theme(
    "later",
    "Random directions, importance of hubs, other cells, CRISPRi",
    (
        Check(
            "specificity",
            "edges of 200 features, of random directions, their ratio",
            "355.6 / 22.7 / 15.683944",
            _specificity,
            _P1C,
        ),
        Check(
            "excess",
            "share of the edges attributable to the feature's direction",
            "93.6241 %",
            _excess,
            _P1C,
            "no valid control: the random direction differs between cells and positions, so its"
            " effects cannot be consistent",
        ),
        Check("wilcoxon", "paired Wilcoxon: W, p", "5 / 2.258e-34", _wilcoxon, _P1C),
        Check("rho_random", "Spearman of degree and random edges", "0.421750", _rho_random, _P1C),
        Check(
            "retraced",
            "degrees equal to the first tracing; largest difference",
            "198/200 / 1",
            _retraced,
            _P1C,
        ),
        Check(
            "hub_random",
            "loss of hubs above random features: U, p",
            "821 / 0.99847",
            _greater("hub", "random"),
            _P6,
        ),
        Check(
            "hub_matched",
            "loss of hubs above matched features: U, p",
            "667 / 0.99997",
            _greater("hub", "freq_matched"),
            _P6,
        ),
        Check(
            "matched_random",
            "loss of matched above random features: U, p",
            "1,581 / 0.01135",
            _greater("freq_matched", "random"),
            _P6,
        ),
        Check(
            "rho_loss",
            "Spearman of log degree and loss: rho, p",
            "-0.402734 / 3.23e-7",
            _rho_loss(False),
            _P6,
        ),
        Check(
            "partial_loss",
            "the same given firing rate",
            "-0.484660 / 3.29e-10",
            _partial_loss(False),
            _P6,
        ),
        Check(
            "rho_paired",
            "Spearman of log degree and loss, features active in all cells",
            "",
            _rho_loss(True),
            _P6,
        ),
        Check("partial_paired", "the same given firing rate", "", _partial_loss(True), _P6),
        Check(
            "mean_hub",
            "mean change of the loss, hubs active in all cells",
            "",
            _mean_loss("hub", True),
            _P6,
        ),
        Check(
            "mean_matched",
            "mean change of the loss, matched features",
            "-0.0038",
            _mean_loss("freq_matched", True),
            _P6,
            "of features active in all cells; the published mean compares active cells with the"
            " baseline of all cells",
            claim=True,
        ),
        Check(
            "mean_random",
            "mean change of the loss, random features",
            "-0.0015",
            _mean_loss("random", True),
            _P6,
            "of features active in all cells, as above",
            claim=True,
        ),
        Check(
            "mean_matched_as_stored",
            "the same two means over all features",
            "-0.0038 / -0.0015",
            _stored_means,
            _P6,
        ),
        Check(
            "layers",
            "edges to layers 11 and 17",
            "699,204",
            _product,
            (_P7,),
            "172.0059040590406 x 4,065",
        ),
        Check(
            "layer6",
            "edges to layer 6",
            "694,646",
            _first_layer,
            (_P7, SUMMARY),
            "all less those to layers 11 and 17",
        ),
        Check(
            "split",
            "edges to layers 11 and 17 apart",
            "443,381 / 255,823",
            note="needs the traces of all features, which were not published",
        ),
        Check(
            "p7",
            "immune cells: mean 9.61, Gini 0.900, skewness 3.08",
            "9.61 / 0.900 / 3.08",
            note=_OWN_CELLS,
        ),
        Check(
            "p9",
            "CRISPRi: Spearman of degree and strength",
            "0.0211",
            note="summary only; the strengths of the perturbations were not published",
        ),
        Check(
            "perturbations",
            "perturbations of the screen",
            "2,023",
            lambda f: f.json(_P9)["n_perturbations"],
            (_P9,),
        ),
        Check(
            "targets",
            "all of them in K562",
            "2,023",
            note="needs the cells of the screen, which are no result file; the public screen has"
            " 1,383 targets in K562 and 2,023 in all four cell lines together",
        ),
    ),
)
