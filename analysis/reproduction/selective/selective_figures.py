"""The selective circuit study: exact counts that its figures contain, against its printed totals.

The vector paths of figures 2 and 11 give edges per target layer (plotted mean x 30 features; every
one an integer to 0.001) and the histogram of the consensus permutations.
"""

from __future__ import annotations

import numpy as np

from scircuit.analysis.reproduction.checks import Check, Theme

# condition and source layer -> first target layer, edges of each target layer from there on
COUNTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "A L0": (
        1,
        (
            *(6340, 6379, 6453, 6475, 6020, 5693, 5132, 4682, 4355, 4307, 3680, 3204, 2805),
            *(2549, 2123, 1818, 1754),
        ),
    ),
    "A L5": (6, (5740, 5219, 4725, 4434, 4302, 3574, 3083, 2720, 2337, 1970, 1724, 1856)),
    "A L11": (12, (6700, 5908, 5409, 4564, 4043, 4357)),
    "A L15": (16, (8360, 10078)),
    "D L0": (1, (5050, 5016, 5294, 4661, 4741, 4843, 4993, 4762, 4360, 3783, 3426)),
    "D L4": (5, (6982, 7130, 6894, 6098, 5560, 4618, 4279)),
    "D L8": (9, (5096, 4321, 3944)),
}
_TOTALS = {
    "A L0": ("73,769", False),
    "A L5": ("41,684", False),
    "A L11": ("30,981", False),
    "A L15": ("18,438", False),
    "D L0": ("49,777", True),
    "D L4": ("41,409", True),
    "D L8": ("11,361", True),
}
_MEANS = {"D L0": "154.3", "D L4": "197.9", "D L8": "148.5"}
_PAIRS = {  # edges per feature and layer pair, as printed
    ("A L0", 5): "200.7",
    ("A L0", 11): "122.7",
    ("A L0", 17): "58.5",
    ("A L5", 11): "119.1",
    ("A L5", 17): "61.9",
    ("A L11", 17): "145.2",
}
_HISTOGRAM = (
    *(12, 16, 41, 61, 88, 98, 101, 105, 90, 89, 60, 56, 45, 33, 33, 24, 14, 8, 8, 7, 6, 2, 2),
    *(0, 0, 0, 0, 0, 0, 1),
)
_LARGEST, _OBSERVED = 394.0, 1_142


def _of_layer(series: str, layer: int) -> float:
    first, counts = COUNTS[series]
    return counts[layer - first] / 30


def _sum(series: str) -> int:
    return sum(COUNTS[series][1])


def _condition(name: str) -> int:
    return sum(_sum(series) for series in COUNTS if series.startswith(name))


def _histogram() -> tuple[float, float, float]:
    """Mean and sd of the permutations, from the middles of the bins, and z of the observed."""
    width = _LARGEST / len(_HISTOGRAM)
    middles = (np.arange(len(_HISTOGRAM)) + 0.5) * width
    counts = np.array(_HISTOGRAM)
    mean = float((counts * middles).sum() / counts.sum())
    sd = float(np.sqrt((counts * (middles - mean) ** 2).sum() / (counts.sum() - 1)))
    return mean, sd, (_OBSERVED - mean) / sd


_DOCS = "the printed total disagrees with the study's own figure"

FIGURES = Theme(
    "figures",
    "The selective circuit study: its figures against its text",
    (
        *(
            Check(
                f"sum_{series.replace(' ', '_')}",
                f"{series}: significant edges, sum over target layers",
                printed,
                lambda _, series=series: _sum(series),
                (),
                _DOCS if claim else "figure 2",
                claim=claim,
            )
            for series, (printed, claim) in _TOTALS.items()
        ),
        Check(
            "uncapped_A",
            "A: significant edges before the cap",
            "164,872",
            lambda _: _condition("A"),
        ),
        Check(
            "uncapped_D",
            "D: significant edges before the cap",
            "102,547",
            lambda _: _condition("D"),
            (),
            _DOCS,
            claim=True,
        ),
        Check(
            "uncapped",
            "significant edges of all conditions",
            "302,000",
            lambda _: _condition("A") + 24_104 + 7_242 + _condition("D"),
            (),
            "printed as about",
            holds=lambda v: abs(v - 302_000) < 500,
        ),
        Check(
            "kept_A",
            "A: share of the significant edges that was stored",
            "",
            lambda _: 52_116 / _condition("A"),
        ),
        Check(
            "kept_D",
            "D: share of the significant edges that was stored",
            "",
            lambda _: 31_380 / _condition("D"),
        ),
        *(
            Check(
                f"mean_{series.replace(' ', '_')}",
                f"{series}: edges per feature and target layer",
                printed,
                lambda _, series=series: _sum(series) / 30 / len(COUNTS[series][1]),
            )
            for series, printed in _MEANS.items()
        ),
        *(
            Check(
                f"pair_{series.replace(' ', '_')}_{layer}",
                f"{series} to L{layer}: edges per feature",
                printed,
                lambda _, series=series, layer=layer: _of_layer(series, layer),
            )
            for (series, layer), printed in _PAIRS.items()
        ),
        Check(
            "twelve",
            "A L0: edges per feature twelve layers on",
            "58",
            lambda _: _of_layer("A L0", 12),
            (),
            "58 is seventeen layers on",
            claim=True,
        ),
        Check("draws", "consensus permutations", "1,000", lambda _: sum(_HISTOGRAM)),
        Check(
            "histogram",
            "consensus permutations: mean, sd, z of 1,142",
            "",
            lambda _: list(_histogram()),
            (),
            "from the bins of figure 11; the text's mean is 107.3",
        ),
    ),
)
