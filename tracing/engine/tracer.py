"""Exhaustive tracing: ablate every active feature of one layer on real cells, and measure every
later layer.

A `Tracer` chooses the sources of one layer, arranges them in tiles and work units, and turns
per-cell effects (`scircuit.tracing.engine.effects`) into edges. The result of a unit depends on
nothing but configuration and inputs, so units can be computed in any order, on any machine, once
each. Several source layers are several tracers over the same clean cells (`open_tracers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import Address, dictionary_id, slug
from scircuit.core.config import TraceConfig
from scircuit.core.context import EXACT, context_name, parse_context
from scircuit.core.errors import UserError
from scircuit.core.schema import conform
from scircuit.tracing.clean_pass.clean_pass import CleanCells, LayerSummary, summarise
from scircuit.tracing.engine.effects import Ablation, Effects, Progress
from scircuit.tracing.engine.frozen_context import SCORES_BYTES
from scircuit.tracing.engine.layers import check_layers, targets_of
from scircuit.tracing.engine.numeric_floor import floors_of, zero_edit
from scircuit.tracing.hardware.memory_plan import Plan, make_plan, make_tiles
from scircuit.tracing.hardware.out_of_memory import return_freed_memory
from scircuit.tracing.hardware.precision import with_numerics
from scircuit.tracing.legacy.activity_rule import legacy_sources, near_edges
from scircuit.tracing.statistics.effect_statistics import Tests, edge_statistics
from scircuit.tracing.statistics.q_values import legacy_rule
from scircuit.tracing.statistics.skewness import MIN_CELLS, Null, null_draws

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from scircuit.tracing.controls.control_edges import Rule
    from scircuit.tracing.controls.sampled_controls import ControlResult
    from scircuit.tracing.models.adapter import Adapter

# a source whose row set is this share of a cell is traced exactly: that costs at most twice as much
EXACT_SHARE = 0.5
LEAST_CELLS = 2  # a test needs a mean over cells
# bytes of one entry of the sparse codes and of the inverted index: value and int64 place in each
_CODE = 24
_ACTIVE = 64  # active features a row that dictionaries without a k are taken to have
_STATISTICS = 2**24  # effects whose statistics are computed at once


@dataclass(frozen=True)
class UnitResult:
    """What one work unit found; edges are gated, the p values are those of every live test, `null`
    is drawn for those that can be called.
    """

    name: str
    edges: pa.Table
    p_values: np.ndarray
    p_counts: np.ndarray
    null: Null
    live: int
    pairs: int
    zero_edit_max: float


@dataclass(frozen=True)
class Clean:
    """The clean pass of a cohort and the sizes of a run: what all source layers share."""

    cells: CleanCells
    plan: Plan


def clean_pass(
    adapter: Adapter, dictionaries: Mapping[int, Any], cohort: Any, config: TraceConfig
) -> Clean:
    """Clean pass at every source and target layer, and at the layers between where the context
    needs their states.

    Raises
    ------
    UserError
        If there are too few cells, or the memory cap is too low.
    """
    if len(cohort.tokens) < LEAST_CELLS:
        found = "one cell" if len(cohort.tokens) else "no cells"
        raise UserError(
            f"the cohort has {found}; an effect is tested over at least {LEAST_CELLS}, and a"
            f" calibrated edge needs {MIN_CELLS}",
            "raise --n-cells, or loosen the filters given with --where",
        )
    layers = sorted(
        {
            *config.source_layers,
            *(t for s in config.source_layers for t in targets_of(config, dictionaries, s)),
        }
    )
    kept = (
        layers if parse_context(config.context) == EXACT else list(range(layers[0], layers[-1] + 1))
    )
    length = max(len(t) for t in cohort.tokens)
    codes = sum(len(t) for t in cohort.tokens) * _CODE
    held = sum(
        codes * (dictionaries[t].k or _ACTIVE) + 2 * 4 * dictionaries[t].n_features * adapter.width
        for t in layers
    )
    if parse_context(config.context) > 0:
        held += SCORES_BYTES
    if config.memory:
        return_freed_memory()
    plan = make_plan(
        adapter,
        length,
        held=held,
        memory=config.memory,
        pairs=config.batch_pairs,
        rows=config.batch_rows,
    )
    used = {t: dictionaries[t].to(adapter.device) or dictionaries[t] for t in layers}
    return Clean(
        CleanCells(adapter, used, cohort.tokens, kept, plan.states, config.legacy, plan.jobs), plan
    )


def open_tracers(
    adapter: Adapter, dictionaries: Mapping[int, Any], cohort: Any, config: TraceConfig, run: str
) -> dict[int, Tracer]:
    """One tracer for each source layer, ascending, over one clean pass."""
    check_layers(adapter, dictionaries, config)
    adapter = with_numerics(adapter, config.numerics)
    clean = clean_pass(adapter, dictionaries, cohort, config)
    return {
        s: Tracer(adapter, dictionaries, cohort, config, run, s, clean)
        for s in sorted(config.source_layers)
    }


class Tracer:
    """Traces one source layer of one model on one cohort.

    Parameters
    ----------
    adapter
        The model (``scircuit.tracing.models.load_model``).
    dictionaries
        Layer -> dictionary; the source layer and every measured layer must be there.
    cohort
        The cells; ``tokens`` and ``record()`` are read.
    config
        What to trace.
    run
        Id of the run the records belong to.
    layer
        Source layer; the first of the configuration's when None.
    clean
        The clean pass, when several tracers share it.

    Raises
    ------
    UserError
        If layers, dictionaries, model and cells do not fit together.
    """

    def __init__(
        self,
        adapter: Adapter,
        dictionaries: Mapping[int, Any],
        cohort: Any,
        config: TraceConfig,
        run: str,
        layer: int | None = None,
        clean: Clean | None = None,
    ) -> None:
        self.adapter, self.cohort, self.config, self.run = adapter, cohort, config, run
        if clean is None:
            check_layers(adapter, dictionaries, config)
        self.layer = config.source_layers[0] if layer is None else layer
        self.targets = targets_of(config, dictionaries, self.layer)
        self.context = parse_context(config.context)
        clean = clean or clean_pass(adapter, dictionaries, cohort, config)
        self.cells, self.plan = clean.cells, clean.plan
        self.dictionaries = {t: dictionaries[t] for t in (self.layer, *self.targets)}
        self.model_name = slug(config.model_name) if config.model_name else adapter.name
        self.set_name = slug(config.dictionary_name or Path(config.dictionaries).name)
        self.notes: list[str] = []
        if len(self.cells) < MIN_CELLS:
            self.notes.append(
                f"{len(self.cells)} cells: effects are stored with their counts, but no edge can be"
                f" calibrated with fewer than {MIN_CELLS}"
            )
        self.ablation = Ablation(
            adapter,
            self.dictionaries,
            self.cells,
            self.layer,
            self.targets,
            self.plan,
            self.notes.append,
        )
        self.n_targets, self.columns = self.ablation.n_targets, self.ablation.columns
        self._sources = self._choose_sources()
        self._units = self._arrange()

    @property
    def units(self) -> list[str]:
        """Names of the work units: whole tiles of sources."""
        return list(self._units)

    def tiles_of(self, unit: str) -> list[np.ndarray]:
        """Tiles of a work unit: source features that are computed together."""
        return self._units[unit]

    def features_of(self, unit: str) -> np.ndarray:
        """Source features of a work unit."""
        return np.concatenate(self._units[unit])

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

    @cached_property
    def exact_sources(self) -> np.ndarray:
        """Sources traced exactly: all of them, or in other contexts those whose row set is a large
        share of the cells.
        """
        if self.context == EXACT:
            return self._sources
        counts = self.ablation.counts[self._sources]
        rows = counts.sum(1) + self.context * (counts > 0).sum(1)
        length = np.array([c.length for c in self.cells])
        return self._sources[rows >= EXACT_SHARE * ((counts > 0) @ length)]

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
        """Numeric floor of every target [T]; zero in legacy runs, which know none."""
        floors = np.zeros(self.n_targets)
        if not self.config.legacy:
            for t, floor in floors_of(self.zero_edit, self.cells, self.adapter.dtype).items():
                floors[self.columns(t)] = floor
        return floors

    def address(self, layer: int, index: int) -> Address:
        """Address of a feature."""
        return Address(self.model_name, self.set_name, layer, int(index))

    def run_unit(self, name: str, progress: Progress | None = None) -> UnitResult:
        """Trace one block of sources; a pure function of configuration and inputs.

        Parameters
        ----------
        name
            One of `units`.
        progress
            Called with (pairs done, pairs in the unit, edges so far) after each batch.

        Raises
        ------
        ValueError
            If there is no such unit.
        """
        import pyarrow as pa

        if name not in self._units:
            raise ValueError(
                f"no work unit {name!r}; this run has {len(self._units)}:"
                f" {', '.join(self.units[:3])} ..."
            )
        total = self.pairs_of(self.features_of(name))
        tables, p, null, pairs, edges = [], [], [], 0, 0
        for tile in self.tiles_of(name):
            before, so_far = pairs, edges
            found = self.effects(
                tile,
                progress=lambda done, _t, _e: (
                    progress(before + done, total, so_far)  # noqa: B023 - called in this round
                    if progress
                    else None
                ),
            )
            pairs += int(found.active.sum())
            step = max(1, _STATISTICS // found.effects[0].size)
            for start in range(0, len(tile), step):
                part = slice(start, start + step)
                tests = edge_statistics(found.effects[part], found.active[part], self.floors)
                other = (
                    near_edges(tests.d)
                    if self.config.legacy
                    else legacy_rule(tests.d, tests.n, tests.n_pos)
                )
                stored = np.flatnonzero((tests.p <= self.config.gate_p) | other)
                tables.append(
                    self._edges(
                        tile[part], found.passthrough[part], found.positions[part], tests, stored
                    )
                )
                p.append(tests.p)
                null.append(
                    null_draws(tests, [(self.config.seed, self.layer, int(f)) for f in tile[part]])
                )
                edges += len(stored)
        if progress:
            progress(total, total, edges)
        p_values, p_counts = np.unique(np.concatenate(p), return_counts=True)
        return UnitResult(
            name,
            pa.concat_tables(tables),
            p_values,
            p_counts,
            Null.joined(null),
            int(p_counts.sum()),
            pairs,
            max(self.zero_edit.values()),
        )

    def effects(
        self,
        features: np.ndarray,
        directions: Tensor | None = None,
        progress: Progress | None = None,
        batch: int = 0,
        keep_passthrough: bool = False,
        context: int | None = None,
    ) -> Effects:
        """Per-cell effects of removing ``z_f`` along each feature's direction; see
        `scircuit.tracing.engine.effects.Ablation.effects`.

        Parameters
        ----------
        features, directions, progress, keep_passthrough
            As there.
        batch
            Edits of one exact batch; the plan's when 0.
        context
            `scircuit.core.context`; each source's own in this run when None.
        """
        features = np.asarray(features)
        done = [0, self.pairs_of(features)]
        if context is None:
            exact = np.isin(features, self.exact_sources)
            groups = [(EXACT, np.flatnonzero(exact)), (self.context, np.flatnonzero(~exact))]
        else:
            groups = [(context, np.arange(len(features)))]

        def report(so_far: int, _total: int, _edges: int) -> None:
            if progress:
                progress(done[0] + so_far, done[1], 0)

        parts = []
        for kind, at in groups:
            if len(at) == 0:
                continue
            chosen = None if directions is None else directions[at]
            found = self.ablation.effects(
                features[at], kind, chosen, report, batch, keep_passthrough
            )
            done[0] += int(found.active.sum())
            if len(at) == len(features):
                return found
            parts.append((at, found))
        back = np.argsort(np.concatenate([at for at, _ in parts]))
        both = [found for _, found in parts]
        passed = (
            np.concatenate([f.passed for f in both if f.passed is not None])[back]
            if keep_passthrough
            else None
        )
        return Effects(
            np.concatenate([f.effects for f in both])[back],
            np.concatenate([f.passthrough for f in both])[back],
            np.concatenate([f.active for f in both])[back],
            np.concatenate([f.positions for f in both])[back],
            passed,
        )

    def records(self) -> dict[str, pa.Table]:
        """Model, dictionaries, their features and cohort of this run, as tables by kind."""
        from scircuit.tracing.engine.input_records import describe

        return describe([self])

    def run_controls(self, rule: Rule, progress: Progress | None = None) -> ControlResult:
        """Runs that could refute the edges, on a sample of sources; see
        `scircuit.tracing.controls.sampled_controls`.

        Parameters
        ----------
        rule
            What an edge is in the real run, so that edges and controls face one rule.
        progress
            Called with (pairs done, pairs, edges of the controls).
        """
        from scircuit.tracing.controls.sampled_controls import run_controls

        return run_controls(self, rule, progress)

    def _choose_sources(self) -> np.ndarray:
        counts, dictionary = self.ablation.counts, self.dictionaries[self.layer]
        every = (
            legacy_sources(dictionary) if self.config.legacy else np.arange(dictionary.n_features)
        )
        chosen = (
            np.array(sorted(set(self.config.features)), np.int64) if self.config.features else every
        )
        outside = chosen[(chosen < 0) | (chosen >= dictionary.n_features)]
        if len(outside):
            raise UserError(
                f"feature {outside[0]} is not in the dictionary of layer {self.layer}, which has 0"
                f" to {dictionary.n_features - 1}",
                "correct --features",
            )
        testable = chosen[(counts[chosen] > 0).sum(1) >= 2]
        if not len(testable):
            raise UserError(
                f"none of {len(chosen)} features of layer {self.layer} is active in two or more of"
                f" {len(self.cells)} cells",
                "trace more cells, other features, or dictionaries trained on this model",
            )
        return testable[np.lexsort((testable, counts[testable].sum(1)))]

    def _arrange(self) -> dict[str, list[np.ndarray]]:
        """Work units: consecutive tiles with at least ``unit_features`` sources together."""
        positions = self.ablation.counts.sum(1)
        exact = np.isin(self._sources, self.exact_sources)
        tiles = []
        for context, chosen in (
            (self.context, self._sources[~exact]),
            (EXACT, self._sources[exact]),
        ):
            if len(chosen):
                tiles += make_tiles(
                    chosen, positions[chosen], len(self.cells), self.n_targets, context, self.plan
                )
        units: list[list[np.ndarray]] = [[]]
        for tile in tiles:
            if sum(map(len, units[-1])) >= self.config.unit_features:
                units.append([])
            units[-1].append(tile)
        return {f"L{self.layer:02d}-{i:04d}": unit for i, unit in enumerate(units)}

    def _edges(
        self,
        features: np.ndarray,
        passthrough: np.ndarray,
        positions: np.ndarray,
        tests: Tests,
        stored: np.ndarray,
    ) -> pa.Table:
        import pyarrow as pa

        source, target = tests.source[stored], tests.target[stored]
        n = tests.n[stored]
        columns = {
            "source": self._names(self.layer)[np.asarray(features)[source]],
            "target": self.target_names[target],
            "run": [self.run] * len(stored),
            "n": n,
            "n_pos": tests.n_pos[stored],
            "n_neg": tests.n_neg[stored],
            "mean": tests.mean[stored],
            "sd": tests.sd[stored],
            "d": tests.d[stored],
            "p": tests.p[stored],
            "passthrough": passthrough[source, target] / n,
            "positions": positions[source],
            "halves": tests.halves(stored),
        }
        return conform(
            "Feature-AFFECTS-Feature", pa.table({k: pa.array(v) for k, v in columns.items()})
        )

    @cached_property
    def target_names(self) -> np.ndarray:
        """Addresses of the targets of all measured layers [T], as text."""
        return np.concatenate([self._names(t) for t in self.targets])

    def _names(self, layer: int) -> np.ndarray:
        start = f"{dictionary_id(self.model_name, self.set_name, layer)}/F"
        return np.array(
            [f"{start}{i:04d}" for i in range(self.dictionaries[layer].n_features)], dtype=object
        )
