"""Three-way ablations: both published sets, their ratios, and what additive effects would give.

The published ratio |d_ABC| / (|d_A| + |d_B| + |d_C|) is 1 / sqrt(3) = 0.577 for exactly additive
effects with independent noise, and 1 / sqrt(2) = 0.707 for pairs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.exhaustive.annotated_hubs import fisher
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.study_files import StudyFiles

FIRST = "higher_order_ablation/summary.json"
SECOND = "revision/P3_triplets/summary.json"
_COUNTS = ("n_subadditive", "n_additive", "n_superadditive")
_GROUPS = ("same_pathway", "cross_pathway", "random")
_SHARED = "ddr_x_mitosis_x_mitosis"  # shares two of three features with the first cross triplet


def _first(files: StudyFiles) -> list[Any]:
    return files.json(FIRST)["per_triplet_results"]


def _second(files: StudyFiles) -> list[Any]:
    return files.json(SECOND)["per_triplet"]


def _medians(kind: str) -> Callable[[StudyFiles], Value]:
    return lambda files: statistics.median(
        t["threeway_ratio"] for t in _first(files) if t["triplet_type"] == kind
    )


def _pair_ratios(files: StudyFiles) -> list[float]:
    return [r for t in _first(files) for r in t["pairwise_ratios"].values()]


def _totals(files: StudyFiles) -> Value:
    keys = [f"{name}_3way" for name in _COUNTS[:2]] + ["n_superadditive_3way"]
    counts = [sum(t[k] for t in _first(files)) for k in keys]
    return [*counts, sum(counts)]


def _files_agree(files: StudyFiles) -> str:
    stated = {t["triplet_id"]: t for t in _first(files)}
    single = files.all_json("higher_order_ablation/triplet_*.json")
    same = sum(stated.get(t["triplet_id"]) == t for t in single.values())
    return f"{same} of {len(stated)}"


def _groups(files: StudyFiles) -> dict[str, list[int]]:
    """Sub-, plainly and superadditive targets of each class, summed over its triplets."""
    return {
        g: [sum(t[name] for t in _second(files) if t["type"] == g) for name in _COUNTS]
        for g in _GROUPS
    }


def _second_totals(files: StudyFiles) -> Value:
    counts = [sum(column) for column in zip(*_groups(files).values(), strict=True)]
    return [*counts, sum(counts)]


def _super_share(files: StudyFiles) -> list[float]:
    sub, add, more = (sum(column) for column in zip(*_groups(files).values(), strict=True))
    return [more, sub + add + more, more / (sub + add + more)]


def _wilson(k: int, n: int) -> tuple[float, float]:
    z, p = 1.96, k / n  # the published constant
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _intervals(files: StudyFiles) -> str:
    rows = _second(files)
    good = sum(
        math.isclose(a, b, abs_tol=1e-9)
        for t in rows
        for a, b in zip(
            _wilson(t["n_superadditive"], t["n_targets"]), t["superadditive_rate_ci"], strict=True
        )
    )
    return f"{good // 2} of {len(rows)}"


def _contrast(one: str, two: str) -> Callable[[StudyFiles], Value]:
    def test(files: StudyFiles) -> Value:
        groups = _groups(files)
        return fisher([[groups[g][2], groups[g][0] + groups[g][1]] for g in (one, two)])

    return test


def _without_shared(files: StudyFiles) -> Value:
    """The cross-pathway contrast without the triplet that repeats the first set's."""
    rest = [t for t in _second(files) if t["type"] == "cross_pathway" and t["pathway"] != _SHARED]
    more = sum(t["n_superadditive"] for t in rest)
    same = _groups(files)["same_pathway"]
    table = [[more, sum(t["n_targets"] for t in rest) - more], [same[2], same[0] + same[1]]]
    return [f"{more}/{sum(table[0]):,}", *fisher(table)]


def _over_triplets(name: str) -> Callable[[StudyFiles], Value]:
    return lambda files: statistics.median(t[name] for t in _second(files))


_TARGETS = "needs the ratios of single targets, which were not published"
_CELLS = "needs the effects of each cell, which were not published"

TRIPLETS = Theme(
    "triplets",
    "Ablation of three features together",
    (
        Check(
            "agree",
            "first set: triplet files equal to the summary",
            "8 of 8",
            _files_agree,
            (FIRST, "higher_order_ablation/triplet_*.json"),
        ),
        Check(
            "same",
            "first set: median ratio, same pathway",
            "0.594",
            _medians("same_pathway"),
            (FIRST,),
        ),
        Check(
            "cross",
            "first set: median ratio, cross pathway",
            "0.556",
            _medians("cross_pathway"),
            (FIRST,),
        ),
        Check(
            "mean_row",
            "first set: mean ratio, same pathway (a table prints the median in this row)",
            "0.594",
            lambda f: statistics.mean(
                t["threeway_ratio"] for t in _first(f) if t["triplet_type"] == "same_pathway"
            ),
            (FIRST,),
        ),
        Check(
            "totals",
            "first set: subadditive, additive, superadditive targets, all",
            "4,703 / 290 / 7 / 5,000",
            _totals,
            (FIRST,),
        ),
        Check(
            "no_synergy",
            "first set: zero superadditive targets",
            "0",
            lambda f: sum(t["n_superadditive_3way"] for t in _first(f)),
            (FIRST,),
            claim=True,
        ),
        Check(
            "pairs",
            "first set: median ratio of the 24 pairs",
            "0.74",
            lambda f: statistics.median(_pair_ratios(f)),
            (FIRST,),
            "0.74 is of another study",
        ),
        Check(
            "pairs_mean",
            "first set: mean ratio of the 24 pairs",
            "",
            lambda f: statistics.mean(_pair_ratios(f)),
            (FIRST,),
        ),
        Check(
            "marginals",
            "first set: marginal effect of the third feature, smallest and largest",
            "0.006 / 0.184",
            lambda f: [
                pick(t["marginal_C_given_AB_median"] for t in _first(f)) for pick in (min, max)
            ],
            (FIRST,),
        ),
        Check(
            "hours",
            "first set: hours",
            "6.5",
            lambda f: sum(t["elapsed_seconds"] for t in _first(f)) / 3600,
            (FIRST,),
        ),
        Check(
            "additive",
            "both ratios for exactly additive, independent effects: pairs, triples",
            "",
            lambda _: [1 / math.sqrt(2), 1 / math.sqrt(3)],
            (),
            'the fall from pairs to triples needs no redundancy: "deepens with order" does not'
            " follow",
        ),
        Check(
            "second_totals",
            "second set: subadditive, additive, superadditive targets, all",
            "6,633 / 285 / 7 / 6,925",
            _second_totals,
            (SECOND,),
        ),
        Check(
            "rare",
            "second set: superadditive targets, of, share (text)",
            "6 / 6,925 / 0.087 %",
            _super_share,
            (SECOND,),
            "the groups sum to 1 + 5 + 1",
            claim=True,
        ),
        Check(
            "rare_interval",
            "second set: 95 % Wilson interval of that share",
            "",
            lambda f: list(_wilson(*(int(v) for v in _super_share(f)[:2]))),
            (SECOND,),
        ),
        Check(
            "group_medians",
            "second set: median ratio same, cross, random",
            "0.544 / 0.529 / 0.530",
            lambda f: [f.json(SECOND)["groups"][g]["median_threeway_ratio"] for g in _GROUPS],
            (SECOND,),
            "as stored for each group; single targets were not published",
        ),
        Check(
            "group_pairs",
            "second set: median pairwise ratio same, cross, random",
            "0.703 / 0.695 / 0.698",
            lambda f: [f.json(SECOND)["groups"][g]["median_pairwise_ratio"] for g in _GROUPS],
            (SECOND,),
            "as stored for each group; single targets were not published",
        ),
        Check(
            "overall",
            "second set: median over triplets, three-way",
            "0.53",
            _over_triplets("threeway_ratio"),
            (SECOND,),
        ),
        Check(
            "overall_pairs",
            "second set: median over triplets, pairs",
            "0.6985",
            _over_triplets("pairwise_ratio_mean"),
            (SECOND,),
        ),
        Check(
            "second_marginal",
            "second set: marginal effect of the third feature, median, smallest, largest",
            "0.114820 / 0.001088 / 0.430585",
            lambda f: [
                pick([t["marginal_C_given_AB_median"] for t in _second(f)])
                for pick in (statistics.median, min, max)
            ],
            (SECOND,),
        ),
        Check("wilson", "second set: Wilson intervals", "12 of 12", _intervals, (SECOND,)),
        Check(
            "cross_same",
            "second set: superadditive, cross against same pathway: odds ratio, p",
            "4.858 / 0.2188",
            _contrast("cross_pathway", "same_pathway"),
            (SECOND,),
        ),
        Check(
            "cross_random",
            "second set: cross against random",
            "3.058 / 0.4184",
            _contrast("cross_pathway", "random"),
            (SECOND,),
        ),
        Check(
            "same_random",
            "second set: same pathway against random",
            "0.630 / 1.0",
            _contrast("same_pathway", "random"),
            (SECOND,),
        ),
        Check(
            "cross_alone",
            "cross against same pathway without the triplet that repeats two features of the first"
            " set: count, odds ratio, p",
            "",
            _without_shared,
            (SECOND,),
            "4 of the 5 cross-pathway targets come from that triplet",
        ),
        Check("bootstrap", "bootstrap intervals of the ratios", "", note=_TARGETS),
        Check("interactions", "interaction contrasts with p", "", note=_CELLS),
    ),
)
