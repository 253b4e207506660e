"""Rebuilds the whole graph from runs on disk with Neo4j's import tool: the fastest first load.

The result equals streaming the same runs in the same order: nodes merged by key (later values win,
nulls delete nothing, an import does not replace what own runs wrote), relationships of a run
unchanged, facts without a run once per key, and the ledger, so that a later load finds everything
loaded.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from scircuit.core import schema
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, now
from scircuit.ingest import server
from scircuit.ingest.graph import found_by_run
from scircuit.ingest.graph.bulk_headers import DELIMITER, bulk_table
from scircuit.ingest.graph.chunks import chunks_of
from scircuit.ingest.graph.loader import load_order, run_properties
from scircuit.ingest.graph.statements import (
    LEDGER_LABEL,
    OWN,
    caption_without_label,
    carries_run,
    finding_blocks,
    records_own_values,
)
from scircuit.ingest.shards.shard_store import read_shard

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.ingest.graph.chunks import Chunk
    from scircuit.ingest.server import ImportReport

# A value is a string, a number, a list of them, or, under OWN, a set of property names.
Row = dict[str, Any]
Rows = dict[tuple[str, ...], Row]


def bulk_import(
    study_runs: Sequence[Path], home: Path, *, threads: int | None = None
) -> ImportReport:
    """Replace the graph of a stopped server by the content of these runs.

    Constraints and indexes cannot be imported; `scircuit.ingest.graph.loader.prepare` creates them.

    Parameters
    ----------
    study_runs
        Folders of the runs, in any order.
    home
        The stopped server's home.
    threads
        Threads of the import tool (default: all).

    Returns
    -------
    ImportReport
        Counts of the tool, ledger included, and the seconds for reading, writing and importing.

    Raises
    ------
    UserError
        If a shard is damaged, an end node of an edge is in none of the runs, the server is running,
        or the disk is full.
    """
    began = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="scircuit-", dir=_import_folder(Path(home))))
    try:
        nodes, relationships = _write(study_runs, scratch)
        report = server.import_full(Path(home), nodes, relationships, threads=threads)
    except OSError as error:
        raise UserError(
            f"cannot prepare the import in {scratch}: {error}", "free space on that disk"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return replace(report, seconds=time.monotonic() - began)


def _import_folder(home: Path) -> Path:
    folder = home / "import"
    if not folder.is_dir():
        raise UserError(f"there is no server in {home}", "start it there once: scircuit db start")
    return folder


def _write(
    folders: Sequence[Path], scratch: Path
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Write one file per kind, and return them by label and by relationship type."""
    import pyarrow as pa

    nodes: dict[str, Rows] = defaultdict(dict)
    facts: dict[str, Rows] = defaultdict(dict)
    edges: dict[str, list[pa.Table]] = defaultdict(list)
    ledger: list[Row] = []
    # by start and id, as the findings of a run that is streamed after a newer one are placed
    for manifest, folder in sorted(
        ((Manifest.load(folder), folder) for folder in folders),
        key=lambda run: (run[0].started, run[0].run),
    ):
        _merge(nodes["Run"], [{"id": manifest.run, **run_properties(manifest)}], ("id",))
        for entry in load_order(manifest.shards):
            table = read_shard(folder, entry)
            chunks = list(chunks_of(manifest.run, table, entry))
            if entry.kind in schema.NODES:
                for chunk in chunks:
                    _add_findings(chunk, manifest.run, nodes, facts)
                    _merge_nodes(
                        nodes[entry.kind],
                        entry.kind,
                        chunk.table.to_pylist(),
                        chunk.columns,
                        imported=manifest.verb == "import",
                    )
            elif carries_run(entry.kind):
                edges[entry.kind].append(table)
            else:
                _merge(facts[entry.kind], table.to_pylist(), schema.keys_of(entry.kind))
            ledger += [
                {
                    "key": chunk.key,
                    "run": manifest.run,
                    "kind": entry.kind,
                    "rows": chunk.table.num_rows,
                    "at": now(),
                    "content": chunk.content,
                    "late": chunk.late,
                    "sha256": entry.sha256,
                    "found": True if entry.kind == found_by_run.FEATURE else None,
                }
                for chunk in chunks
            ]
        _merge(
            nodes["Run"],
            [{"id": manifest.run, "status": manifest.status, "seconds": manifest.seconds}],
            ("id",),
        )

    for kind in (found_by_run.FEATURE, found_by_run.DICTIONARY):
        for (key,), row in nodes.get(kind, {}).items():
            for name, value in found_by_run.identity_of(kind, str(key)).items():
                if row.get(name) in (None, ""):
                    row[name] = value
    node_files = {kind: [_node_file(scratch, kind, rows)] for kind, rows in nodes.items()}
    relationship_files: dict[str, list[Path]] = defaultdict(list)
    tables = {
        kind: pa.concat_tables(parts, promote_options="default") for kind, parts in edges.items()
    }
    tables |= {kind: _table(kind, rows.values()) for kind, rows in facts.items()}
    for kind, table in tables.items():
        _check_ends(kind, table, nodes)
        relationship_files[schema.RELATIONSHIPS[kind].type].append(
            _file(scratch, kind, schema.conform(kind, table))
        )
    node_files[LEDGER_LABEL] = [_ledger_file(scratch, ledger)]
    return node_files, relationship_files


def _add_findings(chunk: Chunk, run: str, nodes: dict[str, Rows], facts: dict[str, Rows]) -> None:
    """What a run found out about its features, and the dictionaries of an annotate run."""
    if chunk.entry.kind != found_by_run.FEATURE:
        return
    rows = chunk.table.to_pylist()
    found = [{"source": run, **row} for row in found_by_run.found_rows(rows, chunk.columns)]
    _merge(facts[found_by_run.FOUND], found, ("source", "target"))
    if not run.startswith("annotate-"):
        return
    ends = ("source", "target")
    for one in found_by_run.dictionaries_of(row["id"] for row in rows):
        key, model = one["id"], one["model"]
        nodes[found_by_run.DICTIONARY].setdefault((key,), {"id": key})
        nodes["Model"].setdefault((model,), {"id": model, "name": model})
        _merge(facts["Dictionary-OF-Model"], [{"source": key, "target": model}], ends)
        _merge(facts["Run-USED-Dictionary"], [{"source": run, "target": key}], ends)
    _merge(
        facts["Feature-OF-Dictionary"],
        [
            {"source": row["id"], "target": identity["dictionary"]}
            for row in rows
            if (identity := found_by_run.identity_of(found_by_run.FEATURE, row["id"]))
        ],
        ends,
    )


def _merge(rows: Rows, new: Iterable[Row], keys: tuple[str, ...]) -> None:
    """Add rows by key; values that are not null win over earlier ones."""
    for row in new:
        known = rows.setdefault(tuple(row[k] for k in keys), row)
        if known is not row:
            known.update((name, value) for name, value in row.items() if value is not None)


def _merge_nodes(
    rows: Rows, kind: str, new: Iterable[Row], columns: list[str], *, imported: bool
) -> None:
    """Add nodes by key by the rules of `scircuit.ingest.graph.statements`: captions without a
    label, whole annotations, and what own runs wrote.
    """
    tracks_own = records_own_values(kind)
    no_label, blocks = caption_without_label(kind, columns), finding_blocks(kind, columns)
    for row in new:
        known = rows.setdefault((row["id"],), {})
        own: frozenset[str] = known.get(OWN, frozenset())
        given = {name: value for name, value in row.items() if value is not None}
        if no_label and given.get("name") and (known.get("name") or "").startswith(given["name"]):
            del given["name"]
        replaced = [
            name
            for mark, block in blocks.items()
            if given.get(mark)
            for name in block
            if name in own or name not in schema.ALSO_PUBLISHED
        ]
        for name in replaced:
            known.pop(name, None)
        if tracks_own and imported:
            given = {name: value for name, value in given.items() if name not in own}
        elif tracks_own:
            given = {
                name: value for name, value in given.items() if name in own or value not in ("", [])
            }
            written = {*given, *replaced} - {"id", *(("name",) if no_label else ())}
            if not written <= own:
                known[OWN] = own | written
        known.update(given)


def _table(kind: str, rows: Iterable[Row]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=schema.arrow_schema(kind))


def _check_ends(kind: str, table: pa.Table, nodes: dict[str, Rows]) -> None:
    """Name the end nodes that are in no run; the tool itself would only count them."""
    relationship = schema.RELATIONSHIPS[kind]
    for key, label in (("source", relationship.source), ("target", relationship.target)):
        known = nodes.get(label, {})
        missing = [i for i in table.column(key).unique().to_pylist() if (i,) not in known]
        if missing:
            raise UserError(
                f"{kind}: {len(missing)} {key} ids are nodes of none of the runs:"
                f" {', '.join(missing[:5])}",
                "import the runs that define them as well (all runs of the study)",
            )


def _node_file(scratch: Path, kind: str, rows: Rows) -> Path:
    """File of the nodes of a kind, with a column that lists the properties that own runs wrote."""
    import pyarrow as pa

    declared = [p.name for p in schema.properties_of(kind)]
    own = [
        [name for name in declared if name in row[OWN]] if OWN in row else None
        for row in rows.values()
    ]
    more = (
        {
            f"{OWN}:string[]": pa.array(
                [None if names is None else DELIMITER.join(names) for names in own], pa.string()
            )
        }
        if any(own)
        else {}
    )
    return _file(scratch, kind, _table(kind, rows.values()), more)


def _file(
    scratch: Path, kind: str, table: pa.Table, more: Mapping[str, pa.Array] = MappingProxyType({})
) -> Path:
    import pyarrow.parquet as pq

    path = scratch / f"{kind}.parquet"
    written = bulk_table(kind, table)
    for header, column in more.items():
        written = written.append_column(header, column)
    pq.write_table(written, path, compression="snappy")
    return path


def _ledger_file(scratch: Path, ledger: list[Row]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {"key": "key:ID(_LoadChunk)"}
    columns = ("key", "run", "kind", "rows", "at", "content", "late", "sha256", "found")
    path = scratch / "ledger.parquet"
    table = pa.table({names.get(c, c): [row[c] for row in ledger] for c in columns})
    found = pa.array([row["found"] for row in ledger], pa.bool_())
    pq.write_table(table.set_column(len(columns) - 1, "found", found), path)
    return path
