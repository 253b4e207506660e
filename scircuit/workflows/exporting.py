"""``scircuit export``: a run, or the part of the graph that a question returns, for other tools."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY, ExportConfig
from scircuit.core.errors import UserError, disk_full
from scircuit.core.files import atomic_path, new_folder, remove_leftovers, write_json
from scircuit.core.progress import say
from scircuit.core.study import Study
from scircuit.core.terminal import one_line
from scircuit.core.version import __version__

if TYPE_CHECKING:
    from scircuit.queries.graph_export.graph_part import Part

IN_MEMORY = ("networkx", "igraph")
FOLDERS = ("parquet", "biocypher")
SUFFIX = {"graphml": ".graphml", "circuit-tracer": ".json", "neuronpedia": ".json"}
LISTING = "export.json"
_MARK = b"scircuit"
_CYPHER = re.compile(r"[\s({]")


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    out: Path
    format: str
    name: str
    nodes: int
    edges: int
    counts: dict[str, int]
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.__dict__,
            "out": str(self.out),
            "files": list(self.files),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        several = f" ({len(self.files)} files)" if len(self.files) > 1 else ""
        head = (
            f"{self.name}: {self.nodes:,} nodes and {self.edges:,} edges as {self.format} in"
            f" {self.out}{several}"
        )
        return "\n".join(
            [
                one_line(head),
                *(f"  {one_line(kind)} {n:,}" for kind, n in self.counts.items()),
                *(f"  {one_line(note)}" for note in self.notes),
            ]
        )


def export(
    config: ExportConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    quiet: bool = True,
    **options: Any,
) -> Any:
    """Write a run, or the part of the graph that a question returns, for other tools.

    Parameters
    ----------
    format
        Also ``networkx`` or ``igraph``: then the graph is returned, nothing is written, and no
        `out` is needed.

    Returns
    -------
    ExportResult, networkx.MultiDiGraph or igraph.Graph
        What was written, or the graph.

    Raises
    ------
    UserError
        If the run, question or feature is unknown, nothing is to be written, the format cannot hold
        it, or the place cannot be written.

    Examples
    --------
    >>> export(format="networkx", q=0.01)  # doctest: +SKIP
    """
    wanted = str(options.get("format", ""))
    in_memory = config is None and wanted in IN_MEMORY
    if in_memory:
        options = {**options, "format": "parquet", "out": options.get("out", Path())}
    config = config or build(ExportConfig, options)
    _check(config)
    if not in_memory:
        _check_place(config)
    part = _part(Study(Path(study)), config, graph=in_memory or config.format not in FOLDERS)
    if in_memory:
        from scircuit.queries.graph_export.to_graph import to_igraph, to_networkx

        return to_networkx(part) if wanted == "networkx" else to_igraph(part)
    viewer = _viewer(part, config)  # refused before anything is announced
    if not quiet:
        say(f"  writing {part.node_count:,} nodes and {part.edge_count:,} edges")
    with _writable(config.out):
        return _write(part, config, viewer)


def _check(config: ExportConfig) -> None:
    if config.run and config.query:
        raise UserError(
            f"both a run ({config.run}) and a question ({config.query}) are named",
            "give --run or --query",
        )
    if config.parameters and not config.query:
        raise UserError("parameters are given without a question", "give --query NAME with them")
    if config.features and config.query:
        raise UserError(
            "features are given with a question",
            "choose them in the question's parameters: --parameters feature=...",
        )
    if not 0 < config.q <= 1:
        raise UserError(
            f"q is {config.q}, expected a number above 0 and up to 1",
            "give --q 0.05; 1 takes all stored edges",
        )


def _part(study: Study, config: ExportConfig, *, graph: bool) -> Part:
    if config.query:
        return _answer(study, config)
    from scircuit.execution.run_part import part_of_run

    if not config.run:
        return part_of_run(study, study.latest("trace"), config, graph=graph)
    manifest = study.manifest(config.run)
    if not manifest.complete:
        raise UserError(
            f"run {config.run} is {manifest.status}: its export would be incomplete",
            "finish it first (the same command resumes it)",
        )
    return part_of_run(study, manifest, config, graph=graph)


def _answer(study: Study, config: ExportConfig) -> Part:
    """Ask the question; needs the database."""
    from scircuit.queries.graph_export.graph_part import part_of_elements
    from scircuit.queries.graph_export.to_graph import elements
    from scircuit.workflows.query import cypher, parse_pair, query

    parameters = dict(parse_pair(p) for p in config.parameters)
    own = bool(_CYPHER.search(config.query))
    frame = (
        cypher(config.query, study.root, **parameters)
        if own
        else query(config.query, study.root, **parameters)
    )
    name = "the Cypher given" if own else f"question {config.query}"
    if frame.empty:
        raise UserError(
            f"{name} has an empty answer: nothing to export",
            "change the parameters, or ask another question (scircuit query --list)",
        )
    info = {"question": config.query, **({"parameters": parameters} if parameters else {})}
    return part_of_elements(name, elements(frame), "ANSWER" if own else config.query.upper(), info)


def _check_place(config: ExportConfig) -> None:
    """Refuse to write over anything that is not an earlier export."""
    out = config.out
    if config.format in FOLDERS:
        if out.is_file():
            raise UserError(
                f"{out} is a file, but {config.format} is written into a folder",
                "give another --out",
            )
        if out.is_dir() and any(out.iterdir()) and not (out / LISTING).is_file():
            raise UserError(
                f"the folder {out} holds files that are not an export of scircuit",
                "give a new or an empty folder as --out",
            )
        return
    suffix = SUFFIX[config.format]
    if out.is_dir():
        raise UserError(
            f"{out} is a folder, but {config.format} is one file",
            f"give a file name: --out {out / ('circuit' + suffix)}",
        )
    if out.suffix.lower() != suffix and not (suffix == ".graphml" and out.suffix.lower() == ".xml"):
        raise UserError(
            f"the file name {out.name!r} does not end in {suffix}, by which other tools know"
            f" {config.format}",
            f"give --out {out.with_suffix(suffix)}",
        )
    if out.exists():
        with out.open("rb") as file:
            if _MARK not in file.read(4096):
                raise UserError(
                    f"{out} exists and is not an export of scircuit",
                    "give another --out, or delete it",
                )


def _viewer(part: Part, config: ExportConfig) -> tuple[dict[str, Any], list[str]] | None:
    """The graph as a circuit viewer takes it, with notes; None for the formats that are no
    viewer's.
    """
    if config.format in FOLDERS or config.format == "graphml":
        return None
    from scircuit.queries.graph_export.viewer_files import viewer_graph

    return viewer_graph(
        part, config.out.stem, neuronpedia=config.format == "neuronpedia", version=__version__
    )


def _write(
    part: Part, config: ExportConfig, viewer: tuple[dict[str, list[object]], list[str]] | None
) -> ExportResult:
    out, notes = config.out, []
    if config.format in FOLDERS:
        from scircuit.queries.graph_export.table_files import write_biocypher, write_parquet

        with new_folder(out) as folder:
            if config.format == "parquet":
                files = write_parquet(part, folder)
            else:
                files, replaced = write_biocypher(part, folder)
                if replaced:
                    notes.append(
                        f"{replaced:,} values held line breaks or '|' in a list: written as a space"
                        " and '/'"
                    )
            listing = {
                "written_by": f"scircuit {__version__}",
                "format": config.format,
                "source": part.name,
                "counts": dict(part.counts),
                "files": files,
                **part.info,
            }
            write_json(folder / LISTING, listing)
        return _result(part, config, tuple(files), notes)
    if viewer is None:
        from scircuit.queries.graph_export.graphml import write_graphml

        remove_leftovers(out)
        with atomic_path(out) as temporary:
            write_graphml(part, temporary)
        if not config.query:
            notes.append(
                "a graph holds the nodes that have an edge; --format parquet writes all records of"
                " the run"
            )
        return _result(part, config, (out.name,), notes)
    from scircuit.queries.graph_export.viewer_files import viewer_json

    graph, notes = viewer
    remove_leftovers(out)
    with atomic_path(out) as temporary:
        temporary.write_text(viewer_json(graph), encoding="utf-8")
    return ExportResult(
        out,
        config.format,
        part.name,
        len(graph["nodes"]),
        len(graph["links"]),
        {},
        (out.name,),
        tuple(notes),
    )


def _result(
    part: Part, config: ExportConfig, files: tuple[str, ...], notes: list[str]
) -> ExportResult:
    return ExportResult(
        config.out,
        config.format,
        part.name,
        part.node_count,
        part.edge_count,
        dict(part.counts),
        files,
        tuple(notes),
    )


@contextlib.contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Turn a full or closed disk into a message; what was there before stays."""
    try:
        yield
    except OSError as error:
        full = disk_full(error)
        raise UserError(
            f"cannot write {out}: {'the disk is full' if full else error.strerror or error};"
            " nothing was changed there",
            "free space, or give another --out",
        ) from error
