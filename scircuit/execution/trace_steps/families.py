"""The families of tests of a run, q of every stored edge, and what was found of each kind.

There are three families: total effects on activations against zero (sign flips), and direct and
computed effects against random directions. Each is ranked as a whole, over all units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core import edge_rules
from scircuit.core.edge_rules import MAX_Q
from scircuit.execution.resume import UnitFiles

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.execution.active_run import ActiveRun
    from scircuit.tracing.engine.tracer import Tracer
    from scircuit.tracing.statistics.q_values import QTable

EDGES = "Feature-AFFECTS-Feature"
_COUNTED = (
    edge_rules.COMPUTED,
    edge_rules.CARRIED,
    edge_rules.GENERIC,
    edge_rules.CALIBRATED,
    edge_rules.LEGACY,
)


class Families(NamedTuple):
    """Ranked families of a run."""

    total: QTable
    direct: QTable
    computed: QTable
    draws: int  # random directions behind every z


@dataclass(frozen=True)
class Gathered:
    """What the units of a run counted.

    Attributes
    ----------
    families
        See there.
    live, callable, pairs
        Live tests of total effects, those of them that can be called, (feature, cell) pairs.
    callable_pairs
        Pairs in the family of computed effects.
    zero
        Largest effect of editing nothing.
    held_out
        Source layer -> [direct and computed, measured layers, bins] counts of p of random
        directions held out.
    notes
        Notes of the units.
    """

    families: Families
    live: int
    callable: int
    callable_pairs: int
    pairs: int
    zero: float
    held_out: Mapping[int, np.ndarray]
    notes: frozenset[str]


def gather(run: ActiveRun, tracers: Mapping[int, Tracer]) -> Gathered:
    """Rank the tests of all units; a gate that kept edges out is noted."""
    from scircuit.tracing.engine.unit_results import asked_p, direction_gate
    from scircuit.tracing.statistics.family import Family
    from scircuit.tracing.statistics.skewness import Null

    settings = next(iter(tracers.values())).settings
    gate, limit = settings.gate_p, direction_gate(settings)
    total, direct, computed = Family(asked_p(settings)), Family(), Family(limit)
    pairs = live = 0
    zero, notes, nothing = 0.0, set[str](), Null.joined([])
    held_out: dict[int, np.ndarray] = {}
    files = UnitFiles(run.folder)
    for layer, tracer in tracers.items():
        for unit in map(files.read, tracer.units):
            total.add(*unit.total, unit.null)
            direct.add(*unit.direct, nothing)
            computed.add(*unit.computed, nothing)
            pairs, live, zero = pairs + unit.pairs, live + unit.live, max(zero, unit.zero_edit_max)
            held_out[layer] = held_out.get(layer, 0) + unit.held_out
            notes.update(unit.notes)
    families = Families(total.table(), direct.table(), computed.table(), settings.null_draws)
    for name, family, table, kept in (
        ("total", total, families.total, gate),
        ("direct", direct, families.direct, limit),
    ):
        largest = table.threshold(MAX_Q)
        if lost := family.between(kept, largest):
            more = f"; trace again with --gate-p {largest:.2g} or more" if name == "total" else ""
            notes.add(
                f"{lost:,} tests of {name} effects with q <= {MAX_Q:g} have p above {kept:g} and"
                f" are not stored, so degrees are too low{more}"
            )
    reached = families.computed.p[families.computed.p <= limit]
    if len(reached) and families.computed.threshold(MAX_Q) >= reached[-1]:
        notes.add(
            f"every computed effect with p <= {limit:g} has q <= {MAX_Q:g}; those with larger p are"
            " not stored, so degrees may be too low"
        )
    return Gathered(
        families,
        live,
        total.tests,
        computed.tests,
        pairs,
        zero,
        held_out,
        frozenset(notes),
    )


def set_q(
    run: ActiveRun, families: Families, scale: Mapping[str, float]
) -> tuple[dict[str, int], dict[tuple[int, int], Counter[str]]]:
    """Give every stored edge its q in each family, and count edges by rule.

    Returns
    -------
    counts
        ``edges`` and ``edges_<rule>`` over the run, and ``continued``: computed edges that continue
        a direct effect (`scircuit.core.edge_rules.continued_edges`).
    of_pairs
        (source layer, target layer) -> edges by rule.
    """
    from scircuit.core.address import parse

    counts: Counter[str] = Counter({"edges": 0, "continued": 0})
    of_pairs: dict[tuple[int, int], Counter[str]] = {}
    layers: dict[str, int] = {}

    def layer_of(address: str) -> int:
        dictionary = address.rpartition("/")[0]
        if dictionary not in layers:
            layers[dictionary] = parse(address).layer
        return layers[dictionary]

    for entry in [e for e in run.store.manifest.shards if e.kind == EDGES]:
        edges = with_every_q(run.store.read(entry), families)
        run.store.replace(entry, edges)
        columns = rule_columns(edges, scale)
        masks = {rule.name: rule.holds(columns) for rule in _COUNTED}
        ends = (edges.column(end).to_pylist() for end in ("source", "target"))
        pairs = np.array([(layer_of(s), layer_of(t)) for s, t in zip(*ends, strict=True)])
        counts["edges"] += edges.num_rows
        for name, mask in masks.items():
            counts[f"edges_{name}"] += int(mask.sum())
        if "z_direct" in edges.column_names:
            z = (_floats(edges, f"z_{kind}") for kind in ("direct", "computed"))
            own = masks[edge_rules.COMPUTED.name] & edge_rules.continued_edges(*z)
            counts["continued"] += int(own.sum())
        for pair in np.unique(pairs, axis=0) if len(pairs) else ():
            inside, (source, target) = (pairs == pair).all(1), pair.tolist()
            of_pairs.setdefault((source, target), Counter()).update(
                {name: int(mask[inside].sum()) for name, mask in masks.items()}
            )
    return dict(counts), of_pairs


def with_every_q(edges: pa.Table, families: Families) -> pa.Table:
    """Edges with the q of total, direct and computed effects set."""
    from scircuit.tracing.direction_null.direction_tests import direction_p
    from scircuit.tracing.statistics.q_values import with_q
    from scircuit.tracing.statistics.sign_flip import rounded_up

    edges = with_q(edges, families.total)
    if "z_direct" not in edges.column_names or not families.draws:
        return edges
    p_direct = rounded_up(direction_p(_floats(edges, "z_direct"), families.draws))
    edges = _set(edges, "q_direct", families.direct.of(p_direct), ~np.isnan(p_direct))
    p = _floats(edges, "p_computed")
    return _set(edges, "q_computed", families.computed.of(p), ~np.isnan(p))


def rule_columns(edges: pa.Table, scale: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Columns of an edge table that the rules read, NaN where a value is missing."""
    wanted = {name for rule in _COUNTED for name in rule.columns} - {"scale"}
    columns = {
        name: _floats(edges, name) if name in edges.column_names else np.array(np.nan)
        for name in wanted
    }
    columns["scale"] = np.array([scale.get(t) or 0.0 for t in edges.column("target").to_pylist()])
    return columns


def _floats(table: pa.Table, name: str) -> np.ndarray:
    column = table.column(name).cast("float64")
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _set(table: pa.Table, name: str, values: np.ndarray, known: np.ndarray) -> pa.Table:
    import pyarrow as pa

    column = pa.array(values, pa.float64(), mask=~known)
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)
