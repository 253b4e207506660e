"""``scircuit annotate``: name every feature by the gene sets its top genes are enriched in, beside a matched null."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scircuit.cli.command import verb_command
from scircuit.cli.console import Progress, say
from scircuit.cli.models import inputs_of_run
from scircuit.cli.options import build, plain
from scircuit.cli.results import RunResult
from scircuit.cli.running import active_run, links
from scircuit.run import Manifest, Study, sha256_file
from scircuit.settings import DEFAULT_STUDY, AnnotateConfig, UserError


def trace_run(study: Study, run: str) -> Manifest:
    """Manifest of the named trace run, or of the newest complete one.

    Raises
    ------
    UserError
        If there is none, it is of another verb, or it is not complete.
    """
    if not run:
        return study.latest("trace")
    manifest = Manifest.load(study.run_folder(run))
    if manifest.verb != "trace":
        raise UserError(f"run {run} is of verb {manifest.verb!r}, expected a trace run", f"list them: scircuit runs --study {study.root}")
    if not manifest.complete:
        raise UserError(f"trace run {run} is {manifest.status}", f"finish it first: scircuit trace --study {study.root}")
    return manifest


def annotate(
    config: AnnotateConfig | None = None, study: Path | str = DEFAULT_STUDY, *, database: bool = True, quiet: bool = False, **options: Any
) -> RunResult:
    """Annotate every feature of a trace run's dictionaries in GO, Reactome, TRRUST and the given gene sets.

    The genes of a feature come from the clean pass over all cells that pass the trace run's filters. Every rate stands beside the
    rate of matched random lists.

    Raises
    ------
    UserError
        If there is no trace run, its inputs have changed, or a gene-set file is refused.
    """
    from analysis import genesets
    from analysis.trrust import shipped_trrust

    config = config or build(AnnotateConfig, options)
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    libraries = [*genesets.shipped(), *(genesets.read_gmt(path) for path in config.gmt)]
    regulons = shipped_trrust()
    hashes = {"libraries": {x.name: x.sha256 for x in libraries}, "trrust": regulons.sha256, "gmt": [sha256_file(p) for p in config.gmt]}
    identity = {k: v for k, v in plain(config).items() if k not in ("run", "gmt")}
    with active_run(
        place, "annotate", {**plain(config), "run": parent.run, "gmt": [str(p.resolve()) for p in config.gmt]}, hashes,
        identity=identity, parents=(parent.run,), database=database, record={"seed": config.seed},
    ) as run:  # fmt: skip
        new = not run.finished
        if new:
            _annotate(run, parent, config, libraries, regulons, quiet)
    findings = dict(run.store.manifest.findings)
    return RunResult(run.id, run.folder, findings, tuple(findings.get("sentences", ())), run.load_message, new)


def _annotate(run: Any, parent: Manifest, config: AnnotateConfig, libraries: list[Any], regulons: Any, quiet: bool) -> None:
    from analysis.annotation import annotate as annotate_features
    from scircuit.address import Address
    from tracing.catalogue import build_catalogue

    traced, inputs = inputs_of_run(parent, all_cells=True)
    progress = Progress("catalogue", len(inputs.cohort.row_ids), "cells", quiet=quiet)
    catalogue = build_catalogue(inputs.adapter, inputs.dictionaries, inputs.cohort, progress=lambda done, _total: progress.update(done))
    if not quiet:
        say(f"  testing {sum(len(x.terms) for x in libraries):,} terms with {config.null_draws} matched null lists per feature")
    vocabulary = inputs.adapter.vocabulary
    annotation = annotate_features(
        catalogue.table.to_pandas(), catalogue.detection, libraries, regulons, symbol_of=vocabulary.symbol,
        ensembl_of=vocabulary.symbol_to_ensembl.get,
        address=lambda layer, index: str(Address(traced.model_name, traced.dictionary_name, layer, index)), config=config, run=run.id,
    )  # fmt: skip
    run.write("annotation", annotation.tables)
    run.write("used", links("Run-USED-GeneSetLibrary", run.id, annotation.tables["GeneSetLibrary"].column("id").to_pylist()))
    run.conclude(
        {**annotation.findings, "sentences": list(annotation.sentences)},
        annotation_rate=annotation.findings["annotation_rate"], null_annotation_rate=annotation.findings["null_annotation_rate"],
    )  # fmt: skip


command = verb_command("annotate", AnnotateConfig, annotate)
