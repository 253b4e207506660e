"""``scircuit demo``: the whole job on the shipped cells and model, from cells to a questioned
graph.
"""

from __future__ import annotations

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scircuit.core.config import (
    DEFAULT_STUDY,
    AblateConfig,
    AnalyseConfig,
    AnnotateConfig,
    CheckConfig,
    ServerConfig,
    SteerConfig,
    TraceConfig,
)
from scircuit.core.errors import UserError
from scircuit.core.progress import duration, heading, say, styled, timed
from scircuit.core.remembered_options import remember
from scircuit.core.study import Study

SOURCE_LAYER = 1


def examples_folder() -> Path:
    """Folder of the shipped cells, model and dictionaries: in the checkout or the installation.

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
        if (place / "model" / "config.json").exists():
            return place
    raise UserError(
        f"the demo's files are in none of {', '.join(map(str, places))}",
        "install scircuit again, or run the demo from a checkout",
    )


@dataclass(frozen=True)
class DemoResult:
    """What the demo found and where to look."""

    findings: dict[str, Any]
    sentences: tuple[str, ...]
    server: dict[str, Any]
    study: Path

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.findings

    def __str__(self) -> str:
        numbered = [f"{i:2d}. {s}" for i, s in enumerate(self.sentences, 1)]
        return "\n".join(
            [
                "",
                styled("What was found", "bold"),
                *numbered,
                "",
                styled("Where to look", "bold"),
                f"  report    {self.findings['report']}",
                f"  Browser   {self.server['browser']}",
                f"  user      {self.server['user']}",
                f"  password  {self.server['password']}",
                f"  questions scircuit query --list --study {self.study}",
                "",
                (
                    f"The database keeps running. Stop it: scircuit db stop --study {self.study}"
                    "   (from a checkout: make stop)"
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
    quiet: bool = False,
) -> DemoResult:
    """Check, trace, annotate, analyse, ablate, steer and report on the shipped cells.

    Steps that are complete and unchanged are not repeated.

    Parameters
    ----------
    n_cells
        Cells to trace.
    features
        Trace only these source features (default: every active one).
    gmt
        Further gene sets, such as KEGG.
    """
    place = Study(Path(study))
    seconds: dict[str, float] = {}
    with timed(seconds, "total"):
        findings, sentences, server = _steps(place, seconds, n_cells, features, gmt, quiet)
    findings["seconds"] = seconds
    return DemoResult(findings, sentences, server, place.root)


def _steps(
    place: Study,
    seconds: dict[str, float],
    n_cells: int,
    features: tuple[int, ...],
    gmt: tuple[Path, ...],
    quiet: bool,
) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]:
    from scircuit.execution.graph_server import start_server
    from scircuit.workflows.analyse import analyse
    from scircuit.workflows.annotate import annotate
    from scircuit.workflows.check import check
    from scircuit.workflows.database import connect, describe
    from scircuit.workflows.interventions import ablate, steer
    from scircuit.workflows.report import report
    from scircuit.workflows.trace import trace

    examples = examples_folder()
    cells = examples / "cells" / "celltypist_sample_559cells.h5ad"

    def step(name: str, title: str) -> Any:
        if not quiet:
            heading(title)
        return timed(seconds, name)

    with step("server", "1/8 Neo4j"):
        server = describe(start_server(place, ServerConfig()))
        say(f"  Neo4j {server['version']} at {server['uri']}")
    with step("check", "2/8 Checking the cells"):
        checked = check(
            CheckConfig(
                cells=cells,
                model=str(examples / "model"),
                dictionaries=str(examples / "dictionaries"),
                seconds=15,
            ),
            quiet=True,
        )
        say("  " + str(checked).replace("\n", "\n  "))
        if checked.failed:
            raise UserError(
                "the shipped cells did not pass the check", "restore examples/ from the repository"
            )
    with step("model", "3/8 The model"):
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
        model_name="geneformer-demo",
        dictionary_name="immune-x4-k16",
    )
    with step(
        "trace", f"4/8 Tracing every active feature of layer {SOURCE_LAYER} to all later layers"
    ):
        traced = trace(trace_config, place.root, quiet=quiet)
        remember(place.root, "trace", trace_config)
        say(f"  {traced.message}")
    with step("annotate", "5/8 Annotating in GO, Reactome and TRRUST"):
        annotated = annotate(AnnotateConfig(run=traced.run, gmt=gmt), place.root, quiet=quiet)
    with step("analyse", "6/8 Analysing"):
        analysed = analyse(AnalyseConfig(run=traced.run), place.root)
    with step("interventions", "7/8 Ablating pairs of hubs and steering hubs"):
        ablated = ablate(AblateConfig(run=traced.run), place.root, quiet=quiet)
        steered = steer(SteerConfig(run=traced.run), place.root, quiet=quiet)
    with step("report", "8/8 Report"):
        written = report(place.root, run=traced.run)
    with connect(place.root) as connection:
        in_graph = connection.run(
            "MATCH (:Feature)-[r:AFFECTS]->() WHERE r.run = $run RETURN count(r) AS n",
            run=traced.run,
        )[0]["n"]
    f, a, n = traced.findings, annotated.findings, analysed.findings
    findings = {
        "edges_traced": f["edges"],
        "edges_in_graph": in_graph,
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
            "annotate": annotated.run,
            "analyse": analysed.run,
            "ablate": ablated.run,
            "steer": steered.run,
        },
        "report": str(written.path),
        "browser": server["browser"],
        "study": str(place.root.resolve()),
    }
    return findings, written.sentences, server


def model_numbers(examples: Path) -> dict[str, Any]:
    """Losses of the shipped model and quality of its dictionaries, as measured on held-out cells
    when they were trained.
    """
    model = json.loads((examples / "model" / "metrics.json").read_text())
    dictionaries = json.loads((examples / "dictionaries" / "metrics.json").read_text())["layers"]
    explained = [d["variance_explained"] for d in dictionaries]
    dead = [d["dead_share"] for d in dictionaries]
    sentences = (
        (
            f"held-out masked-LM loss {model['mlm_loss']:.2f} nats against"
            f" {model['unigram_loss']:.2f} for unigrams"
        ),
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
