r"""Edges that a stated background does not know, beside those of resampled targets.

An edge is known if the background links its source and its target
(`scircuit.analysis.novelty.background_links`), and novel if the background could have linked them
and does not. Most pairs of features are not linked by any background, so most edges of a random
circuit are novel too; a share of novel edges says something only beside that.

The null keeps every source and resamples its targets, without replacement, among the features that
the background knows in the same stratum k: layer, fifth of the firing rate and third of the
in-degree. With n_sk judged edges of source s into stratum k, which has N_k features of which M_sk
are linked with s, the known edges of a draw are hypergeometric:

    known = sum_sk H(N_k, M_sk, n_sk),

so that draws are exact and no edge has to be drawn. p is two-sided, ``(1 + #{|null - mean| >=
|observed - mean|}) / (1 + draws)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.finding import Finding
from scircuit.analysis.gene_predictions.gene_weights import gene_weights
from scircuit.analysis.genesets.aliases import update_library, update_regulons
from scircuit.analysis.genesets.readers import read_library
from scircuit.analysis.genesets.regulons import Regulons
from scircuit.analysis.novelty.background_links import Background, by_gene_sets, by_regulons

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NAME, _TITLE = "novelty", "Edges that a background does not know"
_DRAWS, _ALPHA, _TOP = 1000, 0.05, 20
_LEAST = 10  # judged edges


class NovelShare(NamedTuple):
    """Known edges of a layer pair, or of all: judged, known, and the known edges of each draw."""

    judged: int
    known: int
    null: np.ndarray

    @property
    def p(self) -> float:
        """Two-sided p of the number of known edges."""
        mean = self.null.mean()
        away = abs(self.known - mean) - 1e-9
        return float((1 + (np.abs(self.null - mean) >= away).sum()) / (1 + self.null.size))


def novelty(inputs: CircuitInputs, config: object) -> Finding:
    """Share of novel edges against the background that the options name.

    Parameters
    ----------
    inputs
        The circuit.
    config
        Its ``background`` (path, or None) and ``seed`` are read.

    Raises
    ------
    UserError
        If the file cannot be read as gene sets or pairs, or none of its genes is in the circuit.
    """
    path: Path | None = getattr(config, "background", None)
    if path is None:
        return _untested(
            "whether edges are novel was not tested: that needs a background of what is known"
            " (--background FILE with gene sets, or pairs of regulators and targets)"
        )
    if not inputs.genes:
        return _untested(
            "whether edges are novel was not tested: the features have no genes (annotate the run)"
        )
    lists = gene_weights(inputs.nodes.id.tolist(), inputs.genes, _TOP)
    circuit, name = inputs.circuit, path.name
    given = read_library(path)
    known = set(lists.genes)
    if isinstance(given, Regulons):
        regulons = update_regulons(given, lambda g: g.upper() in known)[0]
        background = by_regulons(lists, regulons)
    else:
        library = update_library(given, lambda g: g.upper() in known)[0]
        background = by_gene_sets(lists, library, _ALPHA)
    judged = background.knows_source[circuit.source] & background.knows_target[circuit.target]
    edges = int(judged.size)
    if judged.sum() < _LEAST:
        return _untested(
            f"whether edges are novel was not tested: {name} knows both features of"
            f" {int(judged.sum())} of {edges:,} edges, expected {_LEAST} or more",
            {"background": name, "edges": edges, "judged": int(judged.sum())},
        )
    found = novel_shares(
        background,
        circuit.source[judged],
        circuit.target[judged],
        inputs.nodes.layer,
        strata(inputs, background),
        draws=_DRAWS,
        seed=getattr(config, "seed", 0),
    )
    frame = _frame(found)
    return _finding(name, background, found, frame, edges)


def strata(inputs: CircuitInputs, background: Background) -> np.ndarray:
    """Stratum of every feature that the background knows as a target, -1 for others, int64."""
    nodes, target = inputs.nodes, inputs.circuit.target
    knows = background.knows_target
    stratum = np.full(nodes.id.size, -1, dtype=np.int64)
    if not knows.any():
        return stratum
    rate = np.nan_to_num(nodes.firing_rate)
    degree = np.bincount(target, minlength=nodes.id.size)
    parts = [nodes.layer[knows], _parts(rate[knows], 5), _parts(degree[knows], 3)]
    stratum[knows] = np.unique(np.stack(parts), axis=1, return_inverse=True)[1].ravel()
    return stratum


def _parts(values: np.ndarray, number: int) -> np.ndarray:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, number + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def novel_shares(
    background: Background,
    source: np.ndarray,
    target: np.ndarray,
    layer: np.ndarray,
    stratum: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[tuple[int, int] | None, NovelShare]:
    """Known edges beside those of resampled targets; by pair of layers, and of all under None.

    Parameters
    ----------
    background
        What is known.
    source, target
        Ends of the judged edges, [edges].
    layer, stratum
        Of every feature, [features].
    """
    sources, row = np.unique(source, return_inverse=True)
    size = int(stratum.max(initial=-1)) + 1
    in_stratum = np.bincount(stratum[stratum >= 0], minlength=size)
    layer_of = np.zeros(size, dtype=np.int64)
    layer_of[stratum[stratum >= 0]] = layer[stratum >= 0]
    drawn = np.zeros((sources.size, size), dtype=np.int64)
    np.add.at(drawn, (row, stratum[target]), 1)
    linked = background.linked(source, target)
    pairs = np.stack([layer[source], layer[target]], axis=1)
    kinds = [(int(k[0]), int(k[1])) for k in np.unique(pairs, axis=0)]
    null = {k: np.zeros(draws) for k in kinds}
    rng = np.random.default_rng(seed)
    for at, links in background.links_by_stratum(sources, stratum, size):
        n = drawn[at]
        some = (n > 0) & (links > 0)
        for k in kinds:
            of_pair = some & (layer[sources[at]] == k[0])[:, None] & (layer_of == k[1])
            if of_pair.any():
                good = links[of_pair]
                bad = np.broadcast_to(in_stratum, n.shape)[of_pair] - good
                null[k] += _sums(rng, good, bad, n[of_pair], draws)
    shares: dict[tuple[int, int] | None, NovelShare] = {None: NovelShare(
        source.size, int(linked.sum()), np.sum(list(null.values()), axis=0)
    )}  # fmt: skip
    for k in kinds:
        mine = (pairs == k).all(axis=1)
        shares[k] = NovelShare(int(mine.sum()), int(linked[mine].sum()), null[k])
    return shares


def _sums(
    rng: np.random.Generator, good: np.ndarray, bad: np.ndarray, n: np.ndarray, draws: int
) -> np.ndarray:
    """Sums of hypergeometric numbers, [draws]; where nothing is left to chance none is drawn."""
    fixed = (bad == 0) | (n == good + bad)
    total = np.full(draws, float(np.where(bad == 0, n, good)[fixed].sum()))
    left = np.flatnonzero(~fixed)
    for start in range(0, left.size, 2000):
        at = left[start : start + 2000]
        total += rng.hypergeometric(good[at], bad[at], n[at], size=(draws, at.size)).sum(axis=1)
    return total


def _frame(found: Mapping[tuple[int, int] | None, NovelShare]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for pair, share in found.items():
        novel = 1 - share.null / share.judged
        rows.append(
            {
                "source_layer": None if pair is None else pair[0],
                "target_layer": None if pair is None else pair[1],
                "judged": share.judged,
                "known": share.known,
                "novel": share.judged - share.known,
                "novel_share": 1 - share.known / share.judged,
                "null_share": float(novel.mean()),
                "null_low": float(np.quantile(novel, 0.025)),
                "null_high": float(np.quantile(novel, 0.975)),
                "p": share.p,
            }
        )
    return pd.DataFrame(rows).astype({"source_layer": "Int64", "target_layer": "Int64"})


def _finding(
    name: str,
    background: Background,
    found: Mapping[tuple[int, int] | None, NovelShare],
    frame: pd.DataFrame,
    edges: int,
) -> Finding:
    whole, row = found[None], frame.iloc[0]
    verdict = (
        "as many as"
        if row["p"] > 0.05
        else "fewer than"
        if row["novel_share"] < row["null_share"]
        else "more than"
    )
    tail = ", as chance gives" if row["p"] > 0.05 else ""
    sentence = (
        f"{100 * row['novel_share']:.1f} % of the {whole.judged:,} edges (of {edges:,}) between"
        f" features that {name} knows are novel to it, {verdict} with resampled targets"
        f" ({100 * row['null_share']:.1f} %, p = {row['p']:.2g}){tail}; known: the features"
        f" {background.words}"
    )
    numbers = {
        "background": name,
        "edges": edges,
        "judged": whole.judged,
        "known": whole.known,
        "novel_share": float(row["novel_share"]),
        "null_share": float(row["null_share"]),
        "null_low": float(row["null_low"]),
        "null_high": float(row["null_high"]),
        "p": float(row["p"]),
    }
    return Finding(NAME, _TITLE, sentence, _NULL, frame, numbers, draw=draw)


_NULL = (
    "targets of every source resampled among the features that the background knows, of the same"
    f" layer, fifth of the firing rate and third of the in-degree; {_DRAWS:,} draws"
)


def _untested(sentence: str, numbers: Mapping[str, object] | None = None) -> Finding:
    import pandas as pd

    return Finding(NAME, _TITLE, sentence, _NULL, pd.DataFrame(), numbers or {}, draw=draw)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all findings
    """Share of novel edges of every pair of layers, beside the middle 95 % of the null."""
    from scircuit.analysis.plot_style import BLUE, ORANGE

    names = [
        "all" if row["target_layer"] is None or row["target_layer"] != row["target_layer"]
        else f"{int(row['source_layer'])} → {int(row['target_layer'])}"
        for row in frame.astype({"source_layer": float, "target_layer": float}).to_dict("records")
    ]  # fmt: skip
    at = np.arange(len(frame))
    ax.vlines(at, 100 * frame["null_low"], 100 * frame["null_high"], color=ORANGE, lw=6, alpha=0.5,
              label="resampled targets, middle 95 %")  # fmt: skip
    ax.plot(at, 100 * frame["novel_share"], "o", color=BLUE, label="novel edges")
    ax.set_xticks(at, names, rotation=90 if len(at) > 8 else 0)
    ax.set_ylabel("edges not known (%)")
    ax.set_xlabel("layers")
    ax.legend(fontsize=8)
