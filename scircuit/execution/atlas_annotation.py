"""``scircuit annotate --run IMPORT``: annotate an imported atlas from its published gene lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.address import Address
from scircuit.core.config import AnnotateConfig
from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.core.study import Manifest, Study
from scircuit.tracing.tokenisation.vocabulary import human_gene_ids

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.annotation.annotate_features import Annotation
    from scircuit.analysis.annotation.choose_libraries import ChosenLibraries
    from scircuit.analysis.annotation.published_rate import PublishedRates
    from scircuit.ingest.shards.shard_store import ShardStore


class AtlasAnnotation(NamedTuple):
    """Annotation of an atlas, with the findings and sentences on its published rate."""

    annotation: Annotation
    findings: dict[str, object]
    sentences: tuple[str, ...]


def annotate_atlas(
    study: Study,
    parent: Manifest,
    config: AnnotateConfig,
    gene_sets: ChosenLibraries,
    run: str,
    *,
    announce: Callable[[pd.DataFrame], None],
    quiet: bool,
) -> AtlasAnnotation:
    """Annotate the features of an imported atlas.

    The background of a layer is every gene in any of its lists; the share of lists with a gene
    stands for its detection rate, which no atlas gives. Layers with only the first five genes of
    each feature are left out. Features of the other layers whose whole list was not published count
    as not annotated, because the source lists the features that it annotates: leaving them out
    would test a selection made by the result.

    Parameters
    ----------
    study, parent
        The imported atlas.
    config, gene_sets
        Options and gene sets of the run.
    run
        Id of the annotate run.
    announce
        Called with the gene lists before they are tested.
    quiet
        Print nothing.

    Raises
    ------
    UserError
        If the import has no gene list.
    """
    from scircuit.analysis.annotation.annotate_features import annotate
    from scircuit.analysis.annotation.sentences import percent
    from scircuit.ingest.shards.shard_store import ShardStore

    shards = ShardStore(study.run_folder(parent.run))
    lists = _lists(shards)
    if lists.empty:
        raise UserError(
            f"import {parent.run} has no complete gene list: no layer has an annotations file",
            "import the layer_NN_annotations.json files as well",
        )
    whole = lists.loc[lists["fire_count"].notna()]
    layers = sorted(whole["layer"].unique().tolist())
    alive = {int(k): int(v) for k, v in parent.findings["alive_by_layer"].items() if v is not None}
    genes = shards.tables("Gene")
    symbol = dict(
        zip(genes.column("id").to_pylist(), genes.column("symbol").to_pylist(), strict=True)
    )
    ids = human_gene_ids() | {s.upper(): g for g, s in symbol.items()}
    published = _published(shards, parent, lists, alive, layers, config)
    left_out = sorted(set(alive) - set(layers))
    if left_out and not quiet:
        say(
            f"  layers {', '.join(map(str, left_out))} are left out: no complete gene list was"
            " published"
        )
    announce(whole)
    annotation = annotate(
        whole,
        {layer: _frequency(lists.loc[lists["layer"] == layer]) for layer in layers},
        gene_sets.libraries,
        gene_sets.regulons,
        symbol_of=lambda g: symbol.get(g) or "",
        ensembl_of=lambda s: ids.get(s) or ids.get(s.upper()),
        address=lambda layer, index: str(
            Address(parent.findings["model"], parent.findings["dictionary"], layer, index)
        ),
        config=config,
        run=run,
        alive={layer: alive[layer] for layer in layers if layer in alive},
        loads_on=False,
        closed=gene_sets.closed,
    )
    total = parent.findings["counts"]
    findings: dict[str, object] = {
        "layers": layers,
        "layers_left_out": left_out,
        "published_annotated": total.get("annotated"),
        "published_alive": total.get("alive"),
    }
    sentences: tuple[str, ...] = ()
    if published:
        findings["published"] = published.findings()
        sentences = (published.sentence, *published.lines())
    listed = annotation.features_tested
    firing = sum(alive.get(layer, 0) for layer in layers)
    if listed < firing:
        sentences += (
            (
                f"{listed:,} of {firing:,} firing features of these layers have a published list"
                " with genes of enough firings, because the source lists only the features that it"
                " annotates; the others count as not annotated, so the rates are lower bounds for"
                " gene sets other than the published ones"
            ),
        )
    if left_out:
        sentences += (
            (
                f"layers {', '.join(map(str, left_out))} are left out: only the first five genes of"
                " their features were published; in all imported layers"
                f" {percent(total['annotated'] / total['alive'])} of {total['alive']:,} firing"
                " features are annotated as published"
            ),
        )
    return AtlasAnnotation(annotation, findings, sentences)


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


def _frequency(lists: pd.DataFrame) -> dict[str, float]:
    """Share of a layer's lists with each gene."""
    count = Counter(lists["gene"].tolist())
    features = max(lists["index"].nunique(), 1)
    return {gene: n / features for gene, n in count.items()}


def _published(
    shards: ShardStore,
    parent: Manifest,
    lists: pd.DataFrame,
    alive: dict[int, int],
    layers: list[int],
    config: AnnotateConfig,
) -> PublishedRates | None:
    """The published rate beside its own null; None where the gene sets or backgrounds of the
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
        own = lists.loc[lists["layer"] == layer]
        known = own["fire_count"].notna()
        given.append(
            PublishedLayer(
                layer,
                alive[layer],
                annotated[layer],
                backgrounds[layer],
                _rows(own.loc[known]),
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


def _rows(lists: pd.DataFrame) -> list[list[str]]:
    return [group.tolist() for _, group in lists.groupby("index", sort=True)["gene"]]
