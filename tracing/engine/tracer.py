"""Exhaustive tracing: ablate every active feature of one layer on real cells, and measure every
later layer.

A `Tracer` joins what the engine does for one source layer: it chooses the sources and arranges them
in work units (`scircuit.tracing.engine.work_units`), computes per-cell effects
(`scircuit.tracing.engine.effects`), and turns them into edges
(`scircuit.tracing.engine.unit_results`). The result of a unit depends on settings and inputs alone,
so units can be computed in any order, on any machine, once each. Several source layers are several
tracers over the same clean cells (`open_tracers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from scircuit.core.address import Address, dictionary_id
from scircuit.core.context import EXACT, context_name
from scircuit.core.edge_rules import MIN_SUPPORT
from scircuit.tracing.clean_pass.clean_pass import LayerSummary, summarise
from scircuit.tracing.direction_null.direction_tests import (
    DirectionTests,
    Family,
    direction_tests,
)
from scircuit.tracing.direction_null.null_ratios import Ratios, UnitNull, factors
from scircuit.tracing.direction_null.readout import Readout
from scircuit.tracing.engine.effects import Ablation, Effects, Progress, joined_effects
from scircuit.tracing.engine.numeric_floor import floors_of, zero_edit
from scircuit.tracing.engine.prepared_cells import PreparedCells, prepare_cells
from scircuit.tracing.engine.unit_results import (
    EdgeNames,
    UnitResult,
    UnitStatistics,
    direction_gate,
)
from scircuit.tracing.engine.work_units import (
    arrange_units,
    choose_exact,
    choose_sources,
    sources_of,
)
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.hardware.precision import with_numerics

if TYPE_CHECKING:
    from torch import Tensor

    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter

_FLOOR_SOURCES = 8  # whose zero edits give the floor of pre-activations


def open_tracers(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    settings: TraceSettings,
    run: str,
) -> dict[int, Tracer]:
    """One tracer for each source layer, ascending, over one clean pass.

    Parameters
    ----------
    adapter
        The model (`scircuit.tracing.models.load_model`).
    dictionaries
        Layer -> dictionary, for every source and measured layer.
    cohort
        The cells.
    settings
        What to trace (`scircuit.tracing.engine.settings.resolve_settings`).
    run
        Id of the run the records belong to.

    Raises
    ------
    UserError
        If the device lacks the number format, there are too few cells, or no feature can be traced.
    """
    adapter = with_numerics(adapter, settings.numerics)
    prepared = prepare_cells(adapter, dictionaries, cohort, settings)
    return {
        layer: Tracer(adapter, dictionaries, prepared, settings, run, layer)
        for layer in settings.source_layers
    }


class Tracer:
    """Traces one source layer of one model on one cohort.

    Parameters
    ----------
    adapter, dictionaries, settings, run
        As in `open_tracers`.
    prepared
        The clean pass, which several tracers share.
    layer
        Source layer.

    Raises
    ------
    UserError
        If a feature that was asked for does not exist, or none is active in two cells.
    """

    def __init__(
        self,
        adapter: Adapter,
        dictionaries: Mapping[int, Dictionary],
        prepared: PreparedCells,
        settings: TraceSettings,
        run: str,
        layer: int,
    ) -> None:
        self.adapter, self.settings, self.run, self.layer = adapter, settings, run, layer
        self.cells, self.plan = prepared.cells, prepared.plan
        self.targets, self.context = settings.targets_of(layer), settings.context
        self.dictionaries = {t: dictionaries[t] for t in (layer, *self.targets)}
        self.notes: list[str] = []
        if len(self.cells) < MIN_SUPPORT:
            self.notes.append(
                f"{len(self.cells)} cells: effects are stored with their counts, but no edge can be"
                f" calibrated with fewer than {MIN_SUPPORT}"
            )
        self.ablation = Ablation(
            adapter,
            self.dictionaries,
            self.cells,
            layer,
            self.targets,
            self.plan,
            self.notes.append,
        )
        self.n_targets, self.columns = self.ablation.n_targets, self.ablation.columns
        self._sources = choose_sources(
            self.ablation.counts, self.dictionaries[layer], layer, settings
        )
        exact = np.isin(self._sources, self.exact_sources)
        self._units = arrange_units(
            ((self.context, self._sources[~exact]), (EXACT, self._sources[exact])),
            self.ablation.counts,
            layer,
            self.ablation.values,
            self.plan,
            settings.unit_features,
        )

    @property
    def units(self) -> list[str]:
        """Names of the work units: whole tiles of sources."""
        return list(self._units)

    def tiles_of(self, unit: str) -> list[np.ndarray]:
        """Tiles of a work unit: source features that are computed together."""
        return self._units[unit]

    def features_of(self, unit: str) -> np.ndarray:
        """Source features of a work unit."""
        return sources_of(self._units[unit])

    @property
    def sources(self) -> np.ndarray:
        """Indices of the features that are ablated: active in at least two cells."""
        return self._sources

    @cached_property
    def pairs(self) -> int:
        """(feature, cell) pairs of the whole run."""
        return self.pairs_of(self._sources)

    def pairs_of(self, features: np.ndarray) -> int:
        """(feature, cell) pairs of some sources."""
        return int((self.ablation.counts[features] > 0).sum())

    @cached_property
    def summaries(self) -> dict[int, LayerSummary]:
        """How the features of each layer fire over the cohort."""
        return {t: summarise(self.cells, t) for t in (self.layer, *self.targets)}

    @property
    def state_values(self) -> int:
        """Numbers of a change of the states of all measured layers: layers times width."""
        return len(self.targets) * self.adapter.width

    @cached_property
    def cells_of_sources(self) -> np.ndarray:
        """Cells in which each source is active, [sources]."""
        return (self.ablation.counts[self._sources] > 0).sum(1)

    @cached_property
    def alive(self) -> np.ndarray:
        """Whether each target fires anywhere in the clean cells, [T]."""
        return np.concatenate([self.summaries[t].positions > 0 for t in self.targets])

    @cached_property
    def readout(self) -> Readout:
        """From changes of states to changes of pre-activations of all targets."""
        return Readout(self.dictionaries, self.targets)

    @cached_property
    def change_floors(self) -> np.ndarray:
        """Numeric floor of the change of every pre-activation, [T]: the largest that zero edits of
        rare and frequent sources show, in total and on the direct path, and never less than four
        units in the last place of the largest clean activation.
        """
        at = np.linspace(0, len(self.sources) - 1, min(_FLOOR_SOURCES, len(self.sources)))
        features = self.sources[np.unique(at.round().astype(int))]
        nothing = torch.zeros(
            len(features), self.adapter.width, dtype=self.adapter.dtype, device=self.adapter.device
        )
        found = self.effects(features, nothing)
        moved = [found.total] if found.direct is None else [found.total, found.direct]
        rows = np.concatenate([x.reshape(-1, self.state_values) for x in moved])
        largest = np.abs(self.readout.of(rows)).max(0)
        smallest = floors_of(dict.fromkeys(self.targets, 0.0), self.cells, self.adapter.dtype)
        floors = np.empty(self.n_targets)
        for t in self.targets:
            floors[self.columns(t)] = max(smallest[t], float(largest[self.columns(t)].max()))
        return floors

    @cached_property
    def exact_sources(self) -> np.ndarray:
        """Sources traced exactly; see `scircuit.tracing.engine.work_units.choose_exact`."""
        lengths = np.array([c.length for c in self.cells])
        return choose_exact(self._sources, self.ablation.counts, lengths, self.context)

    def context_of(self, feature: int) -> str:
        """Context a source is traced in, by name."""
        return context_name(EXACT if feature in self.exact_sources else self.context)

    @cached_property
    def zero_edit(self) -> dict[int, float]:
        """Largest effect of editing nothing, per measured layer; see
        `scircuit.tracing.engine.numeric_floor`.
        """
        contexts = {self.context} | ({EXACT} if len(self.exact_sources) else set())
        found = [
            zero_edit(
                self.adapter,
                self.dictionaries,
                self.cells,
                self.layer,
                self.targets,
                self.plan.pairs,
                c,
                self.plan.jobs,
                self.notes.append,
            )
            for c in sorted(contexts)
        ]
        return {t: max(f[t] for f in found) for t in self.targets}

    @cached_property
    def floors(self) -> np.ndarray:
        """Numeric floor of every target [T]; zero where the rules of the run have none."""
        floors = np.zeros(self.n_targets)
        if self.settings.rules.numeric_floor:
            for t, floor in floors_of(self.zero_edit, self.cells, self.adapter.dtype).items():
                floors[self.columns(t)] = floor
        return floors

    def address(self, layer: int, index: int) -> Address:
        """Address of a feature."""
        return Address(self.settings.model_name, self.settings.dictionary_name, layer, int(index))

    def run_unit(
        self, name: str, null: UnitNull | None = None, progress: Progress | None = None
    ) -> UnitResult:
        """Trace one work unit; a pure function of settings and inputs.

        Parameters
        ----------
        name
            One of `units`.
        null
            Random directions in the place of its sources, in the order of `features_of`; without
            them no effect is called computed or carried.
        progress
            Called with (pairs done, pairs in the unit, edges so far) after each batch.

        Raises
        ------
        ValueError
            If there is no such unit.
        """
        if name not in self._units:
            raise ValueError(
                f"no work unit {name!r}; this run has {len(self._units)}:"
                f" {', '.join(self.units[:3])} ..."
            )
        total = self.pairs_of(self.features_of(name))
        names = EdgeNames(self.run, self._names(self.layer), self.target_names)
        statistics = UnitStatistics(
            self.layer,
            self.settings,
            self.floors,
            [self.columns(t) for t in self.targets],
            names,
            len(self._sources),
        )
        start = 0

        def report(done: int, _total: int, _edges: int) -> None:
            if progress:
                progress(statistics.pairs + done, total, statistics.edges)

        for tile in self.tiles_of(name):
            found = self.effects(tile, progress=report)
            changes = None if null is None else null.changes[start : start + len(tile)]
            tests = self._direction_tests(tile, found, changes, {} if null is None else null.ratios)
            statistics.add(tile, found, tests)
            start += len(tile)
        if progress:
            progress(total, total, statistics.edges)
        return statistics.result(name, max(self.zero_edit.values()))

    @cached_property
    def family(self) -> Family:
        """What the direction tests of all sources have in common."""
        return Family(
            self.readout,
            self.change_floors,
            self.alive,
            self.settings.null_draws,
            direction_gate(self.settings),
        )

    def _direction_tests(
        self, features: np.ndarray, found: Effects, changes: np.ndarray | None, ratios: Ratios
    ) -> list[DirectionTests] | None:
        """Direct and computed effects of some sources, tested against random directions where these
        were drawn; None where the model's residual stream is not known.
        """
        if found.direct is None:
            return None
        columns = {t: self.columns(t) for t in self.targets}
        exact = np.isin(features, self.exact_sources)
        jobs = [
            partial(
                direction_tests,
                found.total[i][found.active[i]],
                found.direct[i][found.active[i]],
                None if changes is None else changes[i],
                factors(
                    ratios,
                    EXACT if exact[i] else self.context,
                    columns,
                    int(found.positions[i]),
                ),
                self.family,
            )
            for i in range(len(features))
        ]
        return list(run_jobs(jobs, self.adapter.device, self.plan.jobs))

    def effects(
        self,
        features: np.ndarray,
        directions: Tensor | None = None,
        progress: Progress | None = None,
        batch: int = 0,
        context: int | None = None,
    ) -> Effects:
        """Per-cell effects of removing ``z_f`` along each feature's direction; see
        `scircuit.tracing.engine.effects.Ablation.effects`.

        Parameters
        ----------
        features, directions, progress
            As there.
        batch
            Edits of one exact batch; the plan's when 0.
        context
            `scircuit.core.context`; each source's own in this run when None.
        """
        features = np.asarray(features)
        done, total = 0, self.pairs_of(features)
        if context is None:
            exact = np.isin(features, self.exact_sources)
            groups = [(EXACT, np.flatnonzero(exact)), (self.context, np.flatnonzero(~exact))]
        else:
            groups = [(context, np.arange(len(features)))]

        def report(so_far: int, _total: int, _edges: int) -> None:
            if progress:
                progress(done + so_far, total, 0)

        parts = []
        for kind, at in groups:
            if len(at) == 0:
                continue
            chosen = None if directions is None else directions[at]
            found = self.ablation.effects(features[at], kind, chosen, report, batch)
            done += int(found.active.sum())
            parts.append((at, found))
        return joined_effects(parts)

    @cached_property
    def target_names(self) -> np.ndarray:
        """Addresses of the targets of all measured layers [T], as text."""
        return np.concatenate([self._names(t) for t in self.targets])

    def _names(self, layer: int) -> np.ndarray:
        dictionary = dictionary_id(self.settings.model_name, self.settings.dictionary_name, layer)
        features = range(self.dictionaries[layer].n_features)
        return np.array([f"{dictionary}/F{i:04d}" for i in features], dtype=object)
