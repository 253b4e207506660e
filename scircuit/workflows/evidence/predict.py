"""``scircuit predict``: what a circuit says about pairs of genes, held against real knock-outs, and
where the features of disease gene sets sit in it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, PredictConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.files import sha256_file
from scircuit.core.progress import say
from scircuit.core.study import Manifest, Study, run_id
from scircuit.execution.active_run import ActiveRun, active_run
from scircuit.execution.evidence_inputs.screens import (
    Screen,
    control_label,
    load_screen,
    read_labels,
)
from scircuit.execution.feature_table import features_of
from scircuit.execution.find_runs import child_of, trace_run
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.analysis.finding import Finding
    from scircuit.analysis.gene_predictions.gene_pairs import GenePairs, PairEdges
    from scircuit.analysis.gene_predictions.gene_weights import GeneWeights
    from scircuit.analysis.genesets.library import GeneSetLibrary

_AT_LEAST = {
    "min_cells": 3, "min_set": 2, "top_genes": 1, "min_edges": 1, "pairs": 1, "draws": 19,
}  # fmt: skip


def predict(
    config: PredictConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: object,
) -> RunResult:
    """Score pairs of genes by the edges between their features.

    With a screen, the directions that the scores foretell are held against the responses to real
    knock-outs, beside rules that need no circuit. With disease gene sets, the features of each set
    are compared with features that fire as often, and the set with random sets of genes.

    Returns
    -------
    RunResult
        ``table("Gene-PREDICTS-Gene")`` has the pairs; ``detail`` the findings by name, each with a
        frame and a plot.

    Raises
    ------
    UserError
        If the trace run is not annotated, the screen has no usable labels or counts, fewer than
        three of its knock-outs are among the features' genes, or a gene-set file is refused.
    """
    config = config or build(PredictConfig, options)
    _check(config)
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    annotation = _annotation(place, parent)
    if config.screen is not None and not config.screen.exists():
        raise UserError(f"the screen {config.screen} does not exist", "give an existing file")
    libraries = _libraries(config.disease)
    hashes = {"disease": [sha256_file(p) for p in config.disease]}
    if config.screen is not None:
        from scircuit.tracing.cells.expression_files import content_sha256

        control_label(read_labels(config.screen, config.perturbation), config.control)
        hashes["screen"] = [content_sha256(config.screen)]
    identity = {k: v for k, v in plain(config).items() if k not in ("run", "screen", "disease")}
    parents = (parent.run, annotation.run)
    known = run_id("predict", identity, {**hashes, "parents": parents})
    given: _Given | None = None
    if not _finished(place, known):  # what cannot be used is refused before a run begins
        given = _read(place, parent, annotation, config, libraries)
    with active_run(
        place,
        "predict",
        {**plain(config), "run": parent.run},
        hashes,
        identity=identity,
        parents=parents,
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            given = given or _read(place, parent, annotation, config, libraries)
            _predict(run, place, annotation, config, libraries, given, quiet)
    return run.result(new)


def _check(config: PredictConfig) -> None:
    """Refuse numbers outside their range."""
    for name, least in _AT_LEAST.items():
        if (value := getattr(config, name)) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {value}, expected {least} or more",
                f"the default is {getattr(PredictConfig(), name)}",
            )
    for name in ("q", "response_q"):
        if not 0 < (value := getattr(config, name)) < 1:
            raise UserError(
                f"--{name.replace('_', '-')} is {value:g}, expected a share between 0 and 1",
                "the default is 0.05",
            )
    if not config.pseudo_count > 0:
        raise UserError(
            f"--pseudo-count is {config.pseudo_count:g}, expected a number above 0",
            "the default is 1",
        )


def _annotation(study: Study, parent: Manifest) -> Manifest:
    found = child_of(study, "annotate", parent.run)
    if found is None:
        raise UserError(
            f"run {parent.run} is not annotated, so its features have no genes",
            f"run scircuit annotate --run {parent.run} --study {quoted(study.root)}",
        )
    return found


def _libraries(paths: tuple[Path, ...]) -> tuple[GeneSetLibrary, ...]:
    """Disease gene sets with today's symbols."""
    from scircuit.analysis.annotation.choose_libraries import choose_libraries
    from scircuit.core.config import AnnotateConfig
    from scircuit.tracing.tokenisation.vocabulary import human_gene_ids

    if not paths:
        return ()
    human = human_gene_ids()
    upper = {symbol.upper() for symbol in human}
    by_id = {gene: symbol for symbol, gene in human.items()}
    return choose_libraries(
        AnnotateConfig(gmt=paths, shipped=False),
        lambda symbol: symbol.upper() in upper,
        lambda gene: by_id.get(gene, ""),
    ).all


def circuit_of(
    study: Study, trace: Manifest, annotation: Manifest | None, config: PredictConfig, run: str
) -> CircuitInputs:
    """The circuit of a trace run with the genes of its features."""
    from scircuit.analysis.circuit_inputs import CircuitInputs, genes_of
    from scircuit.analysis.circuits.degree import edges_by, read_edges, read_features, rule_for
    from scircuit.analysis.genesets.trrust import shipped_trrust
    from scircuit.ingest.shards.shard_store import ShardStore

    nodes = read_features(features_of(study, trace))
    store = ShardStore(study.run_folder(trace.run))
    edges = read_edges(store.tables("Feature-AFFECTS-Feature"), nodes)
    rule = rule_for(edges, config.rule)
    called = edges_by(edges, rule, config.q, config.min_support, config.min_effect)
    genes = genes_of(features_of(study, annotation) if annotation else None)
    return CircuitInputs(run, nodes, edges, called, rule, genes=genes, regulons=shipped_trrust())


class _Given(NamedTuple):
    """What is read and judged before a run begins; the circuit has no run yet."""

    inputs: CircuitInputs
    edges: PairEdges
    lists: GeneWeights
    screen: Screen | None


def _finished(study: Study, run: str) -> bool:
    there = (study.run_folder(run) / "manifest.json").exists()
    return there and study.manifest(run).complete


def _read(
    study: Study,
    trace: Manifest,
    annotation: Manifest,
    config: PredictConfig,
    libraries: tuple[GeneSetLibrary, ...],
) -> _Given:
    """The circuit, its gene lists and the screen.

    Raises
    ------
    UserError
        If the screen's cells, counts or labels cannot be used, fewer than three of its knock-outs
        are among the genes of features with edges, or no gene of a disease library is among them.
    """
    import numpy as np

    from scircuit.analysis.disease.disease_finding import sets_among
    from scircuit.analysis.gene_predictions.gene_weights import gene_weights
    from scircuit.analysis.gene_predictions.pair_edges import pair_edges
    from scircuit.analysis.gene_predictions.screen_validation import require_overlap

    inputs = circuit_of(study, trace, annotation, config, "")
    edges = pair_edges(inputs)
    lists = gene_weights(inputs.nodes.id.tolist(), inputs.genes, config.top_genes)
    if libraries:
        sets_among(libraries, lists.genes, config.min_set)
    screen = load_screen(trace, config) if config.screen is not None else None
    if screen is not None:
        sources = np.unique(edges.source)
        listed = np.asarray(lists.member[sources].sum(axis=0)).ravel() > 0
        require_overlap(
            {g for g, has in zip(lists.genes, listed, strict=True) if has}, screen.changes
        )
    return _Given(inputs, edges, lists, screen)


def _predict(
    run: ActiveRun,
    study: Study,
    annotation: Manifest,
    config: PredictConfig,
    libraries: tuple[GeneSetLibrary, ...],
    given: _Given,
    quiet: bool,
) -> None:
    from scircuit.analysis.disease.disease_finding import disease_finding
    from scircuit.analysis.gene_predictions.pair_finding import pair_finding
    from scircuit.analysis.gene_predictions.prediction_records import prediction_records
    from scircuit.ingest.shards.shard_store import ShardStore

    inputs, screen = replace(given.inputs, run=run.id), given.screen
    if not quiet:
        say(f"  scoring pairs of genes by {int(inputs.called.sum()):,} {inputs.rule.name} edges")
    pairs, validation = _pairs(given, config)
    ends = inputs.circuit
    found = [
        pair_finding(
            pairs,
            inputs.nodes.id[ends.source],
            inputs.nodes.id[ends.target],
            inputs.regulons,
            min_edges=config.min_edges,
            alpha=config.q,
            seed=config.seed,
        )
    ]
    known = ShardStore(study.run_folder(annotation.run)).tables("Gene")
    ids = {
        str(s).upper(): i
        for i, s in zip(*(known.column(c).to_pylist() for c in ("id", "symbol")), strict=True)
    }
    records: dict[str, pa.Table] = prediction_records(
        found[0].frame,
        lambda gene: ids.get(gene, f"symbol:{gene}"),
        run.id,
        alpha=config.q,
        changes=screen.changes if screen else None,
    )
    if validation is not None:
        found.append(validation)
    if libraries:
        disease = disease_finding(
            inputs,
            libraries,
            top=config.top_genes,
            min_set=config.min_set,
            alpha=config.q,
            draws=config.draws,
            seed=config.seed,
        )
        found.append(disease)
        records |= disease.records
    write_findings(run.folder, found)
    run.write("predictions", records)
    run.conclude(
        {
            "sentences": [f.sentence for f in found],
            "further": {f.name: dict(f.numbers) for f in found},
        }
    )


def _pairs(given: _Given, config: PredictConfig) -> tuple[GenePairs, Finding | None]:
    """Pairs of genes, and where there is a screen the finding about it."""
    from scircuit.analysis.gene_predictions.gene_pairs import gene_pairs
    from scircuit.analysis.gene_predictions.knock_out_finding import knock_out_finding
    from scircuit.analysis.gene_predictions.screen_validation import scores_of, validate

    screen = given.screen
    pairs = gene_pairs(
        given.edges,
        given.lists,
        requested=screen.changes.knocked if screen else (),
        top=config.pairs,
        min_edges=config.min_edges,
        q=config.q,
        seed=config.seed,
    )
    if screen is None:
        return pairs, None
    found = validate(
        scores_of(pairs, screen.changes),
        screen.changes,
        alpha=config.response_q,
        draws=config.draws,
        seed=config.seed,
    )
    return pairs, knock_out_finding(found, screen.changes, seen=screen.seen)
