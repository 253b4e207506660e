"""``scircuit steer``: amplify or clamp features and read what the model then predicts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build, build_stored, plain
from scircuit.core.config import DEFAULT_STUDY, SteerConfig, TraceConfig
from scircuit.core.errors import UserError
from scircuit.core.progress import Progress, say
from scircuit.core.study import Study
from scircuit.execution.active_run import active_run
from scircuit.execution.chosen_features import chosen_features
from scircuit.execution.find_runs import trace_run
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.load_inputs import inputs_of_run, require_gene_model
from scircuit.execution.run_result import RunResult
from scircuit.execution.steering_inputs.marker_sets import read_markers
from scircuit.execution.steering_inputs.steering_plan import (
    check_options,
    needs_probe_cells,
    plan,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import pyarrow as pa

    from scircuit.analysis.finding import Finding
    from scircuit.core.address import Address
    from scircuit.core.study import Manifest
    from scircuit.execution.load_inputs import Inputs

    Tables = Mapping[str, pa.Table]

MAX_P = 0.05
# no part of the id: which features they choose is
_NOT_IDENTITY = ("run", "hubs", "layers", "device")


def steer(
    config: SteerConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Amplify or clamp features (default: the top hubs) and measure gene logits and other readouts.

    Each slope over the dose is reported beside those of random directions of equal norm and of the
    direction of a feature that fires as often. State signatures and probes are fitted on cells of
    the same file that are not steered, and stored with their accuracy on held-out cells (or
    donors) beside that of shuffled labels.

    Raises
    ------
    UserError
        If no features can be chosen, an option or an obs column does not fit, the probe cells do
        not suffice, every condition is beyond what the model tolerates, or the inputs of the trace
        run have changed.
    """
    config = config or build(SteerConfig, options)
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    traced = build_stored(TraceConfig, parent.config)
    check_options(config, traced)
    addresses, parents = _chosen(place, parent, config)
    used: dict[str, Any] = {"features": [str(a) for a in addresses]}
    if config.markers:
        used["markers"] = [list(genes) for genes in read_markers(config.markers)]
    with active_run(
        place,
        "steer",
        {**plain(config), "run": parent.run},
        used,
        identity=_identity(config, addresses),
        parents=parents,
        database=database,
    ) as run:
        new = not run.finished
        if new:
            _, inputs = inputs_of_run(parent, device=config.device)
            require_gene_model(inputs, "steer")
            tables = _compute(config, traced, inputs, list(addresses), run.id, quiet)
            run.write("interventions", tables)
            numbers, sentences = summarise(tables, config.random_directions)
            finding = _layers(tables, config)
            write_findings(run.folder, [finding])
            numbers["layer_tests"] = finding.numbers["tests"]
            run.conclude(
                {**numbers, "sentences": [*sentences, finding.sentence]},
                device=str(inputs.adapter.device),
            )
    return run.result(new)


def _identity(config: SteerConfig, addresses: tuple[Address, ...]) -> dict[str, Any]:
    """Options that make the id. Those that runs did not always have are left out at their
    defaults.
    """
    always = ("features", "coefficients", "seed", "random_directions")
    values = plain(config)
    default = {f.name: f.default for f in fields(config)}
    identity = {k: values[k] for k in always}
    for name, value in values.items():
        given = getattr(config, name) != default[name]
        if name not in (*always, *_NOT_IDENTITY, "markers") and given:
            identity[name] = value
    if needs_probe_cells(config):
        identity["probe_cells"] = config.probe_cells
    if config.panel:
        identity["layers"] = sorted(config.layers)
    if config.features:  # however they were written
        identity["features"] = [str(address) for address in addresses]
    return identity


def _chosen(
    place: Study, parent: Manifest, config: SteerConfig
) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    """The features and the runs they come from; none where the panel chooses them."""
    if config.panel:
        return (), (parent.run,)
    if not config.layers:
        return chosen_features(place, parent, config.features, config.hubs)
    if config.features:
        raise UserError(
            "--features and --layers both choose layers", "give one of the two: addresses name one"
        )
    hubs, parents = chosen_features(place, parent, (), 10**6)
    found = tuple(f for f in hubs if f.layer in config.layers)[: config.hubs]
    if not found:
        there = ", ".join(str(t) for t in sorted({f.layer for f in hubs}))
        raise UserError(
            f"no hub is of layers {', '.join(map(str, config.layers))}; hubs are of layers {there}",
            "give --features, or --panel on-off, which also takes layers that were not traced",
        )
    return found, parents


def _compute(
    config: SteerConfig,
    traced: TraceConfig,
    inputs: Inputs,
    addresses: list[Address],
    run: str,
    quiet: bool,
) -> Tables:
    from scircuit.tracing.interventions import steer as steer_features

    reading = Progress("reading", config.probe_cells, "probe cells", quiet=quiet)
    made = plan(config, traced, inputs, addresses, lambda done, _total: reading.update(done))
    progress = Progress("steering", len(made.features), "features", quiet=quiet)
    return steer_features(
        inputs.adapter,
        inputs.dictionaries,
        inputs.cohort,
        made.features,
        config.coefficients,
        run=run,
        seed=config.seed,
        mode=config.mode,
        random_directions=config.random_directions,
        readouts=made.readouts,
        switches=made.switches,
        progress=lambda done, _total, _found: progress.update(done),
    )


def _layers(tables: Tables, config: SteerConfig) -> Finding:
    from scircuit.analysis.steering.layer_comparison import layer_comparison

    features = tables["Feature"].to_pandas()
    kinds = {i: k for i, k in zip(features["id"], features["steering_switch"], strict=True) if k}
    steers = tables["Feature-STEERS-Readout"].to_pandas()
    return layer_comparison(steers, kinds, config.random_directions, config.seed)


def summarise(tables: Tables, random_directions: int) -> tuple[dict[str, Any], list[str]]:
    """How many features move the genes they fire on, beside what random directions do, and whether
    there were enough of these to call a feature; conditions beyond the tolerated norm; and how good
    the probes are.
    """
    features = tables["Feature"].to_pandas()
    clear = int((features["steering_p"] <= MAX_P).sum())
    numbers: dict[str, Any] = {
        "features": len(features),
        "clear": clear,
        "median_slope": _median(features["steering_slope"]),
        "median_control": _median(features["steering_control"]),
    }
    slope, control = (
        "not known" if numbers[k] is None else f"{numbers[k]:.3g}"
        for k in ("median_slope", "median_control")
    )
    sentences = [
        f"{clear} of {len(features)} steered features move the logits of the genes they fire on"
        f" (sign-flip p <= 0.05); median |slope| per dose {slope}, random"
        f" directions of equal norm {control}"
    ]
    sentences.append(_against_random(features["steering_p_random"], random_directions, numbers))
    done = tables["Intervention"].to_pandas()
    beyond = int(done["beyond_norm"].sum())
    numbers["conditions"], numbers["beyond_norm"] = len(done), beyond
    if beyond:
        sentences.append(
            f"warning: {beyond} of {len(done)} conditions give states of norms that the model never"
            f" sees (up to {done['norm_ratio'].max():.3g} times the 99.9 % quantile of clean"
            " norms); they are marked and take no part in slopes"
        )
        say(sentences[-1])
    numbers["probes"] = {}
    for readout in tables["Readout"].to_pylist():
        if readout["measure"] is None:
            continue
        value, base = (
            None if readout[k] is None else round(readout[k], 4) for k in ("accuracy", "baseline")
        )
        name = f"{readout['readout']} {readout['measure']}"
        if name not in numbers["probes"]:  # the probabilities of all types are of one probe
            numbers["probes"][name] = {
                "accuracy": value,
                "baseline": base,
                "p": readout["p"],
                "cells": readout["probe_cells"],
            }
            by = f"{readout['probe_groups']} groups" if readout["probe_groups"] else "cells"
            p = readout["p"]
            no_better = p is not None and p > MAX_P
            numbers["probes"][name]["no_better"] = no_better
            sentences.append(
                f"probe {readout['name']}: {readout['measure']}"
                f" {'not known' if value is None else f'{value:.2f}'} on held-out {by}, with"
                f" shuffled labels {'not known' if base is None else f'{base:.2f}'}"
                f"{'' if p is None else f', p = {p:.2g}'} ({readout['probe_cells']} cells)"
            )
            if no_better:
                sentences.append(
                    f"warning: the {readout['readout']} probe is no better on held-out {by} than"
                    f" probes of shuffled labels (p = {p:.2g} > {MAX_P}): what steering does to"
                    " its readouts says nothing of cells"
                )
                say(sentences[-1])
    return numbers, sentences


def _against_random(p: pd.Series, directions: int, numbers: dict[str, Any]) -> str:
    """How many features random directions do not reach, or why none can be called at 0.05."""
    from scircuit.analysis.steering.random_calls import random_calls

    found = random_calls(p.to_numpy(float), directions)
    numbers["p_random_least"] = found.least
    numbers["clear_random"] = None if found.problem else found.hits
    numbers["clear_expected"] = None if found.problem else found.expected
    return found.sentence


def _median(values: pd.Series) -> float | None:
    size = values.dropna().abs()
    return float(size.median()) if len(size) else None
