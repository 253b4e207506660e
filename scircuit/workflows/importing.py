"""``scircuit import``: imports published results into the study and its graph."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.build_config import build, plain
from scircuit.core.config import (
    DEFAULT_STUDY,
    IMPORTS,
    ImportAtlasConfig,
    ImportEdgesConfig,
    ImportGraphConfig,
    ImportMapConfig,
)
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import say
from scircuit.core.study import Study
from scircuit.execution.active_run import ActiveRun, active_run, links
from scircuit.execution.run_result import RunResult
from scircuit.tracing.tokenisation.vocabulary import human_gene_ids

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.ingest.importers.source import Source

ImportConfig = ImportAtlasConfig | ImportMapConfig | ImportEdgesConfig | ImportGraphConfig
READERS = {
    "atlas": "scircuit.ingest.importers.atlas.atlas_source",
    "map": "scircuit.ingest.importers.exhaustive_map.map_source",
    "edges": "scircuit.ingest.importers.edges.edges_source",
    "graph": "scircuit.ingest.importers.attribution_graph.graph_source",
}


def import_(
    kind: str,
    config: ImportConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: object,
) -> RunResult:
    """Import published results: an ``atlas`` of features, a ``map`` of an exhaustive study,
    ``edges`` of a circuit study, or an attribution ``graph``.

    Nothing is written before every file has been read and checked. Importing the same files again
    changes nothing.

    Raises
    ------
    UserError
        If a file is damaged or of another format, another import of the study has the same name
        with other files or has the same edges in another format, or the study has a smaller
        dictionary or model of that name.
    """
    if kind not in READERS:
        raise UserError(
            f"there is no importer {kind!r}", f"available importers: {', '.join(READERS)}"
        )
    config = config or build(IMPORTS[kind], options)
    place = Study(Path(study))
    from scircuit.ingest.importers.conflicts import check_conflicts  # imports pyarrow

    source = importlib.import_module(READERS[kind]).read(config, human_gene_ids())
    _refuse_same_name(place, source)
    notes = [*source.notes, *check_conflicts(place, source)]
    if not quiet:
        for note in notes:
            say(f"  {note}")
    inputs = {
        "format": source.format,
        "name": source.name,
        "files": dict(sorted(source.files.items())),
    }
    identity = {k: v for k, v in plain(config).items() if k not in ("path", "terms")}
    with active_run(
        place,
        "import",
        plain(config),
        inputs,
        identity=identity,
        database=database,
        record=source.run_properties(),
    ) as run:
        new = not run.finished
        if new:
            for unit, tables in source.units.items():
                run.write(unit, tables())
            run.write("provenance", _provenance(run))
            run.write(
                "used",
                {
                    k: t
                    for label, ids in source.uses.items()
                    for k, t in links(f"Run-USED-{label}", run.id, list(ids)).items()
                },
            )
            findings = {
                **source.findings,
                "format": source.format,
                "name": source.name,
                "lacks": list(source.lacks),
                "cap": source.cap,
            }
            run.conclude({**findings, "sentences": list(source.sentences), "notes": notes})
            if database and not quiet:
                say(
                    f"  {sum(e.rows for e in run.store.manifest.shards):,} records are on disk and"
                    " are being loaded into the graph"
                )
    return run.result(new)


def _provenance(run: ActiveRun) -> dict[str, pa.Table]:
    """Links interventions and controls to this run, whose id no importer knows."""
    import pyarrow as pa

    ids = {label: run.store.tables(label).column("id") for label in ("Intervention", "Control")}
    return {
        f"{label}-FROM-Run": pa.table({"source": found, "target": pa.repeat(run.id, len(found))})
        for label, found in ids.items()
    }


def _refuse_same_name(study: Study, source: Source) -> None:
    """Two sources with the same format and name but different files would mix their properties on
    the same nodes.
    """
    for manifest in study.manifests():
        known = manifest.inputs
        if manifest.verb != "import" or (known.get("format"), known.get("name")) != (
            source.format,
            source.name,
        ):
            continue
        changed = sorted(
            f
            for f in {*known["files"], *source.files}
            if known["files"].get(f) != source.files.get(f)
        )
        if changed:
            raise UserError(
                f"study {study.root} already has another {source.format} called {source.name} (run"
                f" {manifest.run}); {len(changed)} files differ, such as {changed[0]}",
                "give this import another name (--dictionary-name), or delete the other: scircuit"
                f" runs delete {manifest.run} --study {quoted(study.root)}",
            )
