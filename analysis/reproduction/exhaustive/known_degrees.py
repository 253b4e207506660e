"""Degrees of layer-5 features that the result files state.

The first tracing (double precision) gives the degrees of its top 20 and of the features that later
analyses list; the second (``edges_raw.json``) stored effects in half precision and may differ by
one or two. The first takes precedence.
"""

from __future__ import annotations

from typing import Any

from scircuit.analysis.reproduction.study_files import StudyFiles

SUMMARY = "exhaustive_tracing/exhaustive_summary.json"
RAW = "revision/P1_calibration/edges_raw.json"
FDR = "revision/P1_calibration/edges_fdr.json"
ANNOTATION = "revision/P5_annotation/annotation_enrichment_raw.json"
NORMMATCHED = "revision/P1_normmatched/summary.json"
CONTIGUOUS = 396  # every active feature up to this index was traced again, whatever its degree
HUBS = "revision/P6_hub_importance/summary.json"


def by_feature(files: StudyFiles, name: str) -> dict[int, Any]:
    """A file ``{index: value}``, ascending by index."""
    return dict(sorted((int(k), v) for k, v in files.json(name).items()))


def layer_tests(files: StudyFiles, layer: str) -> dict[str, Any]:
    """The annotation tests of one layer, such as ``L5``."""
    return next(part for part in files.json(ANNOTATION) if part["layer"] == layer)


def exact_degrees(files: StudyFiles) -> dict[int, int]:
    """Degrees of the first tracing, from whichever files are present."""
    found: dict[int, int] = {}
    if files.path(HUBS):
        for arm in files.json(HUBS)["arms"].values():
            found |= {f["feature_idx"]: f["edges"] for f in arm}
    if files.path(NORMMATCHED):
        found |= {
            f["feature_idx"]: f["observed_degree"] for f in files.json(NORMMATCHED)["per_feature"]
        }
    if files.path(ANNOTATION):
        top = layer_tests(files, "L5")["frequency"]["residual_hub_top20"]
        found |= {f["feature_idx"]: f["edges"] for f in top}
    if files.path(SUMMARY):
        top = files.json(SUMMARY)["top_20_hubs"]
        found |= {f["feature_idx"]: f["total_edges"] for f in top}
    return dict(sorted(found.items()))


def known_degrees(files: StudyFiles) -> dict[int, int]:
    """All stated degrees, the first tracing before the second, ascending by index."""
    found = {**by_feature(files, RAW), **files.once("exact degrees", exact_degrees)}
    return dict(sorted(found.items()))
