"""``scircuit annotate --run IMPORT``: the features of an imported atlas, from the gene lists that
it published.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from scircuit.core.address import Address
from scircuit.core.config import AnnotateConfig
from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.core.study import Manifest, Study

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.annotation.library_records import Closure
    from scircuit.analysis.annotation.published_rate import PublishedRates
    from scircuit.analysis.genesets.library import GeneSetLibrary
    from scircuit.analysis.genesets.regulons import Regulons
    from scircuit.ingest.shards.shard_store import ShardStore


def annotate_atlas(
    run: Any,
    study: Study,
    parent: Manifest,
    config: AnnotateConfig,
    libraries: list[GeneSetLibrary],
    regulons: Regulons | None,
    closed: dict[str, Closure],
    quiet: bool,
) -> None:
    """Annotate and conclude the run.

    The background of a layer is every gene in any of its lists, and how often a gene is listed
    stands for its detection rate, which no atlas gives. Layers with the first five genes of a
    feature only are left out. Features of the other layers whose whole list was not published count
    as not annotated, since the source lists the features that it annotates: leaving them out would
    test a choice made by the result.

    Raises
    ------
    UserError
        If the import has no gene list.
    """
    from scircuit.analysis.annotation.annotate_features import annotate
    from scircuit.analysis.annotation.sentences import percent
    from scircuit.ingest.shards.shard_store import ShardStore
    from scircuit.workflows.annotate import announce, store
    from scircuit.workflows.importing import gene_ids

    shards = ShardStore(study.run_folder(parent.run))
    lists: Any = _lists(shards)
    if lists.empty:
        raise UserError(
            f"import {parent.run} has no whole gene list: no layer has an annotations file",
            "import the layer_NN_annotations.json files as well",
        )
    whole: Any = lists[lists["fire_count"].notna()]
    layers = sorted(whole["layer"].unique().tolist())
    alive = {int(k): int(v) for k, v in parent.findings["alive_by_layer"].items() if v is not None}
    genes = shards.tables("Gene")
    symbol = dict(
        zip(genes.column("id").to_pylist(), genes.column("symbol").to_pylist(), strict=True)
    )
    ids = gene_ids() | {s.upper(): g for g, s in symbol.items()}
    published = _published(shards, parent, lists, alive, layers, config)
    left_out = sorted(set(alive) - set(layers))
    if not quiet:
        if left_out:
            say(
                f"  layers {', '.join(map(str, left_out))}: no whole gene list was published;"
                " left out"
            )
        announce(whole, [*libraries, *([regulons.library()] if regulons else [])], config, quiet)
    annotation = annotate(
        whole,
        {layer: _frequency(lists[lists["layer"] == layer]) for layer in layers},
        libraries,
        regulons,
        symbol_of=lambda g: symbol.get(g) or "",
        ensembl_of=lambda s: ids.get(s) or ids.get(s.upper()),
        address=lambda layer, index: str(
            Address(parent.findings["model"], parent.findings["dictionary"], layer, index)
        ),
        config=config,
        run=run.id,
        alive={layer: alive[layer] for layer in layers if layer in alive},
        loads_on=False,
        closed=closed,
    )
    total = parent.findings["counts"]
    more: dict[str, Any] = {
        "layers": layers,
        "layers_left_out": left_out,
        "published_annotated": total.get("annotated"),
        "published_alive": total.get("alive"),
    }
    sentences: tuple[str, ...] = ()
    if published:
        more["published"] = published.findings()
        sentences = (published.sentence, *published.lines())
    listed, firing = (
        annotation.findings["features_tested"],
        sum(alive.get(layer, 0) for layer in layers),
    )
    if listed < firing:
        sentences += (
            (
                f"{listed:,} of {firing:,} firing features of these layers have a published list"
                " with genes of enough firings, as the source lists those that it annotates; the"
                " others count as not annotated, so what follows is a lower bound for gene sets"
                " other than the published ones"
            ),
        )
    if left_out:
        sentences += (
            (
                f"layers {', '.join(map(str, left_out))} are left out: of their features only the"
                " first five genes were published; over all layers at hand"
                f" {percent(total['annotated'] / total['alive'])} of {total['alive']:,} firing"
                " features are annotated as published"
            ),
        )
    store(run, annotation, more, after=sentences)


def _lists(shards: ShardStore) -> pd.DataFrame:
    """Genes of every feature: layer, index, gene, mean_activation, fire_count (unknown in lists of
    which only the first five genes were published).
    """
    import pandas as pd

    loads = shards.tables("Feature-LOADS_ON-Gene").to_pandas()
    features = shards.tables("Feature").select(["id", "layer", "index"]).to_pandas().set_index("id")
    at = features.loc[loads["source"]]
    return pd.DataFrame(
        {
            "layer": at["layer"].to_numpy(),
            "index": at["index"].to_numpy(),
            "gene": loads["target"].to_numpy(),
            "mean_activation": loads["mean_activation"].to_numpy(),
            "fire_count": loads["fire_count"].to_numpy(),
        }
    )


def _frequency(lists: Any) -> dict[str, float]:
    """Share of a layer's lists that hold a gene."""
    count = Counter(lists["gene"].tolist())
    features = max(lists["index"].nunique(), 1)
    return {gene: n / features for gene, n in count.items()}


def _published(
    shards: ShardStore,
    parent: Manifest,
    lists: Any,
    alive: dict[int, int],
    layers: list[int],
    config: AnnotateConfig,
) -> PublishedRates | None:
    """The published rate against its own null; None where the gene sets or backgrounds of the
    procedure are not known.
    """
    from scircuit.analysis.annotation.published_rate import (
        PublishedLayer,
        published_rates,
        terms_from,
    )

    backgrounds = {int(k): int(n) for k, n in parent.findings.get("backgrounds", {}).items()}
    annotated = {int(k): v for k, v in parent.findings.get("annotated_by_layer", {}).items()}
    chosen = [
        layer
        for layer in layers
        if layer in backgrounds and annotated.get(layer) is not None and alive.get(layer)
    ]
    member = shards.tables("Gene-MEMBER_OF-Term")
    if not chosen or not member.num_rows:
        return None
    members: dict[str, list[str]] = {}
    for gene, term in zip(
        member.column("source").to_pylist(), member.column("target").to_pylist(), strict=True
    ):
        members.setdefault(term, []).append(gene)
    given = []
    for layer in chosen:
        own = lists[lists["layer"] == layer]
        known = own["fire_count"].notna()
        given.append(
            PublishedLayer(
                layer,
                alive[layer],
                annotated[layer],
                backgrounds[layer],
                _rows(own[known]),
                own.loc[~known, "gene"].tolist(),
            )
        )
    return published_rates(
        given,
        terms_from(shards.tables("Term").to_pydict(), members),
        q=config.q,
        null_draws=config.null_draws,
        seed=config.seed,
    )


def _rows(lists: Any) -> list[list[str]]:
    return [group.tolist() for _, group in lists.groupby("index", sort=True)["gene"]]
