"""Whether hubs are annotated: the published Fisher tests, the matched null, the decile means.

Fisher's exact test, two-sided, of the top k against the rest; the frequency-matched null replaces
each of the top k by one of its 25 nearest other features in log10 firing rate. Its expectation is
the mean over hubs of the annotated share of their 25 neighbours: no draws are needed for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.exhaustive.known_degrees import (
    ANNOTATION,
    CONTIGUOUS,
    RAW,
    SUMMARY,
    by_feature,
    known_degrees,
    layer_tests,
)
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.study_files import StudyFiles

ATLAS_L5 = "atlas:geneformer/layer_05_features.json"
_NEIGHBOURS = 25
# layer: (features, annotated); k: published odds ratio and p
_FISHER = {
    "L5": {20: "1.292 / 0.657", 100: "0.823 / 0.361", 41: "0.671 / 0.212"},
    "L2": {20: "0.527 / 0.168", 100: "0.848 / 0.494", 5: "0.992 / 1.000"},
    "L8": {20: "0.320 / 0.0374", 100: "0.861 / 0.576", 5: "0.247 / 0.372"},
    "L14": {20: "0.221 / 0.00496", 100: "0.961 / 0.911", 5: "0.230 / 0.201"},
}
_RESIDUAL = {
    "L5": "1.601 / 0.373",
    "L2": "0.649 / 0.359",
    "L8": "0.415 / 0.108",
    "L14": "0.385 / 0.0658",
}
_MEANS = {"L5": "343", "L2": "377", "L8": "358", "L14": "390"}


def fisher(table: list[list[int]], alternative: str = "two-sided") -> list[float]:
    """Sample odds ratio and p of Fisher's exact test."""
    from scipy.stats import fisher_exact

    ratio, p = np.asarray(fisher_exact(table, alternative=alternative), dtype=float)
    return [float(ratio), float(p)]


def _annotated(part: Any) -> int:
    return round(part["overall_annotated_frac"] * part["n_features"])


def _top_k(layer: str, k: int) -> Callable[[StudyFiles], Value]:
    def test(files: StudyFiles) -> Value:
        part = layer_tests(files, layer)
        row = next(f for f in part["fisher"] if f["k"] == k)
        yes, no = row["top_annotated"], row["top_unannotated"]
        rest = _annotated(part) - yes
        return fisher([[yes, no], [rest, part["n_features"] - k - rest]])

    return test


def _residual(layer: str) -> Callable[[StudyFiles], Value]:
    def test(files: StudyFiles) -> Value:
        part = layer_tests(files, layer)
        top = part["frequency"]["residual_hub_top20"]
        yes = sum(f["annotated"] for f in top)
        rest = _annotated(part) - yes
        return fisher([[yes, len(top) - yes], [rest, part["n_features"] - len(top) - rest]])

    return test


def _decile_mean(layer: str) -> Callable[[StudyFiles], Value]:
    def mean(files: StudyFiles) -> Value:
        deciles = layer_tests(files, layer)["deciles"]
        return sum(d["n"] * d["mean_edges"] for d in deciles) / sum(d["n"] for d in deciles)

    return mean


def active_features(files: StudyFiles) -> dict[int, tuple[float, bool]]:
    """Index -> firing rate and whether labelled, of the layer-5 features that fire often enough."""
    return {
        row["i"]: (row["f"], bool(row["lb"]))
        for row in files.json(ATLAS_L5)
        if row["f"] >= 0.001 and not row["d"]
    }


def _hubs(files: StudyFiles, k: int) -> list[int]:
    """The k largest degrees; complete down to the degree 802 of the 200th."""
    degrees = known_degrees(files)
    return sorted(degrees, key=lambda i: (-degrees[i], i))[:k]


def _counts(files: StudyFiles) -> list[str]:
    active = active_features(files)
    found = []
    for k in (20, 41, 100):
        yes = sum(active[i][1] for i in _hubs(files, k))
        found.append(f"{yes}/{k - yes}")
    return found


def _matched(k: int) -> Callable[[StudyFiles], Value]:
    def expected(files: StudyFiles) -> Value:
        active = active_features(files)
        hubs = _hubs(files, k)
        rest = np.array([i for i in active if i not in set(hubs)])
        log_rate = np.log10([active[int(i)][0] for i in rest])
        labelled = np.array([active[int(i)][1] for i in rest], dtype=float)
        shares = []
        for hub in hubs:
            distance = np.abs(log_rate - np.log10(active[hub][0]))
            shares.append(labelled[np.argsort(distance, kind="stable")[:_NEIGHBOURS]].mean())
        p = np.array(shares)
        return [float(p.mean()), float(np.sqrt((p * (1 - p)).sum()) / k)]

    return expected


def _by_rate(files: StudyFiles) -> Value:
    """Share labelled among the 50 most frequent, the ninth and the tenth decile."""
    active = sorted(active_features(files).values())
    ninth, tenth = np.array_split(np.array([yes for _, yes in active], dtype=float), 10)[8:]
    return [float(np.mean([yes for _, yes in active[-50:]])), float(ninth.mean()), tenth.mean()]


def _rate_and_degree(files: StudyFiles) -> float:
    return _rank_correlation(files, known_degrees(files))


def _contiguous(files: StudyFiles) -> Value:
    """Rank correlation, and number of features, of those traced again in order of index."""
    degrees = {i: n for i, n in by_feature(files, RAW).items() if i <= CONTIGUOUS}
    return [_rank_correlation(files, degrees), len(degrees)]


def _rank_correlation(files: StudyFiles, degrees: dict[int, int]) -> float:
    """Spearman of firing rate and degree."""
    from scipy.stats import spearmanr

    active = active_features(files)
    both = [i for i in degrees if i in active]
    found = spearmanr([active[i][0] for i in both], [degrees[i] for i in both])
    return float(np.asarray(found)[0])


_KNOWN = (RAW, SUMMARY)
_ALL = "needs the degrees of all features of the layer, which were not published"

ANNOTATION_BIAS = Theme(
    "annotation",
    "Are hubs annotated",
    (
        *(
            Check(
                f"fisher_{layer}_{k}",
                f"{layer}, top {k} against the rest: odds ratio, p",
                printed,
                _top_k(layer, k),
                (ANNOTATION,),
                "from the published counts",
            )
            for layer, tests in _FISHER.items()
            for k, printed in tests.items()
        ),
        *(
            Check(
                f"residual_{layer}",
                f"{layer}, top 20 by degree given firing rate: odds ratio, p",
                printed,
                _residual(layer),
                (ANNOTATION,),
                "from the listed hubs",
            )
            for layer, printed in _RESIDUAL.items()
        ),
        *(
            Check(
                f"mean_{layer}",
                f"{layer}: mean degree",
                printed,
                _decile_mean(layer),
                (ANNOTATION,),
                "weighted mean of the deciles",
            )
            for layer, printed in _MEANS.items()
        ),
        Check(
            "bias",
            "hubs are systematically unannotated (first release: 40 % of the top 20)",
            "fewer than expected",
            _top_k("L5", 20),
            (ANNOTATION,),
            "odds ratio and p; the background is 46 % unannotated",
            claim=True,
            holds=lambda v: v[0] < 1 and v[1] < 0.05,
        ),
        Check(
            "active",
            "active features of layer 5; with a label",
            "4,065 / 2,185",
            lambda f: [
                len(active_features(f)),
                sum(yes for _, yes in active_features(f).values()),
            ],
            (ATLAS_L5,),
            "firing rate >= 0.001 in the public atlas",
        ),
        Check(
            "counts",
            "L5 counts, annotated/not, of the top 20, 41 and 100",
            "12/8 / 18/23 / 49/51",
            _counts,
            (*_KNOWN, ATLAS_L5),
            "labels of the atlas, degrees of the map",
        ),
        *(
            Check(
                f"matched_{k}",
                f"L5 top {k}: annotated share of features with the same firing rate, mean and sd",
                printed,
                _matched(k),
                (*_KNOWN, ATLAS_L5),
                f"exact expectation; the hubs have {observed}: annotated more often, which the text"
                " leaves out",
                holds=holds,
            )
            for k, printed, observed, holds in (
                (20, "0.1380 / 0.0724", "60 %", lambda v: abs(v[0] - 0.138) < 0.0724 / 100),
                (41, "0.2572 / 0.0630", "43.9 %", lambda v: abs(v[0] - 0.2572) < 0.063 / 10),
                (100, "0.3194 / 0.0413", "49 %", lambda v: abs(v[0] - 0.3194) < 0.0413 / 10),
            )
        ),
        Check(
            "by_rate",
            "annotated share: 50 most frequent, ninth decile, highest decile",
            "",
            _by_rate,
            (ATLAS_L5,),
            "not monotone in firing rate: a logistic slope does not describe it",
        ),
        Check(
            "rate_degree",
            "Spearman of firing rate and degree",
            "",
            _rate_and_degree,
            (*_KNOWN, ATLAS_L5),
            "published for all 4,065: 0.838; here the known degrees, of which hubs are too many",
        ),
        Check(
            "rate_degree_contiguous",
            "the same of the features traced in order of index, with their number",
            "",
            _contiguous,
            (RAW, ATLAS_L5),
            "no degree chose them: a fair sample of all",
        ),
        Check("rho", "Spearman of firing rate and degree, all features", "0.838", note=_ALL),
        Check("r2", "R2 of degree on firing rate, quadratic", "0.562", note=_ALL),
        Check("partial", "partial Spearman of degree and annotation", "-0.041", note=_ALL),
        Check("logit", "logistic slope of annotation on log10 degree", "1.029", note=_ALL),
    ),
)
