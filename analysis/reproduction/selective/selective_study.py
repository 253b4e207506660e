"""The selective circuit study: arithmetic among its printed numbers.

Its edge files were not published. What its numbers determine is recomputed from them: totals, caps
(combinations of source and target layer x 50), tests (combinations x dictionary size), odds
ratios, base rates. The numbers in this module are facts printed by the study.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.exhaustive.annotated_hubs import fisher
from scircuit.analysis.reproduction.printed import Value

_CAP, _FEATURES = 50, 30
_EDGES = {"A": 52_116, "B": 8_298, "C": 5_098, "D": 31_380}
_LAYERS = {"A": (17, 12, 6, 2), "B": (3, 2, 1), "C": (3, 2, 1), "D": (11, 7, 3)}
_WIDTH = {"A": 4608, "B": 4608, "C": 4608, "D": 2048}
_CAPS = {
    "A": "55,500 / 93.9 %",
    "B": "9,000 / 92.2 %",
    "C": "9,000 / 56.6 %",
    "D": "31,500 / 99.6 %",
}
_TESTS = {"A": "5,114,880", "B": "829,440", "C": "829,440", "D": "1,290,240"}
_PASSES = {"A": 24_776, "B": 18_465, "C": 18_455, "D": 18_495}
_TISSUES = {  # of 3,541 pairs found only in tissue and 1,334 found in both: odds ratio, p
    "immune": (179, 22, "3.18 / 6.0e-9"),
    "blood": (13, 2, "2.45 / 0.178"),
    "kidney": (14, 4, "1.32 / 0.427"),
    "lung": (14, 14, "0.37 / 0.997"),
    "universal": (1_550, 553, "1.10 / 0.077"),
}
_PMI = {
    "0 to 5": (4_101, 1_113, 90.6),
    "5 to 11": (4_369, 996, 94.8),
    "11 to 17": (4_205, 881, 91.7),
}
_HUBS = {
    "DNA damage response": (4_740, 124, "4,864"),
    "DNA metabolic": (1_810, 348, "2,158"),
    "NADH assembly": (1_639, 103, "1,742"),
    "RNA splicing": (1_161, 397, "1,558"),
    "chromatid segregation": (248, 803, "1,051"),
}


def _combinations(condition: str) -> int:
    return _FEATURES * sum(_LAYERS[condition])


def _constant(value: Value) -> Callable[[object], Value]:
    return lambda _: value


def _cap(condition: str) -> Value:
    cap = _CAP * _combinations(condition)
    return [cap, _EDGES[condition] / cap]


def _tissue(tissue: int, both: int) -> Callable[[object], Value]:
    return lambda _: fisher([[tissue, 3_541 - tissue], [both, 1_334 - both]], "greater")


def _disease(invalid: int) -> Callable[[object], Value]:
    """Consensus among pairs of one disease category against other pairs."""
    return lambda _: fisher([[1_126, 15_434 - 1_126], [16, 746 - 16 - invalid]], "greater")


def _base_rate(targets: int, drawn: int, overlap: float) -> Callable[[object], Value]:
    """Share of the dictionary that is a target, and z of the overlap under random targets drawn
    without replacement.
    """
    share = targets / 4_608
    sd = math.sqrt(share * (1 - share) / drawn * (4_608 - drawn) / (4_608 - 1))
    return lambda _: [share, (overlap / 100 - share) / sd]


def _critical_d(tests: int) -> Callable[[object], Value]:
    """Smallest |d| of 200 cells with two-sided p <= 0.05 / tests: Bonferroni."""

    def critical(_: object) -> Value:
        from scipy.stats import t

        return float(t.isf(0.025 / tests, 199)) / math.sqrt(200)

    return critical


def _p_of_d(_: object) -> float:
    from scipy.stats import t

    return float(2 * t.sf(0.5 * math.sqrt(200), 199))


def _hit_p(_: object) -> Value:
    """Share of tests with p < 0.05, and the chance of at least as many among 599 true nulls."""
    from scipy.stats import binom

    return [36 / 599, float(binom.sf(35, 599, 0.05))]


_EDGE_FILES = "needs circuit_graph.json and the traces, which were not published"

SELECTIVE = Theme(
    "selective",
    "The selective circuit study: printed numbers against each other",
    (
        *(
            Check(
                f"cap_{c}",
                f"{c}: largest possible number of stored edges; share reached",
                printed,
                _constant(_cap(c)),
                (),
                "50 per source and layer: the count is the cap, not a finding",
            )
            for c, printed in _CAPS.items()
        ),
        *(
            Check(f"tests_{c}", f"{c}: tests", printed, _constant(_combinations(c) * _WIDTH[c]))
            for c, printed in _TESTS.items()
        ),
        Check("edges", "edges of all conditions", "96,892", _constant(sum(_EDGES.values()))),
        Check(
            "edges_abstract",
            "edges of all conditions (abstract)",
            "96,832",
            _constant(sum(_EDGES.values())),
            claim=True,
        ),
        Check("passes", "forward passes", "80,191", _constant(sum(_PASSES.values()))),
        Check(
            "passes_readme",
            "forward passes (README)",
            "61,736",
            _constant(sum(_PASSES.values())),
            (),
            "condition C is left out",
            claim=True,
        ),
        Check(
            "passes_A",
            "passes of condition A: sum over source layers",
            "24,776",
            _constant(6_176 + 3 * 6_200),
        ),
        Check("passes_B", "passes of condition B", "18,465", _constant(6_066 + 6_199 + 6_200)),
        Check(
            "hours",
            "hours",
            "14.4",
            _constant(7.5 + 3.5 + 3.2 + 37.2 / 60),
            (),
            "sum of the four conditions",
            claim=True,
        ),
        Check(
            "uncapped_B",
            "significant edges of B before the cap",
            "24,104",
            _constant(13_630 + 6_465 + 4_009),
        ),
        Check(
            "uncapped_C",
            "significant edges of C before the cap",
            "7,242",
            _constant(round(30 * (74.9 + 39.5 + 13.9 + 42.8 + 18.1 + 52.2))),
            (),
            "30 features x means per layer pair; rounding leaves +-9",
        ),
        Check(
            "coverage_A",
            "A: share of features that are a target",
            "31.9 %",
            _constant(26_338 / 78_336),
            (),
            "printed over 82,525, which counts layer 0; layers 1 to 17 have 17 x 4,608",
            claim=True,
        ),
        Check(
            "coverage_D",
            "D: share of features that are a target",
            "95.7 %",
            _constant(1_960 / 22_528),
            (),
            "printed over the 2,048 latents of one layer; targets are of 11 layers",
            claim=True,
        ),
        Check("shared_A", "A: edges whose ends share a term", "52.9 %", _constant(16_507 / 31_176)),
        Check("shared_B", "B: edges whose ends share a term", "68.8 %", _constant(3_157 / 4_591)),
        Check(
            "invariant",
            "coherence is about 53 % in every condition",
            "53 %",
            _constant(3_157 / 4_591),
            (),
            "68.8 % in B, 68.5 % in C",
            claim=True,
        ),
        Check("labelled", "edges with both ends labelled", "38.3 %", _constant(37_088 / 96_892)),
        Check("pairs", "pairs of domains", "16,067", _constant(13_698 + 3_511 - 1_142)),
        Check(
            "consensus", "consensus pairs over those expected", "10.64", _constant(1_142 / 107.3)
        ),
        Check(
            "consensus_figure",
            "the same, with the mean of the figure's histogram",
            "10.64",
            _constant(1_142 / 109.95),
            (),
            "same seed, another label order: the null is not reproducible",
        ),
        *(
            Check(
                f"tissue_{name}",
                f"{name} pairs, tissue only against both: odds ratio, one-sided p",
                printed,
                _tissue(one, two),
            )
            for name, (one, two, printed) in _TISSUES.items()
        ),
        Check(
            "disease",
            "disease pairs in both models: odds ratio, p",
            "3.5906 / 6.3e-10",
            _disease(0),
        ),
        Check(
            "disease_valid",
            "the same without 113 pairs that have no label and can never be in both",
            "3.59 / 6.3e-10",
            _disease(113),
            claim=True,
        ),
        *(
            Check(
                f"pmi_{pair.replace(' ', '_')}",
                f"overlap of causal and PMI targets, layers {pair}, is more than chance:"
                " share of the dictionary that is a PMI target, z",
                f"{overlap} %",
                _base_rate(targets, drawn, overlap),
                (),
                "published without its base rate; three tests need a z of 2.39",
                claim=True,
                holds=lambda v: v[1] > 2.39,
            )
            for pair, (targets, drawn, overlap) in _PMI.items()
        ),
        Check(
            "d_critical",
            "smallest |d| that is significant over 550,000 tests",
            "0.27",
            _critical_d(550_000),
            (),
            "called BH; it is Bonferroni",
            claim=True,
        ),
        Check(
            "d_critical_all", "the same over the 5,114,880 tests of A", "", _critical_d(5_114_880)
        ),
        Check("p_half", "p of |d| = 0.5 in 200 cells", "5e-7", _p_of_d, claim=True),
        Check("crispri", "predicted signs that are right", "56.4 %", _constant(159_138 / 282_250)),
        Check(
            "crispri_null",
            "observed negative share that gives 56.4 % without skill, at 80 % negative predictions",
            "",
            _constant((0.564 - 0.2) / (0.8 - 0.2)),
            (),
            "the study compares with 50 %",
        ),
        Check(
            "crispri_genes",
            "genes with enriched targets at p < 0.05; p of that many by chance",
            "",
            _hit_p,
            (),
            "36 of 599 published",
        ),
        Check(
            "gene_pairs",
            "gene pairs: confirmed, plausible, novel",
            "975,369",
            _constant(1_498 + 11_117 + 962_754),
        ),
        Check(
            "gene_consensus",
            "gene pairs of consensus domains",
            "32.8 %",
            _constant(319_534 / 975_369),
        ),
        Check("gene_novel", "gene pairs of novel domains", "82.3 %", _constant(803_045 / 975_369)),
        Check(
            "novel",
            "novel edges (text: of all)",
            "31 %",
            _constant(29_864 / 37_088),
            (),
            "only labelled edges can be novel",
            claim=True,
        ),
        *(
            Check(
                f"hub_{name.replace(' ', '_')}",
                f"edges of {name}: source + target",
                printed,
                _constant(one + two),
            )
            for name, (one, two, printed) in _HUBS.items()
        ),
        Check(
            "input_size",
            "scGPT's mean |d| scaled by dictionary or window",
            "0.620 / 0.818",
            _constant([1.396 * 0.444, 1.396 * 0.586]),
            (),
            "a standardised effect has no such scale",
        ),
        *(
            Check(key, what, printed, note=_EDGE_FILES)
            for key, what, printed in (
                ("targets", "unique targets A, B, C, D", "26,338 / 4,171 / 2,962 / 1,960"),
                ("mean_d", "mean |d| A, B, C, D", "1.050 / 0.977 / 0.720 / 1.396"),
                ("inhibitory", "edges with d < 0: A, B, C, D", "80.1 % / 79.9 % / 89.4 % / 65.5 %"),
                ("out_degree", "largest out-degree of A", "8,028"),
                ("in_degree", "largest in-degree of A", "93"),
                ("hierarchy", "PageRank, feedback pairs, strong subgraph", "499 / 457 / 1,667"),
                ("permutations", "consensus expected by chance", "107.3"),
                ("genes", "strongest gene prediction", "12.74"),
            )
        ),
    ),
)
