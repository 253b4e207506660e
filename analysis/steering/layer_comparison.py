r"""Steering by layer, with the feature as the unit: dose slopes of features, never cells pooled.

For each readout, over the features whose slope weights alone do not fix:

    beats random   features whose absolute slope is above that of each of N random directions of
                   equal norm; by chance n / (N + 1) of n, binomial test
    beats matched  mean over features of |slope| - |slope along the direction of a feature that
                   fires as often|; p = (1 + #{|mean with random signs| >= |mean|}) / (1 + draws),
                   over all 2^n signs where these are fewer than the draws
    gradient       Spearman correlation of layer and slope (of ON features where they are known),
                   p = (1 + #{|rho of shuffled slopes| >= |rho|}) / (1 + draws)
    on and off     Mann-Whitney test of the slopes of ON against those of OFF features of a layer

with Benjamini-Hochberg over all of these tests. At the last layer a linear probe of the last state
reads a product of weights: its sign is the same in every cell, so a share of positive cells there
is a count of features. Such slopes are listed and take no part in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.finding import Finding

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

DRAWS = 1999
_FEWEST = 4  # features, for a correlation
FEWEST_PAIRS = 6  # 2 / 2^6 <= 0.05, the smallest two-sided p of so many signs


def layer_comparison(
    steers: pd.DataFrame, kinds: Mapping[str, str], random_directions: int, seed: int = 0
) -> Finding:
    """Compare layers and kinds of features.

    Parameters
    ----------
    steers
        One row a feature and readout: source (address), target (id of the readout, its name last),
        slope, control, matched, above_random, closed_form.
    kinds
        Address -> on or off, for the features that are.
    random_directions
        Random directions a feature was compared with.
    seed
        Seed of the shuffles.

    Returns
    -------
    Finding
        ``frame`` has one row a readout and layer.
    """
    import pandas as pd

    table = steers.loc[steers["slope"].notna()].copy()
    table["readout"] = [t.rpartition("/readout/")[2] for t in table["target"]]
    table["layer"] = [int(a.rsplit("/", 2)[1].lstrip("L")) for a in table["source"]]
    table["kind"] = [kinds.get(a, "") for a in table["source"]]
    rows: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for name in dict.fromkeys(table["readout"]):
        own = table.loc[table["readout"] == name]
        free = own.loc[~own["closed_form"].astype(bool)]
        tests += _tests(name, free, random_directions, seed)
        for layer, part in own.groupby("layer"):
            rows.append(_row(name, int(layer), part, random_directions))  # pyright: ignore[reportArgumentType]
    every = benjamini_hochberg(np.array([t["p"] for t in tests], float))
    for test, q in zip(tests, every, strict=True):
        test["q"] = float(q)
    return Finding(
        "steering_layers",
        "Steering by layer",
        _sentence(rows, tests, random_directions),
        f"{random_directions} random directions of equal norm for every feature, and the direction"
        f" of one that fires as often; slopes shuffled over features {DRAWS} times; q over"
        f" {len(tests)} tests, with the feature as the unit.",
        pd.DataFrame(rows),
        {"tests": tests},
        draw=draw,
    )


def _row(name: str, layer: int, part: pd.DataFrame, random: int) -> dict[str, Any]:
    slope = part["slope"].to_numpy(float)
    control = part["control"].to_numpy(float)
    on, off = (slope[(part["kind"] == k).to_numpy()] for k in ("on", "off"))
    known = np.isfinite(control)
    matched = _matched(part)
    matched = matched[np.isfinite(matched)]
    return {
        "readout": name,
        "layer": layer,
        "features": len(part),
        "median_slope": float(np.median(slope)),
        "median_size": float(np.median(np.abs(slope))),
        "median_control": float(np.median(control[known])) if known.any() else None,
        "median_matched": float(np.median(np.abs(matched))) if len(matched) else None,
        "positive": int((slope > 0).sum()),
        "beats_random": _beats(part) if random else None,
        "on": len(on),
        "off": len(off),
        "median_on": float(np.median(on)) if len(on) else None,
        "median_off": float(np.median(off)) if len(off) else None,
        "closed_form": bool(part["closed_form"].astype(bool).all()),
    }


def _matched(part: pd.DataFrame) -> np.ndarray:
    """Slopes along the direction of a feature that fires as often; NaN where there was none."""
    if "matched" not in part:
        return np.full(len(part), np.nan)
    return part["matched"].astype(float).to_numpy()


def _beats(part: pd.DataFrame) -> int:
    """Features that no random direction reaches."""
    return int(part["above_random"].eq(True).sum())


def _tests(name: str, free: pd.DataFrame, random: int, seed: int) -> list[dict[str, Any]]:
    from scipy.stats import binomtest, mannwhitneyu

    found: list[dict[str, Any]] = []
    if len(free) and random:
        hits = _beats(free)
        found.append(
            {
                "test": "beats random",
                "readout": name,
                "layer": None,
                "features": len(free),
                "value": hits / len(free),
                "null": 1 / (1 + random),
                "p": float(binomtest(hits, len(free), 1 / (1 + random), "greater").pvalue),
            }
        )
    matched = _matched(free)
    excess = (np.abs(free["slope"].to_numpy(float)) - np.abs(matched))[np.isfinite(matched)]
    if len(excess) >= FEWEST_PAIRS and excess.any():
        found.append(
            {
                "test": "beats matched",
                "readout": name,
                "layer": None,
                "features": len(excess),
                "value": float(excess.mean()),
                "null": 0.0,
                "p": flipped(excess, seed),
            }
        )
    chosen = free.loc[free["kind"] == "on"] if (free["kind"] == "on").any() else free
    gradient = _gradient(chosen["layer"].to_numpy(), chosen["slope"].to_numpy(float), seed)
    if gradient is not None:
        found.append(
            {
                "test": "gradient",
                "readout": name,
                "layer": None,
                "features": len(chosen),
                "value": gradient[0],
                "null": 0.0,
                "p": gradient[1],
            }
        )
    for layer, part in free.groupby("layer"):
        on, off = (part.loc[part["kind"] == k, "slope"].to_numpy(float) for k in ("on", "off"))
        if min(len(on), len(off)) < 2:
            continue
        result = mannwhitneyu(on, off, alternative="two-sided")
        found.append(
            {
                "test": "on and off",
                "readout": name,
                "layer": int(layer),  # pyright: ignore[reportArgumentType]
                "features": len(on) + len(off),
                "value": float(result.statistic) / (len(on) * len(off)),
                "null": 0.5,
                "p": float(result.pvalue),
            }
        )
    return found


def flipped(values: np.ndarray, seed: int) -> float:
    """Two-sided sign-flip p of the mean: exact where all signs are few, else drawn."""
    n = len(values)
    if 2**n <= 1 + DRAWS:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 1 - 2 * np.random.default_rng([seed, n, 1]).integers(0, 2, (DRAWS, n))
        signs = np.concatenate([np.ones((1, n), signs.dtype), signs])
    least = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    return float((np.abs(signs @ values) >= least).mean())


def _gradient(layer: np.ndarray, slope: np.ndarray, seed: int) -> tuple[float, float] | None:
    """Spearman correlation and its shuffled p; None where nothing varies or features are few."""
    from scipy.stats import rankdata

    if len(layer) < _FEWEST or len(np.unique(layer)) < 2 or len(np.unique(slope)) < 2:
        return None
    a, b = (rankdata(x) - (len(x) + 1) / 2 for x in (layer, slope))
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    rng = np.random.default_rng([seed, len(layer)])
    drawn = rng.permuted(np.tile(b, (DRAWS, 1)), axis=1) @ a
    hits = int((np.abs(drawn) >= abs(a @ b) - 1e-9 * scale).sum())
    return float(a @ b / scale), (1 + hits) / (1 + DRAWS)


def _sentence(rows: list[dict[str, Any]], tests: list[dict[str, Any]], random: int) -> str:
    if not rows:
        return "No feature has a dose slope, so layers cannot be compared."
    parts = []
    beats = [t for t in tests if t["test"] == "beats random"]
    if beats:
        told = [
            f"{t['readout']} {round(t['value'] * t['features'])} of {t['features']}" for t in beats
        ]
        more = f" and {len(told) - 4} readouts more" if len(told) > 4 else ""
        parts.append(
            f"features that move a readout more than all {random} random directions (by chance"
            f" 1 in {1 + random}): {', '.join(told[:4])}{more}"
        )
    matched = [t for t in tests if t["test"] == "beats matched"]
    if matched:
        told = [
            f"{t['readout']} {t['value']:+.3g} (p {t['p']:.2g}, {t['features']} features)"
            for t in matched
        ]
        more = f" and {len(told) - 4} readouts more" if len(told) > 4 else ""
        parts.append(
            "mean |slope| beyond that of the direction of a feature that fires as often:"
            f" {', '.join(told[:4])}{more}"
        )
    elif any(r["median_matched"] is not None for r in rows):
        parts.append(
            f"fewer than {FEWEST_PAIRS} features could be compared with one that fires as often"
        )
    layers = sorted({r["layer"] for r in rows})
    others = [t for t in tests if not t["test"].startswith("beats")]
    if len(layers) == 1:
        parts.append(f"all are of layer {layers[0]}, so layers cannot be compared")
    elif others:
        clear = [t for t in others if t["q"] <= 0.05]
        least = min(t["q"] for t in others)
        parts.append(
            f"{len(clear)} of {len(others)} comparisons of layers, and of ON with OFF features,"
            f" have q <= 0.05 (smallest {least:.3g})"
        )
    else:
        parts.append(
            f"layers {', '.join(map(str, layers))} have too few features for a rank test"
            f" (fewer than {_FEWEST})"
        )
    fixed = sorted({r["readout"] for r in rows if r["closed_form"]})
    if fixed:
        named = ", ".join(fixed) if len(fixed) <= 2 else f"{len(fixed)} readouts"
        parts.append(
            f"at the last layer {named} are in closed form, fixed by weights, and not tested"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Median absolute slope of each readout by layer, in units of what random directions do."""
    for name in dict.fromkeys(frame["readout"]):
        part = frame.loc[(frame["readout"] == name) & frame["median_control"].notna()]
        part = part.loc[part["median_control"].astype(float) > 0]
        if len(part):
            size = part["median_size"].astype(float) / part["median_control"].astype(float)
            ax.plot(part["layer"], size, "o-", label=str(name))
    ax.axhline(1, color="0.5", lw=1, ls="--")
    ax.set_xlabel("layer")
    ax.set_ylabel("median |slope| / random directions")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small")
