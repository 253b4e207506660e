"""``scircuit match``: link features of different layers and models that fire on the same genes,
compared with random lists.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, MatchConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import Progress, say
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import ActiveRun, active_run
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from scircuit.analysis.matching.same_genes import Compared, Family, Matches
    from scircuit.analysis.matching.weighted_lists import GeneLists

LOADS = "Feature-LOADS_ON-Gene"
VERBS = ("annotate", "import")


class _DictionaryKey(NamedTuple):
    """Model, set and layer of a dictionary, in the order in which dictionaries are compared."""

    model: str
    set: str
    layer: int


def match(
    config: MatchConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: object,
) -> RunResult:
    """Link the features of different layers and models whose top genes overlap more than those of
    random lists.

    The genes are those that annotate runs and imported atlases of the study found; a dictionary
    that several runs describe is taken from the newest. A pair is written once, the feature with
    the lower model, set, layer and index first; the relation has no direction.

    Raises
    ------
    UserError
        If a run is unknown, not complete or has no genes of features, or there are no two
        dictionaries to compare.
    """
    config = config or build(MatchConfig, options)
    _check(config)
    place = Study(Path(study))
    chosen = _sources(place, config.runs)
    lists, of_run = _lists(place, chosen, config.top_genes)
    if len(lists) < 2 or not (config.within_model or len({x.model for x in lists}) > 1):
        names = ", ".join(x.dictionary for x in lists) or "none"
        needed = "dictionaries of two models" if not config.within_model else "two dictionaries"
        raise UserError(
            f"genes of features are known for {len(lists)} dictionaries ({names}), expected"
            f" {needed}",
            "annotate a trace run of another model, or import an atlas: scircuit import atlas PATH"
            f" --study {quoted(place.root)}",
        )
    inputs = {"dictionaries": dict(sorted(of_run.items()))}
    identity = {k: v for k, v in plain(config).items() if k != "runs"}
    parents = tuple(sorted(set(of_run.values())))
    with active_run(
        place,
        "match",
        {**plain(config), "runs": list(parents)},
        inputs,
        identity=identity,
        parents=parents,
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            _match(run, config, lists, quiet)
    return run.result(new)


def _check(config: MatchConfig) -> None:
    for name, low in (("top_genes", 3), ("best", 1), ("null_draws", 1)):
        if getattr(config, name) < low:
            raise UserError(
                f"{name} is {getattr(config, name)}, expected at least {low}",
                f"give --{name.replace('_', '-')} {low} or more",
            )
    if not 0 < config.q < 1:
        raise UserError(f"q is {config.q}, expected a number between 0 and 1", "give --q 0.01")


def _sources(study: Study, named: tuple[str, ...]) -> list[Manifest]:
    """Runs with genes of features, newest first."""
    found = [m for m in study.manifests() if any(s.kind == LOADS for s in m.shards)]
    if not named:
        usable = [m for m in found if m.complete and m.verb in VERBS]
        if not usable:
            study.require(
                f"no complete run of study {study.root.name} has the genes that features fire on"
            )
            raise UserError(
                f"no complete run of study {study.root} has the genes that features fire on",
                f"run scircuit annotate --study {quoted(study.root)}, or scircuit import atlas PATH"
                f" --study {quoted(study.root)}",
            )
        return usable[::-1]
    chosen = []
    for name in dict.fromkeys(named):
        manifest = study.manifest(name)
        if not manifest.complete:
            raise UserError(
                f"run {name} is {manifest.status}",
                "finish it first, or give another run: scircuit runs",
            )
        if name not in {m.run for m in found}:
            usable = ", ".join(m.run for m in found) or "none"
            raise UserError(
                f"run {name} ({manifest.verb}) has no genes of features",
                f"runs of this study with genes: {usable}",
            )
        chosen.append(manifest)
    return sorted(chosen, key=lambda m: (m.started, m.run), reverse=True)


def _lists(
    study: Study, runs: list[Manifest], top_genes: int
) -> tuple[list[GeneLists], dict[str, str]]:
    """Gene lists of every dictionary, in order, and the run that each comes from."""
    import numpy as np

    from scircuit.analysis.matching.weighted_lists import gene_lists
    from scircuit.ingest.shards.shard_store import ShardStore

    code: dict[str, int] = {}
    found: dict[_DictionaryKey, list[tuple[np.ndarray, ...]]] = {}
    of_run: dict[_DictionaryKey, str] = {}
    for manifest in runs:
        store = ShardStore(study.run_folder(manifest.run))
        for entry in (s for s in manifest.shards if s.kind == LOADS):
            for dictionary, columns in _columns(store.read(entry), code):
                if of_run.setdefault(dictionary, manifest.run) == manifest.run:
                    found.setdefault(dictionary, []).append(columns)
    lists = []
    for where in sorted(found):
        columns = [np.concatenate(c) for c in zip(*found[where], strict=True)]
        lists.append(
            gene_lists(_name(where), where.model, where.layer, *columns, top_genes=top_genes)
        )
    return [x for x in lists if x.features.size], {_name(w): run for w, run in of_run.items()}


def _name(where: _DictionaryKey) -> str:
    from scircuit.core.address import dictionary_id

    return dictionary_id(where.model, where.set, where.layer)


def _columns(
    table: pa.Table, code: dict[str, int]
) -> list[tuple[_DictionaryKey, tuple[np.ndarray, ...]]]:
    """Dictionary, then feature, gene, rank and mean activation of each of its records; genes are
    numbered in the order in which they first occur.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from scircuit.core.address import parse

    source = table.column("source").combine_chunks().dictionary_encode()
    gene = table.column("target").combine_chunks().dictionary_encode()
    addresses = [parse(a) for a in source.dictionary.to_pylist()]
    row = source.indices.to_numpy()
    places = {_DictionaryKey(a.model, a.dictionary, a.layer): n for n, a in enumerate(addresses)}
    number = {where: n for n, where in enumerate(places)}
    dictionary = np.array(
        [number[_DictionaryKey(a.model, a.dictionary, a.layer)] for a in addresses]
    )[row]
    feature = np.array([a.index for a in addresses])[row]
    genes = np.array([code.setdefault(g, len(code)) for g in gene.dictionary.to_pylist()])[
        gene.indices.to_numpy()
    ]
    rank = (
        pc.fill_null(table.column("rank"), 1 << 30).to_numpy()
        if "rank" in table.column_names
        else np.full(table.num_rows, 1 << 30)
    )
    if "mean_activation" in table.column_names:
        activation = table.column("mean_activation").cast(pa.float64()).to_numpy()
    else:
        activation = np.full(table.num_rows, np.nan)
    return [
        (where, tuple(c[dictionary == n] for c in (feature, genes, rank, activation)))
        for where, n in number.items()
    ]


def _match(run: ActiveRun, config: MatchConfig, lists: list[GeneLists], quiet: bool) -> None:
    from scircuit.analysis.matching.same_genes import match as match_lists

    features = sum(x.features.size for x in lists)
    if not quiet:
        say(
            f"  comparing the top genes of {features:,} features in {len(lists)} dictionaries of"
            f" {len({x.model for x in lists})} models"
        )
    bar = Progress("match", 1, "comparisons", quiet=quiet)

    def follow(done: int, total: int) -> None:
        bar.total = total
        bar.update(done)

    found = match_lists(
        lists,
        alpha=config.q,
        best=config.best,
        draws=config.null_draws,
        within_model=config.within_model,
        seed=config.seed,
        progress=follow,
    )
    run.write("same-genes", {"Feature-SAME_GENES-Feature": _table(found)})
    left_out, next_layer = sum(x.left_out for x in lists), _next_layer(found, lists)
    findings = {
        "features": features,
        "left_out": left_out,
        "lists": {x.dictionary: int(x.features.size) for x in lists},
        "pairs_tested": sum(f.pairs for f in found.families),
        "pairs_passing": sum(f.passing for f in found.families),
        "pairs_stored": int(found.pairs.p.size),
        "families": [f._asdict() for f in found.families],
        "compared": [c._asdict() for c in found.compared],
        "next_layer": next_layer,
    }
    stored = int(found.pairs.p.size)
    sentences = _sentences(next_layer, stored, left_out, found.families, config)
    run.conclude({**findings, "sentences": sentences})


def _table(found: Matches) -> pa.Table:
    import pyarrow as pa

    pairs = found.pairs

    def addresses(dictionary: np.ndarray, feature: np.ndarray) -> list[str]:
        return [
            f"{found.dictionaries[d]}/F{i:04d}"
            for d, i in zip(dictionary.tolist(), feature.tolist(), strict=True)
        ]

    return pa.table(
        {
            "source": addresses(pairs.first, pairs.first_feature),
            "target": addresses(pairs.second, pairs.second_feature),
            "overlap": pairs.overlap,
            "shared": pairs.shared,
            "p": pairs.p,
            "q": pairs.q,
        }
    )


def _next_layer(found: Matches, lists: list[GeneLists]) -> dict[str, dict[str, float]]:
    """Share of each set's features with a partner in the next available layer, and the same for
    random lists; by set.
    """
    by_pair: Mapping[tuple[str, str], Compared] = {(c.first, c.second): c for c in found.compared}
    answer: dict[str, dict[str, float]] = {}
    for one, other in itertools.pairwise(lists):
        name = one.dictionary.rpartition("/")[0]
        c = by_pair.get((one.dictionary, other.dictionary))
        if c is None or other.dictionary.rpartition("/")[0] != name:
            continue
        mine = answer.setdefault(name, {"features": 0, "share": 0.0, "null_share": 0.0})
        n = one.features.size
        for key, value in (("share", c.share_first), ("null_share", c.null_share_first)):
            mine[key] = (mine[key] * mine["features"] + value * n) / (mine["features"] + n)
        mine["features"] += int(n)
    return answer


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else f"{100 * share:.3f} %"


def _sentences(
    next_layer: Mapping[str, Mapping[str, float]],
    stored: int,
    left_out: int,
    families: tuple[Family, ...],
    config: MatchConfig,
) -> list[str]:
    """The findings in words, each claim with its control."""
    sentences = []
    for name, c in next_layer.items():
        sentences.append(
            f"{_percent(c['share'])} of the features of {name} have a counterpart in the next"
            f" available layer that fires on the same genes; with random lists of the same gene"
            f" frequencies {_percent(c['null_share'])} have one."
        )
    for f in families:
        if f.first != f.second:
            sentences.append(
                f"{_percent(f.share_second)} of the features of {f.second} have a counterpart in"
                f" {f.first} (random lists: {_percent(f.null_share_second)}), and"
                f" {_percent(f.share_first)} of those of {f.first} have one in {f.second}"
                f" (random lists: {_percent(f.null_share_first)})."
            )
        where = f"between {f.first} and {f.second}" if f.first != f.second else f"within {f.first}"
        chance = f"; random lists give {f.null_pairs:,.0f} pairs at the same p" if f.passing else ""
        sentences.append(
            f"{f.passing:,} of {f.pairs:,} pairs compared {where} match at q <="
            f" {config.q:g}{chance}."
        )
    sentences.append(
        f"{stored:,} pairs are stored: at most {config.best} partner{'s' * (config.best != 1)} of"
        " each feature in each other layer."
    )
    if left_out:
        sentences.append(f"{left_out:,} features with fewer than 3 genes were not compared.")
    return sentences
