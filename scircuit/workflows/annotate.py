"""``scircuit annotate``: name every feature by the gene sets its top genes are enriched in, beside
a matched null.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.cli.command import verb_command
from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, AnnotateConfig
from scircuit.core.errors import UserError
from scircuit.core.files import sha256_file
from scircuit.core.progress import Progress, duration, say
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import active_run, links
from scircuit.execution.find_runs import imported_run, trace_run
from scircuit.execution.load_inputs import inputs_of_run
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.annotation.library_records import Closure
    from scircuit.analysis.genesets.library import GeneSetLibrary
    from scircuit.analysis.genesets.regulons import Regulons


GSEAPY_SECONDS = 1.1e-5  # a list and term; bench/enrichment.py


def parent_run(study: Study, run: str) -> Manifest:
    """Manifest of the named trace run or imported atlas; default: the newest complete trace run.

    Raises
    ------
    UserError
        If there is none, it is of another kind, or it is not complete.
    """
    found = imported_run(study, run)
    if found is None:
        return trace_run(study, run)
    if found.inputs.get("format") != "atlas":
        raise UserError(
            f"run {run} is an import of format {found.inputs.get('format')!r}, which has no gene"
            " lists; expected a trace run or an imported atlas",
            f"list the runs: scircuit runs --study {study.root}",
        )
    return found


def libraries_of(
    config: AnnotateConfig,
) -> tuple[list[GeneSetLibrary], Regulons | None, dict[str, Closure]]:
    """Gene sets of a configuration, the regulons whose modes are kept beside their target sets, and
    the closed libraries by name.

    Raises
    ------
    UserError
        If a file is refused, or nothing is left to test.
    """
    from scircuit.analysis.annotation.annotate_features import check_species
    from scircuit.analysis.genesets import library
    from scircuit.analysis.genesets.regulons import Regulons
    from scircuit.analysis.genesets.trrust import shipped_trrust

    libraries: list[GeneSetLibrary] = list(library.shipped()) if config.shipped else []
    regulons = shipped_trrust() if config.shipped else None
    for path in config.gmt:
        found = library.read_library(path)
        if not isinstance(found, Regulons):
            libraries.append(found)
        elif regulons is None:
            regulons = found
        else:
            libraries.append(found.library())
    libraries, regulons = _of_today(libraries, regulons)
    check_species([*libraries, *([regulons.library()] if regulons else [])], _human)
    closed: dict[str, Closure] = {}
    for path in config.obo:
        from scircuit.analysis.annotation.library_records import Closure
        from scircuit.analysis.genesets.ontology import close, is_a

        known = [lib for lib in libraries if any(t.accession.startswith("GO:") for t in lib.terms)]
        if not known:
            raise UserError(
                f"no library has GO accessions for {path} to relate",
                "give a GO library, or leave --obo out",
            )
        for lib in known:
            whole = close(lib, path)
            closed[lib.name] = Closure(whole, lib, is_a(whole, path))
        libraries = [closed[lib.name].library if lib.name in closed else lib for lib in libraries]
    if not libraries and regulons is None:
        raise UserError(
            "there is nothing to annotate with: the shipped libraries are off and no file was"
            " given",
            "give gene-set files with --gmt",
        )
    return libraries, regulons, closed


def _of_today(
    libraries: list[GeneSetLibrary], regulons: Regulons | None
) -> tuple[list[GeneSetLibrary], Regulons | None]:
    """The same with retired gene symbols replaced by those of the vocabulary."""
    from scircuit.analysis.genesets.aliases import update_library, update_regulons

    return [update_library(lib, _human)[0] for lib in libraries], (
        update_regulons(regulons, _human)[0] if regulons else None
    )


@cache
def _symbols() -> frozenset[str]:
    from scircuit.workflows.importing import gene_ids

    return frozenset(s.upper() for s in gene_ids())


def _human(symbol: str) -> bool:
    """Whether a symbol, in any case, is that of a human gene with an Ensembl id."""
    return symbol.upper() in _symbols()


def annotate(
    config: AnnotateConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Annotate every feature of a trace run's dictionaries, or of an imported atlas, in GO,
    Reactome, TRRUST and the given gene sets.

    The genes of a traced feature come from the clean pass over all cells that pass the trace run's
    filters; those of an atlas are the published ones, and its published annotation rate is set
    against the published procedure on random gene lists. Every rate stands beside the rate of
    matched random lists.

    Raises
    ------
    UserError
        If there is no such run, its inputs have changed, or a gene-set file is refused.
    """
    config = config or build(AnnotateConfig, options)
    _check_numbers(config)
    place = Study(Path(study))
    parent = parent_run(place, config.run)
    imported = parent.verb == "import"
    if imported and (config.cell_types or config.tissues):
        raise UserError(
            "cell types are tested on cells, and an imported atlas has none",
            "leave out --cell-types and --tissues; published ones are in the graph",
        )
    libraries, regulons, closed = libraries_of(config)
    if not imported:
        _check_columns(parent, config)
    hashes = {
        "libraries": {x.name: x.sha256 for x in libraries},
        "trrust": regulons.sha256 if regulons else "",
        "gmt": [sha256_file(p) for p in config.gmt],
        "obo": [sha256_file(p) for p in config.obo],
    }
    identity = {k: v for k, v in plain(config).items() if k not in ("run", "gmt", "obo")}
    files = {name: [str(p.resolve()) for p in getattr(config, name)] for name in ("gmt", "obo")}
    with active_run(
        place,
        "annotate",
        {**plain(config), "run": parent.run, **files},
        hashes,
        identity=identity,
        parents=(parent.run,),
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new and imported:
            from scircuit.workflows.annotate_atlas import annotate_atlas

            annotate_atlas(run, place, parent, config, libraries, regulons, closed, quiet)
        elif new:
            _annotate(run, parent, config, libraries, regulons, closed, quiet)
    findings = dict(run.store.manifest.findings)
    if new and not quiet:
        for note in (*findings.get("notes", ()), *_replaced(place, parent, run.id)):
            say(f"  {note}")
    return RunResult(
        run.id, run.folder, findings, tuple(findings.get("sentences", ())), run.load_message, new
    )


def _replaced(study: Study, parent: Manifest, run: str) -> list[str]:
    """What becomes of an earlier annotation of the same features."""
    older = [
        m.run
        for m in study.manifests()
        if m.verb == "annotate" and m.complete and parent.run in m.parents and m.run != run
    ]
    if not older:
        return []
    return [
        f"labels on the features are those of this run now; what {', '.join(older)} found stays in"
        " the graph with its run, and can be asked for by it"
    ]


def announce(
    lists: pd.DataFrame, libraries: list[GeneSetLibrary], config: AnnotateConfig, quiet: bool
) -> None:
    """Say what is about to be tested, and what the slow reference will cost for gene lists in rows
    of (layer, index, gene).
    """
    if quiet:
        return
    terms = sum(len(x.terms) for x in libraries)
    say(f"  testing {terms:,} terms with {config.null_draws} matched null lists per feature")
    if config.engine == "gseapy":
        features = len(lists[["layer", "index"]].drop_duplicates())
        seconds = GSEAPY_SECONDS * features * terms
        say(
            f"  engine gseapy needs about {duration(seconds)} for {features:,} lists; --engine"
            " exact (the default) gives the same p in seconds"
        )


def _obs(parent: Manifest) -> pd.DataFrame:
    """Every obs column of the cells of a trace run's file."""
    from scircuit.tracing.cells.expression_files import open_expression

    with open_expression(Path(parent.config["cells"])) as expression:
        return expression.obs


def _check_numbers(config: AnnotateConfig) -> None:
    """Refuse numbers that no test can use."""
    for name, least in (("null_draws", 1), ("top_genes", 1), ("min_size", 1)):
        if (value := getattr(config, name)) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {value}, expected {least} or more",
                f"the default is {getattr(AnnotateConfig(), name)}",
            )
    if config.max_size < config.min_size:
        raise UserError(
            f"terms of {config.min_size} to {config.max_size} genes: there are none",
            "give a --max-size that is at least --min-size",
        )
    if not 0 < config.q < 1:
        raise UserError(
            f"--q is {config.q:g}, expected a share between 0 and 1", "the default is 0.05"
        )


def _check_columns(parent: Manifest, config: AnnotateConfig) -> None:
    """Refuse absent columns before the model is loaded."""
    wanted = (*config.cell_types, *config.tissues, *((config.donor,) if config.donor else ()))
    if not wanted:
        return
    if config.donor and not (config.cell_types or config.tissues):
        raise UserError(
            f"--donor {config.donor} is the unit of the cell-type tests, and none was asked for",
            "name the columns: --cell-types, --tissues",
        )
    columns = [str(c) for c in _obs(parent).columns]
    if missing := [c for c in wanted if c not in columns]:
        raise UserError(
            f"the cells of run {parent.run} have no obs column {', '.join(missing)}",
            f"the columns are: {', '.join(columns) or 'none'}",
        )


def _cell_types(
    run: Any, parent: Manifest, config: AnnotateConfig, cohort: Any, activity: Any, address: Any
) -> Any:
    """Cell types and tissues in which features are more active; None where none were asked for."""
    from scircuit.analysis.annotation.cell_types import (
        cell_type_tables,
        donor_column,
        mean_activations,
    )
    from scircuit.tracing.statistics.sign_flip import sign_flip_p

    if activity is None:
        return None
    obs = _obs(parent).iloc[cohort.row_ids]
    given = mean_activations(
        activity.cell, activity.layer, activity.index, activity.total, activity.gene_positions
    )
    columns = {"CellType": config.cell_types, "Tissue": config.tissues}
    donor = donor_column([str(c) for c in obs.columns], config.donor)
    return cell_type_tables(
        given,
        obs,
        {k: v for k, v in columns.items() if v},
        donor,
        address,
        run=run.id,
        q=config.q,
        sign_flip=sign_flip_p,
    )


def _annotate(
    run: Any,
    parent: Manifest,
    config: AnnotateConfig,
    libraries: list[GeneSetLibrary],
    regulons: Regulons | None,
    closed: dict[str, Closure],
    quiet: bool,
) -> None:
    from scircuit.analysis.annotation.annotate_features import annotate as annotate_features
    from scircuit.core.address import Address
    from scircuit.tracing.clean_pass.feature_genes import build_catalogue

    traced, inputs = inputs_of_run(parent, all_cells=True)
    progress = Progress("catalogue", len(inputs.cohort.row_ids), "cells", quiet=quiet)
    catalogue = build_catalogue(
        inputs.adapter,
        inputs.dictionaries,
        inputs.cohort,
        by_cell=bool(config.cell_types or config.tissues),
        progress=lambda done, _total: progress.update(done),
    )
    lists = catalogue.table.to_pandas()
    announce(lists, [*libraries, *([regulons.library()] if regulons else [])], config, quiet)
    vocabulary = inputs.adapter.vocabulary

    def address(layer: int, index: int) -> str:
        return str(Address(traced.model_name, traced.dictionary_name, layer, index))

    annotation = annotate_features(
        lists,
        catalogue.detection,
        libraries,
        regulons,
        symbol_of=vocabulary.symbol,
        ensembl_of=vocabulary.symbol_to_ensembl.get,
        address=address,
        config=config,
        run=run.id,
        closed=closed,
        alive={layer: int((rate > 0).sum()) for layer, rate in catalogue.firing_rate.items()},
    )
    unlisted = _unlisted(annotation.findings, config)
    found = _cell_types(run, parent, config, inputs.cohort, catalogue.activity, address)
    if found is None:
        store(run, annotation, {}, after=unlisted)
    else:
        run.write("cell-types", found.tables)
        store(
            run,
            annotation,
            {"cell_types": found.findings},
            after=(*unlisted, *found.sentences),
            notes=found.notes,
        )


def _unlisted(findings: Mapping[str, Any], config: AnnotateConfig) -> tuple[str, ...]:
    """What the rates make of features without a list; empty where every one has its list."""
    without = findings["features"] - findings["features_tested"]
    if not without:
        return ()
    return (
        (
            f"{without:,} of {findings['features']:,} firing features have no gene with"
            f" {config.min_fire_count} firings or more, so nothing was tested for them; they count"
            " as not annotated"
        ),
    )


def store(
    run: Any,
    annotation: Any,
    more: dict[str, Any],
    *,
    after: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> None:
    """Write the records of an annotation and conclude the run, with further findings, sentences and
    notes.
    """
    run.write("annotation", annotation.tables)
    run.write(
        "used",
        links(
            "Run-USED-GeneSetLibrary",
            run.id,
            annotation.tables["GeneSetLibrary"].column("id").to_pylist(),
        ),
    )
    found = {
        **annotation.findings,
        **more,
        "sentences": [*annotation.sentences, *after],
        "notes": [*annotation.notes, *notes],
    }
    run.conclude(
        found,
        annotation_rate=found["annotation_rate"],
        null_annotation_rate=found["null_annotation_rate"],
    )


command = verb_command("annotate", AnnotateConfig, annotate)
