"""An atlas read plainly: json, loops and dictionaries, written from the description of its files
and sharing no code with the importer.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

EDGE_ENTRIES = ("STRING_edges", "TRRUST_edges")


def load(folder: Path, name: str) -> Any:
    """Content of a file, plain or gzipped; None where it is missing."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            raw = path.read_bytes()
            return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return None


def text(folder: Path, name: str) -> str:
    """Text of a file."""
    path = folder / name
    return (
        path.read_bytes()
        if path.exists()
        else gzip.decompress((folder / f"{name}.gz").read_bytes())
    ).decode()


def strict(content: str) -> bool:
    """Whether a parser of standard JSON accepts a text."""

    def refuse(constant: str) -> float:
        raise ValueError(constant)

    try:
        json.loads(content, parse_constant=refuse)
    except ValueError:
        return False
    return True


class Plain:
    """Expected records as lists of plain tuples, by relationship."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary = load(folder, "global_summary.json")
        self.layers, self.width = self.summary["n_layers"], self.summary["n_features_per_layer"]
        self.features: dict[tuple[int, int], dict] = {}
        self.genes: dict[tuple[int, int], list] = {}
        self.terms: list[tuple] = []
        self.densities: dict[tuple[int, int], dict] = defaultdict(dict)
        self.active: dict[str, list[tuple]] = {"ct": [], "ti": []}
        self.present: dict[str, list[int]] = {
            k: [] for k in ("features", "annotations", "celltypes", "positions")
        }
        self.infinite = {"annotations": 0, "celltypes": 0}
        for layer in range(self.layers):
            self._layer(layer)
        self.modules = load(folder, "modules.json")
        self.links = [
            (int(key[1:3]), source["a"], int(key[5:7]), d["b"], d["pmi"])
            for key, pair in load(folder, "cross_layer_graph.json").items()
            for source in pair["deps"]
            for d in source["deps"]
        ]
        self.causal = load(folder, "causal_patching.json")
        self.perturbations = (load(folder, "perturbation_response.json") or {"targets": []})[
            "targets"
        ]
        self.clusters = [
            (int(key), c)
            for key, one in (load(folder, "novel_clusters.json") or {}).items()
            for c in one["clusters"]
        ]

    def _layer(self, layer: int) -> None:
        parts = {kind: load(self.folder, f"layer_{layer:02d}_{kind}.json") for kind in self.present}
        for kind, value in parts.items():
            if value is not None:
                self.present[kind].append(layer)
        for row in parts["features"] or ():
            self.features[layer, row["i"]] = row
            self.genes[layer, row["i"]] = [(g["n"], g["a"], None) for g in row["tg"]]
        for key, one in (parts["annotations"] or {}).items():
            at = (layer, int(key))
            self.genes[at] = [(g["n"], g["a"], g["fc"]) for g in one["genes"]]
            for a in one["anns"]:
                if a["o"] in EDGE_ENTRIES:
                    self.densities[at][a["o"]] = a["p"]
                else:
                    self.infinite["annotations"] += math.isinf(a["or"])
                    self.terms.append((*at, a["o"], a["t"], a["p"], a["or"], a["n"], tuple(a["g"])))
        for key, one in ((parts["celltypes"] or {}).get("features", {})).items():
            for kind, name in (("ct", "c"), ("ti", "t")):
                for row in one[kind]:
                    self.infinite["celltypes"] += math.isinf(row["or"])
                    self.active[kind].append(
                        (layer, int(key), row[name], row["p"], row["or"], row.get("n"))
                    )

    @property
    def gene_symbols(self) -> set[str]:
        """Symbols in the lists of top genes."""
        return {symbol for genes in self.genes.values() for symbol, _, _ in genes}

    def entries(self, layer: int, index: int) -> int:
        """Entries of a feature: terms and densities."""
        return self._entries.get((layer, index), 0)

    @property
    def _entries(self) -> dict[tuple[int, int], int]:
        if not hasattr(self, "_counted"):
            self._counted: dict[tuple[int, int], int] = defaultdict(int)
            for row in self.terms:
                self._counted[row[0], row[1]] += 1
            for at, found in self.densities.items():
                self._counted[at] += len(found)
        return self._counted


def accession(ontology: str, name: str) -> str:
    """Id of the term behind an annotation."""
    if ontology == "TRRUST_TF_enrichment":
        return "TRRUST-atlas:transcription_factors"
    found = re.search(r"\((GO:\d{7})\)$|(R-[A-Z]{3}-\d+)$", name) if ontology != "KEGG" else None
    return f"{ontology}-atlas:{(found[1] or found[2]) if found else name}"


def infinite_odds(value: float) -> bool:
    """An odds ratio with nothing in the denominator: Infinity, or a d / 1e-10."""
    return value >= 1e10
