"""Modules of a circuit: stable communities that are more than degrees give, with their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.layered_edges import LayeredEdges, circuit_edges
from scircuit.analysis.structure.leiden import HOW_TO_INSTALL, available
from scircuit.analysis.structure.module_stability import (
    LARGE,
    SCANNED,
    ModuleTest,
    Stability,
    chosen,
    compare_modules,
    final_communities,
    stability_curve,
)
from scircuit.analysis.structure.null_numbers import beside, number

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.core.config import AnalyseConfig

NAME, TITLE = "modules", "Modules"
ALPHA = 0.05
"""Largest p at which communities are recorded as modules."""

_FEWEST = 10  # edges
_TERMS = 3  # of a module
_NULL = (
    "graphs in which every feature keeps its number of edges to and from every layer; at least 39"
    " of them, partitioned in the same way"
)
_COLUMNS = (*Stability._fields, "chosen", "null_modularity", "null_half_rand")


def modules(inputs: CircuitInputs, config: AnalyseConfig) -> Finding:
    """Modules at the most stable resolution, where they are more than degrees give."""
    import pandas as pd

    edges = circuit_edges(inputs)
    if not available():
        why = f"modules were not looked for: igraph is not installed; {HOW_TO_INSTALL}"
        return untested(NAME, TITLE, why, _NULL, _COLUMNS, edges=edges.size)
    if edges.size < _FEWEST:
        why = (
            f"modules were not looked for in {edges.size} {inputs.rule.name} edges; at least"
            f" {_FEWEST} are needed"
        )
        return untested(NAME, TITLE, why, _NULL, _COLUMNS, edges=edges.size)
    scanned = edges.into_some(SCANNED, np.random.default_rng([config.seed, 39]))
    curve = stability_curve(scanned, config.seed)
    best = chosen(curve)
    frame = pd.DataFrame(curve)
    frame["chosen"] = frame["resolution"].eq(best.resolution if best else np.nan)
    frame["null_modularity"] = frame["null_half_rand"] = np.nan
    numbers: dict[str, object] = {
        "edges": edges.size,
        "scanned_edges": scanned.size,
        "modules": 0,
        "curve": [s._asdict() for s in curve],
    }
    if best is None:
        most = max(s.modules for s in curve)
        why = (
            f"the {edges.size:,} {inputs.rule.name} edges have no modules to tell apart: at no"
            f" resolution from {curve[0].resolution:g} to {curve[-1].resolution:g} do they fall"
            f" into two communities of at least {LARGE} features (most: {most})"
        )
        return Finding(NAME, TITLE, why, _NULL, frame, numbers, draw=draw)
    tested = compare_modules(scanned, best, config.seed)
    frame.loc[frame["chosen"], "null_modularity"] = tested.null_modularity.mean()
    frame.loc[frame["chosen"], "null_half_rand"] = tested.null_half_rand.mean()
    modularity = beside(tested.modularity, tested.null_modularity, "above")
    numbers |= {
        "resolution": best.resolution,
        "modularity": modularity._asdict(),
        # no p: the resolution is the best of several for the circuit, and none was chosen for them
        "half_rand": number(tested.half_rand),
        "null_half_rand": number(tested.null_half_rand.mean()),
        "seed_rand": best.seed_rand,
        "draws": int(tested.null_modularity.size),
    }
    records: dict[str, pa.Table] = {}
    if modularity.p is not None and modularity.p <= ALPHA:
        group = final_communities(edges, best.resolution).over(edges.features)
        found, of = module_rows(inputs, edges, group)
        numbers |= {"modules": len(found), "sizes": [row["size"] for row in found]}
        numbers["list"] = [{k: v for k, v in row.items() if k != "run"} for row in found]
        records = module_records(inputs, found, of, best.resolution)
    return Finding(
        NAME, TITLE, _sentence(inputs.rule.name, numbers, best, tested, modularity.p), _NULL,
        frame, numbers, records, draw=draw)  # fmt: skip


def _sentence(
    rule: str, numbers: Mapping[str, object], best: Stability, tested: ModuleTest, p: float | None
) -> str:
    null = (
        f"modularity {tested.modularity:.3f} at resolution {best.resolution:g},"
        f" {tested.null_modularity.mean():.3f} in graphs with the same degrees"
        f"{'' if p is None else f' (p = {p:.2g})'}; halves of the edges agree with adjusted Rand"
        f" {_two_digits(tested.half_rand)} ({_two_digits(tested.null_half_rand.mean())})"
    )
    part = (
        f" (by the {tested.edges:,} edges into a random part of the targets)"
        if tested.edges != numbers["edges"]
        else ""
    )
    if numbers["modules"]:
        return (
            f"the {numbers['edges']:,} {rule} edges fall into {numbers['modules']} modules of at"
            f" least {LARGE} features{part}: {null}"
        )
    return f"the {numbers['edges']:,} {rule} edges have no modules beyond degrees{part}: {null}"


def _two_digits(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:.2f}"  # no -0.00


def module_rows(
    inputs: CircuitInputs, edges: LayeredEdges, group: np.ndarray
) -> tuple[list[dict[str, object]], np.ndarray]:
    """A row for each module, the largest first, and the number of each feature's module.

    Parameters
    ----------
    inputs, edges
        The circuit.
    group
        Community of every feature, -1 without an edge, (features,).

    Returns
    -------
    tuple
        Rows, and (features,) the position of the row, -1 for a feature in no module.
    """
    size = np.bincount(group[group >= 0])
    first = np.full(size.size, group.size)
    np.minimum.at(first, group[group >= 0], np.flatnonzero(group >= 0))
    order = [int(g) for g in np.lexsort((first, -size)) if size[g] >= LARGE]
    number_of = np.full(size.size + 1, -1)
    number_of[order] = np.arange(len(order))
    of = number_of[group]  # the last entry is that of -1
    ends = of[edges.source], of[edges.target]
    inside = np.bincount(ends[0][(ends[0] == ends[1]) & (ends[0] >= 0)], minlength=len(order))
    touching = sum(np.bincount(e[e >= 0], minlength=len(order)) for e in ends) - inside
    rows: list[dict[str, object]] = []
    for k in range(len(order)):
        members = of == k
        layers = sorted({int(v) for v in inputs.nodes.layer[members]})
        terms = _terms(inputs, members)
        rows.append(
            {
                "id": f"{inputs.run}/M{k:02d}",
                "name": f"M{k:02d} {terms[0]}" if terms else f"M{k:02d}",
                "size": int(members.sum()),
                "index": k,
                "layers": layers,
                "edges_inside": int(inside[k]),
                "edges_touching": int(touching[k]),
                "top_terms": terms,
                "run": inputs.run,
            }
        )
    return rows, of


def _terms(inputs: CircuitInputs, members: np.ndarray) -> list[str]:
    """Most frequent terms of the features, the alphabet deciding ties."""
    if inputs.terms is None or not len(inputs.terms):
        return []
    own = inputs.terms.loc[members[inputs.terms["feature"].to_numpy(int)]]
    counts = own.drop_duplicates(["feature", "name"])["name"].dropna().value_counts()
    return sorted(counts.index.tolist(), key=lambda term: (-int(counts[term]), term))[:_TERMS]


def module_records(
    inputs: CircuitInputs, rows: Sequence[Mapping[str, object]], of: np.ndarray, resolution: float
) -> dict[str, pa.Table]:
    """Tables of the modules, of who is in them, and of the features' own property."""
    from scircuit.core.schema import schema_table

    if not rows:
        return {}
    at = np.flatnonzero(of >= 0)
    features = inputs.nodes.id[at].tolist()
    ids = [str(rows[k]["id"]) for k in of[at].tolist()]
    method = f"Leiden for modularity, resolution {resolution:g}, {inputs.rule.name} edges"
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        "Module": schema_table("Module", columns | {"method": [method] * len(rows)}),
        "Feature-MEMBER_OF-Module": schema_table(
            "Feature-MEMBER_OF-Module",
            {"source": features, "target": ids, "run": [inputs.run] * len(ids)},
        ),
        "Feature": schema_table("Feature", {"id": features, "module": ids}),
    }


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Agreement of communities by resolution, the chosen one marked, and its null."""
    from scircuit.analysis.plot_style import BLUE, GREEN, GREY, ORANGE

    x = frame["resolution"]
    ax.plot(x, frame["half_rand"], "o-", color=BLUE, label="halves of the edges")
    ax.plot(x, frame["seed_rand"], "o--", color=GREEN, ms=4, label="seeds")
    for _, row in frame[frame["chosen"]].iterrows():
        ax.axvline(float(row["resolution"]), color=GREY, lw=1, ls=":")
        ax.plot(
            [row["resolution"]], [row["null_half_rand"]], "D", color=ORANGE,
            label="halves, same degrees",
        )  # fmt: skip
    for _, row in frame.iterrows():
        ax.annotate(
            f"{int(row['modules'])}", (row["resolution"], row["half_rand"]),
            textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8.5,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(x, [f"{v:g}" for v in x])
    ax.set(
        xlabel="resolution (numbers: modules)",
        ylabel="adjusted Rand index of the communities",
        ylim=(-0.08, 1.1),
    )
    ax.legend(loc="best")
