r"""Legacy edges against calibrated, computed and carried ones of one run: what survives.

Of the stored effects of a run, every rule of `scircuit.core.edge_rules` takes some. Two rules
overlap by chance too, and most where a source has many edges by both. With k_A(s) and k_B(s) of
the N(s) stored effects of source s into one layer, the expected overlap is

    E = sum over s and target layers of  k_A(s) k_B(s) / N(s),

with hypergeometric variance; z = (overlap - E) / sd. The degrees by both rules are compared by
Spearman's rank correlation, as such and beyond the firing rate
(`scircuit.analysis.structure.rank_stability`); and each class of edges has its coherence beside
its exact expectation under resampled targets (`scircuit.analysis.coherence.pair_nulls`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.circuits.degree import RULES, EdgeArrays, edges_by, legacy
from scircuit.analysis.coherence.edge_coherence import plain
from scircuit.analysis.coherence.pair_nulls import kept, pair_nulls
from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.coherence.term_sets import TermSets, term_sets
from scircuit.analysis.finding import Finding, untested

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs

NAME, TITLE = "rule_survival", "Legacy edges: what survives other rules"
FEWEST = 10
COLUMNS = (
    "rule", "other", "edges", "edges_other", "both", "share", "expected", "fold", "z",
    "degree_rho", "degree_rho_beyond_rate", "coherence", "coherence_expected",
)  # fmt: skip


def rule_survival(inputs: CircuitInputs, config: object) -> Finding:
    """Overlap, degrees and coherence of the edges by each rule.

    Parameters
    ----------
    inputs
        The circuit with all stored effects.
    config
        `scircuit.core.config.AnalyseConfig`: its thresholds and seed are read.
    """
    import pandas as pd

    edges = inputs.edges
    masks = rule_masks(edges, config)
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    if not counts["legacy"]:
        return untested(
            NAME,
            TITLE,
            f"what survives of legacy edges was not asked: the published rule selects none of the"
            f" {edges.source.size:,} stored effects",
            columns=COLUMNS,
            edges=counts,
        )
    sets = None if inputs.terms is None else term_sets(inputs.terms, inputs.nodes.id.size)
    seed = int(getattr(config, "seed", 0))
    rows = [_row("legacy", name, masks, inputs, sets, seed) for name in masks]
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return Finding(
        NAME,
        TITLE,
        _sentence(frame),
        "overlap if the edges of every source by one rule lay anywhere among its stored effects"
        " into the same layer (hypergeometric); coherence with targets resampled among features of"
        " the same layer, firing rate and number of terms (exact mean)",
        frame,
        {
            "edges": counts,
            "rules": [{k: plain(v) for k, v in r.items()} for r in frame.to_dict("records")],
        },
        draw=draw,
    )


def rule_masks(edges: EdgeArrays, config: object) -> dict[str, np.ndarray]:
    """Edges by every rule that the run can tell, bool (effects,)."""
    thresholds = [getattr(config, name) for name in ("q", "min_support", "min_effect")]
    names = ["calibrated"]
    if np.isfinite(edges.q_computed).any() or np.isfinite(edges.q_direct).any():
        names += ["computed", "carried", "generic"]
    return {"legacy": legacy(edges)} | {
        name: edges_by(edges, RULES[name], *thresholds) for name in names
    }


def chance_overlap(one: np.ndarray, other: np.ndarray, family: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the overlap of two sets of effects, each set placed at random
    within its family.

    Parameters
    ----------
    one, other
        Bool (effects,).
    family
        Number of the family of every effect, int (effects,).
    """
    n = np.bincount(family).astype(float)
    a = np.bincount(family, one, n.size)
    b = np.bincount(family, other, n.size)
    n = np.maximum(n, 1)
    mean = a * b / n
    variance = np.where(n > 1, mean * (n - a) * (n - b) / (n * np.maximum(n - 1, 1)), 0.0)
    return float(mean.sum()), float(np.sqrt(variance.sum()))


def _row(
    name: str,
    other: str,
    masks: Mapping[str, np.ndarray],
    inputs: CircuitInputs,
    sets: TermSets | None,
    seed: int,
) -> tuple[object, ...]:
    from scircuit.analysis.structure.rank_stability import rank_stability

    edges, nodes = inputs.edges, inputs.nodes
    one, two = masks[name], masks[other]
    both, n = int((one & two).sum()), int(one.sum())
    layers = nodes.layer[edges.target]
    _, family = np.unique(edges.source * (layers.max() + 1) + layers, return_inverse=True)
    expected, sd = chance_overlap(one, two, family.ravel())
    at, size = nodes.sources, nodes.id.size
    degrees = [np.bincount(edges.source[m], minlength=size)[at] for m in (one, two)]
    rate = nodes.firing_rate[at]
    stable = rank_stability(
        *degrees, firing_rate=rate if np.isfinite(rate).any() else None, draws=39, seed=seed
    )
    observed, chance = _coherence(edges.keep(two), inputs, sets)
    same = name == other
    return (
        name,
        other,
        n,
        int(two.sum()),
        both,
        both / n,
        None if same else expected,
        None if same or expected == 0 else both / expected,
        None if same or sd == 0 else (both - expected) / sd,
        None if same else stable.rho,
        None if same else stable.beyond_rate,
        observed,
        chance,
    )


def _coherence(
    edges: EdgeArrays, inputs: CircuitInputs, sets: TermSets | None
) -> tuple[float | None, float | None]:
    """Share of the edges whose ends share a specific term, and its exact expectation."""
    from scircuit.analysis.structure.layered_edges import layered_edges

    if sets is None:
        return None, None
    found = layered_edges(edges.source, edges.target, edges.mean, inputs.nodes.layer)
    found = kept(found, sets.annotated[found.source] & sets.annotated[found.target])
    if found.size < FEWEST:
        return None, None
    rate = inputs.nodes.firing_rate
    stratum = strata(inputs.nodes.layer, sets.size, rate, sets.annotated)
    nulls = pair_nulls(found, stratum, sets.shared, bits=2, draws=0)
    return float(nulls.observed[:, 1].sum()) / found.size, (
        float(nulls.expected[:, 1].sum()) / found.size
    )


def _sentence(frame: pd.DataFrame) -> str:
    rows = {r["other"]: r for r in frame.to_dict("records")}
    n = rows["legacy"]["edges"]
    parts = [
        f"{r['share']:.1%} {'' if i else 'are '}{name} ({'' if i else 'by chance '}"
        f"{r['expected'] / n:.1%})"
        for i, (name, r) in enumerate(
            (name, rows[name])
            for name in ("calibrated", "computed", "carried", "generic")
            if name in rows
        )
    ]
    text = f"of {n:,} legacy edges {', '.join(parts)}"
    best = rows.get("computed", rows["calibrated"])
    if plain(best["degree_rho"]) is not None:
        text += f"; out-degrees by the {best['other']} rule correlate {best['degree_rho']:.2f}"
    shares = [
        f"{r['coherence']:.1%} of {name} edges ({chance}{r['coherence_expected']:.1%})"
        for name, chance in (("legacy", "by chance "), (best["other"], ""))
        if plain((r := rows[name])["coherence"]) is not None
    ]
    return f"{text}; a specific term is shared by {' and '.join(shares)}" if shares else text


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Share of legacy edges that are edges by each other rule, beside chance."""
    from scircuit.analysis.plot_style import BLUE, ORANGE

    rows = frame[frame["other"] != "legacy"]
    at = np.arange(len(rows))
    ax.bar(at, rows["share"].astype(float), 0.6, color=BLUE, label="legacy edges")
    chance = rows["expected"].astype(float) / rows["edges"]
    ax.hlines(chance, at - 0.35, at + 0.35, color=ORANGE, lw=2, label="by chance")
    ax.set_xticks(at, [str(r) for r in rows["other"]])
    ax.set_ylabel("share of legacy edges")
    ax.legend()
