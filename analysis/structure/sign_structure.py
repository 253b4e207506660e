r"""Support and suppression by every edge rule, on the same effects.

An edge is support where ablation lowers the target. The published rule counts cells without an
effect as negative, so it takes effects that are negative in few cells and leaves the same effect
with the other sign. What that alone creates is seen on the same effects with signs that cannot mean
anything: each effect keeps its counts, and n_pos and n_neg change places, with the signs of mean
and d, with probability 1/2. With

    a  effects that pass with either sign,    b  that pass with a negative sign only,
    c  that pass with a positive sign only,

a rule draws ``Binomial(a, 1/2) + Binomial(b, 1/2)`` support edges and as many others with c, so it
expects (a + b) / (2 a + b + c) support. A rule that treats the signs alike expects 1/2. Effects of
one source share their cells, so its signs are also flipped together: p counts draws whose share of
support is as far from 1/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from scircuit.analysis.circuits.degree import RULES, EdgeArrays, edges_by
from scircuit.analysis.circuits.layer_pairs import cluster_share
from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.null_numbers import number
from scircuit.core.edge_rules import LEGACY, SYMMETRIC

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.core.config import AnalyseConfig

NAME, TITLE = "sign_structure", "Support and suppression by rule"
DRAWS = 1000
_BLOCK = 50  # draws in memory at a time
_NULL = (
    f"the same effects with signs that cannot mean anything: the sign of every effect flipped at"
    f" random ({DRAWS:,} draws), n_pos and n_neg with it; for p all signs of a source flipped"
    f" together ({DRAWS:,} draws)"
)
_COLUMNS = (
    *("rule", "edges", "support", "support_share", "low", "high"),
    *("expected_share", "expected_low", "expected_high", "p", "one_sign_only"),
)


def mirrored(edges: EdgeArrays) -> EdgeArrays:
    """The same effects with the other sign."""
    return edges._replace(
        n_pos=edges.n_neg,
        n_neg=edges.n_pos,
        mean=-edges.mean,
        d=-edges.d,
        direct=-edges.direct,
        computed=-edges.computed,
        z_computed=-edges.z_computed,
        z_direct=-edges.z_direct,
    )


def sign_structure(inputs: CircuitInputs, config: AnalyseConfig) -> Finding:
    """Share of support by every rule beside its value for signs that cannot mean anything."""
    import pandas as pd

    if not inputs.edges.source.size:
        return untested(
            NAME, TITLE, "signs were not compared: no effect is stored", _NULL, _COLUMNS, edges=0
        )
    other = mirrored(inputs.edges)
    limits = (config.q, config.min_support, config.min_effect)
    has_null = bool(
        np.isfinite(inputs.edges.q_computed).any() or np.isfinite(inputs.edges.q_direct).any()
    )
    names = ("computed", "carried", "generic", "calibrated") if has_null else ("calibrated",)
    rows = []
    for k, rule in enumerate((*(RULES[n] for n in names), SYMMETRIC, LEGACY)):
        if rule in (SYMMETRIC, LEGACY):
            own, flipped = (rule.holds(e._asdict()) for e in (inputs.edges, other))
        else:
            own, flipped = (edges_by(e, rule, *limits) for e in (inputs.edges, other))
        rng = np.random.default_rng([config.seed, 35, k])
        negative = getattr(inputs.edges, rule.effect) < 0
        rows.append({"rule": rule.name, **_row(inputs.edges.source, own, flipped, negative, rng)})
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    numbers = {
        "edges": int(inputs.called.sum()),
        "draws": DRAWS,
        "rules": [
            {k: number(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        ],
        "created": _created(inputs.edges),
    }
    return Finding(NAME, TITLE, _sentence(rows, numbers), _NULL, frame, numbers, draw=draw)


def _row(
    source: np.ndarray,
    own: np.ndarray,
    flipped: np.ndarray,
    negative: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, object]:
    """One rule: what it takes, and what it would take of effects with random signs.

    Parameters
    ----------
    source
        Source of every effect, (effects,).
    own, flipped
        Whether an effect passes, and whether it does with the other sign, (effects,).
    negative
        Whether the effect is below 0, (effects,).
    """
    edges, support = int(own.sum()), int((own & negative).sum())
    low_sign, high_sign = np.where(negative, own, flipped), np.where(negative, flipped, own)
    either = int((low_sign & high_sign).sum())
    only = int((low_sign & ~high_sign).sum()), int((high_sign & ~low_sign).sum())
    expected, low, high = _random_signs(either, *only, rng)
    size = int(source.max()) + 1
    share = cluster_share(
        np.bincount(source[own & negative], minlength=size),
        np.bincount(source[own], minlength=size),
        seed=int(rng.integers(2**31)),
    )
    p = _flipped_sources(source[own], negative[own], rng) if edges else float("nan")
    return {
        "edges": edges,
        "support": support,
        "support_share": number(share[0]),
        "low": number(share[1]),
        "high": number(share[2]),
        "expected_share": number(expected),
        "expected_low": number(low),
        "expected_high": number(high),
        "p": number(p),
        "one_sign_only": int((own & ~flipped).sum()),
    }


def _random_signs(
    either: int, negative: int, positive: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Share of support expected of random signs, and the middle 95 % of draws."""
    if not either + negative + positive:
        return float("nan"), float("nan"), float("nan")
    heads = rng.binomial(either, 0.5, DRAWS)
    down, up = rng.binomial(negative, 0.5, DRAWS), rng.binomial(positive, 0.5, DRAWS)
    total = either + down + up
    share = ((heads + down) / np.maximum(total, 1))[total > 0]
    expected = (either + negative) / (2 * either + negative + positive)
    if not share.size:
        return expected, float("nan"), float("nan")
    low, high = np.quantile(share, [0.025, 0.975])
    return expected, float(low), float(high)


def _flipped_sources(source: np.ndarray, negative: np.ndarray, rng: np.random.Generator) -> float:
    """The p of the distance from 1/2 with all signs of a source flipped together."""
    _, group = np.unique(source, return_inverse=True)
    excess = np.bincount(group, weights=np.where(negative, 1.0, -1.0))
    hits = 0
    for first in range(0, DRAWS, _BLOCK):
        flips = rng.integers(0, 2, (min(_BLOCK, DRAWS - first), excess.size), np.int8)
        drawn = (2.0 * flips - 1) @ excess
        hits += int((np.abs(drawn) >= abs(excess.sum()) - 1e-9).sum())  # whole numbers
    return (1 + hits) / (1 + DRAWS)


def _created(edges: EdgeArrays) -> dict[str, object]:
    """What the published rule takes only because cells without an effect count as negative, and
    what it leaves only because of them.
    """
    columns = edges._asdict()
    published, fair = LEGACY.holds(columns), SYMMETRIC.holds(columns)
    more, less, negative = published & ~fair, fair & ~published, edges.mean < 0
    return {
        "by_zeros": int(more.sum()),
        "by_zeros_support": number(float(negative[more].mean())) if more.any() else None,
        "left_by_zeros": int(less.sum()),
        "left_by_zeros_support": number(float(negative[less].mean())) if less.any() else None,
    }


def _sentence(rows: list[dict[str, object]], numbers: Mapping[str, object]) -> str:
    by_rule = {str(row["rule"]): row for row in rows}
    first = rows[0]
    text = _told(first, f" {first['rule']}", "")
    if isinstance(first["p"], float):
        text += f" (sources' signs flipped: p = {first['p']:.2g})"
    text += f"; by the published rule {_told(by_rule['legacy'])}"
    text += f"; with zeros not counted as negative {_told(by_rule['symmetric'])}"
    created = numbers["created"]
    assert isinstance(created, dict)
    if created["by_zeros"]:
        text += f"; {created['by_zeros']:,} edges are created by those zeros alone"
    return text


def _told(row: Mapping[str, object], rule: str = "", chance: str = "random signs") -> str:
    """Share of support of the edges of a rule, and that of random signs."""
    if not row["edges"] or not isinstance(row["support_share"], float):
        return f"there is no{rule} edge"
    text = f"{row['support_share']:.0%} of {row['edges']:,}{rule} edges support"
    if chance and isinstance(row["expected_share"], float):
        text += f" ({chance} {row['expected_share']:.0%})"
    return text


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Share of support by rule with intervals, beside its value for random signs."""
    from scircuit.analysis.plot_style import BLUE, GREY, ORANGE, no_data

    used = cast("pd.DataFrame", frame[frame["edges"] > 0])
    if not len(used):
        no_data(ax, "no edge by any rule")
        return
    y = np.arange(len(used))[::-1]
    share, low, high = (100 * used[c].to_numpy(float) for c in ("support_share", "low", "high"))
    ax.axvline(50, color=GREY, lw=1, ls=":")
    around = np.maximum(np.vstack([share - low, high - share]), 0)
    ax.errorbar(share, y, xerr=around, fmt="o", ms=7, color=BLUE, capsize=3, label="support")
    ax.plot(
        100 * used["expected_share"].to_numpy(float), y, "D", ms=6, color=ORANGE,
        label="same effects, random signs",
    )  # fmt: skip
    names = [
        f"{_NAMES.get(rule, rule)} ({edges:,})"
        for rule, edges in zip(used["rule"], used["edges"], strict=True)
    ]
    ax.set_yticks(y, names)
    ax.set(xlim=(-2, 102), xlabel="support (% of the edges)", ylim=(-0.6, len(used) - 0.4))
    ax.legend(loc="best")


_NAMES = {"legacy": "published rule", "symmetric": "published, zeros apart"}
