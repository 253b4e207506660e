"""The published calibration of the map's edges: sign-flip null, survivors, threshold sweep.

FDR = sum of expected null edges / sum of observed edges, over the 600 features with a null.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.exhaustive.known_degrees import (
    CONTIGUOUS,
    FDR,
    RAW,
    SUMMARY,
    by_feature,
    exact_degrees,
)
from scircuit.analysis.reproduction.study_files import StudyFiles

_P1 = "revision/P1_calibration"
_NULL, _STATED, _SWEEP = (
    f"{_P1}/{name}.json" for name in ("per_feature", "summary", "threshold_sweep")
)
_TARGETS = 3 * 4608
_LABELS = "atlas:geneformer/layer_05_features.json"


def _column(files: StudyFiles, name: str) -> np.ndarray:
    return np.array([row[name] for row in by_feature(files, _NULL).values()])


def _permutation(files: StudyFiles) -> Any:
    return files.json(_STATED)["permutation"]


def _fdr(files: StudyFiles) -> float:
    return math.fsum(_column(files, "expected_null_edges")) / float(
        _column(files, "observed_edges").sum()
    )


def _both(files: StudyFiles) -> tuple[np.ndarray, np.ndarray]:
    """Raw and calibrated degrees of the 600 features, by index."""
    raw, kept = by_feature(files, RAW), by_feature(files, FDR)
    return np.array([raw[i] for i in kept]), np.array(list(kept.values()))


def _chunks(files: StudyFiles) -> list[tuple[int, int, float]]:
    """Smallest and largest degree and surviving share of ten chunks of equal size by degree."""
    raw, kept = _both(files)
    order = np.argsort(raw, kind="stable")
    return [
        (int(raw[c].min()), int(raw[c].max()), float(kept[c].sum() / raw[c].sum()))
        for c in np.array_split(order, 10)
    ]


def _decile_ratios(files: StudyFiles) -> tuple[float, float, str]:
    stated = [d["surviving_ratio"] for d in _permutation(files)["surviving_by_degree_decile"]]
    found = [share for _, _, share in _chunks(files)]
    same = sum(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(stated, found, strict=True))
    return found[0], found[-1], f"{same} of {len(stated)} equal"


def _spearman(files: StudyFiles) -> tuple[float, float]:
    from scipy.stats import spearmanr

    raw, kept = _both(files)
    top = np.argsort(-raw, kind="stable")[:200]
    return (
        float(np.asarray(spearmanr(raw, kept))[0]),
        float(np.asarray(spearmanr(raw[top], kept[top]))[0]),
    )


def _top20(degrees: dict[int, int]) -> list[int]:
    return sorted(degrees, key=lambda i: (-degrees[i], i))[:20]


def _top_overlap(files: StudyFiles) -> int:
    raw, kept = by_feature(files, RAW), by_feature(files, FDR)
    return len({*_top20(raw)} & {*_top20(kept)})


def _top_changed(files: StudyFiles) -> list[str]:
    """Features of the raw top 20 that the calibrated one has not, and the reverse."""
    raw, kept = (_top20(by_feature(files, name)) for name in (RAW, FDR))
    return [
        ", ".join(f"F{i}" for i in one if i not in other)
        for one, other in ((raw, kept), (kept, raw))
    ]


def _unannotated(files: StudyFiles) -> int:
    labels = {row["i"]: row["lb"] for row in files.json(_LABELS)}
    return sum(not labels[i] for i in _top20(by_feature(files, FDR)))


def _sweep_rows(files: StudyFiles) -> str:
    null, rows = files.json(_STATED)["threshold_sweep_null"], files.json(_SWEEP)
    good = sum(
        math.isclose(
            r["implied_fdr"], r["expected_null_edges_per_feature"] / r["mean_edges"], rel_tol=1e-9
        )
        and r["expected_null_edges_per_feature"]
        == null[f"d>{r['d_threshold']},c>{r['consistency_threshold']}"]
        for r in rows
    )
    return f"{good} of {len(rows)}"


def _looser(files: StudyFiles) -> float:
    rows = files.json(_SWEEP)
    return next(
        r["expected_null_edges_per_feature"] / r["mean_edges"]
        for r in rows
        if (r["d_threshold"], r["consistency_threshold"]) == (0.3, 0.7)
    )


def _unstable(files: StudyFiles) -> str:
    """Cells of the sweep with FDR below 5 % whose hub ranking is not that of the default rule."""
    low = [r for r in files.json(_SWEEP) if r["implied_fdr"] < 0.05]
    bad = [
        r
        for r in low
        if round(r["hub_rank_spearman_vs_default"], 2) < 0.91
        or r["top20_overlap_with_default"] < 15
    ]
    worst = min(r["hub_rank_spearman_vs_default"] for r in low)
    fewest = min(r["top20_overlap_with_default"] for r in low)
    return (
        f"{len(low) - len(bad)} of {len(low)} cells; the others go down to rho {worst:.2f} and"
        f" {fewest}/20"
    )


def _all_stable(text: str) -> bool:
    stable, _, low = text.split(" cells")[0].partition(" of ")
    return stable == low


def _precision(files: StudyFiles) -> tuple[int, int]:
    """Degrees that both tracings state, and the largest difference."""
    raw, exact = by_feature(files, RAW), exact_degrees(files)
    both = [i for i in exact if i in raw]
    return sum(exact[i] == raw[i] for i in both), max(abs(exact[i] - raw[i]) for i in both)


def _share_of_contiguous(files: StudyFiles, corrected: bool) -> float:
    """Calibrated share of all edges, from the features that were traced in order of index."""
    raw = by_feature(files, RAW)
    chunks = _chunks(files)
    degrees = [n for i, n in raw.items() if i <= CONTIGUOUS]
    kept = 0.0
    for n in degrees:
        inside = [share for low, high, share in chunks if low <= n <= high]
        lower = [share for low, _, share in chunks if low <= n][-1:] or [chunks[0][2]]
        between = lower[0] if corrected else chunks[-1][2]
        kept += n * (inside[0] if inside else between)
    return kept / sum(degrees)


def _excess(files: StudyFiles) -> tuple[float, int, int, float]:
    """Spread of the null and features whose own FDR is high."""
    sd, mean = _column(files, "null_sd"), _column(files, "expected_null_edges")
    fdr = mean / np.maximum(_column(files, "observed_edges"), 1)
    live = mean > 0
    return (
        float(np.median(sd[live] / mean[live])),
        int((fdr > 0.05).sum()),
        int((fdr > 0.1).sum()),
        float(fdr.max()),
    )


def _degenerate(files: StudyFiles) -> float:
    p = _permutation(files)
    return p["n_degenerate_targets_excluded"] / (p["n_features"] * _TARGETS)


def _kept_parts(files: StudyFiles) -> tuple[float, float, float]:
    """Share of raw edges left by Hedges' correction, of those left by BH, and of both."""
    p = _permutation(files)
    kept = sum(by_feature(files, FDR).values())
    observed, corrected = p["observed_edges_subset"], p["effect_size_edges_subset"]
    return corrected / observed, kept / corrected, kept / observed


def _same_degrees(files: StudyFiles) -> str:
    raw, null = by_feature(files, RAW), by_feature(files, _NULL)
    return f"{sum(raw[i] == row['observed_edges'] for i, row in null.items())} of {len(null)}"


def _live(files: StudyFiles) -> tuple[int, float]:
    p = _permutation(files)
    live = p["n_features"] * _TARGETS - p["n_degenerate_targets_excluded"]
    return live, p["bh_surviving_tests"] / live


def _mean(files: StudyFiles) -> float:
    s = files.json(SUMMARY)
    return s["total_edges"] / s["n_features_traced"]


_EFFECTS = "needs the effects of each cell, which were not published"
_TRACES = "needs the degrees of all 4,065 features, of which the files state 1,115"

CALIBRATION = Theme(
    "calibration",
    "Edges of the exhaustive map and their calibration",
    (
        Check("mean", "mean degree", "342.9", _mean, (SUMMARY,), "1,393,850 / 4,065"),
        Check("edges", "edges by the published rule", "1,393,850", note=_TRACES),
        Check("over500", "features with more than 500 edges", "759", note=_TRACES),
        Check(
            "expansion",
            "27-fold more edges than the selective study",
            "27",
            note="no file: 52,116 is a count of stored edges, at most 50 per source and layer",
        ),
        Check(
            "retraced",
            "edges of the features traced again",
            "418,367",
            lambda f: sum(by_feature(f, RAW).values()),
            (RAW,),
            "sum over features",
        ),
        Check(
            "all_retraced",
            "features with effects per cell (text: all)",
            "4,065",
            lambda f: len(by_feature(f, RAW)),
            (RAW,),
            "the tracing was cut after the 600 calibration features and indices 0 to 396",
            claim=True,
        ),
        Check(
            "observed",
            "observed edges of the 600 features",
            "327,609",
            lambda f: int(_column(f, "observed_edges").sum()),
            (_NULL,),
            "sum over features",
        ),
        Check(
            "same_degrees",
            "features whose observed edges equal the second tracing",
            "600 of 600",
            _same_degrees,
            (_NULL, RAW),
        ),
        Check(
            "null_edges",
            "expected null edges",
            "11,914.602",
            lambda f: math.fsum(_column(f, "expected_null_edges")),
            (_NULL,),
            "sum over features",
        ),
        Check("fdr", "FDR of the rule", "3.637 %", _fdr, (_NULL,), "expected / observed"),
        Check("fdr_digits", "the same, all digits", "0.0363683598", _fdr, (_NULL,)),
        Check("fdr_03", "FDR at |d| > 0.3", "0.3498083", _looser, (_SWEEP,), "null / mean"),
        Check(
            "calibrated",
            "calibrated edges of the 600 features",
            "261,564",
            lambda f: sum(by_feature(f, FDR).values()),
            (FDR,),
            "sum over features",
        ),
        Check(
            "deciles",
            "surviving share of ten chunks by degree: lowest, highest",
            "0.7505 / 0.8206 / 10 of 10 equal",
            _decile_ratios,
            (RAW, FDR, _STATED),
        ),
        Check(
            "over1000",
            "features with more than 1,000 edges: raw, calibrated",
            "72 / 26",
            lambda f: [sum(n > 1000 for n in by_feature(f, k).values()) for k in (RAW, FDR)],
            (RAW, FDR),
        ),
        Check(
            "rank",
            "Spearman of raw and calibrated degrees: 600, top 200",
            "0.99 / 0.94",
            _spearman,
            (RAW, FDR),
        ),
        Check("top20", "top 20 in common, raw and calibrated", "19", _top_overlap, (RAW, FDR)),
        Check(
            "top20_changed",
            "top 20: leaves by calibration, enters",
            "",
            _top_changed,
            (RAW, FDR),
        ),
        Check(
            "top20_labels",
            "calibrated top 20 without label",
            "8",
            _unannotated,
            (FDR, _LABELS),
            "labels of the public atlas",
        ),
        Check(
            "live",
            "live tests; share with q <= 0.05",
            "3,586,535 / 30.4 %",
            _live,
            (_STATED,),
            "600 x 3 x 4,608 less the degenerate; the count of q is the study's",
        ),
        Check("degenerate", "degenerate tests", "56.8 %", _degenerate, (_STATED,)),
        Check("bh_tests", "tests with q <= 0.05", "1,090,165", note=_EFFECTS),
        Check("g_edges", "edges with |g| > 0.5", "303,507", note=_EFFECTS),
        Check("sweep", "sweep: FDR equals null / mean", "30 of 30", _sweep_rows, (_SWEEP, _STATED)),
        Check("sweep_totals", "edges at the 30 pairs of thresholds", "", note=_EFFECTS),
        Check(
            "stable",
            "the hub ranking is stable (rho >= 0.91, at least 15/20) wherever the FDR is below 5 %",
            "all cells",
            _unstable,
            (_SWEEP,),
            claim=True,
            holds=_all_stable,
        ),
        Check(
            "kept",
            "raw edges of the 600 features that are calibrated",
            "79.8 %",
            lambda f: _kept_parts(f)[2],
            (FDR, _STATED),
            "261,564 / 327,609",
        ),
        Check(
            "kept_by_fdr",
            "the loss is due to FDR control alone: share left by Benjamini-Hochberg",
            "79.2 %",
            lambda f: _kept_parts(f)[1],
            (FDR, _STATED),
            "Hedges' correction alone leaves 92.6 %, Benjamini-Hochberg 86.2 % of that",
            claim=True,
        ),
        Check(
            "kept_all",
            "calibrated edges of all features",
            "1,103,965",
            note=_TRACES,
        ),
        Check(
            "kept_contiguous",
            "calibrated share of all edges",
            "79.2 %",
            lambda f: _share_of_contiguous(f, corrected=False),
            (RAW, FDR),
            "on the 346 features traced in order of index",
        ),
        Check(
            "kept_corrected",
            "the same, a degree between two chunks with the ratio of the lower one",
            "",
            lambda f: _share_of_contiguous(f, corrected=True),
            (RAW, FDR),
            "the published code gives those degrees the ratio of the last chunk",
        ),
        Check(
            "spread",
            "null: median sd / mean; features with FDR above 5 %, above 10 %; largest",
            "",
            _excess,
            (_NULL,),
            "the published FDR is an average over very unequal features",
        ),
        Check(
            "half_precision",
            "degrees of both tracings that are equal; largest difference",
            "",
            _precision,
            (RAW, SUMMARY),
            "published: mean -0.019, at most 2, over all 897",
        ),
    ),
)
