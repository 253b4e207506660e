"""``scircuit circuit``: the smallest set of features that keeps a behaviour of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, CircuitConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import say
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import active_run
from scircuit.execution.behaviour.asked_behaviour import Asked, gene_tokens, read_behaviour
from scircuit.execution.behaviour.circuit_records import circuit_finding
from scircuit.execution.find_runs import trace_run
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.load_inputs import Inputs, inputs_of_run, require_gene_model
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    from scircuit.analysis.finding import Finding
    from scircuit.tracing.behaviour import Behaviour

_LEAST = {"n_cells": 12, "steps": 1, "draws": 19, "probe_cells": 24}
_CLASS = 18  # cells of either class: six for the circuit, and 12 for the probe


@dataclass(frozen=True)
class _Subject:
    """The cells of a circuit and the behaviour that is read in them."""

    inputs: Inputs
    cells: list[np.ndarray]
    behaviour: Behaviour
    strata: np.ndarray | None  # class of each cell, for a probe
    accuracy: float | None  # of the probe
    accuracy_p: float | None


def circuit(
    config: CircuitConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Find the features that keep a behaviour when all others are at their means.

    One half of the cells chooses the circuit; its sufficiency, its necessity and the curve over all
    sizes are measured on the other half, beside random circuits of the same size, layers and firing
    rates, and so is what it keeps when its features reach each other through its computed edges
    alone. Where nothing small keeps the behaviour the reason is stored without features, and the
    sentence says what came closest.

    Returns
    -------
    RunResult
        ``table("Feature-PART_OF-Intervention")`` has the features of the circuit; ``detail`` has
        the finding by name, with the curve and its plot.

    Raises
    ------
    UserError
        If the behaviour is unknown, names genes or a column that are not there, or is in too few
        cells; a probe is at chance; a layer is not of the trace run; or its inputs have changed.
    """
    config = config or build(CircuitConfig, options)
    _check(config)
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    _check_layers(parent, config.layers)
    asked = read_behaviour(config.behaviour)
    if asked.kind == "celltype":
        _check_classes(*_labels(parent, asked, None, place.root), asked.name, "the file")
    identity = {k: v for k, v in plain(config).items() if k not in ("run", "device", "behaviour")}
    with active_run(
        place,
        "circuit",
        {**plain(config), "run": parent.run},
        {"behaviour": [asked.kind, asked.name], "genes": list(asked.genes)},
        identity=identity,
        parents=(parent.run,),
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            finding, device = _compute(place, parent, asked, config, run.id, quiet)
            write_findings(run.folder, [finding])
            run.write("circuit", finding.records)
            run.conclude({**finding.numbers, "sentences": [finding.sentence]}, device=device)
    return run.result(new)


def _check(config: CircuitConfig) -> None:
    """Refuse numbers outside their range."""
    for name, least in _LEAST.items():
        if getattr(config, name) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(config, name)}, expected {least} or more",
                f"the default is {getattr(CircuitConfig(''), name)}",
            )
    for name in ("share", "max_share"):
        if not 0 < getattr(config, name) <= 1:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(config, name):g}, expected a number above"
                " 0 and up to 1",
                f"the default is {getattr(CircuitConfig(''), name)}",
            )


def _check_layers(parent: Manifest, layers: tuple[int, ...]) -> None:
    """Refuse layers that the trace run did not ablate or measure."""
    own = {*parent.config["source_layers"], *parent.config["target_layers"]}
    if not set(layers) <= own:
        raise UserError(
            f"--layers {','.join(map(str, layers))}: the trace run {parent.run} has layers"
            f" {','.join(map(str, sorted(own)))}",
            "choose among these, or trace more layers",
        )


def _compute(
    place: Study, parent: Manifest, asked: Asked, config: CircuitConfig, run: str, quiet: bool
) -> tuple[Finding, str]:
    """Find the circuit and its edges."""
    from scircuit.tracing.behaviour import Search, find_circuit

    subject = _subject(place, parent, asked, config)
    inputs = subject.inputs
    layers = tuple(sorted(set(config.layers))) or inputs.settings.layers
    names = ("share", "max_share", "scoring", "steps", "draws", "seed")
    found = find_circuit(
        inputs.adapter,
        inputs.dictionaries,
        layers,
        subject.cells,
        subject.behaviour,
        Search(**{name: getattr(config, name) for name in names}),
        strata=subject.strata,
        report=lambda step: None if quiet else say(f"  circuit: {step}"),
    )
    more = {"accuracy": subject.accuracy, "accuracy_p": subject.accuracy_p}
    prefix = (inputs.settings.model_name, inputs.settings.dictionary_name)
    asked_for = f"{asked.kind}:{asked.name}"
    finding = circuit_finding(
        inputs.adapter,
        found,
        place,
        parent,
        prefix,
        asked_for,
        subject.behaviour.text,
        config,
        run,
        more,
    )
    return finding, str(inputs.adapter.device)


def _subject(place: Study, parent: Manifest, asked: Asked, config: CircuitConfig) -> _Subject:
    """Cells and behaviour."""
    from scircuit.tracing.behaviour import GeneLogits, GeneLoss, ProbeMargin, fit_probe
    from scircuit.tracing.behaviour.probe import mean_states

    more = config.probe_cells if asked.kind == "celltype" else 0
    _, inputs = inputs_of_run(parent, device=config.device, n_cells=config.n_cells + more)
    require_gene_model(inputs, "circuit")
    cells = list(inputs.cohort.tokens)
    if asked.kind != "celltype":
        tokens = gene_tokens(asked, inputs.adapter.vocabulary)
        kind = GeneLogits if asked.kind == "genes" else GeneLoss
        return _Subject(inputs, cells, kind(asked.name, tokens, config.seed), None, None, None)
    rows = inputs.cohort.row_ids
    labels, known = _labels(parent, asked, rows, place.root)
    _check_classes(labels, known, asked.name, "the cells drawn")
    inside = _balanced(labels, known, config.n_cells, config.seed)
    outside = known & ~inside
    states = mean_states(inputs.adapter, [c for c, o in zip(cells, outside, strict=True) if o])
    probe = fit_probe(states, labels[outside], asked.name, config.seed)
    chosen = [c for c, i in zip(cells, inside, strict=True) if i]
    own = labels[inside]
    behaviour = ProbeMargin(asked.name, probe, own)
    return _Subject(inputs, chosen, behaviour, own.astype(np.int64), probe.accuracy, probe.p)


def _labels(
    parent: Manifest, asked: Asked, rows: np.ndarray | None, study: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the rows of the file (None: all) have the value, and which have one at all.

    Raises
    ------
    UserError
        If obs has no such column, or no cell with that value.
    """
    from scircuit.tracing.cells.expression_files import open_expression

    cells = Path(parent.config["cells"])
    with open_expression(cells, str(parent.config.get("genome", ""))) as expression:
        obs = expression.obs
    if asked.column not in obs.columns:
        some = ", ".join(str(c) for c in obs.columns[:12])
        raise UserError(
            f"{cells.name} has no obs column {asked.column!r}; it has {some or 'none'}",
            "name one of these",
        )
    column = obs[asked.column]
    texts = column.astype(str)
    if not (texts == asked.value).any():
        some = ", ".join(str(v) for v in column.value_counts().head(8).index)
        raise UserError(
            f"no cell of {cells.name} has {asked.column} = {asked.value!r}; there are {some}",
            f"name one of these; the cells of the run: scircuit runs show --study {quoted(study)}",
        )
    known = column.notna().to_numpy(bool)
    labels = (texts == asked.value).to_numpy(bool) & known
    return (labels, known) if rows is None else (labels[rows], known[rows])


def _check_classes(labels: np.ndarray, known: np.ndarray, name: str, where: str) -> None:
    """Refuse classes of which a third is too few to choose and judge a circuit, or the rest to fit
    and test a probe.
    """
    counts = int(labels.sum()), int((known & ~labels).sum())
    if min(counts) >= _CLASS:
        return
    raise UserError(
        f"of {len(labels):,} cells of {where} {counts[0]:,} are {name}, {counts[1]:,} are not, and"
        f" {int((~known).sum()):,} have no value; expected {_CLASS} or more of both: a third of"
        " each is for the circuit, the others fit and test a probe",
        "give --probe-cells more, or name a cell type or column with enough cells",
    )


def _balanced(labels: np.ndarray, known: np.ndarray, n_cells: int, seed: int) -> np.ndarray:
    """Cells of the circuit: equally many of both classes, at most a third of either
    (`_check_classes`: six or more).
    """
    sides = [np.flatnonzero(known & (labels == side)) for side in (True, False)]
    each = min(n_cells // 2, *(len(side) // 3 for side in sides))
    rng = np.random.default_rng(seed)
    inside = np.zeros(len(labels), bool)
    for side in sides:
        inside[rng.permutation(side)[:each]] = True
    return inside
