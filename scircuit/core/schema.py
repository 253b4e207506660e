"""The one declaration of the graph: node labels, relationship types, their properties, keys, units
and sources.

Everything that must agree with the graph is generated from `NODES` and `RELATIONSHIPS`: Arrow
schemas of the shards, Neo4j constraints and indexes, the ingest Cypher, the bulk-import headers,
``docs/data-model.md`` and the Browser style. A table column that is not declared here is refused
before it reaches a shard, so nothing writes a property the schema lacks.

A *kind* names one sort of record: a node label (``Feature``) or ``Source-TYPE-Target``
(``Feature-AFFECTS-Feature``). Node tables hold the key ``id`` and any subset of the declared
properties (later runs add findings to existing nodes); relationship tables hold ``source`` and
``target`` (keys of the end nodes) and any subset of the declared properties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

PropertyType = Literal["str", "int", "float", "bool", "str[]", "int[]", "float[]"]

SCHEMA_VERSION = 3


@dataclass(frozen=True)
class Property:
    """One property: its type, unit and where the value comes from."""

    name: str
    type: PropertyType
    doc: str
    unit: str = ""
    indexed: bool = False


@dataclass(frozen=True)
class NodeType:
    """One node label, keyed by ``id``."""

    label: str
    doc: str
    properties: tuple[Property, ...]
    caption: str = "name"
    color: str = "#888888"

    @property
    def kind(self) -> str:
        """Name of this sort of record: the label."""
        return self.label


@dataclass(frozen=True)
class RelationshipType:
    """One relationship type between two labels."""

    source: str
    type: str
    target: str
    doc: str
    properties: tuple[Property, ...] = ()
    key: tuple[str, ...] = ()  # text properties that tell records between the same two nodes apart

    @property
    def kind(self) -> str:
        """Name of this sort of record: ``Source-TYPE-Target``."""
        return f"{self.source}-{self.type}-{self.target}"


def _p(name: str, type: PropertyType, doc: str, unit: str = "", indexed: bool = False) -> Property:
    return Property(name, type, doc, unit, indexed)


_RUN = _p("run", "str", "id of the run that wrote this record")
_P = _p("p", "float", "p value of the test named in `test` or in the run", "probability")
_Q = _p("q", "float", "Benjamini-Hochberg q value over the family named in the run", "probability")

# An annotate run writes these as a whole: a record with `annotation_run` takes away what an earlier
# run wrote and it has no value for.
ANNOTATION_PROPERTIES: tuple[Property, ...] = (
    _p("annotation_run", "str", "annotate run that wrote the label and what follows it"),
    _p(
        "top_genes",
        "str[]",
        "symbols of the genes with the highest mean activation, minimum support applied",
    ),
    _p("label", "str", "name of the term with the smallest calibrated q; empty when not annotated"),
    _p("label_library", "str", "library of `label`"),
    _p("label_q", "float", "calibrated q of `label`", "probability"),
    _p(
        "label_null",
        "float",
        "share of random lists matched to this feature whose best term is at least as good",
        "probability",
    ),
    _p(
        "label_ties",
        "int",
        "further terms that are as good as `label` in every respect that decides",
        "terms",
    ),
    _p("annotated", "bool", "has at least one term at the run's q threshold"),
    _p("terms", "int", "number of terms at the run's q threshold", "terms"),
    _p("annotatable_genes", "int", "top genes that occur in at least one term", "genes"),
    _p(
        "best_tf", "str", "transcription factor whose targets are most enriched among the top genes"
    ),
    _p("best_tf_q", "float", "q of `best_tf`", "probability"),
    _p("tf_share", "float", "share of the top genes that are transcription factors", "share"),
    _p(
        "tf_share_q",
        "float",
        "q of more transcription factors among the top genes than in the background",
        "probability",
    ),
    _p("tf_library", "str", "library of regulons that `best_tf` and `tf_share` come from"),
)

FEATURE_PROPERTIES: tuple[Property, ...] = (
    _p("name", "str", "caption: layer, index and label, such as `L05/F0898 DNA repair`"),
    _p("model", "str", "name of the model", indexed=True),
    _p("dictionary", "str", "id of the dictionary: model/set/layer"),
    _p("layer", "int", "0-based encoder layer whose output the dictionary reads", indexed=True),
    _p("index", "int", "0-based index of the latent in the dictionary"),
    # clean pass of a trace run
    _p(
        "firing_rate",
        "float",
        "share of the cohort's gene positions where the feature is active",
        "share",
    ),
    _p("cells_active", "int", "cells of the cohort with at least one active position", "cells"),
    _p("mean_activation", "float", "mean activation over active positions", "dictionary units"),
    _p("traced", "bool", "was this feature ablated as a source in a trace run"),
    _p(
        "context",
        "str",
        "context it was ablated in: exact, frozen, or the number of further positions",
    ),
    _p("alive", "bool", "does the feature fire in the cohort at all"),
    _p("fire_count", "int", "positions of those cells where the feature fires", "positions"),
    _p("rare", "bool", "fires at fewer than 100 positions: what is said of it rests on little"),
    *ANNOTATION_PROPERTIES,
    # as an imported atlas states it, beside what is computed here
    _p("published_label", "str", "label as published"),
    _p("published_library", "str", "library of `published_label`"),
    _p(
        "published_terms",
        "int",
        "annotation entries as published, untested gene pairs included",
        "entries",
    ),
    _p(
        "string_density",
        "float",
        "share of the top genes' pairs that are STRING pairs, as published: a density, not a test",
        "share",
    ),
    _p(
        "trrust_density",
        "float",
        "share of the top genes' pairs that are TRRUST pairs, as published: a density, not a test",
        "share",
    ),
    _p(
        "svd_aligned",
        "bool",
        "as published: close to one of the first 50 singular vectors of the activations",
    ),
    _p("layout_x", "float", "position on the published page; it shows module membership only"),
    _p("layout_y", "float", "as `layout_x`"),
    _p(
        "causal_readout",
        "str",
        "what published causal patching read: own-token logit, or norm of the change of the final"
        " state",
    ),
    _p("causal_target", "float", "published mean change at the feature's top genes"),
    _p("causal_other", "float", "published mean change at other genes"),
    _p(
        "causal_ratio",
        "float",
        "|causal_target| / |causal_other| as published; it grows without bound as the second"
        " nears 0",
        "ratio",
    ),
    # analyse
    _p("out_degree", "int", "calibrated edges out of the feature in the analysed run", "edges"),
    _p("in_degree", "int", "calibrated edges into the feature in the analysed run", "edges"),
    _p(
        "out_degree_legacy",
        "int",
        "edges out by the legacy rule (|d| > 0.5, consistency > 0.7)",
        "edges",
    ),
    _p(
        "out_degree_by_layer",
        "int[]",
        "calibrated out-degree for each measured layer, in order",
        "edges",
    ),
    _p("expected_degree", "float", "out-degree expected from the firing rate alone", "edges"),
    _p("residual_degree", "float", "log((out_degree + 1) / (expected_degree + 1))", "log ratio"),
    _p(
        "hub_rank",
        "int",
        "rank by residual degree among sources, 1 is the strongest hub for its firing rate",
    ),
    _p("degree_rank", "int", "rank by raw out-degree among sources, 1 is the highest"),
    _p(
        "support_share",
        "float",
        "share of calibrated out-edges that are support (ablation lowers the target)",
        "share",
    ),
    _p(
        "random_degree",
        "float",
        "calibrated edges when a random direction of equal norm is removed (sampled)",
        "edges",
    ),
    _p(
        "swap_degree",
        "float",
        "calibrated edges when another feature's direction is removed instead (sampled)",
        "edges",
    ),
    _p("module", "str", "id of the module the feature belongs to"),
    # ablate and steer
    _p(
        "ablation_partners",
        "int",
        "pairs in which this feature was ablated jointly with another",
        "pairs",
    ),
    _p(
        "ablation_redundancy",
        "float",
        "median of |joint effect| / sum of |single effects| over its pairs' targets",
    ),
    _p(
        "ablation_null",
        "float",
        "the same ratio expected from exactly additive effects on the same cells",
    ),
    _p(
        "strongest_partner",
        "str",
        "address of the partner with the most significant interaction contrasts",
    ),
    _p("interactions", "int", "significant interaction contrasts over all its pairs", "targets"),
    _p(
        "steering_slope",
        "float",
        "slope of the readout on the dose (coefficient - 1), mean over cells",
        "per dose",
    ),
    _p("steering_p", "float", "sign-flip p of the slope over cells", "probability"),
    _p("steering_gene", "str", "symbol of the gene token whose logit rises most per dose"),
    _p("steering_top_genes", "str[]", "gene tokens whose logits rise most per dose"),
    _p(
        "steering_control",
        "float",
        "slope of the same readout for a random direction of equal norm",
        "per dose",
    ),
)

AFFECTS_PROPERTIES: tuple[Property, ...] = (
    _RUN,
    _p("n", "int", "cells in which the source is active", "cells"),
    _p(
        "n_pos",
        "int",
        "cells with effect above the numeric floor: ablation raises the target",
        "cells",
    ),
    _p(
        "n_neg",
        "int",
        "cells with effect below minus the numeric floor: ablation lowers the target",
        "cells",
    ),
    _p("mean", "float", "mean effect over the n cells", "dictionary units of the target"),
    _p("sd", "float", "standard deviation of the effect (n - 1)", "dictionary units of the target"),
    _p("d", "float", "mean / max(sd, 1e-10)"),
    _p(
        "p",
        "float",
        "two-sided sign-flip p over cells, exact up to 20 non-zero cells",
        "probability",
    ),
    _p(
        "q",
        "float",
        "Benjamini-Hochberg over all live tests of the run, never below what the skewness of its"
        " effects gives",
        "probability",
    ),
    _p(
        "passthrough",
        "float",
        "mean effect when the edit is re-encoded without any block computing",
        "dictionary units",
    ),
    _p("positions", "int", "active positions of the source, summed over cells", "positions"),
    _p(
        "halves",
        "int",
        "halves of the cells (0, 1, 2) that agree: same sign and p <= 0.05; null where a half has"
        " fewer than 6 cells with an effect. The edge was chosen on all cells, so agreement is no"
        " new test; `split_half` of the controls is",
    ),
    _p(
        "consistency",
        "float",
        "sign consistency as an imported source states it, where it gives no counts",
        "share",
    ),
)

ACTIVE_IN_PROPERTIES: tuple[Property, ...] = (
    _P,
    _Q,
    _p("odds_ratio", "float", "odds ratio, where a table of counts was tested"),
    _p("odds_infinite", "bool", "the published odds ratio is infinite"),
    _p(
        "cells",
        "int",
        "cells of this kind: those in the feature's top cells where published, all that were tested"
        " in own runs",
        "cells",
    ),
    _p(
        "donors",
        "int",
        "donors that the test counts; 0 where there was no donor column and cells were counted",
        "donors",
    ),
    _p(
        "difference",
        "float",
        "mean activation there less that elsewhere, donor by donor where there are donors",
        "dictionary units",
    ),
    _p("test", "str", "what was tested"),
    _p("origin", "str", "own or published"),
)

CONTROL_PROPERTIES: tuple[Property, ...] = (
    _RUN,
    _p(
        "control",
        "str",
        "zero_edit, random_direction, feature_swap, passthrough; half_even, half_odd: the source"
        " itself in every other cell",
    ),
    *(p for p in AFFECTS_PROPERTIES if p.name in ("n", "n_pos", "n_neg", "mean", "sd", "d", "p")),
    _p(
        "q",
        "float",
        "q that this p has among the live tests of the run, so that one threshold serves edges and"
        " controls",
        "probability",
    ),
)

NODES: dict[str, NodeType] = {
    n.label: n
    for n in (
        NodeType(
            "Model",
            "A single-cell foundation model.",
            (
                _p("name", "str", "name used in addresses"),
                _p("family", "str", "adapter: geneformer, scgpt, c2s"),
                _p("layers", "int", "encoder layers"),
                _p("width", "int", "hidden width d"),
                _p("positions", "int", "largest input length"),
                _p("vocabulary", "int", "tokens"),
                _p("sha256", "str", "hash of the weights"),
                _p("mlm_loss", "float", "held-out masked-LM loss", "nats"),
                _p(
                    "unigram_loss",
                    "float",
                    "loss of the unigram baseline on the same tokens",
                    "nats",
                ),
            ),
            color="#4C566A",
        ),
        NodeType(
            "Dictionary",
            "An SAE or transcoder at one layer of one model.",
            (
                _p("name", "str", "caption"),
                _p("model", "str", "name of the model"),
                _p("set", "str", "name of the set"),
                _p("layer", "int", "0-based layer"),
                _p("features", "int", "latents"),
                _p("k", "int", "active latents a row"),
                _p("rule", "str", "sparsity rule: topk, relu, jumprelu"),
                _p(
                    "decoder_norm", "str", "columns: unit; rows: the published row-normalised; none"
                ),
                _p("variance_explained", "float", "on held-out cells", "share"),
                _p("dead_share", "float", "latents that never fire on held-out cells", "share"),
                _p("trained_on", "str", "provenance: cells, positions, seed"),
                _p("sha256", "str", "hash of the weights"),
                _p(
                    "alive",
                    "int",
                    "features that fire, as an imported source states it",
                    "features",
                ),
                _p(
                    "published_annotated",
                    "int",
                    "features with an annotation entry, as published",
                    "features",
                ),
                _p("summary", "str", "what an imported source says of the layer, JSON"),
            ),
            color="#5E81AC",
        ),
        NodeType(
            "Feature",
            "One latent of a sparse dictionary at one layer of one model; `id` is its address.",
            FEATURE_PROPERTIES,
            color="#2E86AB",
        ),
        NodeType(
            "Gene",
            "A gene; `id` is the Ensembl id, or `symbol:X` when none is known.",
            (
                _p("name", "str", "caption: the symbol"),
                _p("symbol", "str", "gene symbol", indexed=True),
                _p(
                    "is_tf",
                    "bool",
                    "listed as a transcription factor in a library of regulons; null where none"
                    " that was read does",
                ),
            ),
            color="#6A994E",
        ),
        NodeType(
            "Term",
            "A gene set; `id` is library:accession.",
            (
                _p("name", "str", "name of the term", indexed=True),
                _p("library", "str", "name of the library"),
                _p("accession", "str", "accession, or the name where the library has none"),
                _p("size", "int", "genes in the file", "genes"),
                _p(
                    "size_in_background",
                    "int",
                    "genes after intersection with the background",
                    "genes",
                ),
            ),
            color="#BC6C25",
        ),
        NodeType(
            "GeneSetLibrary",
            "A gene-set file.",
            (
                _p("name", "str", "caption"),
                _p("file", "str", "file name"),
                _p("sha256", "str", "hash of the file"),
                _p("release", "str", "release named by the source"),
                _p("licence", "str", "licence of the content"),
                _p("terms", "int", "terms kept after the size filter"),
                _p("genes_mapped", "int", "genes mapped to the model's vocabulary", "genes"),
                _p(
                    "genes_ambiguous",
                    "int",
                    "mapped genes whose symbol several Ensembl ids share: the one detected in most"
                    " cells stands for it",
                    "genes",
                ),
                _p("genes_lost", "int", "genes not in the vocabulary", "genes"),
            ),
            color="#DDA15E",
        ),
        NodeType(
            "Module",
            "A group of features.",
            (
                _p("name", "str", "caption"),
                _p("layer", "int", "0-based layer"),
                _p("size", "int", "features"),
                _p("method", "str", "how the group was found"),
                _p("index", "int", "number of the group within its layer"),
                _p("top_terms", "str[]", "commonest terms of its features"),
                _p("genes", "str[]", "genes that many of its features share"),
                _p("overlap", "float", "mean Jaccard overlap of its features' genes", "share"),
                _p(
                    "firing_rate",
                    "float",
                    "mean firing rate of its features, as published",
                    "share",
                ),
                _RUN,
            ),
            color="#A3B18A",
        ),
        NodeType(
            "CellType",
            "A cell type.",
            (_p("name", "str", "caption"), _p("cells", "int", "cells")),
            color="#E07A5F",
        ),
        NodeType(
            "Tissue",
            "A tissue.",
            (_p("name", "str", "caption"), _p("cells", "int", "cells")),
            color="#F2CC8F",
        ),
        NodeType(
            "Perturbation",
            "A genetic or chemical perturbation.",
            (
                _p("name", "str", "caption"),
                _p("gene", "str", "Ensembl id of the target"),
                _p("symbol", "str", "symbol of the target"),
                _p("is_tf", "bool", "is the target a transcription factor"),
                _p("responding", "int", "responding features, as published", "features"),
                _p(
                    "specific",
                    "int",
                    "responding features whose genes hold the target or one it regulates, as"
                    " published",
                    "features",
                ),
                _p(
                    "top_features",
                    "int",
                    "features listed with an effect, as published",
                    "features",
                ),
                _p(
                    "regulated",
                    "int",
                    "genes that the target regulates in TRRUST, as published",
                    "genes",
                ),
            ),
            color="#81B29A",
        ),
        NodeType(
            "Cohort",
            "The cells used by a run; row ids and barcodes are in the run's manifest.",
            (
                _p("name", "str", "caption"),
                _p("file", "str", "file name"),
                _p("sha256", "str", "hash of the file"),
                _p("cells", "int", "cells used"),
                _p("filters", "str", "obs filters as written"),
                _p("composition", "str", "counts of the filtered obs columns, JSON"),
                _p("scale", "str", "raw counts, or how proven"),
                _p("mapped_share", "float", "share of expressed genes known to the model", "share"),
                _p("tokens_median", "float", "median gene tokens a cell", "tokens"),
                _p("species", "str", "species found"),
            ),
            color="#9A8C98",
        ),
        NodeType(
            "Run",
            "One execution: configuration, code version, hashes, seeds, device, numerics.",
            (
                _p("name", "str", "caption: verb and short id"),
                _p("verb", "str", "trace, annotate, analyse, ablate, steer"),
                _p("status", "str", "running, complete, interrupted, failed"),
                _p("started", "str", "UTC, ISO 8601"),
                _p("seconds", "float", "wall time", "s"),
                _p("version", "str", "scircuit version"),
                _p("config", "str", "configuration, JSON"),
                _p("inputs", "str", "hashes of the inputs, JSON"),
                _p("seed", "int", "seed"),
                _p("device", "str", "device"),
                _p("numerics", "str", "dtype and kernels"),
                _p("method", "str", "exact, frozen or imported"),
                _p("format", "str", "format of imported files"),
                _p("origin", "str", "where imported files come from, as far as they say"),
                _p(
                    "lacks",
                    "str[]",
                    "what an imported source does not give, such as n, sd, p, q, all_edges:"
                    " comparisons that need it are refused",
                ),
                _p(
                    "cap",
                    "int",
                    "most edges that an imported source kept of each source feature, or of each"
                    " source feature and layer; 0 where it kept all",
                    "edges",
                ),
                _p("rule", "str", "rule by which an imported source chose its edges"),
                _p("edges", "int", "edge records stored", "edges"),
                _p("edges_calibrated", "int", "edges by the calibrated rule", "edges"),
                _p("edges_legacy", "int", "edges by the legacy rule", "edges"),
                _p(
                    "live_tests",
                    "int",
                    "tests with any effect above the floor: the size of the BH family",
                    "tests",
                ),
                _p(
                    "zero_edit_max", "float", "largest |effect| of the zero edit: the numeric floor"
                ),
                _p(
                    "null_annotation_rate",
                    "float",
                    "share of matched random lists annotated (annotate)",
                    "share",
                ),
                _p("annotation_rate", "float", "share of features annotated (annotate)", "share"),
                _p("findings", "str", "numbers found, JSON"),
            ),
            color="#3B4252",
        ),
        NodeType(
            "Intervention",
            "One k-way ablation or one steering condition.",
            (
                _p("name", "str", "caption"),
                _p("verb", "str", "ablate or steer"),
                _p("order", "int", "features changed at once"),
                _p("coefficient", "float", "factor on the feature's activation; 0 is ablation"),
                _p("target_layer", "int", "layer where the effect is read"),
                _p("cells", "int", "cells"),
                _p("tested", "int", "targets tested", "targets"),
                _p("significant", "int", "targets with q at the threshold", "targets"),
                _p(
                    "ratio",
                    "float",
                    "median |joint| / sum |single| over tested targets (legacy redundancy ratio)",
                ),
                _p(
                    "ratio_null",
                    "float",
                    "the same ratio for exactly additive effects on the same cells",
                ),
                _p("effect", "float", "mean readout change (steer)"),
                _p(
                    "readout",
                    "str",
                    "what `effect` reads where imported; in own runs the logits of the genes that"
                    " the feature fires on, less those of the others",
                ),
                _p("effect_low", "float", "95 % interval, lower"),
                _p("effect_high", "float", "95 % interval, upper"),
                _P,
                _p("control", "float", "the same readout for the control"),
                _RUN,
            ),
            color="#B5179E",
        ),
        NodeType(
            "Control",
            "A run that could refute the edges of one layer pair.",
            (
                _p("name", "str", "caption"),
                _p(
                    "control",
                    "str",
                    "zero_edit, random_direction, feature_swap, passthrough, split_half, context;"
                    " imported: sign_flip",
                ),
                _p("source_layer", "int", "layer of the edit"),
                _p("target_layer", "int", "layer measured"),
                _p("sources", "int", "source features in the sample"),
                _p("edges", "int", "edges of the same sources, calibrated rule"),
                _p("control_edges", "int", "edges of the control, same rule and same p threshold"),
                _p("edges_legacy", "int", "edges of the same sources, legacy rule"),
                _p("control_edges_legacy", "int", "edges of the control, legacy rule"),
                _p("max_abs_effect", "float", "largest |effect| of the control"),
                _p(
                    "found",
                    "int",
                    "split_half: effects with p <= 0.01 in one half of the cells that the other"
                    " half can test, of all sampled sources",
                ),
                _p(
                    "agreement",
                    "float",
                    "split_half: share of the found with the same sign and p <= 0.05 in the other"
                    " half, at most 0.025 by chance; passthrough: correlation of effect and"
                    " pass-through; context: correlation of d with exact",
                    "",
                ),
                _p(
                    "relative_size",
                    "float",
                    "median over the edges of |mean effect of the control| / |mean effect|, source"
                    " by source",
                    "ratio",
                ),
                _p(
                    "larger_share",
                    "float",
                    "share of the edges whose mean effect is larger than that of the control on the"
                    " same target",
                    "share",
                ),
                _p("context", "str", "context: the one that was audited against exact"),
                _p(
                    "precision",
                    "float",
                    "context: share of its edges that are edges of the exact context",
                    "share",
                ),
                _p(
                    "recall",
                    "float",
                    "context: share of the exact context's edges that it has",
                    "share",
                ),
                _p(
                    "cross_share",
                    "float",
                    "context: share of the exact effect that travels through positions it leaves"
                    " clean",
                    "share",
                ),
                _RUN,
            ),
            color="#8D99AE",
        ),
    )
}

RELATIONSHIPS: dict[str, RelationshipType] = {
    r.kind: r
    for r in (
        RelationshipType(
            "Feature",
            "AFFECTS",
            "Feature",
            "Ablating the source changes the target: one record per source, target and run. "
            "n_zero, Hedges' g and the consistencies are derived in queries.",
            AFFECTS_PROPERTIES,
        ),
        RelationshipType(
            "Feature",
            "CONTROL_AFFECTS",
            "Feature",
            "What a control does to the target in the place of the source, for the sampled sources:"
            " one record per source, target, run and control, stored where AFFECTS would be, and"
            " beside every calibrated edge of the source.",
            CONTROL_PROPERTIES,
        ),
        RelationshipType(
            "Feature",
            "ATTRIBUTES_TO",
            "Feature",
            "Transcoder attribution.",
            (
                _RUN,
                _p(
                    "weight",
                    "float",
                    "invariant weight; in an imported graph of one input the direct effect, summed"
                    " over pairs of positions",
                ),
                _p("mean", "float", "mean of the dependent factor"),
                _p("share", "float", "share of cells"),
                _p("count", "int", "tokens; in an imported graph pairs of positions"),
            ),
        ),
        RelationshipType(
            "Feature",
            "CO_OCCURS",
            "Feature",
            "Active at the same positions more often than chance.",
            (
                _RUN,
                _p("pmi", "float", "pointwise mutual information", "bits"),
                _p("count", "int", "positions"),
                _p("method", "str", "how counted"),
                _p(
                    "rank",
                    "int",
                    "1 is the strongest of the source, where the source was cut to its strongest",
                ),
            ),
        ),
        RelationshipType(
            "Feature",
            "SAME_GENES",
            "Feature",
            "The two features fire on the same genes: other layers, or another model.",
            (
                _RUN,
                _p(
                    "overlap",
                    "float",
                    "weighted Jaccard overlap of the two lists of top genes",
                    "share",
                ),
                _p("shared", "int", "shared top genes", "genes"),
                _P,
                _Q,
            ),
        ),
        RelationshipType(
            "Feature", "OF", "Dictionary", "The feature is a latent of the dictionary."
        ),
        RelationshipType(
            "Dictionary",
            "NEXT",
            "Dictionary",
            "The second dictionary of a set reads the next layer.",
        ),
        RelationshipType(
            "Feature",
            "LOADS_ON",
            "Gene",
            "The feature fires on tokens of this gene.",
            (
                _RUN,
                _p("rank", "int", "1 is the gene with the highest mean activation"),
                _p("mean_activation", "float", "mean activation over firings", "dictionary units"),
                _p("fire_count", "int", "positions", "positions"),
            ),
        ),
        RelationshipType(
            "Feature",
            "ENRICHED_FOR",
            "Term",
            "The feature's top genes are over-represented in the term.",
            (
                _RUN,
                _P,
                _Q,
                _p(
                    "q_feature",
                    "float",
                    "Benjamini-Hochberg over every term for this feature alone",
                    "probability",
                ),
                _p(
                    "q_layer",
                    "float",
                    "Benjamini-Hochberg over every feature x every term of the layer",
                    "probability",
                ),
                _p(
                    "q_calibrated",
                    "float",
                    "q of a feature whose best term has this p, against random lists matched to the"
                    " feature",
                    "probability",
                ),
                _p(
                    "odds_ratio",
                    "float",
                    "sample odds ratio, 0.5 added to each cell; as published where imported",
                ),
                _p("odds_infinite", "bool", "the published odds ratio is infinite"),
                _p("activation", "int", "TRRUST: shared targets that the TF activates", "genes"),
                _p("repression", "int", "TRRUST: shared targets that the TF represses", "genes"),
                _p("overlap", "int", "shared genes", "genes"),
                _p("genes", "str[]", "shared gene symbols"),
                _p("library", "str", "library of the term"),
                _p("test", "str", "hypergeometric, weighted, or as published"),
                _p("origin", "str", "own or published"),
            ),
        ),
        RelationshipType(
            "Gene",
            "MEMBER_OF",
            "Term",
            "The gene belongs to the gene set.",
            (
                _p(
                    "origin",
                    "str",
                    "library; closure (by a child term); reconstructed (from published overlaps)",
                ),
            ),
        ),
        RelationshipType("Term", "IS_A", "Term", "The first term is a kind of the second."),
        RelationshipType(
            "Feature", "MEMBER_OF", "Module", "The feature belongs to the module.", (_RUN,)
        ),
        RelationshipType(
            "Gene",
            "REGULATES",
            "Gene",
            "A library of regulons, such as TRRUST: the first gene is a transcription factor of the"
            " second.",
            (
                _p("library", "str", "library of regulons; each keeps its own records"),
                _p("mode", "str", "Activation, Repression, Unknown, or Both"),
                _p("pmids", "str[]", "PubMed ids"),
            ),
            key=("library",),
        ),
        RelationshipType("Term", "MEMBER_OF", "GeneSetLibrary", "The term comes from the library."),
        RelationshipType(
            "Feature",
            "ACTIVE_IN",
            "CellType",
            "The feature fires more in this cell type.",
            (_RUN, *ACTIVE_IN_PROPERTIES),
        ),
        RelationshipType(
            "Feature",
            "ACTIVE_IN",
            "Tissue",
            "The feature fires more in this tissue.",
            (_RUN, *ACTIVE_IN_PROPERTIES),
        ),
        RelationshipType(
            "Feature",
            "RESPONDS_TO",
            "Perturbation",
            "The feature changes under the perturbation.",
            (
                _RUN,
                _p("effect", "float", "mean change"),
                _p("low", "float", "95 % interval"),
                _p("high", "float", "95 % interval"),
                _p("cells", "int", "cells"),
                _p("controls", "int", "control cells"),
                _p(
                    "control_firings",
                    "int",
                    "positions of the control cells where the feature fires",
                    "positions",
                ),
                _p(
                    "degenerate",
                    "bool",
                    "the published effect divides by a standard deviation of nothing: too few"
                    " firings in the controls",
                ),
            ),
        ),
        RelationshipType(
            "Feature",
            "PART_OF",
            "Intervention",
            "The feature was changed in the intervention.",
            (
                _RUN,
                _p("role", "str", "A, B, C for ablations; steered"),
                _p("coefficient", "float", "factor on its activation"),
            ),
        ),
        RelationshipType(
            "Intervention",
            "SHIFTED",
            "Feature",
            "The intervention moved this feature.",
            (
                _RUN,
                _p("dose", "float", "coefficient - 1"),
                _p("effect", "float", "mean joint effect, or mean change"),
                _p("interaction", "float", "mean interaction contrast: joint - sum of singles"),
                _p("low", "float", "95 % interval of the effect or interaction"),
                _p("high", "float", "95 % interval"),
                _P,
                _Q,
            ),
        ),
        RelationshipType(
            "Intervention",
            "SHIFTED",
            "Gene",
            "Steering moved the logit of this gene.",
            (
                _RUN,
                _p("dose", "float", "coefficient - 1"),
                _p("effect", "float", "mean logit change", "logits"),
                _p("low", "float", "95 % interval"),
                _p("high", "float", "95 % interval"),
                _P,
                _Q,
            ),
        ),
        RelationshipType("Intervention", "FROM", "Run", "Provenance."),
        RelationshipType("Control", "FROM", "Run", "Provenance."),
        RelationshipType("Run", "FROM", "Run", "This run was computed from that run."),
        RelationshipType("Run", "USED", "Model", "Input of the run."),
        RelationshipType("Run", "USED", "Dictionary", "Input of the run."),
        RelationshipType("Run", "USED", "Cohort", "Input of the run."),
        RelationshipType("Run", "USED", "GeneSetLibrary", "Input of the run."),
        RelationshipType("Dictionary", "OF", "Model", "The dictionary reads this model."),
    )
}


def properties_of(kind: str) -> tuple[Property, ...]:
    """Declared properties of a kind, without the ends (``id``, or ``source`` and ``target``).

    Raises
    ------
    ValueError
        If the kind is not declared.
    """
    if kind in NODES:
        return NODES[kind].properties
    if kind in RELATIONSHIPS:
        return RELATIONSHIPS[kind].properties
    known = ", ".join([*NODES, *RELATIONSHIPS])
    raise ValueError(f"unknown record kind {kind!r}; the schema declares: {known}")


def keys_of(kind: str) -> tuple[str, ...]:
    """Key columns of a kind: ``("id",)`` for nodes; ``source``, ``target`` and what is declared as
    `key` for relationships.
    """
    properties_of(kind)
    return ("id",) if kind in NODES else ("source", "target", *RELATIONSHIPS[kind].key)


def arrow_schema(kind: str, columns: Iterable[str] | None = None) -> pa.Schema:
    """Arrow schema of a kind: keys first, then the properties in declared order.

    Parameters
    ----------
    kind
        Node label or ``Source-TYPE-Target``.
    columns
        Restrict to these properties (keys are always there); default all declared ones.

    Raises
    ------
    ValueError
        If the kind or a column is not declared.
    """
    import pyarrow as pa

    types = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "str[]": pa.list_(pa.string()),
        "int[]": pa.list_(pa.int64()),
        "float[]": pa.list_(pa.float64()),
    }
    declared = {p.name: p for p in properties_of(kind)}
    keys = keys_of(kind)
    wanted = (set(declared) if columns is None else set(columns)) - set(keys)
    unknown = sorted(wanted - set(declared))
    if unknown:
        raise ValueError(
            f"{kind} has no property {', '.join(unknown)}; declared:"
            f" {', '.join(declared) or 'none'}. Declare it in scircuit/records.py with its unit and"
            " source first"
        )
    fields = [pa.field(k, pa.string(), nullable=False) for k in keys]
    fields += [pa.field(p.name, types[p.type]) for p in declared.values() if p.name in wanted]
    return pa.schema(
        fields, metadata={"scircuit.kind": kind, "scircuit.schema": str(SCHEMA_VERSION)}
    )


def schema_table(kind: str, columns: Mapping[str, Any]) -> pa.Table:
    """Table of a kind from its columns, in the declared types; errors as `conform`."""
    import pyarrow as pa

    schema = arrow_schema(kind, list(columns))
    return conform(kind, pa.table({f.name: pa.array(columns[f.name], type=f.type) for f in schema}))


def conform(kind: str, table: pa.Table) -> pa.Table:
    """Cast a table to the declared schema of its kind, columns in declared order.

    Raises
    ------
    ValueError
        If a key is missing, null or empty, a column is not declared, or a value cannot be cast
        without loss.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = keys_of(kind)
    missing = [k for k in keys if k not in table.column_names]
    if missing:
        raise ValueError(
            f"{kind} table lacks the key column {', '.join(missing)}; it has"
            f" {', '.join(table.column_names)}"
        )
    schema = arrow_schema(kind, table.column_names)
    try:
        cast = pa.table([table.column(f.name).cast(f.type) for f in schema], names=schema.names)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{kind} table does not fit the declared types: {error}") from error
    for key in keys:
        empty = (
            pc.call_function(
                "sum", [pc.call_function("equal", [cast.column(key), pa.scalar("")])]
            ).as_py()
            or 0
        )
        if without := cast.column(key).null_count + empty:
            raise ValueError(f"{kind} table has {without} rows without {key!r}")
    return cast.replace_schema_metadata(schema.metadata)
