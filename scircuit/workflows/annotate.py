"""``scircuit annotate``: name every feature by the gene sets its top genes are enriched in, beside
a matched null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, AnnotateConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.files import sha256_file
from scircuit.core.progress import Progress, duration, say
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import ActiveRun, active_run, links
from scircuit.execution.atlas_annotation import annotate_atlas
from scircuit.execution.find_runs import imported_run, trace_run
from scircuit.execution.load_inputs import inputs_of_run
from scircuit.execution.run_result import RunResult
from scircuit.execution.software_versions import packages
from scircuit.tracing.tokenisation.vocabulary import human_gene_ids

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.annotation.annotate_features import Annotation
    from scircuit.analysis.annotation.cell_types import CellTypes
    from scircuit.analysis.annotation.choose_libraries import ChosenLibraries
    from scircuit.tracing.cells.cohort import Cohort
    from scircuit.tracing.clean_pass.feature_genes import CellActivity

GSEAPY_SECONDS = 1.1e-5  # per list and term; bench/enrichment.py


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
            f"list the runs: scircuit runs --study {quoted(study.root)}",
        )
    return found


@cache
def _symbols() -> frozenset[str]:
    return frozenset(s.upper() for s in human_gene_ids())


@cache
def _symbol_of() -> dict[str, str]:
    return {gene: symbol for symbol, gene in human_gene_ids().items()}


def _human(symbol: str) -> bool:
    """Whether a symbol, in any case, is that of a human gene with an Ensembl id."""
    return symbol.upper() in _symbols()


def annotate(
    config: AnnotateConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: object,
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
    from scircuit.analysis.annotation.choose_libraries import choose_libraries

    config = config or build(AnnotateConfig, options)
    _check_numbers(config)
    place = Study(Path(study))
    parent = parent_run(place, config.run)
    imported = parent.verb == "import"
    if imported and (config.cell_types or config.tissues):
        raise UserError(
            "tests of cell types need cells, and an imported atlas has none",
            "leave out --cell-types and --tissues; published cell types are in the graph",
        )
    gene_sets = choose_libraries(config, _human, lambda gene: _symbol_of().get(gene, ""))
    if not imported:
        _check_columns(parent, config)
    hashes = {
        "libraries": {x.name: x.sha256 for x in gene_sets.libraries},
        "trrust": gene_sets.regulons.sha256 if gene_sets.regulons else "",
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
            atlas = annotate_atlas(
                place,
                parent,
                config,
                gene_sets,
                run.id,
                announce=lambda lists: _announce(lists, gene_sets, config, quiet),
                quiet=quiet,
            )
            _store(run, atlas.annotation, atlas.findings, after=atlas.sentences)
        elif new:
            _annotate(run, parent, config, gene_sets, quiet)
    findings = dict(run.store.manifest.findings)
    if new and not quiet:
        for note in (*findings.get("notes", ()), *_replaced(place, parent, run.id)):
            say(f"  {note}")
    return run.result(new)


def _replaced(study: Study, parent: Manifest, run: str) -> list[str]:
    """Notes on earlier annotations of the same features."""
    older = [
        m.run
        for m in study.manifests()
        if m.verb == "annotate" and m.complete and parent.run in m.parents and m.run != run
    ]
    if not older:
        return []
    return [
        f"the labels of the features are now those of this run; the results of {', '.join(older)}"
        " stay in the graph under their run id"
    ]


def _announce(
    lists: pd.DataFrame, gene_sets: ChosenLibraries, config: AnnotateConfig, quiet: bool
) -> None:
    """Print what will be tested, and how long the slow reference will take for gene lists in rows
    of (layer, index, gene).
    """
    if quiet:
        return
    terms = sum(len(x.terms) for x in gene_sets.all)
    say(f"  testing {terms:,} terms; {config.null_draws} matched random lists per feature")
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

    with open_expression(
        Path(parent.config["cells"]), str(parent.config.get("genome", ""))
    ) as expression:
        return expression.obs


def _check_numbers(config: AnnotateConfig) -> None:
    """Refuse numbers outside their range."""
    for name, minimum in (("null_draws", 1), ("top_genes", 1), ("min_size", 1)):
        if (value := getattr(config, name)) < minimum:
            raise UserError(
                f"--{name.replace('_', '-')} is {value}, expected {minimum} or more",
                f"the default is {getattr(AnnotateConfig(), name)}",
            )
    if config.max_size < config.min_size:
        raise UserError(
            f"--min-size is {config.min_size} and --max-size {config.max_size}: no term has such a"
            " size",
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
            f"--donor {config.donor} is given, but no cell types or tissues to test",
            "give their columns: --cell-types, --tissues",
        )
    obs = _obs(parent)
    columns, unreadable = [str(c) for c in obs.columns], obs.attrs.get("unreadable", {})
    if lost := [c for c in wanted if c in unreadable]:
        raise UserError(
            f"obs[{lost[0]!r}] of the cells of run {parent.run} cannot be read:"
            f" {unreadable[lost[0]]}",
            "mend the column in the file, or choose another",
        )
    if missing := [c for c in wanted if c not in columns]:
        raise UserError(
            f"the cells of run {parent.run} have no obs column {', '.join(missing)}",
            f"the columns are: {', '.join(columns) or 'none'}",
        )


def _cell_types(
    run: ActiveRun,
    parent: Manifest,
    config: AnnotateConfig,
    cohort: Cohort,
    activity: CellActivity,
    address: Callable[[int, int], str],
) -> CellTypes:
    """Cell types and tissues in which features are more active."""
    from scircuit.analysis.annotation.cell_types import (
        DONOR_COLUMNS,
        cell_type_tables,
        donor_column,
        mean_activations,
    )
    from scircuit.tracing.cells.column_names import named
    from scircuit.tracing.statistics.sign_flip import sign_flip_p

    obs = _obs(parent).iloc[cohort.row_ids]
    given = mean_activations(
        activity.cell, activity.layer, activity.index, activity.total, activity.gene_positions
    )
    columns = {"CellType": config.cell_types, "Tissue": config.tissues}
    usual = next(iter(named(obs.columns, DONOR_COLUMNS)), "")  # in any spelling
    donor = donor_column([str(c) for c in obs.columns], config.donor or usual)
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
    run: ActiveRun,
    parent: Manifest,
    config: AnnotateConfig,
    gene_sets: ChosenLibraries,
    quiet: bool,
) -> None:
    """Annotate the features of a trace run and conclude the run."""
    from scircuit.analysis.annotation.annotate_features import annotate as annotate_features
    from scircuit.core.address import Address
    from scircuit.tracing.clean_pass.stored_catalogue import stored_catalogue

    _, inputs = inputs_of_run(parent, n_cells=config.n_cells)
    settings = inputs.settings  # names as addresses have them, not as folders do
    progress = Progress("catalogue", len(inputs.cohort.row_ids), "cells", quiet=quiet)
    catalogue = stored_catalogue(
        run.study.root / "catalogues",
        inputs.adapter,
        inputs.dictionaries,
        inputs.cohort,
        versions=packages(),
        by_cell=bool(config.cell_types or config.tissues),
        progress=lambda done, _total: progress.update(done),
    )
    lists = catalogue.table.to_pandas()
    _announce(lists, gene_sets, config, quiet)
    # a gene set may hold genes that a small vocabulary of a panel does not
    vocabulary, others = inputs.adapter.vocabulary, human_gene_ids()

    def address(layer: int, index: int) -> str:
        return str(Address(settings.model_name, settings.dictionary_name, layer, index))

    annotation = annotate_features(
        lists,
        catalogue.detection,
        gene_sets.libraries,
        gene_sets.regulons,
        symbol_of=vocabulary.symbol,
        ensembl_of=lambda symbol: vocabulary.symbol_to_ensembl.get(symbol) or others.get(symbol),
        address=address,
        config=config,
        run=run.id,
        closed=gene_sets.closed,
        alive={layer: int((rate > 0).sum()) for layer, rate in catalogue.firing_rate.items()},
    )
    unlisted = _unlisted(annotation, config)
    if catalogue.activity is None:
        _store(run, annotation, {}, after=unlisted)
    else:
        found = _cell_types(run, parent, config, inputs.cohort, catalogue.activity, address)
        run.write("cell-types", found.tables)
        _store(
            run,
            annotation,
            {"cell_types": found.findings},
            after=(*unlisted, *found.sentences),
            notes=found.notes,
        )


def _unlisted(annotation: Annotation, config: AnnotateConfig) -> tuple[str, ...]:
    """How the rates treat features without a list; empty where every feature has one."""
    features, tested = annotation.features, annotation.features_tested
    if features == tested:
        return ()
    return (
        (
            f"{features - tested:,} of {features:,} firing features have no gene with at least"
            f" {config.min_fire_count} firings and were not tested; they count as not annotated"
        ),
    )


def _store(
    run: ActiveRun,
    annotation: Annotation,
    more: Mapping[str, object],
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
        annotation_rate=annotation.findings["annotation_rate"],
        null_annotation_rate=annotation.findings["null_annotation_rate"],
    )
