r"""Domain pairs that two runs agree on: pairs (label of the source, label of the target) that are
joined by an edge in both, beside what other graphs with the same labels agree on.

Two numbers: the common pairs, and the edges of each run whose pair the other run has too. The
second is the test, as a circuit that several edges follow has fewer pairs and not more.

Nulls, each for one run while the other stays as it is:

- *targets resampled*: features take each other's place as targets within their layer and firing
  rate (`scircuit.analysis.coherence.strata`), with their labels;
- *edges rewired*: within each pair of layers all degrees stay and who meets whom is random.

Both keep how popular every label is. The published null does not: it permutes the names of the
labels, so a label of a hundred features stands for one that a single feature has, and graphs with
random targets are called enriched many times over. It is shown for comparison.

For a domain pair, p is (1 + draws that have the pair) / (1 + draws), the larger of both runs under
resampled targets; q is Benjamini-Hochberg over all common pairs, and cannot be small where these
are more than a twentieth of the draws. `p_family` can: it holds for all pairs at once
(`scircuit.analysis.consensus.pair_maximum`), and a pair stands out where the larger of both runs is
at most 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.coherence.edge_coherence import plain, share_as_large
from scircuit.analysis.coherence.pair_nulls import Trades, compiled_trades
from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.consensus.pair_maximum import PairMaximum, Reached, family_p
from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.layered_edges import LayeredEdges, layered_edges

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.consensus.compared_run import ComparedRun

NAME, TITLE = "consensus", "Consensus: domain pairs that two runs agree on"
DRAWS, FEWEST, _MANY_LABELS = 1000, 10, 20_000
COLUMNS = ("counted", "null", "run", "observed", "expected", "low", "high", "fold", "p")
PAIR_COLUMNS = (
    "source_label", "target_label", "edges_first", "edges_second", "targets_first",
    "expected_first", "targets_second", "expected_second", "p", "q", "p_family",
)  # fmt: skip
ALPHA = 0.05


class Domains(NamedTuple):
    """Labelled edges of a run; `label` is the number of each feature's label, -1: none."""

    run: str
    edges: LayeredEdges
    label: np.ndarray
    rate: np.ndarray

    def codes(self, labels: int) -> np.ndarray:
        """Pair of every edge, one of each."""
        return np.unique(self.label[self.edges.source] * labels + self.label[self.edges.target])


class Consensus(NamedTuple):
    """Finding and pairs: `pairs` has source and target label, edges in each run, features with the
    target label that are reached beside their mean under resampled targets, p, q and p_family.
    """

    finding: Finding
    pairs: pd.DataFrame


class Drawn(NamedTuple):
    """Draws of one run: pairs shared with the other and edges with such a pair, (2, draws); how
    many draws of resampled targets have each common pair; what the run itself has of these; and
    their family-wise p.
    """

    resampled: np.ndarray
    rewired: np.ndarray
    times: np.ndarray
    reached: Reached
    p_family: np.ndarray


def domains(run: ComparedRun, number: Mapping[str, int]) -> Domains:
    """Edges of a run between features with labels."""
    label = np.array([number.get(str(name), -1) for name in run.labels], dtype=np.int64)
    edges = run.edges
    keep = (label[edges.source] >= 0) & (label[edges.target] >= 0)
    edges = layered_edges(edges.source[keep], edges.target[keep], edges.effect[keep], edges.layer)
    return Domains(run.run, edges, label, run.inputs.nodes.firing_rate)


def consensus(a: ComparedRun, b: ComparedRun, *, draws: int = DRAWS, seed: int = 0) -> Consensus:
    """Domain pairs of two runs.

    Parameters
    ----------
    a, b
        The runs, both with labels.
    draws
        Of each null.
    seed
        Of all of them.
    """
    names = sorted({str(name) for run in (a, b) for name in run.labels if name})
    number = {name: i for i, name in enumerate(names)}
    both = domains(a, number), domains(b, number)
    if min(d.edges.size for d in both) < FEWEST or len(names) > _MANY_LABELS:
        return _untested(both, len(names))
    codes = [d.codes(len(names)) for d in both]
    common = np.intersect1d(codes[0], codes[1])
    compiled_trades()  # once, before there are threads
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(
                lambda i: _drawn(both[i], codes[1 - i], common, len(names), draws, seed + i), (0, 1)
            )
        )
    rows = []
    for i, (d, drawn) in enumerate(zip(both, found, strict=True)):
        code = d.label[d.edges.source] * len(names) + d.label[d.edges.target]
        inside = int(np.isin(code, codes[1 - i]).sum())
        nulls = ("targets resampled", drawn.resampled), ("edges rewired", drawn.rewired)
        for null, (shared, edges) in nulls:
            rows.append(_row("edges", null, d.run, inside, edges))
            rows.append(_row("pairs", null, d.run, common.size, shared))
    renamed = permuted_names(codes[0], codes[1], len(names), min(draws, 200), seed)
    rows.append(_row("pairs", "names permuted", b.run, common.size, renamed))
    import pandas as pd

    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    pairs = _pairs(names, common, both, found, draws)
    return Consensus(
        Finding(
            NAME,
            TITLE,
            _sentence(frame, both, pairs),
            f"{draws:,} draws each: targets resampled within layer and firing rate, and edges"
            " rewired within each pair of layers, of one run at a time; the published null, which"
            f" permutes names and forgets how frequent they are, has {renamed.mean():,.0f} of the"
            f" {common.size:,} common pairs",
            frame,
            _numbers(frame, both, codes, common.size, pairs, draws),
            draw=draw,
        ),
        pairs,
    )


def _drawn(
    d: Domains, other: np.ndarray, common: np.ndarray, labels: int, draws: int, seed: int
) -> Drawn:
    """Both nulls of a run, held against the pairs of the `other`."""
    wanted = np.zeros(labels * labels, bool)
    wanted[other] = True
    # only targets matter: edges of one source label to one target are one edge
    once, times_there = np.unique(
        d.label[d.edges.source] * d.label.size + d.edges.target, return_counts=True
    )
    start, target = (once // d.label.size) * labels, once % d.label.size
    stratum = strata(d.edges.layer, np.ones(d.label.size, np.int64), d.rate, d.label >= 0)
    members = np.flatnonzero(stratum >= 0)
    members = members[np.lexsort((members, stratum[members]))]
    place = np.empty(d.label.size, np.int64)
    place[members] = np.arange(members.size)
    of_member, at = stratum[members], place[target]
    label = d.label[members]
    # all pairs of the other run, and not only those that are common: these were chosen by the edges
    family = PairMaximum(other, labels, start // labels, stratum[target], label, of_member)
    own, largest = family.reached(start + d.label[target], common), np.zeros(draws)
    rng = np.random.default_rng([seed, 17])
    resampled, rewired = np.zeros((2, 2, draws), np.int64)
    times = np.zeros(common.size, np.int64)
    mark = np.zeros(labels * labels, bool)
    for i in range(draws):
        mark[:] = False
        code = start + label[np.argsort(of_member + rng.random(members.size))][at]
        mark[code] = True
        resampled[:, i] = np.count_nonzero(mark & wanted), times_there[wanted[code]].sum()
        times += mark[common]
        largest[i] = family.largest(code[wanted[code]])
    chains = []
    for g, (first, last) in enumerate(zip(d.edges.start[:-1], d.edges.start[1:], strict=True)):
        source, target = d.edges.source[first:last], d.edges.target[first:last]
        columns, column = np.unique(target, return_inverse=True)
        rng = np.random.default_rng([seed, 19, g])
        row = d.label[source] * labels
        chains.append((row, d.label[columns], Trades(source, column, rng, columns.size)))
    for i in range(draws):
        mark[:] = False
        for row, names, chain in chains:
            code = row + names[chain.draw(1)]
            mark[code] = True
            rewired[1, i] += np.count_nonzero(wanted[code])
        rewired[0, i] = np.count_nonzero(mark & wanted)
    return Drawn(resampled, rewired, times, own, family_p(own.size, largest))


def permuted_names(
    a: np.ndarray, b: np.ndarray, labels: int, draws: int, seed: int = 0
) -> np.ndarray:
    """The published null: pairs shared after the names of all labels of `b` are permuted.

    Parameters
    ----------
    a, b
        Pairs of both runs, ``source * labels + target``.
    labels
        Number of labels.
    draws, seed
        Of the permutation.
    """
    used = np.unique(np.concatenate([b // labels, b % labels]))
    rng, wanted = np.random.default_rng([seed, 23]), np.zeros(labels * labels, bool)
    wanted[a] = True
    name, found = np.arange(labels), np.zeros(draws, np.int64)
    for i in range(draws):
        name[used] = rng.permutation(used)
        found[i] = np.count_nonzero(wanted[name[b // labels] * labels + name[b % labels]])
    return found


def _row(counted: str, null: str, run: str, observed: int, draws: np.ndarray) -> tuple[object, ...]:
    low, high = (float(v) for v in np.quantile(draws, [0.025, 0.975]))
    mean = float(draws.mean())
    fold = observed / mean if mean > 0 else None
    return (counted, null, run, observed, mean, low, high, fold, share_as_large(draws, observed))


def _pairs(
    names: list[str],
    common: np.ndarray,
    both: tuple[Domains, Domains],
    found: list[Drawn],
    draws: int,
) -> pd.DataFrame:
    import pandas as pd

    from scircuit.analysis.enrichment.fdr import benjamini_hochberg

    labels = len(names)
    counts = []
    for d in both:
        code = d.label[d.edges.source] * labels + d.label[d.edges.target]
        values, times = np.unique(code, return_counts=True)
        counts.append(times[np.searchsorted(values, common)])
    p = (1 + np.maximum(*(drawn.times for drawn in found))) / (1 + draws)
    frame = pd.DataFrame(
        {
            "source_label": [names[c // labels] for c in common],
            "target_label": [names[c % labels] for c in common],
            "edges_first": counts[0],
            "edges_second": counts[1],
            "targets_first": found[0].reached.count,
            "expected_first": found[0].reached.expected,
            "targets_second": found[1].reached.count,
            "expected_second": found[1].reached.expected,
            "p": p,
            "q": benjamini_hochberg(p, p.size) if p.size else p,
            "p_family": np.maximum(*(drawn.p_family for drawn in found)),
        }
    )
    by = ["p_family", "q", "p", "source_label", "target_label"]
    return frame.sort_values(by, ignore_index=True, kind="stable")


def _sentence(frame: pd.DataFrame, both: tuple[Domains, Domains], pairs: pd.DataFrame) -> str:
    told, largest = [], 0.0
    chance: dict[str, list[str]] = {"targets resampled": [], "edges rewired": []}
    for i, d in enumerate(both):
        for null, shares in chance.items():
            row = frame[(frame["counted"] == "edges") & (frame["null"] == null)].iloc[i]
            shares.append(f"{row['expected'] / d.edges.size:.1%}")
            largest = max(largest, float(row["p"]))
        of = "labelled edges of " if i == 0 else "of "
        told.append(f"{row['observed'] / d.edges.size:.1%} of {d.edges.size:,} {of}{d.run}")
    nulls = ", ".join(f"{null} {' and '.join(shares)}" for null, shares in chance.items())
    found = int((pairs["p_family"] <= ALPHA).sum())
    return (
        f"{' and '.join(told)} join domains that the other run joins too ({nulls}, p <="
        f" {largest:.2g}); {found:,} of {len(pairs):,} single pairs stand out (family-wise"
        f" p <= {ALPHA})"
    )


def _numbers(
    frame: pd.DataFrame,
    both: tuple[Domains, Domains],
    codes: list[np.ndarray],
    common: int,
    pairs: pd.DataFrame,
    draws: int,
) -> dict[str, object]:
    return {
        "draws": draws,
        "labelled_edges": [d.edges.size for d in both],
        "pairs": [int(c.size) for c in codes],
        "common": int(common),
        "pairs_standing_out": int((pairs["p_family"] <= ALPHA).sum()),
        "nulls": [{k: plain(v) for k, v in row.items()} for row in frame.to_dict("records")],
    }


def _untested(both: tuple[Domains, Domains], labels: int) -> Consensus:
    import pandas as pd

    counts = " and ".join(f"{d.edges.size:,}" for d in both)
    why = (
        f"there are {labels:,} labels, at most {_MANY_LABELS:,} can be compared"
        if labels > _MANY_LABELS
        else f"the runs have {counts} edges with a label at both ends, and at least {FEWEST} are"
        " needed in each"
    )
    finding = untested(NAME, TITLE, f"consensus was not tested: {why}", columns=COLUMNS, draws=0)
    return Consensus(finding, pd.DataFrame(columns=pd.Index(PAIR_COLUMNS)))


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Each number over its mean under each null."""
    from scircuit.analysis.plot_style import BLUE, ORANGE

    rows = frame[frame["expected"] > 0]
    at = np.arange(len(rows))[::-1]
    low, high = (rows[c] / rows["expected"] for c in ("low", "high"))
    ax.hlines(at, low, high, color=ORANGE, lw=6, alpha=0.4, label="null")
    ax.plot(rows["observed"] / rows["expected"], at, "o", color=BLUE, label="observed")
    ax.axvline(1, color=ORANGE, lw=1)
    words = zip(rows["counted"], rows["run"], rows["null"], strict=True)
    ax.set_yticks(at, [f"{c} of {r}\n{n}" for c, r, n in words])
    ax.set_xlabel("in both runs, fold of the null's mean")
    ax.legend()
