"""The 14 published steering runs: shares of cells, most moved genes, state signatures."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.study_files import StudyFiles

_SUMMARY = "trajectory_steering/summary.json"
_EACH = "trajectory_steering/steering_*.json"
SIGNATURES = "trajectory_steering/state_signatures.npz"
_SHARES = {0: "0.33764", 5: "0.66883", 11: "0.26147", 17: "1.00000"}
_GENES = (
    *("CD24", "CDCA2", "CLEC4E", "CCL3", "MIIP", "ADAMTS2", "MCM4", "UPK1B", "PPP1R14A", "SEMA4F"),
    *("C15orf61", "ZYG11B", "POLR1E", "KLF9"),
)


def runs(files: StudyFiles) -> list[Any]:
    """The per-feature results, by layer and index."""
    return sorted(files.all_json(_EACH).values(), key=lambda r: (r["layer"], r["feature_idx"]))


def _share(layer: int) -> Callable[[StudyFiles], Value]:
    return lambda files: statistics.mean(
        r["alpha_results"]["5.0"]["frac_positive_shift"] for r in runs(files) if r["layer"] == layer
    )


def _agree(files: StudyFiles) -> str:
    stated = {(f["layer"], f["feature_idx"]): f for f in files.json(_SUMMARY)["features"]}
    single = runs(files)
    same = sum(
        stated[r["layer"], r["feature_idx"]]["alpha_results"] == r["alpha_results"] for r in single
    )
    return f"{same} of {len(stated)}"


def _top_genes(files: StudyFiles) -> str:
    top = {r["alpha_results"]["5.0"]["top_upregulated"][0]["gene"] for r in runs(files)}
    return f"{len(top & set(_GENES))} of {len(_GENES)}"


def _signatures(files: StudyFiles) -> Value:
    import numpy as np

    path = files.path(SIGNATURES)
    if path is None:
        raise ValueError(f"{SIGNATURES} is missing")
    with np.load(path, allow_pickle=False) as data:
        early, late = data["early"], data["late"]
    one, two = float(np.linalg.norm(early)), float(np.linalg.norm(late))
    return [len(early), one, two, float(early @ late) / (one * two)]


STEERING = Theme(
    "steering",
    "Steering, first release",
    (
        Check("agree", "feature files equal to the summary", "14 of 14", _agree, (_SUMMARY, _EACH)),
        *(
            Check(
                f"share_L{layer}",
                f"layer {layer}, coefficient 5: mean share of cells with a rising state shift",
                printed,
                _share(layer),
                (_EACH,),
            )
            for layer, printed in _SHARES.items()
        ),
        Check(
            "genes",
            "most raised gene of each feature at coefficient 5",
            "14 of 14",
            _top_genes,
            (_EACH,),
        ),
        Check(
            "signatures",
            "state signatures: length, norms, cosine",
            "20,275 / 228.148759 / 238.791458 / 0.9825272276",
            _signatures,
            (SIGNATURES,),
        ),
        Check(
            "cells",
            "probe cells (57 + 630 labelled cells, text: 670)",
            "670",
            lambda _: 57 + 630,
            (),
            "17 were lost when the cells were turned into tokens",
            claim=True,
        ),
        Check(
            "pseudotime",
            "pseudotime of the cells",
            "",
            note="needs cell_metadata.json, which was not published",
        ),
    ),
)
