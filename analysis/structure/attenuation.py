r"""Attenuation with depth: edges per source and layer distance, by every rule, beside what the
residual stream alone and firing rates alone give.

Rows are pairs of layers and rules. ``share`` is edges / (sources x targets of the layer). Beside
the rules stands ``pass_through``: effects whose direct part alone stands out from random
directions, whatever the blocks add,

    q_direct <= q   and   |direct| >= min_effect x mean activation of the target .

``by_firing`` is what the firing rates of the targets of a layer give: the features measured after a
source layer are grouped by firing rate (ten groups), and the edges of each group are spread over
its features evenly, whatever their layer.

The test asks whether the layer matters beyond the firing rate: for every source layer the
in-degrees are permuted among the features of a group, over all later layers, and the mean layer
distance of the edges is compared with that in the permuted circuits. A feature keeps all its edges
together, since edges into one feature are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from scircuit.analysis.circuits.degree import RULES, EdgeArrays, FeatureArrays, edges_by
from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.null_numbers import beside
from scircuit.core.edge_rules import LEGACY, SYMMETRIC

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.core.config import AnalyseConfig

NAME, TITLE = "attenuation", "Attenuation with depth"
PASS_THROUGH = "pass_through"
DRAWS = 1000
_GROUPS = 10  # of firing rate
_NUMBERS = 2_000_000  # in memory at a time
_NULL = (
    "in-degrees permuted among the features of a similar firing rate (ten groups) in all later"
    f" layers, for every source layer, {DRAWS:,} times; beside it the direct effects alone"
)
_COLUMNS = (
    *("rule", "source_layer", "target_layer", "distance", "sources", "targets"),
    *("edges", "edges_per_source", "share", "by_firing", "median_abs_effect"),
)


def rule_masks(
    edges: EdgeArrays, config: AnalyseConfig
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which effects are edges, and their signed effect, by every rule that the run can tell."""
    limits = (config.q, config.min_support, config.min_effect)
    found = {"calibrated": (edges_by(edges, RULES["calibrated"], *limits), edges.mean)}
    if np.isfinite(edges.q_computed).any() or np.isfinite(edges.q_direct).any():
        with np.errstate(invalid="ignore"):
            straight = (edges.q_direct <= config.q) & (
                np.abs(edges.direct) >= config.min_effect * np.nan_to_num(edges.scale)
            )
        found = (
            {
                name: (edges_by(edges, RULES[name], *limits), getattr(edges, RULES[name].effect))
                for name in ("computed", "carried", "generic")
            }
            | {PASS_THROUGH: (straight, edges.direct)}
            | found
        )
    columns = edges._asdict()
    return found | {
        "symmetric": (SYMMETRIC.holds(columns), edges.mean),
        "legacy": (LEGACY.holds(columns), edges.mean),
    }


def attenuation(inputs: CircuitInputs, config: AnalyseConfig) -> Finding:
    """Edges by layer distance and rule, and a test that depth matters beyond the firing rate."""
    import pandas as pd

    nodes, edges = inputs.nodes, inputs.edges
    if not edges.source.size:
        return untested(
            NAME, TITLE, "attenuation was not measured: no effect is stored", _NULL, _COLUMNS,
            edges=0,
        )  # fmt: skip
    masks = rule_masks(edges, config)
    reached = _reached(nodes, edges)
    rows = [
        row
        for rule, (mask, effect) in masks.items()
        for row in _rows(rule, nodes, edges.keep(mask), effect[mask], reached)
    ]
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    tests = {
        rule: _test(nodes, edges.keep(mask), reached, np.random.default_rng([config.seed, 36, k]))
        for k, (rule, (mask, _)) in enumerate(masks.items())
        if rule in (inputs.rule.name, PASS_THROUGH)
    }
    numbers = {
        "rule": inputs.rule.name,
        "edges": int(inputs.called.sum()),
        "distances": sorted({int(row["distance"]) for row in rows}),
        "mean_distance": tests,
    }
    return Finding(
        NAME, TITLE, _sentence(inputs.rule.name, frame, tests), _NULL, frame, numbers, draw=draw
    )


def _reached(nodes: FeatureArrays, edges: EdgeArrays) -> dict[int, list[int]]:
    """Source layer -> layers that its stored effects reach."""
    pairs = np.unique(np.stack([nodes.layer[edges.source], nodes.layer[edges.target]]), axis=1)
    found: dict[int, list[int]] = {}
    for source, target in pairs.T.tolist():
        found.setdefault(source, []).append(target)
    return found


def firing_groups(rate: np.ndarray, layer: np.ndarray, layers: list[int]) -> np.ndarray:
    """Group of every feature of these layers by firing rate, -1 for all others, (features,).

    Ties are in one group, so that groups may be fewer than ten.
    """
    inside = np.isin(layer, layers)
    group = np.full(layer.size, -1)
    value = np.nan_to_num(rate[inside])
    if value.size:
        cuts = np.unique(np.quantile(value, np.arange(1, _GROUPS) / _GROUPS))
        group[inside] = np.searchsorted(cuts, value, side="right")
    return group


def _rows(
    rule: str,
    nodes: FeatureArrays,
    edges: EdgeArrays,
    effect: np.ndarray,
    reached: dict[int, list[int]],
) -> list[dict[str, Any]]:
    rows = []
    ends = nodes.layer[edges.source], nodes.layer[edges.target]
    for source_layer, layers in reached.items():
        sources = int((nodes.traced & (nodes.layer == source_layer)).sum())
        own = ends[0] == source_layer
        into = np.bincount(edges.target[own], minlength=nodes.id.size)
        group = firing_groups(nodes.firing_rate, nodes.layer, layers)
        inside = group >= 0
        size = np.bincount(group[inside])
        mean = np.bincount(group[inside], weights=into[inside]) / np.maximum(size, 1)
        for target_layer in layers:
            use = own & (ends[1] == target_layer)
            count, at = int(use.sum()), nodes.layer == target_layer
            targets = int(at.sum())
            rows.append(
                {
                    "rule": rule,
                    "source_layer": source_layer,
                    "target_layer": target_layer,
                    "distance": target_layer - source_layer,
                    "sources": sources,
                    "targets": targets,
                    "edges": count,
                    "edges_per_source": count / max(sources, 1),
                    "share": count / max(sources * targets, 1),
                    "by_firing": float(mean[group[at]].sum()),
                    "median_abs_effect": (float(np.median(np.abs(effect[use]))) if count else None),
                }
            )
    return rows


def _test(
    nodes: FeatureArrays,
    edges: EdgeArrays,
    reached: dict[int, list[int]],
    rng: np.random.Generator,
) -> dict[str, object]:
    """Mean layer distance of the edges beside permuted in-degrees; None where nothing varies."""
    number_of = int(edges.source.size)
    far = [s for s, layers in reached.items() if len(layers) > 1]
    source_layer = nodes.layer[edges.source]
    use = np.isin(source_layer, far)
    if not use.any():
        return {"edges": number_of, "tested_edges": 0, **_EMPTY}
    total, null = 0.0, np.zeros(DRAWS)
    for layer in far:
        own = source_layer == layer
        into = np.bincount(edges.target[own], minlength=nodes.id.size).astype(float)
        group = firing_groups(nodes.firing_rate, nodes.layer, reached[layer])
        distance = (nodes.layer - layer).astype(float)
        total += float((into * distance)[group >= 0].sum())
        for value in range(int(group.max()) + 1):
            at = np.flatnonzero(group == value)
            some = into[at][into[at] > 0]  # features without edges add nothing
            if not some.size:
                continue
            for first in range(0, DRAWS, block := max(1, _NUMBERS // at.size)):
                away = np.tile(distance[at], (min(block, DRAWS - first), 1))
                rng.permuted(away, axis=1, out=away)
                null[first : first + block] += away[:, : some.size] @ some
    count = int(use.sum())
    return {
        "edges": number_of,
        "tested_edges": count,
        **beside(total / count, null / count)._asdict(),
    }


_EMPTY = dict.fromkeys(("observed", "null_mean", "null_low", "null_high", "z", "p"))


def _sentence(rule: str, frame: pd.DataFrame, tests: Mapping[str, Mapping[str, object]]) -> str:
    own = _by_distance(frame, rule)
    if not own["edges"].sum():
        return f"attenuation: no effect is a {rule} edge"
    first, last = own.iloc[0], own.iloc[-1]
    text = f"{rule} edges per source: {first['edges_per_source']:.3g} at distance {own.index[0]}"
    if len(own) == 1:
        return f"{text}; with one distance attenuation cannot be tested"
    text += (
        f", {last['edges_per_source']:.3g} at {own.index[-1]} layers (by firing rates alone"
        f" {first['by_firing_per_source']:.3g} and {last['by_firing_per_source']:.3g}"
    )
    straight = _by_distance(frame, PASS_THROUGH)
    if len(straight) and rule != PASS_THROUGH:
        ends = straight["edges_per_source"].iloc[[0, -1]]
        text += f", by direct effects alone {ends.iloc[0]:.3g} and {ends.iloc[1]:.3g}"
    text += ")"
    test = tests[rule]
    if isinstance(test["p"], float):
        text += (
            f"; they reach {test['observed']:.2f} layers on average, {test['null_mean']:.2f} with"
            f" depth permuted at equal firing rate (p = {test['p']:.2g})"
        )
    return text


def _by_distance(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    own = frame[frame["rule"] == rule]
    sums = own.groupby("distance", sort=True)[["edges", "sources", "by_firing"]].sum()
    found = cast("pd.DataFrame", sums)
    sources = np.maximum(found["sources"].to_numpy(), 1)
    found["edges_per_source"] = found["edges"] / sources
    found["by_firing_per_source"] = found["by_firing"] / sources
    return found


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:
    """Edges per source by layer distance, a line for each rule."""
    from scircuit.analysis.plot_style import BLUE, GREY, ORANGE

    rule = str(numbers["rule"])
    for name in frame["rule"].drop_duplicates():
        found = _by_distance(frame, name)
        if not found["edges"].sum():
            continue
        main, straight = name == rule, name == PASS_THROUGH
        ax.plot(
            found.index, found["edges_per_source"], "o-" if main else "o--",
            color=BLUE if main else ORANGE if straight else None,
            lw=2.4 if main else 1.2, ms=6 if main else 4, alpha=1 if main or straight else 0.6,
            label="direct effects alone" if straight else str(name),
        )  # fmt: skip
        if main:
            ax.plot(
                found.index, found["by_firing_per_source"], ":", color=GREY, lw=2,
                label=f"{name}, by firing rate",
            )  # fmt: skip
    ax.set_yscale("symlog", linthresh=0.1)
    ax.set(xlabel="layers between source and target", ylabel="edges per source", ylim=(0, None))
    ax.legend(loc="best", fontsize=8.5)
