"""``scircuit analyse``: degrees, hubs, heavy tail and annotation bias of a trace run; for imported
edges the degrees and their tail.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, AnalyseConfig
from scircuit.core.errors import UserError
from scircuit.core.files import sha256_file
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import active_run
from scircuit.execution.evidence_inputs.annotation_terms import parents_of, terms_of
from scircuit.execution.feature_table import features_of
from scircuit.execution.find_runs import child_of, imported_run, refuse_imported, trace_run
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.analysis.circuits.circuit_analysis import Analysis
    from scircuit.analysis.circuits.imported_edges import ImportedDegrees
    from scircuit.analysis.finding import Finding


def analyse(
    config: AnalyseConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    **options: object,
) -> RunResult:
    """Analyse a trace run: findings as Feature properties and as frames.

    Of an imported run the degrees by the published rule and their tail are analysed.

    Returns
    -------
    RunResult
        ``sentences`` are the findings in words; ``table("Feature")`` has them per feature;
        ``detail`` is the analysis, with its frames and plots; ``stored`` has the further findings
        by name.

    Raises
    ------
    UserError
        If there is no complete trace run, or the imported one does not have what an analysis needs.
    """
    config = config or build(AnalyseConfig, options)
    place = Study(Path(study))
    imported = imported_run(place, config.run)
    if imported:
        refuse_imported(imported, ("edges",), "an analysis of its edges")
    parent = imported or trace_run(place, config.run)
    annotation = child_of(place, "annotate", parent.run)
    parents = (parent.run,) + ((annotation.run,) if annotation else ())
    identity = {k: v for k, v in plain(config).items() if k not in ("run", "background")}
    inputs = _background(config.background)
    result: Analysis | ImportedDegrees | None = None
    with active_run(
        place,
        "analyse",
        {**plain(config), "run": parent.run},
        inputs,
        identity=identity,
        parents=parents,
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            result = (
                compute_imported(place, parent, config)
                if imported
                else compute(place, parent, annotation, config, run.id)
            )
            further = [] if imported else _further(result, config)
            write_findings(run.folder, further)
            run.write("findings", _records(result, further))
            run.conclude(
                {
                    **result.findings,
                    "sentences": [*result.sentences, *(f.sentence for f in further)],
                    "further": {f.name: dict(f.numbers) for f in further},
                }
            )
    again = (
        partial(compute_imported, place, parent, config)
        if imported
        else partial(compute, place, parent, annotation, config, run.id, further=False)
    )
    return run.result(new, again if result is None else lambda: result)


def _background(path: Path | None) -> dict[str, str]:
    """Hash of the file of what is known, which is read once so that a wrong one is refused before
    anything is computed; nothing without one: ids of runs without a background stay.
    """
    if path is None:
        return {}
    from scircuit.analysis.genesets.readers import read_library

    read_library(path)
    return {"background": sha256_file(path)}


def _further(result: Analysis | ImportedDegrees, config: AnalyseConfig) -> list[Finding]:
    from scircuit.analysis.circuit_findings import circuit_findings
    from scircuit.analysis.circuits.circuit_analysis import Analysis

    return circuit_findings(result.inputs, config) if isinstance(result, Analysis) else []


def _records(result: Analysis | ImportedDegrees, further: list[Finding]) -> dict[str, pa.Table]:
    """The tables of all findings by kind; the properties of a feature in one record."""
    import pyarrow as pa

    from scircuit.analysis.circuit_findings import merged_features

    by_kind: dict[str, list[pa.Table]] = {"Feature": [result.features]}
    for finding in further:
        for kind, table in finding.records.items():
            by_kind.setdefault(kind, []).append(table)
    features = merged_features(by_kind.pop("Feature"))
    return {"Feature": features} | {k: pa.concat_tables(v) for k, v in by_kind.items()}


def compute(
    study: Study,
    trace: Manifest,
    annotation: Manifest | None,
    config: AnalyseConfig,
    run: str,
    *,
    further: bool = True,
) -> Analysis:
    """The analysis itself, from the shards of the runs; with what only the further findings read,
    unless these are stored already.
    """
    from scircuit.analysis.circuits.circuit_analysis import analyse as analyse_tables
    from scircuit.analysis.genesets.trrust import shipped_trrust
    from scircuit.ingest.shards.shard_store import ShardStore

    store = ShardStore(study.run_folder(trace.run))
    named = features_of(study, annotation) if annotation else None
    terms = annotation if further else None
    return analyse_tables(
        features_of(study, trace),
        store.tables("Feature-AFFECTS-Feature"),
        named,
        config,
        run,
        shipped_trrust(),
        terms_of(study, terms) if terms else None,
        parents_of(study, terms) if terms else None,
        store.tables("Feature-CONTROL_AFFECTS-Feature") if further else None,
    )


def compute_imported(study: Study, imported: Manifest, config: AnalyseConfig) -> ImportedDegrees:
    """Degrees by the published rule, from the shards of an imported run."""
    from scircuit.analysis.circuits.imported_edges import analyse_imported
    from scircuit.ingest.shards.shard_store import ShardStore

    edges = ShardStore(study.run_folder(imported.run)).tables("Feature-AFFECTS-Feature")
    if not edges.num_rows:
        raise UserError(
            f"run {imported.run} ({imported.findings.get('format')}) has no effects of ablations"
            " between features",
            "analyse a trace run, or imported edges",
        )
    return analyse_imported(
        features_of(study, imported),
        edges,
        imported.findings.get("lacks", ()),
        sources=imported.findings.get("sources"),
        seed=config.seed,
        bootstrap=config.bootstrap,
    )
