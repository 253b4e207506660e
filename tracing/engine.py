"""Exhaustive tracing: ablate every active feature of one layer on real cells, and measure every later layer.

Removing feature f from cell c changes the source state by ``-z_f(p) W_dec[:, f]`` at the positions A where f is active. The exact tail
gives the edited states, and the effect on target t is ``mean over A of z'_t(p) - z_t(p)``. A work unit is a block of sources; its
result depends on nothing but configuration and inputs, so units can be computed in any order, on any machine, once each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.address import Address, dictionary_id, slug
from scircuit.records import conform
from scircuit.settings import TraceConfig, UserError
from tracing.cache import CleanCell, LayerSummary, clean_cells, summarise
from tracing.calibrate import legacy_rule
from tracing.floors import batch_size, floors_of, zero_edit
from tracing.parallel import run_jobs
from tracing.statistics import Tests, edge_statistics
from tracing.tail import Edits, make_edits, mean_change, run_tail

if TYPE_CHECKING:
    import pyarrow as pa

    from tracing.controls import ControlResult
    from tracing.models.base import Adapter

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class UnitResult:
    """What one work unit found; edges are gated, the p values are those of every live test."""

    name: str
    edges: pa.Table
    p_values: np.ndarray
    p_counts: np.ndarray
    live: int
    pairs: int
    zero_edit_max: float


class Effects(NamedTuple):
    """Per-cell effects of some sources: arrays [sources, cells, targets of all measured layers]."""

    effects: np.ndarray
    passthrough: np.ndarray
    active: np.ndarray  # [sources, cells]
    positions: np.ndarray  # [sources], summed over cells


class Tracer:
    """Traces one source layer of one model on one cohort.

    Parameters
    ----------
    adapter
        The model (``tracing.models.load_model``).
    dictionaries
        Layer -> dictionary; the source layer and every measured layer must be there.
    cohort
        The cells; ``tokens`` and ``record()`` are read.
    config
        What to trace.
    run
        Id of the run the records belong to.

    Raises
    ------
    UserError
        If layers, dictionaries, model and cells do not fit together.
    """

    def __init__(self, adapter: Adapter, dictionaries: Mapping[int, Any], cohort: Any, config: TraceConfig, run: str) -> None:
        self.adapter, self.cohort, self.config, self.run = adapter, cohort, config, run
        self.layer = config.source_layer
        self.targets = tuple(sorted(config.target_layers)) or tuple(sorted(t for t in dictionaries if t > self.layer))
        check_dictionaries(adapter, dictionaries, self.layer, self.targets)
        if not len(cohort.tokens):
            raise UserError("the cohort has no cells", "loosen the filters given with --where")
        self.dictionaries = {t: dictionaries[t].to(adapter.device) or dictionaries[t] for t in (self.layer, *self.targets)}
        self.model_name = slug(config.model_name) if config.model_name else adapter.name
        self.set_name = slug(config.dictionary_name or Path(config.dictionaries).name)
        sizes = [self.dictionaries[t].n_features for t in self.targets]
        self.offsets = dict(zip(self.targets, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.n_targets = sum(sizes)
        self.cells = clean_cells(adapter, self.dictionaries, cohort.tokens, (self.layer, *self.targets))
        self.batch = batch_size(adapter, max(c.length for c in self.cells), config.batch_pairs)
        self._sources = self._choose_sources()
        block = max(1, config.unit_features)
        parts = [self._sources[i : i + block] for i in range(0, len(self._sources), block)]
        self._units = {f"L{self.layer:02d}-{i:04d}": part for i, part in enumerate(parts)}

    @property
    def units(self) -> list[str]:
        """Names of the work units: blocks of sources, the least frequent features first."""
        return list(self._units)

    def features_of(self, unit: str) -> np.ndarray:
        """Source features of a work unit."""
        return self._units[unit]

    @property
    def sources(self) -> np.ndarray:
        """Indices of the features that are ablated: active in at least two cells."""
        return self._sources

    @cached_property
    def pairs(self) -> int:
        """(feature, cell) pairs of the whole run."""
        return int(self.summaries[self.layer].cells[self._sources].sum())

    @cached_property
    def summaries(self) -> dict[int, LayerSummary]:
        """How the features of each layer fire over the cohort."""
        return {t: summarise(self.cells, t) for t in (self.layer, *self.targets)}

    @cached_property
    def zero_edit(self) -> dict[int, float]:
        """Largest effect of editing nothing, per measured layer; see `tracing.floors`."""
        return zero_edit(self.adapter, self.dictionaries, self.cells, self.layer, self.targets, self.batch)

    @cached_property
    def floors(self) -> np.ndarray:
        """Numeric floor of every target [T]."""
        floors = np.zeros(self.n_targets)
        for t, floor in floors_of(self.zero_edit, self.cells, self.adapter.dtype).items():
            floors[self.columns(t)] = floor
        return floors

    def columns(self, target_layer: int) -> slice:
        """Where a measured layer's targets are among all targets."""
        start = self.offsets[target_layer]
        return slice(start, start + self.dictionaries[target_layer].n_features)

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
        if name not in self._units:
            raise ValueError(f"no work unit {name!r}; this run has {len(self._units)}: {', '.join(self.units[:3])} ...")
        features = self._units[name]
        found = self.effects(features, progress=progress)
        tests = edge_statistics(found.effects, found.active, self.floors)
        stored = np.flatnonzero((tests.p <= self.config.gate_p) | legacy_rule(tests.d, tests.n, tests.n_pos))
        p_values, p_counts = np.unique(tests.p, return_counts=True)
        pairs = int(found.active.sum())
        if progress:
            progress(pairs, pairs, len(stored))
        return UnitResult(
            name, self._edges(features, found, tests, stored), p_values, p_counts, len(tests.p), pairs, max(self.zero_edit.values())
        )

    def effects(
        self, features: np.ndarray, directions: Tensor | None = None, progress: Progress | None = None, batch: int = 0
    ) -> Effects:
        """Per-cell effects and pass-through of removing ``z_f`` along each feature's direction.

        Parameters
        ----------
        features
            [M] indices at the source layer: they say where and how strongly to edit.
        directions
            [M, d] directions to remove; the features' own decoder columns when None.
        progress
            Called with (pairs done, pairs, 0) after each batch.
        batch
            Edits per batch; the run's own when 0.
        """
        batch = batch or self.batch
        device, dtype = self.adapter.device, self.adapter.dtype
        own = self.dictionaries[self.layer].columns(torch.as_tensor(features, device=device))
        edit = own if directions is None else directions
        shape = (len(features), len(self.cells), self.n_targets)
        effect, passed = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        starts = np.stack([c.firing[self.layer].start for c in self.cells], 1)
        counts = starts[np.asarray(features) + 1] - starts[features]  # [M, cells]

        def one_batch(c: int, slots: np.ndarray) -> int:
            where, deltas = [], []
            for i in slots:
                positions, values = self.cells[c].firing[self.layer].rows(int(features[i]))
                where.append(positions)
                deltas.append(-values[:, None] * edit[i])
            edits = make_edits(where, deltas)
            self._measure(self.cells[c], edits, effect[:, c], passed[:, c], torch.as_tensor(slots, device=device))
            return len(slots)

        jobs = []
        for c in range(len(self.cells)):
            active = np.flatnonzero(counts[:, c])
            active = active[np.argsort(counts[active, c], kind="stable")]  # like sizes together: little padding of rows
            jobs += [partial(one_batch, c, active[start : start + batch]) for start in range(0, len(active), batch)]
        done, total = 0, int((counts > 0).sum())
        for finished in run_jobs(jobs, device):
            done += finished
            if progress:
                progress(done, total, 0)
        return Effects(effect.cpu().numpy(), passed.cpu().numpy(), counts > 0, counts.sum(1))

    def _measure(self, cell: CleanCell, edits: Edits, effect: Tensor, passed: Tensor, at: Tensor) -> None:
        """Write effects and pass-through of one batch into rows `at` of [M, T] tensors."""
        for t, states in run_tail(self.adapter, cell.states[self.layer], edits, self.layer, self.targets):
            dictionary, columns = self.dictionaries[t], self.columns(t)
            effect[at, columns] = mean_change(dictionary, states, cell.codes[t], edits)
            untouched = cell.states[t][edits.position] + edits.delta
            passed[at, columns] = mean_change(dictionary, untouched, cell.codes[t], edits)

    def records(self) -> dict[str, pa.Table]:
        """Model, dictionaries, their features and cohort of this run, as tables by kind."""
        from tracing.describe import describe

        return describe(self)

    def run_controls(self, p_threshold: float, min_support: int = 6, progress: Progress | None = None) -> ControlResult:
        """Runs that could refute the edges, on a sample of sources; see `tracing.controls`.

        Parameters
        ----------
        p_threshold
            p that belongs to the q threshold in the real run (``QTable.threshold``), so that edges and controls face one rule.
        min_support
            Least cells with an effect.
        progress
            Called with (pairs done, pairs, edges of the controls).
        """
        from tracing.controls import run_controls

        return run_controls(self, p_threshold, min_support, progress)

    def _choose_sources(self) -> np.ndarray:
        summary, size = self.summaries[self.layer], self.dictionaries[self.layer].n_features
        chosen = np.array(sorted(set(self.config.features)), np.int64) if self.config.features else np.arange(size)
        outside = chosen[(chosen < 0) | (chosen >= size)]
        if len(outside):
            raise UserError(
                f"feature {outside[0]} is not in the dictionary of layer {self.layer}, which has 0 to {size - 1}", "correct --features"
            )
        testable = chosen[summary.cells[chosen] >= 2]
        if not len(testable):
            raise UserError(
                f"none of {len(chosen)} features of layer {self.layer} is active in two or more of {len(self.cells)} cells",
                "trace more cells, other features, or dictionaries trained on this model",
            )
        return testable[np.lexsort((testable, summary.positions[testable]))]

    def _edges(self, features: np.ndarray, found: Effects, tests: Tests, stored: np.ndarray) -> pa.Table:
        import pyarrow as pa

        source, target = tests.source[stored], tests.target[stored]
        n = tests.n[stored]
        passed = found.passthrough.sum(1, dtype=np.float64)[source, target] / n
        columns = {
            "source": self._names(self.layer)[np.asarray(features)[source]],
            "target": np.concatenate([self._names(t) for t in self.targets])[target],
            "run": [self.run] * len(stored), "n": n, "n_pos": tests.n_pos[stored], "n_neg": tests.n_neg[stored],
            "mean": tests.mean[stored], "sd": tests.sd[stored], "d": tests.d[stored], "p": tests.p[stored],
            "passthrough": passed, "positions": found.positions[source], "halves": tests.halves(stored),
        }  # fmt: skip
        return conform("Feature-AFFECTS-Feature", pa.table({k: pa.array(v) for k, v in columns.items()}))

    def _names(self, layer: int) -> np.ndarray:
        start = f"{dictionary_id(self.model_name, self.set_name, layer)}/F"
        return np.array([f"{start}{i:04d}" for i in range(self.dictionaries[layer].n_features)], dtype=object)


def check_dictionaries(adapter: Adapter, dictionaries: Mapping[int, Any], source: int, targets: Sequence[int]) -> None:
    """Check that layers exist, lie in order, have dictionaries, and that those fit the model.

    Raises
    ------
    UserError
        If not.
    """
    have = ", ".join(str(t) for t in sorted(dictionaries)) or "none"
    if not 0 <= source < adapter.n_layers - 1:
        raise UserError(
            f"source layer {source} has no later layer in a model of {adapter.n_layers} layers (0-based)",
            f"choose a source layer from 0 to {adapter.n_layers - 2}",
        )
    if not targets:
        raise UserError(f"no dictionary lies after source layer {source}; there are dictionaries of layers {have}", "train later ones")
    for t in targets:
        if not source < t < adapter.n_layers:
            raise UserError(
                f"target layer {t} is not between source layer {source} and the last layer {adapter.n_layers - 1}",
                "correct --target-layers",
            )
    for t in (source, *targets):
        if t not in dictionaries:
            raise UserError(f"no dictionary for layer {t}; there are dictionaries of layers {have}", f"train one: scircuit train --layers {t}")
        if dictionaries[t].width != adapter.width:
            raise UserError(
                f"the dictionary of layer {t} reads states of width {dictionaries[t].width}, the model's are {adapter.width} wide",
                "use dictionaries trained on this model",
            )

