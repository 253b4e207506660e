"""The records of a run as a part of the graph for export: read from its shards, no database needed.

Tables hold all records of the run: its nodes, and the ends of its edges. A graph holds what is to
be drawn and counted: no controls, which would pass for edges, and nothing of provenance; of the
nodes those with an edge. Properties of nodes are completed from the runs it was computed from and
from the newest annotation and analysis of it, as they are in the graph. Edges are filtered shard by
shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from scircuit.core import schema
from scircuit.core.address import listed, parse
from scircuit.core.config import ExportConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, ShardEntry, Study
from scircuit.execution.feature_table import joined
from scircuit.execution.find_runs import child_of

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.queries.graph_export.graph_part import Part

EDGES = "Feature-AFFECTS-Feature"
THRESHOLDED = (EDGES, "Feature-CONTROL_AFFECTS-Feature")
PROVENANCE = ("OF", "NEXT", "FROM", "USED")


def part_of_run(study: Study, run: Manifest, config: ExportConfig, *, graph: bool) -> Part:
    """Make the part: a graph, or all records.

    Raises
    ------
    UserError
        If a feature is malformed or unknown to the run, or no edge is left.
    """
    from scircuit.ingest.shards.shard_store import ShardStore
    from scircuit.queries.graph_export.graph_part import Part, bare

    store = ShardStore(study.run_folder(run.run))
    chosen = _features(config.features)
    kinds = [k for k in schema.RELATIONSHIPS if any(s.kind == k for s in run.shards)]
    give = {
        kind: partial(_edges, store, [s for s in run.shards if s.kind == kind], config.q, chosen)
        for kind in kinds
    }
    wanted = [
        k
        for k in kinds
        if not graph or (k not in THRESHOLDED[1:] and k.split("-")[1] not in PROVENANCE)
    ]
    ends, counts, found = _count({k: give[k] for k in wanted})
    edges = {kind: give[kind] for kind in wanted if counts[kind]}
    if not any(k.split("-")[1] not in PROVENANCE for k in edges) or (
        EDGES in kinds and EDGES not in edges
    ):
        raise _nothing(run, config, kinds)
    if missing := sorted(chosen - found):
        raise UserError(
            f"{len(missing)} of {len(chosen)} features have no edge in run {run.run} up to q"
            f" {config.q:g}, such as {missing[0]}",
            "leave them out, or raise --q",
        )
    nodes: dict[str, pa.Table] = {}
    for label in schema.NODES:
        needed = ends.get(label, set())
        frame = joined([t for m in _knowing(study, run) for t in _node_tables(study, m, label)])
        own = (
            set()
            if chosen or graph
            else {i for t in _node_tables(study, run, label) for i in t.column("id").to_pylist()}
        )
        frame = frame[frame["id"].isin(list(own | needed))]
        known = set(frame["id"])
        tables = [schema.conform(label, _arrow(frame))] if len(frame) else []
        if lost := sorted(needed - known):
            tables.append(schema.conform(label, bare(label, lost)))
        if tables:
            import pyarrow as pa

            nodes[label] = pa.concat_tables(tables, promote_options="default")
    rows = {label: table.num_rows for label, table in nodes.items()} | {
        kind: counts[kind] for kind in edges
    }
    return Part(
        run.run, {k: partial(iter, [t]) for k, t in nodes.items()}, edges, rows, _info(run, config)
    )


def _features(given: tuple[str, ...]) -> set[str]:
    for text in listed(given):
        try:
            parse(text)
        except ValueError as error:
            raise UserError(
                str(error), "copy the address from a query, for example: scircuit query top_hubs"
            ) from error
    return set(listed(given))


def _edges(store: Any, entries: list[ShardEntry], q: float, chosen: set[str]) -> Iterator[pa.Table]:
    """Tables of one kind of edge, those that stay; a fact without a run is given once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    seen: set[tuple[str, str]] | None = None
    for entry in entries:
        table = store.read(entry)
        if entry.kind in THRESHOLDED and q < 1:
            table = (
                table.filter(pc.field("q") <= q) if "q" in table.column_names else table.slice(0, 0)
            )
        if chosen:
            among = pa.array(sorted(chosen))
            ends = (table.column("source"), table.column("target"))
            starts, lands = (pc.is_in(c, among) for c in ends)  # pyright: ignore[reportAttributeAccessIssue]
            table = table.filter(pc.or_(starts, lands))  # pyright: ignore[reportAttributeAccessIssue]
        if len(entries) > 1 and "run" not in table.column_names:
            seen = set() if seen is None else seen
            pairs = list(
                zip(
                    table.column("source").to_pylist(),
                    table.column("target").to_pylist(),
                    strict=True,
                )
            )
            new = []
            for pair in pairs:
                new.append(pair not in seen)
                seen.add(pair)
            table = table.filter(pa.array(new, pa.bool_()))
        if table.num_rows:
            yield table


def _count(give: dict[str, Any]) -> tuple[dict[str, set[str]], dict[str, int], set[str]]:
    """Ends by label, edges by kind, and the ends of any label."""
    ends: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for kind, tables in give.items():
        source, _, target = kind.split("-")
        counts[kind] = 0
        for table in tables():
            counts[kind] += table.num_rows
            for end, label in (("source", source), ("target", target)):
                ends.setdefault(label, set()).update(table.column(end).unique().to_pylist())
    return ends, counts, {i for ids in ends.values() for i in ids}


def _knowing(study: Study, run: Manifest) -> list[Manifest]:
    """Runs whose node records complete those of this run; the later ones count where two know a
    property.
    """
    parents = [
        study.manifest(p) for p in run.parents if (study.run_folder(p) / "manifest.json").exists()
    ]
    children = [child_of(study, verb, run.run) for verb in ("annotate", "analyse")]
    return [*parents, run, *(c for c in children if c is not None)]


def _node_tables(study: Study, run: Manifest, label: str) -> list[pa.Table]:
    from scircuit.ingest.shards.shard_store import ShardStore

    entries = [s for s in run.shards if s.kind == label]
    store = ShardStore(study.run_folder(run.run)) if entries else None
    return [store.read(e) for e in entries] if store else []


def _arrow(frame: Any) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False)


def _nothing(run: Manifest, config: ExportConfig, kinds: list[str]) -> UserError:
    """Say why no edge is left."""
    stored = {
        k: sum(s.rows for s in run.shards if s.kind == k)
        for k in kinds
        if k not in THRESHOLDED[1:] and k.split("-")[1] not in PROVENANCE
    }
    if not stored:
        return UserError(
            f"run {run.run} ({run.verb}) holds no edges",
            "export the run it was computed from: its nodes carry the findings of annotate and"
            " analyse",
        )
    listed = ", ".join(f"{n:,} {k.split('-')[1]}" for k, n in stored.items())
    near = f" at the {len(config.features)} features given" if config.features else ""
    limit = f" with q up to {config.q:g}" if EDGES in stored else ""
    fixes = [
        *(["raise --q (1 takes all, also those without a q)"] if limit else []),
        *(["name other features"] if near else []),
    ]
    return UserError(f"run {run.run} holds {listed}, but none{limit}{near}", ", or ".join(fixes))


def _info(run: Manifest, config: ExportConfig) -> dict[str, Any]:
    info: dict[str, Any] = {"run": run.run, "verb": run.verb, "q": config.q}
    if config.features:
        info["features"] = list(config.features)
    cells = run.cohort.get("cells") or run.config.get("n_cells")
    file = run.config.get("cells")
    if file:
        info["cells"] = f"{cells} cells of {str(file).rsplit('/', 1)[-1]}"
    return info
