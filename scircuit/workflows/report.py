"""``scircuit report``: one self-contained HTML page; every number comes from the runs, and every
claim has its control beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY, AnalyseConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.files import atomic_path, json_object, new_folder, remove_leftovers
from scircuit.core.run_files.manifest import may_differ
from scircuit.core.study import Manifest, Study, now, to_the_second
from scircuit.core.terminal import one_line
from scircuit.core.version import __version__
from scircuit.execution.feature_table import features_of, joined, newest
from scircuit.execution.find_runs import child_of, imported_run, refuse_imported, trace_run
from scircuit.execution.findings.stored_findings import shown_runs, stored_findings
from scircuit.workflows.analyse import compute

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.circuits.circuit_analysis import Analysis
    from scircuit.analysis.report_page import ReportInput, ReportPage, SampleQuery
    from scircuit.analysis.report_page.report_input import (
        AnnotateFindings,
        NullFindings,
        TraceFindings,
    )

FIGURES = "figures"
INTERVENTIONS = ("ablate", "steer")
READOUT = "mean logit change of the genes a feature fires on, minus that of the cell's other genes"
TRACE_QUERIES = ("top_hubs", "strongest_edges", "feature_circuit")
ATLAS_QUERIES = ("features_of_genes", "counterparts")


@dataclass(frozen=True)
class ReportResult:
    """Where the page is, and its findings; `story` is the run in ten lines, `circuit` the drawn
    feature as text, `figures` the names of the SVG files, and `numbers` of the CSV files, in
    ``figures/`` beside the page.
    """

    path: Path
    sentences: tuple[str, ...]
    story: tuple[str, ...] = ()
    circuit: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        folder = self.path.parent / FIGURES
        return {
            "report": str(self.path),
            "sentences": list(self.sentences),
            "figures": [str(folder / f"{name}.svg") for name in self.figures],
            "numbers": [str(folder / f"{name}.csv") for name in self.numbers or self.figures],
        }

    def __str__(self) -> str:
        lines = [f"{i:2d}. {one_line(s)}" for i, s in enumerate(self.sentences, 1)]
        lines += ["", one_line(f"report  {self.path}")]
        if self.figures:
            names = ", ".join(self.figures)
            folder = self.path.parent / FIGURES
            lines.append(one_line(f"figures {folder} (SVG, and CSV with their numbers): {names}"))
        return "\n".join(lines)


def report(study: Path | str = DEFAULT_STUDY, run: str = "", *, feature: str = "") -> ReportResult:
    """Write the report of a trace run (default: the newest) and of what was computed from it, and
    of the imported atlases that were annotated.

    A study without a trace run has a report of its atlases alone.

    Parameters
    ----------
    study
        Folder of the study.
    run
        Trace run.
    feature
        Address of the source whose circuit is drawn (default: the one with the most edges).

    Raises
    ------
    UserError
        If there is no complete trace run, or an imported run does not have what a report needs.
    """
    from scircuit.analysis.report_page import findings, report_page, story

    place = Study(Path(study))
    if imported := imported_run(place, run):
        refuse_imported(imported, ("edges", "n", "p", "null", "cells"), "a report of its circuits")
    atlases = annotated_atlases(place)
    traced = run or any(m.verb == "trace" and m.complete for m in place.manifests())
    if not traced and not atlases:
        imports = [
            f"{m.run} ({m.inputs.get('format')})"
            for m in place.manifests()
            if m.verb == "import" and m.complete
        ]
        if imports and not any(run.run.startswith("trace-") for run in place.survey()[1]):
            raise UserError(
                f"study {place.root} has imports only: {', '.join(imports)}; a report needs a trace"
                " run or an annotated atlas",
                f"annotate an atlas: scircuit annotate --run ID --study {quoted(place.root)}; query"
                f" other imports: scircuit query imported_runs --study {quoted(place.root)}",
            )
    with may_differ(*place.manifests()):
        parts = (
            gather(place, trace_run(place, run), feature)
            if traced or not atlases
            else atlases_alone(place, atlases)
        )
        page = report_page(parts)
        write_page(place.report, page)
        sources = parts.analysis is not None and len(parts.analysis.frames["hubs"])
        return ReportResult(
            place.report.resolve(),
            (
                *(f.sentence for f in findings(parts)),
                *(f"{s.finding.title}: {s.finding.sentence}" for s in parts.stored),
            ),
            story(parts),
            parts.analysis.circuit(parts.circuit).drawing if parts.analysis and sources else (),
            tuple(name for name, figure in page.figures.items() if figure.svg),
            tuple(page.figures),
        )


def write_page(path: Path, page: ReportPage) -> None:
    """Write the page, and its figures as SVG and CSV into the folder beside it.

    The folder is replaced as a whole, so that no figure of an earlier report is left in it.
    """
    with new_folder(path.parent / FIGURES) as folder:
        for name, figure in page.figures.items():
            if figure.svg:
                (folder / f"{name}.svg").write_text(figure.svg, encoding="utf-8")
            (folder / f"{name}.csv").write_text(figure.csv, encoding="utf-8")
    remove_leftovers(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page.html, encoding="utf-8")


def gather(study: Study, trace: Manifest, feature: str = "") -> ReportInput:
    """Everything the page shows, from the shards and manifests of the runs.

    Raises
    ------
    UserError
        If the feature was not ablated in the run.
    """
    from scircuit.analysis.report_page import Check, ReportInput
    from scircuit.ingest.shards.shard_store import ShardStore

    children = {verb: child_of(study, verb, trace.run) for verb in ("annotate", "analyse", "null")}
    shown = [m for m in shown_runs(study, trace) if m.verb not in children]
    before, last = [m for v, m in children.items() if m and v != "null"], children["null"]
    runs = [trace, *before, *shown, *([last] if last else [])]
    stores = [(m.verb, ShardStore(study.run_folder(m.run))) for m in runs]
    done = [m for m in shown if m.verb in INTERVENTIONS]
    own = {m.run: features_of(study, m) for m in done}

    def rows(verb: str, kind: str) -> pd.DataFrame:
        return _stack([s.tables(kind).to_pandas() for v, s in stores if v == verb])

    model = rows("trace", "Model").iloc[0].dropna().to_dict()
    dictionaries = rows("trace", "Dictionary").sort_values("layer")
    losses, pca = _metrics(trace)
    if pca:
        dictionaries["pca_variance_explained"] = dictionaries["layer"].map(pca.get)
    analysed, annotated = children["analyse"], children["annotate"]
    analysis = (
        compute(
            study,
            trace,
            annotated,
            build(AnalyseConfig, analysed.config),
            analysed.run,
            further=False,
        )
        if analysed
        else None
    )
    frames = [rows(v, "Intervention") for v in INTERVENTIONS]
    members = [rows(v, "Feature-PART_OF-Intervention") for v in INTERVENTIONS]
    return ReportInput(
        title=(
            f"Circuits of {model.get('name', 'the model')}, layer"
            f" {', '.join(map(str, trace.findings['source_layers']))}"
        ),
        trace=cast("TraceFindings", trace.findings),
        cohort=rows("trace", "Cohort").iloc[0].dropna().to_dict(),
        model={**model, **losses},
        dictionaries=dictionaries,
        checks=[Check(*line) for line in trace.cohort.get("report", [])],
        analysis=analysis,
        circuit=_source(feature, analysis, trace.run),
        annotate=cast("AnnotateFindings", annotated.findings if annotated else {}),
        atlases=[_atlas(*x) for x in annotated_atlases(study)],
        features=joined(
            [
                *(features_of(study, m) for m in runs if m not in shown),
                *(
                    t
                    for v in INTERVENTIONS
                    for t in newest(own[m.run] for m in done if m.verb == v)
                ),
            ]
        ),
        run_features={run: joined([table]) for run, table in own.items()},
        controls=rows("trace", "Control"),
        null=cast("NullFindings", children["null"].findings if children["null"] else {}),
        interventions=_stack(frames),
        members=_stack(members),
        shifts=rows("ablate", "Intervention-SHIFTED-Feature"),
        readouts=rows("steer", "Readout"),
        readout_shifts=rows("steer", "Intervention-SHIFTED-Readout"),
        stored=stored_findings(study, shown_runs(study, trace)),
        readout=READOUT,
        runs=[_row(m) for m in runs],
        browser=_browser(study),
        queries=_sample_queries(),
        generated=now(),
        version=__version__,
    )


def _source(feature: str, analysis: Analysis | None, run: str) -> str:
    if feature and analysis and feature not in set(analysis.frames["hubs"]["id"]):
        raise UserError(
            f"feature {feature} was not ablated in run {run}",
            "choose one that was: scircuit query top_hubs",
        )
    return feature


def annotated_atlases(study: Study) -> list[tuple[Manifest, Manifest]]:
    """Imported atlases, each with the newest annotate run that was computed from it."""
    imports = [
        m
        for m in study.manifests()
        if m.verb == "import" and m.complete and m.inputs.get("format") == "atlas"
    ]
    pairs = [
        (m, child_of(study, "annotate", m.run))
        for m in sorted(imports, key=lambda m: str(m.inputs.get("name")))
    ]
    return [(atlas, child) for atlas, child in pairs if child]


def _atlas(atlas: Manifest, annotate: Manifest) -> AnnotateFindings:
    found = cast("AnnotateFindings", dict(annotate.findings))
    found["name"] = str(atlas.inputs.get("name", "")).split("/")[0]
    return found


def atlases_alone(study: Study, atlases: list[tuple[Manifest, Manifest]]) -> ReportInput:
    """What the page shows for a study without a trace run."""
    from scircuit.analysis.report_page import ReportInput

    found = [_atlas(*pair) for pair in atlases]
    return ReportInput(
        title=f"Published annotation of {' and '.join(a.get('name', '') for a in found)}",
        trace={},
        atlases=found,
        runs=[_row(m) for pair in atlases for m in pair],
        browser=_browser(study),
        queries=_sample_queries(ATLAS_QUERIES),
        generated=now(),
        version=__version__,
    )


def _row(manifest: Manifest) -> dict[str, object]:
    """A run as the page lists it."""
    known = {
        k: getattr(manifest, k) for k in ("run", "verb", "seconds", "version", "config", "inputs")
    }
    return {
        **known,
        "started": to_the_second(manifest.started),
        "device": manifest.config.get("device", ""),
        "seed": manifest.config.get("seed"),
    }


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    full = [f for f in frames if len(f)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame()


def _metrics(trace: Manifest) -> tuple[dict[str, float], dict[int, float]]:
    """Losses of the model and PCA baselines of its dictionaries, if their folders have them."""
    from scircuit.analysis.report_page.report_input import BASELINES

    losses: dict[str, float] = {}
    pca: dict[int, float] = {}
    model, dictionaries = (
        Path(trace.config[k]) / "metrics.json" for k in ("model", "dictionaries")
    )
    stated = json_object(model)  # may be missing: it adds to what the run itself measured
    for name in ("mlm_loss", *BASELINES):
        if _is_number(stated.get(name)):
            losses[name] = float(stated[name])
    rows = json_object(dictionaries).get("layers")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and all(_is_number(row.get(k)) for k in ("layer", _PCA)):
            pca[int(row["layer"])] = float(row[_PCA])
    return losses, pca


_PCA = "pca_variance_explained"


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -1e30 < value < 1e30  # neither infinite nor NaN
    )


def _browser(study: Study) -> str:
    from scircuit.ingest import server
    from scircuit.ingest.graph.connection import target_from_env

    if target_from_env() is not None:
        return ""
    info = server.status(study.server_home)
    return info.browser if info.running else ""


def _sample_queries(names: tuple[str, ...] = TRACE_QUERIES) -> list[SampleQuery]:
    from scircuit.analysis.report_page import SampleQuery
    from scircuit.queries.catalogue import load_catalogue

    catalogue = load_catalogue()
    return [SampleQuery(catalogue[name].question, catalogue[name].cypher) for name in names]
