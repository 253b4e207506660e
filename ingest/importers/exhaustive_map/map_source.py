"""``scircuit import map``: the result files of the published exhaustive map of layer 5, as the
nodes and properties that own runs write.

Degrees, hub ranks and calibration become Feature properties and a Control (`map_degrees`), triplet
ablations and steering become Interventions (`map_interventions`). So do the later results: the
steering panel (`map_panel`), further triplets (`map_triplets`), random directions and importance
(`map_controls`). Files that are not read are listed with the reason (`unread_files`).

The files have no edges: the study kept the 50 strongest per source and layer in files that were not
published, so comparisons that need edges are refused. Any file may be missing; the present ones are
checked against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.config import ImportMapConfig
from scircuit.core.edge_rules import LEGACY_TEXT
from scircuit.core.errors import UserError
from scircuit.ingest.importers.exhaustive_map import map_panel, map_triplets
from scircuit.ingest.importers.exhaustive_map.map_controls import FILES as LATER_FILES
from scircuit.ingest.importers.exhaustive_map.map_controls import read_controls
from scircuit.ingest.importers.exhaustive_map.map_degrees import FILES, Degrees, read_degrees
from scircuit.ingest.importers.exhaustive_map.map_interventions import (
    Interventions,
    read_signatures,
    read_steering,
    read_triplets,
)
from scircuit.ingest.importers.exhaustive_map.unread_files import unread_notes
from scircuit.ingest.importers.feature_nodes import Key, feature_tables, kind_table, used_nodes
from scircuit.ingest.importers.source import Source
from scircuit.ingest.importers.strict_files import check_names, hashes

if TYPE_CHECKING:
    import pyarrow as pa

CAP = 50
RULE = (
    f"published: {LEGACY_TEXT}, cells without effect counted as"
    " negative; calibrated as published: also |g| > 0.5 and Benjamini-Hochberg 0.05 of 500 sign"
    " flips"
)
_TRIPLETS, _STEERING = "higher_order_ablation", "trajectory_steering"


def read(config: ImportMapConfig, gene_ids: Mapping[str, str]) -> Source:
    """Read and check the result files below a folder.

    Parameters
    ----------
    config
        Folder, and the names for the addresses of the features.
    gene_ids
        Gene symbol -> Ensembl id.

    Raises
    ------
    UserError
        If there is no such file, one is damaged, or two contradict each other.
    """
    model, dictionary = config.model_name, config.dictionary_name
    check_names(model, dictionary)
    root = _root(Path(config.path))
    single = {n: root / n for n in (*FILES, *LATER_FILES) if (root / n).is_file()}
    panel = _below(
        root / map_panel.FOLDER, ("summary.json", "readout_analysis.json", "features/*.json")
    )
    later = _below(root / map_triplets.FOLDER, ("summary.json", "triplets.json"))
    triplets = sorted((root / _TRIPLETS).glob("triplet_*.json"))
    steered = sorted((root / _STEERING).glob("steering_*.json"))
    rest = {
        name: path
        for name in (
            f"{_TRIPLETS}/summary.json",
            f"{_STEERING}/summary.json",
            f"{_STEERING}/state_signatures.npz",
        )
        if (path := root / name).is_file()
    }
    used = [
        *(*single.values(), *triplets, *steered, *rest.values()),
        *(*panel.values(), *later.values()),
    ]
    degrees, done = read_degrees(single), Interventions()
    read_triplets(done, model, dictionary, triplets, rest.get(f"{_TRIPLETS}/summary.json"))
    read_steering(done, model, dictionary, steered, rest.get(f"{_STEERING}/summary.json"), gene_ids)
    if signatures := rest.get(f"{_STEERING}/state_signatures.npz"):
        read_signatures(done, signatures)
    map_panel.read_panel(done, model, dictionary, panel)
    map_triplets.read_later_triplets(done, model, dictionary, later)
    read_controls(degrees, done, model, dictionary, single)
    tables = _tables(model, dictionary, degrees, done)
    return Source(
        format="exhaustive-map",
        name=f"{model}/{dictionary}",
        files=hashes(used, root),
        units={"map": lambda: tables},
        uses=used_nodes(tables),
        origin="Biodyn-AI/sae-biological-map, result files",
        lacks=("edges", "all_edges", "counts", "sd", "p", "computed", "cells", "symmetric_rule"),
        cap=CAP,
        rule=RULE,
        findings={
            **degrees.findings,
            **done.findings,
            "records": {kind: t.num_rows for kind, t in tables.items()},
        },
        sentences=(*degrees.sentences, *done.sentences),
        notes=(*degrees.notes, *done.notes, *_absent(root, single, triplets, steered, used)),
    )


def _root(path: Path) -> Path:
    """The folder with the known folders: the given one, or ``results`` in it."""
    folders = sorted({name.split("/")[0] for name in (*FILES, _TRIPLETS, _STEERING)})
    for root in (path, path / "results"):
        if any((root / f).is_dir() for f in folders):
            return root
    what = (
        "is not a folder" if not path.is_dir() else f"has none of the folders {', '.join(folders)}"
    )
    raise UserError(
        f"{path} {what}",
        "give the folder of the map's result files (results/ of the published repository)",
    )


def _absent(
    root: Path,
    single: Mapping[str, Path],
    triplets: list[Path],
    steered: list[Path],
    used: list[Path],
) -> list[str]:
    """Notes on missing files, and on files that were not read."""
    notes = [f"{name} is missing: its values are left out" for name in FILES if name not in single]
    notes += [
        f"{folder}: no files, left out"
        for folder, found in ((_TRIPLETS, triplets), (_STEERING, steered))
        if not found
    ]
    return [*notes, *unread_notes(root, set(used))]


def _below(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    """Path below a folder -> file, of those that match."""
    found = sorted(p for pattern in patterns for p in folder.glob(pattern))
    return {p.relative_to(folder).as_posix(): p for p in found if p.is_file()}


def _tables(
    model: str, dictionary: str, degrees: Degrees, done: Interventions
) -> dict[str, pa.Table]:
    features: dict[Key, dict[str, object]] = {k: dict(v) for k, v in degrees.features.items()}
    for key, more in done.features.items():
        features[key] = {**more, **features.get(key, {})}
    if not features:
        raise UserError(
            "the result files describe no features",
            "check that the folder has the map's result files",
        )
    tables = feature_tables(model, dictionary, features)
    tables["Gene"] = kind_table(
        "Gene",
        [
            {"id": g, "name": s, "symbol": None if s.startswith("ENSG") else s}
            for g, s in sorted(done.genes.items())
        ],
    )
    tables["Control"] = kind_table(
        "Control",
        [
            {"id": f"{model}/{dictionary}/L{c['source_layer']:02d}/{c['control']}", **c}
            for c in degrees.controls
        ],
    )
    tables |= {kind: kind_table(kind, rows) for kind, rows in done.rows.items()}
    return tables
