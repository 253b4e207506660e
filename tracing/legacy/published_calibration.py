"""The published calibration of the layer-5 map, recomputed from its shipped result files with the
project's own functions.

``python -m scircuit.tracing.legacy.published_calibration FOLDER`` prints every number beside its
recomputation; FOLDER holds ``exhaustive_tracing/`` and ``revision/P1_calibration/``. What needs
per-cell effects or all 4,065 degrees, which were not published, is marked as not recomputable.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scircuit.tracing.interfaces import JsonObject
from scircuit.tracing.legacy.published_fdr import (
    extrapolate,
    false_discovery_rate,
    surviving_chunks,
)

_CONTIGUOUS = 396  # every active feature up to this index was traced again, whatever its degree
_TARGETS = 3 * 4608
_DEFAULT = (0.5, 0.7)


class Recomputed(NamedTuple):
    """One published number; `recomputed` is None where the shipped files do not determine it, and
    `how` says why.
    """

    quantity: str
    published: float
    recomputed: float | None
    how: str

    def __str__(self) -> str:
        found = "not recomputable" if self.recomputed is None else f"{self.recomputed:,.10g}"
        return f"{self.quantity}: published {self.published:,.10g}, recomputed {found} ({self.how})"


class Calibration(NamedTuple):
    """The shipped files of the revision, features ascending by index."""

    summary: JsonObject
    sweep: list[JsonObject]
    degree: dict[int, int]  # 897 features
    tested: np.ndarray  # indices of the 600 features with a null
    observed: np.ndarray
    expected: np.ndarray
    surviving: np.ndarray


def read_calibration(folder: Path) -> Calibration:
    """Read ``revision/P1_calibration`` below a folder."""

    def read(name: str):
        return json.loads((folder / "revision" / "P1_calibration" / name).read_text())

    per_feature = {int(k): v for k, v in read("per_feature.json").items()}
    surviving = {int(k): v for k, v in read("edges_fdr.json").items()}
    tested = np.array(sorted(per_feature))
    observed, expected = (
        np.array([per_feature[f][name] for f in tested.tolist()])
        for name in ("observed_edges", "expected_null_edges")
    )
    degree = {int(k): v for k, v in read("edges_raw.json").items()}
    kept = np.array([surviving[f] for f in tested.tolist()])
    return Calibration(
        read("summary.json"), read("threshold_sweep.json"), degree, tested, observed, expected, kept
    )


def recompute(folder: Path) -> list[Recomputed]:
    """Every number of the calibration that depends on the edge rule."""
    c = read_calibration(folder)
    total = json.loads((folder / "exhaustive_tracing" / "exhaustive_summary.json").read_text())[
        "total_edges"
    ]
    built = folder / "degree_sequence.json"
    constructed = np.array(json.loads(built.read_text())["degrees"]) if built.exists() else None
    return [*_null(c), *_survival(c), *_extrapolation(c, total, constructed), *_sweep(c)]


def _null(c: Calibration) -> list[Recomputed]:
    p = c.summary["permutation"]
    live = len(c.tested) * _TARGETS - p["n_degenerate_targets_excluded"]
    return [
        Recomputed(
            "observed edges of the tested features",
            p["observed_edges_subset"],
            float(c.observed.sum()),
            "sum of per_feature.json",
        ),
        Recomputed(
            "expected null edges",
            p["expected_null_edges_subset"],
            float(c.expected.sum()),
            "sum of per_feature.json",
        ),
        Recomputed(
            "empirical FDR",
            p["empirical_fdr_subset"],
            false_discovery_rate(c.observed, c.expected),
            "expected / observed",
        ),
        Recomputed(
            "live tests",
            p["bh_total_tests"],
            float(live),
            "600 features x 3 layers x 4,608 targets, minus the degenerate ones",
        ),
    ]


def _survival(c: Calibration) -> list[Recomputed]:
    p = c.summary["permutation"]
    return [
        Recomputed(
            "tests with q <= 0.05",
            p["bh_surviving_tests"],
            None,
            "needs the p values, which were not shipped",
        ),
        Recomputed(
            "their share",
            p["bh_surviving_fraction"],
            p["bh_surviving_tests"] / p["bh_total_tests"],
            "ratio of two published counts",
        ),
        Recomputed(
            "edges with |g| > 0.5",
            p["effect_size_edges_subset"],
            None,
            "needs the per-cell effects, which were not shipped",
        ),
        Recomputed(
            "calibrated edges",
            p["effect_size_edges_surviving_bh"],
            float(c.surviving.sum()),
            "sum of edges_fdr.json",
        ),
        Recomputed(
            "share of |g| edges that survive",
            p["effect_size_edges_surviving_frac"],
            float(c.surviving.sum()) / p["effect_size_edges_subset"],
            "edges_fdr.json over the published count",
        ),
    ]


def _extrapolation(c: Calibration, total: int, constructed: np.ndarray | None) -> list[Recomputed]:
    p = c.summary["permutation"]
    chunks = surviving_chunks(c.observed, c.surviving)
    lines = [
        Recomputed(
            f"share of edges that survive, chunk {i}",
            given["surviving_ratio"],
            chunk.ratio,
            f"{chunk.smallest} to {chunk.largest} edges",
        )
        for i, (given, chunk) in enumerate(
            zip(p["surviving_by_degree_decile"], chunks, strict=True), start=1
        )
    ]
    stated = p["estimated_total_edges_fdr_all_features"]
    contiguous = np.array([n for f, n in c.degree.items() if f <= _CONTIGUOUS])
    source = (
        "needs all 4,065 degrees, which were not shipped"
        if constructed is None
        else "a sequence built from the 1,115 degrees that were shipped"
    )
    for mended in (False, True):
        how = (
            "degrees between chunks to the next lower one" if mended else "chunk rule as published"
        )
        share = extrapolate(contiguous, chunks, mended) / contiguous.sum()
        whole = None if constructed is None else extrapolate(constructed, chunks, mended)
        lines += [
            Recomputed(
                "share of all edges that is calibrated",
                stated / total,
                share,
                f"{how}; the {len(contiguous)} features up to index {_CONTIGUOUS}",
            ),
            Recomputed("calibrated edges of all features", stated, whole, f"{how}; {source}"),
        ]
    return lines


def _sweep(c: Calibration) -> list[Recomputed]:
    degrees = np.array([c.degree[f] for f in c.tested.tolist()])
    lines, others = [], 0
    for row in c.sweep:
        at = (row["d_threshold"], row["consistency_threshold"])
        name, null = (
            f"|d| > {at[0]}, consistency > {at[1]}",
            c.summary["threshold_sweep_null"][f"d>{at[0]},c>{at[1]}"],
        )
        fdr = null * row["n_features"] / row["total_edges"]
        lines.append(
            Recomputed(
                f"{name}: FDR", row["implied_fdr"], fdr, "null of summary.json x features / total"
            )
        )
        if at != _DEFAULT:
            others += row["total_edges"]
            continue
        lines += [
            Recomputed(
                f"{name}: total", row["total_edges"], float(degrees.sum()), "sum of edges_raw.json"
            ),
            Recomputed(
                f"{name}: median", row["median_edges"], float(np.median(degrees)), "edges_raw.json"
            ),
            Recomputed(
                f"{name}: share above 1,000",
                row["heavy_tail_frac_gt1000"],
                float((degrees > 1000).mean()),
                "edges_raw.json",
            ),
            Recomputed(
                f"{name}: null edges per feature",
                null,
                float(c.expected.mean()),
                "mean of per_feature.json",
            ),
        ]
    lines.append(
        Recomputed(
            "totals at the other 29 thresholds, together",
            others,
            None,
            "need the per-cell effects, which were not shipped",
        )
    )
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scircuit.tracing.legacy.published_calibration FOLDER")
    print("\n".join(str(line) for line in recompute(Path(sys.argv[1]))))
