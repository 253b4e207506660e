"""Findings beside the run that computed them: one Parquet file each, with the words and numbers in
its metadata. The report draws them from there, and writes them as CSV; every run that ends writes
their words and numbers to the graph (`scircuit.execution.active_run.ActiveRun.conclude`).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.errors import UserError
from scircuit.core.files import atomic_path, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.analysis.finding import Draw, Finding

DRAWN_BY: dict[str, str] = {
    "novelty": "scircuit.analysis.novelty.edge_novelty",
    "disease": "scircuit.analysis.disease.disease_finding",
    "knock_outs": "scircuit.analysis.gene_predictions.knock_out_finding",
    "gene_pairs": "scircuit.analysis.gene_predictions.pair_finding",
    "set_classes": "scircuit.analysis.interventions.set_classes",
    "steering_layers": "scircuit.analysis.steering.layer_comparison",
    "attenuation": "scircuit.analysis.structure.attenuation",
    "sign_structure": "scircuit.analysis.structure.sign_structure",
    "degree_inequality": "scircuit.analysis.structure.degree_inequality",
    "hub_stability": "scircuit.analysis.structure.hub_stability",
    "modules": "scircuit.analysis.structure.modules_finding",
    "motifs": "scircuit.analysis.structure.motifs",
    "page_rank": "scircuit.analysis.structure.page_rank",
    "hub_importance": "scircuit.analysis.behaviour.hub_importance",
    "behaviour_circuit": "scircuit.analysis.behaviour.behaviour_circuit",
    "coherence": "scircuit.analysis.coherence.edge_coherence",
    "rule_survival": "scircuit.analysis.consensus.rule_survival",
    "consensus": "scircuit.analysis.consensus.domain_pairs",
    "consensus_pairs": "scircuit.analysis.consensus.common_pairs",
    "agreed_edges": "scircuit.analysis.consensus.agreed_edges",
    "regulon_support": "scircuit.analysis.consensus.regulon_support",
    "replication": "scircuit.analysis.consensus.replication",
    "term_contrast": "scircuit.analysis.consensus.term_contrast",
}
"""Name of a finding -> module with its ``draw(frame, numbers, ax)``."""

FOLDER = "findings"
_KEY = b"scircuit"


def write_findings(run_folder: Path, findings: Iterable[Finding]) -> None:
    """Write each finding of a run to ``findings/<name>.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = run_folder / FOLDER
    for order, finding in enumerate(findings):
        folder.mkdir(exist_ok=True)
        words = {
            "order": order,
            **{k: getattr(finding, k) for k in ("name", "title", "sentence", "null")},
            "numbers": dict(finding.numbers),
        }
        table = pa.Table.from_pandas(finding.frame, preserve_index=False)
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), _KEY: canonical_json(words).encode()}
        )
        with atomic_path(folder / f"{finding.name}.parquet") as temporary:
            pq.write_table(table, temporary)


def finding_records(run_folder: Path, run: str, verb: str) -> dict[str, pa.Table]:
    """Records of the findings stored beside a run, by kind: their words and numbers, and that they
    come from the run; empty without any.
    """
    import pyarrow.parquet as pq

    from scircuit.core.schema import schema_table

    words = [
        json.loads((pq.read_schema(path).metadata or {})[_KEY])
        for path in sorted((run_folder / FOLDER).glob("*.parquet"))
    ]
    if not words:
        return {}
    words.sort(key=lambda w: (w["order"], w["name"]))
    ids = [f"{run}/{w['name']}" for w in words]
    p = [w["numbers"].get("p") for w in words]
    columns = {
        "id": ids,
        "verb": [verb] * len(ids),
        "position": [w["order"] for w in words],
        **{k: [w[k] for w in words] for k in ("name", "title", "sentence")},
        "null_text": [w["null"] for w in words],
        "numbers": [canonical_json(w["numbers"]) for w in words],
        "p": [float(v) if isinstance(v, int | float) else None for v in p],
        "run": [run] * len(ids),
    }
    from_run = {"source": ids, "target": [run] * len(ids)}
    return {
        "Finding": schema_table("Finding", columns),
        "Finding-FROM-Run": schema_table("Finding-FROM-Run", from_run),
    }


def read_findings(run_folder: Path) -> list[Finding]:
    """The findings stored beside a run, in the order in which they were written.

    Raises
    ------
    UserError
        If a file is not one that `write_findings` wrote.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from scircuit.analysis.finding import Finding

    found: list[tuple[int, Finding]] = []
    for path in sorted((run_folder / FOLDER).glob("*.parquet")):
        try:
            table = pq.read_table(path)
            words = json.loads((table.schema.metadata or {})[_KEY])
            order = int(words.pop("order"))
            draw = _draw(str(words["name"]))
            found.append((order, Finding(**words, frame=table.to_pandas(), draw=draw)))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read as a finding: {type(error).__name__}",
                f"delete {path.parent} and compute the run again",
            ) from error
    return [finding for _, finding in sorted(found, key=lambda f: (f[0], f[1].name))]


def _draw(name: str) -> Draw | None:
    return importlib.import_module(DRAWN_BY[name]).draw if name in DRAWN_BY else None
