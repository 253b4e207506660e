"""Which features are steered and by what they are read, from the options of ``scircuit steer``.

What can be refused from the options and the obs columns is refused before the model is loaded; what
depends on the probe cells, before anything is steered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.execution.steering_inputs.marker_sets import read_markers
from scircuit.execution.steering_inputs.probe_cohort import (
    ProbeCohort,
    column,
    probe_cohort,
    read_obs,
)
from scircuit.execution.steering_inputs.pseudotime_source import (
    DPT,
    numbers,
    pseudotime_of,
    require_scanpy,
)

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.core.config import SteerConfig, TraceConfig
    from scircuit.execution.load_inputs import Inputs
    from scircuit.tracing.interventions.steering.probe_readouts import ProbeStates
    from scircuit.tracing.interventions.steering.steering_readouts import Readout
    from scircuit.tracing.interventions.steering.switch_features import Switch

READOUTS = ("genes", "states", "pseudotime", "fate", "types", "markers", "loss")


class TwoStates(NamedTuple):
    """``--state COLUMN=A,B``; each side may join several values with ``+``."""

    column: str
    first: tuple[str, ...]
    second: tuple[str, ...]

    @property
    def names(self) -> tuple[str, str]:
        """Names of the two states."""
        return "+".join(self.first), "+".join(self.second)


@dataclass(frozen=True)
class Plan:
    """Features and readouts of a steering run."""

    features: list[Address]
    readouts: list[Readout] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)


def two_states(given: str) -> TwoStates:
    """Read ``COLUMN=A,B``.

    Raises
    ------
    UserError
        If it has another form, or a value is on both sides.
    """
    name, _, values = given.partition("=")
    sides = [tuple(v.strip() for v in side.split("+") if v.strip()) for side in values.split(",")]
    if not name or len(sides) != 2 or not all(sides) or set(sides[0]) & set(sides[1]):
        raise UserError(
            f"--state {given!r}; expected a column and two different states",
            "give COLUMN=A,B; several values of one state are joined with +: COLUMN=A+B,C",
        )
    return TwoStates(name.strip(), *sides)


def asked_readouts(config: SteerConfig) -> tuple[str, ...]:
    """The readouts beside the gene logits: those named, or all whose inputs are given (never the
    masked-LM loss, which costs passes of its own).

    Raises
    ------
    UserError
        If one is unknown, or its input is not given.
    """
    given = {
        "states": bool(config.pseudotime or config.state),
        "pseudotime": bool(config.pseudotime),
        "fate": bool(config.state),
        "types": bool(config.types),
        "markers": bool(config.markers),
    }
    needs = {
        "states": "--pseudotime or --state",
        "pseudotime": "--pseudotime",
        "fate": "--state",
        "types": "--types",
        "markers": "--markers",
    }
    named = [w for text in config.readouts for w in text.replace(",", " ").split()]
    for name in named:
        if name not in READOUTS:
            raise UserError(f"readout {name!r}", f"choose among: {', '.join(READOUTS)}")
        if name in needs and not given[name]:
            raise UserError(f"the readout {name} needs {needs[name]}", f"give {needs[name]}")
    chosen = named or [name for name, there in given.items() if there]
    return tuple(name for name in READOUTS[1:] if name in chosen)


def check_options(config: SteerConfig, trace: TraceConfig) -> None:
    """Refuse what the options and the obs columns alone show to be wrong.

    Raises
    ------
    UserError
        See there.
    """
    asked_readouts(config)
    if config.panel and not (config.pseudotime or config.state):
        raise UserError(
            "--panel on-off needs to know early from late cells",
            "give --pseudotime COLUMN (or dpt), or --state COLUMN=A,B",
        )
    if config.panel and config.features:
        raise UserError("--features and --panel both choose the features", "give one of the two")
    if config.random_directions < 0 or config.probe_cells < 0:
        raise UserError(
            f"--random-directions {config.random_directions}, --probe-cells {config.probe_cells};"
            " expected 0 or more",
            "give other numbers",
        )
    if config.markers:
        read_markers(config.markers)
    if config.pseudotime == DPT:
        require_scanpy()
        if not config.root:
            raise UserError(
                "--pseudotime dpt needs a root cell", "name the barcode of an early cell: --root"
            )
    if not needs_probe_cells(config):
        return
    from scircuit.tracing.interventions.steering.probe_readouts import FEWEST_CELLS

    if config.probe_cells < FEWEST_CELLS:
        raise UserError(
            f"--probe-cells {config.probe_cells}: {_probed_options(config)} needs cells that are"
            f" not steered, to fit probes and signatures on; expected {FEWEST_CELLS} or more",
            f"give --probe-cells {FEWEST_CELLS} or more, or leave out {_probed_options(config)}",
        )
    obs = read_obs(trace)
    if config.pseudotime and config.pseudotime != DPT:
        numbers(column(obs, config.pseudotime, "pseudotime"))
    for option, name in (
        ("state", two_states(config.state).column if config.state else ""),
        ("types", config.types),
        ("group", config.group),
    ):
        if name:
            column(obs, name, option)


def _probed_options(config: SteerConfig) -> str:
    """The options for which cells that are not steered have to be read."""
    given = ("panel", "pseudotime", "state", "types")
    return ", ".join(f"--{name}" for name in given if getattr(config, name))


def needs_probe_cells(config: SteerConfig) -> bool:
    """Whether cells that are not steered have to be read."""
    probed = {"states", "pseudotime", "fate", "types"}
    return bool(config.panel or probed & set(asked_readouts(config)))


def plan(
    config: SteerConfig,
    trace: TraceConfig,
    inputs: Inputs,
    given: list[Address],
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Fit everything that is not a steered pass.

    Parameters
    ----------
    config, trace
        Options of this run and of its trace run.
    inputs
        Inputs of the trace run.
    given
        Features; empty where the panel chooses them.
    progress
        Called with (probe cells done, probe cells).

    Raises
    ------
    UserError
        If the probe cells do not suffice, or nothing is left to steer.
    """
    from scircuit.tracing.interventions.steering.probe_readouts import marker_readout
    from scircuit.tracing.interventions.steering.steered_loss import require_masks
    from scircuit.tracing.interventions.steering.steering_readouts import MaskedLoss

    asked = asked_readouts(config)
    last: list[Readout] = []
    if "markers" in asked:
        last.append(marker_readout(inputs.adapter, *read_markers(config.markers)))
    if "loss" in asked:
        require_masks(inputs.adapter)
        last.append(MaskedLoss())
    if not needs_probe_cells(config):
        return Plan(given, last)
    made = _probed(config, trace, inputs, given, asked, progress)
    return Plan(made.features, [*made.readouts, *last], made.switches)


def _probed(
    config: SteerConfig,
    trace: TraceConfig,
    inputs: Inputs,
    given: list[Address],
    asked: tuple[str, ...],
    progress: Callable[[int, int], None] | None,
) -> Plan:
    from scircuit.tracing.interventions.steering import probe_readouts as made

    cells = probe_cohort(inputs, trace, config.probe_cells)
    groups = _text(column(cells.obs, config.group, "group")) if config.group else None
    # everything that can be wrong is found before the first pass
    pseudotime = states = types = None
    if config.pseudotime:
        pseudotime = pseudotime_of(cells, config.pseudotime, config.root, config.seed)
        made.require_pseudotime(pseudotime)
        _require_groups(groups, np.isfinite(pseudotime), config, "--pseudotime")
    if config.state:
        states = _state_labels(cells, two_states(config.state))
        _require_groups(groups, states >= 0, config, "--state")
    if config.types and "types" in asked:
        types = _type_labels(cells, config.types)
        _require_groups(groups, types[0] >= 0, config, "--types")
    layers = sorted(set(config.layers) or set(inputs.dictionaries)) if config.panel else []
    layers = layers or sorted({f.layer for f in given})
    missing = [t for t in layers if t not in inputs.dictionaries]
    if missing:
        raise UserError(
            f"--layers {', '.join(map(str, missing))}: there are dictionaries of layers"
            f" {', '.join(str(t) for t in sorted(inputs.dictionaries))}",
            "give layers that have one",
        )
    total = len(cells.tokens)
    probe = made.read_probe_cells(
        inputs.adapter,
        {t: inputs.dictionaries[t] for t in layers},
        cells.tokens,
        (lambda done: progress(done, total)) if progress else None,
    )
    readouts: list[Readout] = []
    seed = config.seed
    if pseudotime is not None:
        both = made.pseudotime_readouts(probe, pseudotime, groups, seed)
        readouts += [
            r for r, name in zip(both, ("states", "pseudotime"), strict=True) if name in asked
        ]
    if states is not None:
        asked_states = two_states(config.state)
        both = made.fate_readouts(
            probe, states, asked_states.names, asked_states.column, groups, seed
        )
        readouts += [r for r, name in zip(both, ("states", "fate"), strict=True) if name in asked]
    if types is not None:
        readouts += made.type_readouts(probe, *types, config.types, groups, seed)
    features, switches = _switches(config, inputs, given, probe, pseudotime, states)
    return Plan(features, readouts, switches)


def _switches(
    config: SteerConfig,
    inputs: Inputs,
    given: list[Address],
    probe: ProbeStates,
    pseudotime: np.ndarray | None,
    states: np.ndarray | None,
) -> tuple[list[Address], list[Switch]]:
    """ON and OFF features: the panel, or what the given features are."""
    from scircuit.tracing.interventions.steering.probe_readouts import (
        early_late,
        read_probe_cells,
    )
    from scircuit.tracing.interventions.steering.switch_features import (
        described,
        switch_features,
    )

    if pseudotime is not None:
        first, second = early_late(pseudotime)
    elif states is not None:
        first, second = states == 0, states == 1
    else:
        return given, []
    if not config.panel:
        return given, described(probe.activation, first, second, given)
    found = switch_features(probe.activation, first, second, config.seed)
    layers = sorted({s.layer for s in found})
    steered = read_probe_cells(
        inputs.adapter, {t: inputs.dictionaries[t] for t in layers}, inputs.cohort.tokens
    )
    fires = [s for s in found if (steered.activation[s.layer][:, s.index] > 0).any()]
    if not fires:
        raise UserError(
            f"none of {len(found)} ON and OFF features fires in the {len(inputs.cohort.tokens)}"
            " steered cells",
            "trace more cells, or give --features",
        )
    names = inputs.settings.model_name, inputs.settings.dictionary_name
    return [Address(*names, s.layer, s.index) for s in fires], fires


def _require_groups(
    groups: np.ndarray | None, labelled: np.ndarray, config: SteerConfig, option: str
) -> None:
    """Refuse labelled cells of a single group: none could be held out."""
    if groups is None:
        return
    names = np.unique(groups[labelled])
    if len(names) < 2:
        raise UserError(
            f"the {int(labelled.sum())} probe cells with a value for {option} are of {len(names)}"
            f" group by --group {config.group} ({names[0] if len(names) else 'none'}); held-out"
            " groups need 2 or more",
            "give another --group column, more --probe-cells, or leave out --group",
        )


def _text(values: pd.Series) -> np.ndarray:
    return values.astype(object).where(values.notna(), "").astype(str).to_numpy(str)


def _state_labels(cells: ProbeCohort, asked: TwoStates) -> np.ndarray:
    """0 for the first state, 1 for the second, -1 for neither."""
    from scircuit.tracing.interventions.steering.probe_readouts import require_classes

    values = _text(column(cells.obs, asked.column, "state"))
    labels = np.full(len(values), -1)
    for k, side in enumerate((asked.first, asked.second)):
        labels[np.isin(values, side)] = k
    require_classes(labels, asked.names, asked.column)
    return labels


def _type_labels(cells: ProbeCohort, name: str) -> tuple[np.ndarray, list[str]]:
    """Class number of each cell and the names; values of too few cells are left out."""
    from scircuit.tracing.interventions.steering.probe_readouts import (
        FEWEST_OF_CLASS,
        require_classes,
    )

    values = _text(column(cells.obs, name, "types"))
    found, counts = np.unique(values[values != ""], return_counts=True)
    names = [str(v) for v, n in zip(found, counts, strict=True) if n >= FEWEST_OF_CLASS]
    labels = np.full(len(values), -1)
    for k, value in enumerate(names):
        labels[values == value] = k
    require_classes(labels, names, name)
    return labels, names
