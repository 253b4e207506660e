"""``scircuit demo``: the whole job on shipped cells and a shipped model, from cells to a questioned
graph.

There are two examples. ``thp1``: THP-1 cells of a CRISPR screen of the interferon-gamma response,
and a model that has learnt from 18,656 of them; it has circuits. ``immune``: 559 immune cells, and
a model that has learnt too little from them to compute anything that its dictionaries show.
"""

from __future__ import annotations

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scircuit.core.config import (
    DEFAULT_STUDY,
    AblateConfig,
    AnalyseConfig,
    AnnotateConfig,
    CheckConfig,
    NullConfig,
    ServerConfig,
    SteerConfig,
    TraceConfig,
)
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import duration, heading, say, say_lines, styled, timed
from scircuit.core.remembered_options import remember
from scircuit.core.study import Study
from scircuit.core.terminal import one_line
from scircuit.execution.feature_table import features_of

if TYPE_CHECKING:
    from scircuit.workflows.report import ReportResult

SOURCE_LAYER = 1
INTERFERON = ("UBE2L6", "STAT1", "IFNGR2", "JAK2", "IRF1", "CD274", "IFNGR1", "STAT2")
"""Genes of the interferon-gamma response in the panel of the screen."""

_SCRAMBLED_SOURCES, _SCRAMBLED_CELLS = 40, 600
_GENE_CELLS = 4000  # from which top genes are read


class Example(NamedTuple):
    """Shipped cells with a model and dictionaries, in a folder of the examples."""

    folder: str
    cells: str
    model_name: str
    dictionary_name: str
    genes: tuple[str, ...]  # a feature of these is shown; none: the one with the most edges


EXAMPLES = {
    "thp1": Example(
        "thp1",
        "papalexi2021_thp1_crispr_20729cells.h5ad",
        "geneformer-thp1",
        "thp1-x4-k16",
        INTERFERON,
    ),
    "immune": Example(
        ".", "celltypist_sample_559cells.h5ad", "geneformer-demo", "immune-x4-k16", ()
    ),
}


def examples_folder() -> Path:
    """Folder of the shipped cells, models and dictionaries: in the checkout or the installation.

    Raises
    ------
    UserError
        If neither is there.
    """
    places = [
        Path(__file__).resolve().parents[2] / "examples",
        Path(sysconfig.get_path("data")) / "share" / "scircuit" / "examples",
    ]
    for place in places:
        if (place / "thp1" / "model" / "config.json").exists():
            return place
    raise UserError(
        f"the demo's files are in none of {', '.join(map(str, places))}",
        "install scircuit again, or run the demo from a checkout",
    )


@dataclass(frozen=True)
class DemoResult:
    """What the demo found, one circuit drawn, and where to look."""

    findings: dict[str, Any]
    sentences: tuple[str, ...]
    circuit: tuple[str, ...]
    server: dict[str, Any]
    study: Path

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.findings

    @property
    def _drawn(self) -> list[str]:
        """The circuit with its legend; nothing without edges."""
        if not self.circuit:
            return []
        legend = "-> supports: ablation lowers the target;  -| suppresses: it raises it"
        return [*(f"    {one_line(line)}" for line in (*self.circuit, legend)), ""]

    def __str__(self) -> str:
        numbered = [f"{i:2d}. {one_line(s)}" for i, s in enumerate(self.sentences, 1)]
        return "\n".join(
            [
                "",
                styled("What was found", "bold"),
                *numbered,
                "",
                *self._drawn,
                styled("Where to look", "bold"),
                f"  report    {self.findings['report']}",
                f"  Browser   {self.server['browser']}",
                f"  user      {self.server['user']}",
                f"  password  scircuit db status --show-password --study {quoted(self.study)}",
                f"  questions scircuit query --list --study {quoted(self.study)}",
                "",
                (
                    "The database keeps running. Stop it:"
                    f" scircuit db stop --study {quoted(self.study)}   (from a checkout: make stop)"
                ),
                f"Took {duration(self.findings['seconds']['total'])}.",
            ]
        )


def demo(
    study: Path | str = DEFAULT_STUDY,
    *,
    n_cells: int = 20,
    features: tuple[int, ...] = (),
    gmt: tuple[Path, ...] = (),
    example: str = "thp1",
    quiet: bool = False,
) -> DemoResult:
    """Check, trace, scramble, annotate, analyse, ablate, steer and report on shipped cells.

    Steps that are complete and unchanged are not repeated.

    Parameters
    ----------
    n_cells
        Cells to trace.
    example
        ``thp1`` or ``immune``.
    features
        Trace only these source features (default: every active one).
    gmt
        Further gene sets, such as KEGG.
    """
    if example not in EXAMPLES:
        raise UserError(f"there is no example {example!r}", f"choose {' or '.join(EXAMPLES)}")
    place = Study(Path(study))
    seconds: dict[str, float] = {}
    with timed(seconds, "total"):
        findings, written, server = _steps(
            place, seconds, EXAMPLES[example], n_cells, features, gmt, quiet
        )
    findings["seconds"] = seconds
    return DemoResult(findings, written.story, written.circuit, server, place.root)


def _steps(
    place: Study,
    seconds: dict[str, float],
    example: Example,
    n_cells: int,
    features: tuple[int, ...],
    gmt: tuple[Path, ...],
    quiet: bool,
) -> tuple[dict[str, Any], ReportResult, dict[str, Any]]:
    from scircuit.execution.graph_server import start_server
    from scircuit.workflows.analyse import analyse
    from scircuit.workflows.annotate import annotate
    from scircuit.workflows.check import check
    from scircuit.workflows.database import connect, describe
    from scircuit.workflows.interventions.ablate import ablate
    from scircuit.workflows.interventions.steer import steer
    from scircuit.workflows.null import null
    from scircuit.workflows.report import report
    from scircuit.workflows.trace import trace

    examples = examples_folder() / example.folder
    cells = examples / "cells" / example.cells

    def step(name: str, title: str) -> Any:
        if not quiet:
            heading(title)
        return timed(seconds, name)

    with step("server", "1/9 Neo4j"):
        server = describe(start_server(place, ServerConfig()), show_password=False)
        say(f"  Neo4j {server['version']} at {server['uri']}")
    with step("check", "2/9 Checking the cells"):
        checked = check(
            CheckConfig(
                cells=cells,
                model=str(examples / "model"),
                dictionaries=str(examples / "dictionaries"),
                seconds=15,
            ),
            quiet=True,
        )
        say_lines("  " + str(checked).replace("\n", "\n  "))
        if checked.failed:
            raise UserError(
                "the shipped cells did not pass the check", "restore examples/ from the repository"
            )
    with step("model", "3/9 The model"):
        trained = model_numbers(examples)
        for line in trained["sentences"]:
            say(f"  {line}")
    trace_config = TraceConfig(
        model=str(examples / "model"),
        dictionaries=str(examples / "dictionaries"),
        cells=cells,
        source_layers=(SOURCE_LAYER,),
        n_cells=n_cells,
        features=features,
        model_name=example.model_name,
        dictionary_name=example.dictionary_name,
    )
    with step(
        "trace", f"4/9 Tracing every active feature of layer {SOURCE_LAYER} to all later layers"
    ):
        traced = trace(trace_config, place.root, quiet=quiet)
        remember(place.root, "trace", trace_config)
        say(f"  {traced.message}")
    with step("null", "5/9 A scrambled model, traced in the same way"):
        scrambled = null(
            NullConfig(
                run=traced.run,
                kinds=("permuted",),
                seeds=1,
                sources=_SCRAMBLED_SOURCES,
                train_cells=_SCRAMBLED_CELLS,
            ),
            place.root,
            quiet=quiet,
        )
    with step("annotate", "6/9 Annotating in GO, Reactome and TRRUST"):
        annotated = annotate(
            AnnotateConfig(run=traced.run, gmt=gmt, n_cells=_GENE_CELLS), place.root, quiet=quiet
        )
    with step("analyse", "7/9 Analysing"):
        analysed = analyse(AnalyseConfig(run=traced.run), place.root)
    with step("interventions", "8/9 Ablating pairs of features and steering them"):
        shown = _shown_features(place, example, traced.run, annotated.run, analysed.run)
        ablated = ablate(AblateConfig(run=traced.run, features=shown), place.root, quiet=quiet)
        steered = steer(SteerConfig(run=traced.run, features=shown), place.root, quiet=quiet)
    with step("report", "9/9 Report"):
        written = report(place.root, run=traced.run, feature=shown[0])
    with connect(place.root) as connection:
        in_graph = connection.run(
            "MATCH (:Feature)-[r:AFFECTS]->() WHERE r.run = $run RETURN count(r) AS n",
            run=traced.run,
        )[0]["n"]
    f, a, n = traced.findings, annotated.findings, analysed.findings
    findings = {
        "edges_traced": f["edges"],
        "edges_in_graph": in_graph,
        "edges_computed": f["edges_computed"],
        "edges_carried": f["edges_carried"],
        "expected_false": f["expected_false"],
        "scrambled_share": scrambled.findings["computed_share"]["permuted"],
        "feature": shown[0],
        "edges_calibrated": f["edges_calibrated"],
        "edges_legacy": f["edges_legacy"],
        "live_tests": f["live_tests"],
        "sources": f["sources"],
        "features": a["features"],
        "features_annotated": a["features_annotated"],
        "annotation_rate": a["annotation_rate"],
        "null_annotation_rate": a["null_annotation_rate"],
        "zero_edit_max": f["zero_edit_max"],
        "tail_alpha": n["tail_alpha"],
        "mlm_loss": trained["mlm_loss"],
        "unigram_loss": trained["unigram_loss"],
        "cells": f["cells"],
        "runs": {
            "trace": traced.run,
            "null": scrambled.run,
            "annotate": annotated.run,
            "analyse": analysed.run,
            "ablate": ablated.run,
            "steer": steered.run,
        },
        "report": str(written.path),
        "browser": server["browser"],
        "study": str(place.root.resolve()),
    }
    return findings, written, server


_SHOWN = 6


def _shown_features(
    place: Study, example: Example, trace: str, annotate: str, analyse: str
) -> tuple[str, ...]:
    """The feature that the demo is about, and the hubs; these are ablated together and steered."""
    from scircuit.analysis.circuits.feature_circuit import feature_of_genes

    found = [features_of(place, place.manifest(r)) for r in (annotate, analyse)]
    named, degrees = ({row["id"]: row for row in table.to_pylist()} for table in found)
    sources = {f: row for f, row in degrees.items() if row.get("hub_rank") is not None}
    if not sources:
        raise UserError(f"run {trace} has no source", "trace more cells or more features")
    genes = {f: row.get("top_genes") or [] for f, row in named.items()}
    first = feature_of_genes(
        example.genes, genes, {f: row["out_degree"] for f, row in sources.items()}
    )
    hubs = sorted(sources, key=lambda f: sources[f]["hub_rank"])
    return tuple(dict.fromkeys((first, *hubs)))[:_SHOWN]


def model_numbers(examples: Path) -> dict[str, Any]:
    """Losses of the shipped model and quality of its dictionaries, as measured on held-out cells
    when they were trained.
    """
    from scircuit.analysis.report_page.report_input import baseline_losses

    model = json.loads((examples / "model" / "metrics.json").read_text())
    dictionaries = json.loads((examples / "dictionaries" / "metrics.json").read_text())["layers"]
    explained = [d["variance_explained"] for d in dictionaries]
    dead = [d["dead_share"] for d in dictionaries]
    sentences = (
        (f"held-out masked-LM loss {model['mlm_loss']:.2f} nats against {baseline_losses(model)}"),
        (
            f"{len(explained)} TopK SAEs explain {min(explained):.0%} to {max(explained):.0%} of"
            f" the variance; {min(dead):.0%} to {max(dead):.0%} of the latents are dead"
        ),
    )
    return {
        "mlm_loss": model["mlm_loss"],
        "unigram_loss": model["unigram_loss"],
        "sentences": sentences,
    }
