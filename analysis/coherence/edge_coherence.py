r"""Coherence of a circuit: the share of edges between annotated features whose ends share a term.

    coherence = #{edges (s, t): terms(s) and terms(t) intersect} / #{edges, both ends annotated},

beside two nulls of `scircuit.analysis.coherence.pair_nulls`: targets resampled among features of
the same layer with about as many terms and about the same firing rate, and edges rewired with all
degrees kept. The published studies give the share alone; features that were chosen because they
have many terms share some with a third of all random targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.coherence.pair_nulls import PairNulls, kept, pair_nulls
from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.coherence.term_sets import TermSets, term_sets
from scircuit.analysis.finding import Finding, untested

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs

NAME, TITLE = "coherence", "Coherence: do the ends of an edge share terms"
DRAWS, FEWEST = 1000, 10
COLUMNS = (
    "terms", "source_layer", "target_layer", "edges", "coherent", "observed", "expected",
    "expected_low", "expected_high", "rewired", "rewired_low", "rewired_high", "fold",
    "p", "p_rewired",
)  # fmt: skip


def coherence(inputs: CircuitInputs, config: object) -> Finding:
    """Coherence of the edges of a run.

    Parameters
    ----------
    inputs
        The circuit with its terms.
    config
        `scircuit.core.config.AnalyseConfig`; its seed is read.
    """
    from scircuit.analysis.structure.layered_edges import circuit_edges

    if inputs.terms is None:
        return _untested("the features were not annotated")
    edges = circuit_edges(inputs)
    size = inputs.nodes.id.size
    sets = term_sets(inputs.terms, size, inputs.parents)
    both = sets.annotated[edges.source] & sets.annotated[edges.target]
    if int(both.sum()) < FEWEST:
        return _untested(
            f"{int(both.sum())} of {edges.size:,} {inputs.rule.name} edges have a term at both"
            f" ends, and at least {FEWEST} are needed"
        )
    edges = kept(edges, both)
    stratum = strata(edges.layer, sets.size, inputs.nodes.firing_rate, sets.annotated)
    found = pair_nulls(
        edges,
        stratum,
        sets.shared,
        bits=len(sets.kinds),
        draws=DRAWS,
        seed=int(getattr(config, "seed", 0)),
    )
    frame = coherence_frame(found, sets.kinds)
    return Finding(
        NAME,
        TITLE,
        _sentence(frame, sets, found, inputs.rule.name),
        f"{DRAWS:,} draws each: targets resampled among annotated features of the same layer with"
        " about as many specific terms and about the same firing rate; and edges rewired within"
        " each pair of layers, all degrees kept",
        frame,
        _numbers(frame, sets, found),
        {"Feature": _records(inputs.nodes.id, edges.source, found, sets.kinds.index("specific"))},
        draw=draw,
    )


def coherence_frame(found: PairNulls, kinds: tuple[str, ...]) -> pd.DataFrame:
    """One row for each kind of sharing and pair of layers; layers are null in the row of all."""
    import pandas as pd

    rows = []
    for bit, kind in enumerate(kinds):
        n = int(found.edges.sum())
        rows.append((kind, None, None, *_row(n, *found.total(bit))))
        for g, (source, target) in enumerate(found.layers):
            values = (
                int(found.observed[g, bit]),
                float(found.expected[g, bit]),
                found.resampled[:, g, bit],
                found.rewired[:, g, bit],
            )
            rows.append((kind, source, target, *_row(int(found.edges[g]), *values)))
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return frame.astype({"source_layer": "Int64", "target_layer": "Int64"})


def _row(
    n: int, observed: int, expected: float, resampled: np.ndarray, rewired: np.ndarray
) -> tuple[object, ...]:
    low, high = np.quantile(resampled, [0.025, 0.975]) / n
    low_rewired, high_rewired = np.quantile(rewired, [0.025, 0.975]) / n
    return (
        n,
        observed,
        observed / n,
        expected / n,
        float(low),
        float(high),
        float(rewired.mean()) / n,
        float(low_rewired),
        float(high_rewired),
        observed / expected if expected > 0 else None,
        share_as_large(resampled, observed),
        share_as_large(rewired, observed),
    )


def share_as_large(draws: np.ndarray, observed: float) -> float:
    """One-sided p: (1 + draws of at least the observed) / (1 + draws)."""
    return float((1 + np.count_nonzero(draws >= observed)) / (1 + draws.size))


def _sentence(frame: pd.DataFrame, sets: TermSets, found: PairNulls, rule: str) -> str:
    rows = frame[frame["source_layer"].isna()].set_index("terms")
    r = rows.loc["specific"]
    text = (
        f"{r['observed']:.1%} of {int(r['edges']):,} {rule} edges between annotated features share"
        f" a specific term (targets resampled {r['expected']:.1%}, p = {r['p']:.2g}; edges rewired"
        f" {r['rewired']:.1%}, p = {r['p_rewired']:.2g})"
    )
    if sets.generic:
        a = rows.loc["all"]
        first, *others = sets.generic
        more = f" and {len(others)} more" if others else ""
        text += (
            f"; generic terms included ({first}{more}) {a['observed']:.1%} against"
            f" {a['expected']:.1%}"
        )
    if "ontology" in rows.index:
        o = rows.loc["ontology"]
        text += f"; with ancestors of the terms {o['observed']:.1%} against {o['expected']:.1%}"
    if found.movable < found.edges.sum():
        fixed = int(found.edges.sum()) - found.movable
        text += f"; {fixed:,} edges have a target that no other feature can stand for"
    return text


def _numbers(frame: pd.DataFrame, sets: TermSets, found: PairNulls) -> dict[str, object]:
    rows = frame.loc[frame["source_layer"].isna()]
    picked = ("edges", "coherent", "observed", "expected", "rewired", "fold", "p", "p_rewired")
    return {
        "draws": DRAWS,
        "generic_terms": list(sets.generic),
        "edges_with_an_alternative_target": found.movable,
        **{
            str(row["terms"]): {name: plain(row[name]) for name in picked}
            for row in rows.to_dict("records")
        },
    }


def plain(value: object) -> object:
    """A plain number; None in place of NaN and NA."""
    import pandas as pd

    if value is None or pd.isna(value):  # pyright: ignore[reportGeneralTypeIssues, reportArgumentType, reportCallIssue]
        return None
    return value.item() if isinstance(value, np.generic) else value


def _records(ids: np.ndarray, source: np.ndarray, found: PairNulls, bit: int) -> pa.Table:
    """Coherence of the out-edges of every source with a pair that can be judged."""
    from scircuit.core.schema import schema_table

    out = np.bincount(source, minlength=ids.size)
    at = np.flatnonzero(out)
    observed, expected = (found.by_source[kind, at, bit] / out[at] for kind in (0, 1))
    return schema_table(
        "Feature",
        {
            "id": ids[at].tolist(),
            "coherence": observed.tolist(),
            "coherence_expected": expected.tolist(),
        },
    )


def _untested(why: str) -> Finding:
    return untested(NAME, TITLE, f"coherence was not tested: {why}", columns=COLUMNS, draws=0)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Observed share of each pair of layers beside both nulls, for specific terms."""
    from scircuit.analysis.plot_style import BLUE, GREY, ORANGE

    rows = frame[frame["terms"] == "specific"]
    labels = [
        "all" if s is None else f"{s} to {t}"
        for s, t in zip(
            (plain(v) for v in rows["source_layer"]),
            (plain(v) for v in rows["target_layer"]),
            strict=True,
        )
    ]
    at = np.arange(len(rows))
    ax.vlines(at, rows["expected_low"], rows["expected_high"], color=ORANGE, lw=6, alpha=0.4)
    ax.plot(at, rows["expected"], "_", color=ORANGE, ms=10, label="targets resampled")
    ax.plot(at, rows["rewired"], "x", color=GREY, label="edges rewired")
    ax.plot(at, rows["observed"], "o", color=BLUE, label="edges")
    ax.set_xticks(at, labels, rotation=60 if len(rows) > 6 else 0)
    ax.set_xlabel("layers")
    ax.set_ylabel("share of edges whose ends share a specific term")
    ax.set_ylim(bottom=0)
    ax.legend()
