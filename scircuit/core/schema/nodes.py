"""The node labels and their properties."""
# fmt: off

from __future__ import annotations

from scircuit.core.schema.feature_properties import FEATURE_PROPERTIES
from scircuit.core.schema.property import RUN, NodeType, P, prop

_MODEL = NodeType("Model", "A single-cell foundation model.", (
    prop("name", "str", "name used in addresses"),
    prop("family", "str", "adapter: geneformer, scgpt, c2s"),
    prop("layers", "int", "encoder layers"),
    prop("width", "int", "hidden width d"),
    prop("positions", "int", "largest input length"),
    prop("vocabulary", "int", "tokens"),
    prop("sha256", "str", "hash of the weights"),
    prop("mlm_loss", "float", "held-out masked-LM loss", "nats"),
    prop("unigram_loss", "float", "loss of the unigram baseline on the same tokens", "nats"),
), color="#4C566A")

_DICTIONARY = NodeType("Dictionary", "An SAE or transcoder at one layer of one model.", (
    prop("name", "str", "caption"),
    prop("model", "str", "name of the model"),
    prop("set", "str", "name of the set"),
    prop("layer", "int", "0-based layer"),
    prop("features", "int", "latents"),
    prop("k", "int", "active latents per row"),
    prop("rule", "str", "sparsity rule: topk, relu, jumprelu"),
    prop("decoder_norm", "str", "columns: unit; rows: the published row-normalised; none"),
    prop("variance_explained", "float",
         "on held-out cells; of an imported layer as its source states it", "share"),
    prop("dead_share", "float", "latents that never fire on held-out cells", "share"),
    prop("trained_on", "str", "provenance: cells, positions, seed"),
    prop("sha256", "str", "hash of the weights"),
    prop("alive", "int", "features that fire, as an imported source states it", "features"),
    prop("published_annotated", "int",
         "features with an annotation entry, as published", "features"),
    prop("summary", "str", "what an imported source states about the layer, JSON"),
), color="#5E81AC")

_FEATURE = NodeType(
    "Feature",
    "One latent of a sparse dictionary at one layer of one model; `id` is its address.",
    FEATURE_PROPERTIES,
    color="#2E86AB",
)

_GENE = NodeType("Gene", "A gene; `id` is the Ensembl id, or `symbol:X` when none is known.", (
    prop("name", "str", "caption: the symbol"),
    prop("symbol", "str", "gene symbol", indexed=True),
    prop("is_tf", "bool",
         "transcription factor in a library of regulons; null where no library lists it as one"),
), color="#6A994E")

_TERM = NodeType("Term", "A gene set; `id` is library:accession.", (
    prop("name", "str", "name of the term", indexed=True),
    prop("library", "str", "name of the library"),
    prop("accession", "str", "accession, or the name where the library has none"),
    prop("size", "int", "genes in the file", "genes"),
    prop("size_in_background", "int", "genes after intersection with the background", "genes"),
), color="#BC6C25")

_GENE_SET_LIBRARY = NodeType("GeneSetLibrary", "A gene-set file.", (
    prop("name", "str", "caption"),
    prop("file", "str", "file name"),
    prop("sha256", "str", "hash of the file"),
    prop("release", "str", "release named by the source"),
    prop("licence", "str", "licence of the content"),
    prop("terms", "int", "terms kept after the size filter"),
    prop("genes_mapped", "int", "genes mapped to the model's vocabulary", "genes"),
    prop("genes_ambiguous", "int",
         "mapped genes whose symbol has several Ensembl ids: the one found in most cells is used",
         "genes"),
    prop("genes_lost", "int", "genes not in the vocabulary", "genes"),
), color="#DDA15E")

_MODULE = NodeType("Module", "A group of features.", (
    prop("name", "str", "caption"),
    prop("layer", "int", "0-based layer"),
    prop("size", "int", "features"),
    prop("method", "str", "how the group was found"),
    prop("index", "int", "number of the group within its layer"),
    prop("top_terms", "str[]", "most frequent terms of its features"),
    prop("genes", "str[]", "genes that many of its features share"),
    prop("overlap", "float", "mean Jaccard overlap of its features' genes", "share"),
    prop("firing_rate", "float", "mean firing rate of its features, as published", "share"),
    prop("layers", "int[]", "layers of its features, where it has several"),
    prop("edges_inside", "int", "edges of the run between two of its features", "edges"),
    prop("edges_touching", "int", "edges of the run that begin or end in it", "edges"),
    RUN,
), color="#A3B18A")

_CELL_TYPE = NodeType("CellType", "A cell type.", (
    prop("name", "str", "caption"),
    prop("cells", "int", "cells"),
), color="#E07A5F")

_TISSUE = NodeType("Tissue", "A tissue.", (
    prop("name", "str", "caption"),
    prop("cells", "int", "cells"),
), color="#F2CC8F")

_PERTURBATION = NodeType("Perturbation", "A genetic or chemical perturbation.", (
    prop("name", "str", "caption"),
    prop("gene", "str", "Ensembl id of the target"),
    prop("symbol", "str", "symbol of the target"),
    prop("is_tf", "bool", "is the target a transcription factor"),
    prop("responding", "int", "responding features, as published", "features"),
    prop("specific", "int",
         "responding features whose genes include the target or one it regulates, as published",
         "features"),
    prop("top_features", "int", "features listed with an effect, as published", "features"),
    prop("regulated", "int", "genes that the target regulates in TRRUST, as published", "genes"),
), color="#81B29A")

_COHORT = NodeType(
    "Cohort", "The cells used by a run; row ids and barcodes are in the run's manifest.", (
    prop("name", "str", "caption"),
    prop("file", "str", "file name"),
    prop("sha256", "str", "hash of the file"),
    prop("cells", "int", "cells used"),
    prop("filters", "str", "obs filters as written"),
    prop("composition", "str", "counts of the filtered obs columns, JSON"),
    prop("scale", "str", "raw counts, or how it was established"),
    prop("mapped_share", "float", "share of expressed genes known to the model", "share"),
    prop("tokens_median", "float", "median gene tokens per cell", "tokens"),
    prop("species", "str", "species found"),
), color="#9A8C98")

_RUN = NodeType(
    "Run", "One execution: configuration, code version, hashes, seeds, device, numerics.", (
    prop("name", "str", "caption: verb and short id"),
    prop("verb", "str", "trace, annotate, analyse, ablate, steer"),
    prop("status", "str", "running, complete, interrupted, failed"),
    prop("started", "str", "UTC, ISO 8601"),
    prop("seconds", "float", "wall time", "s"),
    prop("version", "str", "scircuit version"),
    prop("config", "str", "configuration, JSON"),
    prop("inputs", "str", "hashes of the inputs, JSON"),
    prop("seed", "int", "seed"),
    prop("device", "str", "device"),
    prop("numerics", "str", "dtype and kernels"),
    prop("method", "str", "exact, frozen or imported"),
    prop("format", "str", "format of imported files"),
    prop("origin", "str", "where imported files come from, if stated"),
    prop("lacks", "str[]",
         "what an imported source does not give, such as n, sd, p, computed, all_edges:"
         " comparisons that need it are refused"),
    prop("cap", "int",
         "maximum number of edges that an imported source kept per source feature, or per source"
         " feature and layer; 0 where it kept all", "edges"),
    prop("rule", "str", "rule by which an imported source chose its edges"),
    prop("edges", "int", "edge records stored", "edges"),
    prop("edges_computed", "int",
         "edges by the computed rule; null where the run has no direction null", "edges"),
    prop("edges_carried", "int", "edges by the carried rule", "edges"),
    prop("edges_generic", "int", "edges by the generic rule", "edges"),
    prop("edges_calibrated", "int", "edges by the calibrated rule", "edges"),
    prop("edges_legacy", "int", "edges by the legacy rule", "edges"),
    prop("expected_false", "float",
         "computed edges that held-out random directions give at the same threshold", "edges"),
    prop("live_tests", "int",
         "tests with any effect above the numeric floor", "tests"),
    prop("callable_tests", "int",
         "live tests with an effect in at least 6 cells: the size of the BH family", "tests"),
    prop("zero_edit_max", "float",
         "largest |effect| of the zero-edit control, whose batches have other shapes: a tie between"
         " two latents of a top-k rule can make it larger than `numeric_floor`",
         "dictionary units"),
    prop("numeric_floor", "float",
         "effects up to this size count as zero: the largest change of an active latent that a zero"
         " edit makes, ties left out, over the measured layers", "dictionary units"),
    prop("mlm_loss", "float",
         "masked-LM loss of the model on genes of the run's own cells", "nats"),
    prop("unigram_loss", "float",
         "loss on the same genes of the frequencies in the run's other cells; null with one cell",
         "nats"),
    prop("uniform_loss", "float", "loss of guessing among the genes of the vocabulary", "nats"),
    prop("masked_genes", "int", "genes on which these losses were measured", "genes"),
    prop("null_annotation_rate", "float",
         "share of matched random lists annotated (annotate)", "share"),
    prop("annotation_rate", "float", "share of features annotated (annotate)", "share"),
    prop("findings", "str", "numbers found, JSON"),
), color="#3B4252")

_INTERVENTION = NodeType("Intervention", "One k-way ablation or one steering condition.", (
    prop("name", "str", "caption"),
    prop("verb", "str", "ablate, steer, importance or circuit"),
    prop("order", "int", "features changed at once"),
    prop("coefficient", "float", "factor on the feature's activation; 0 is ablation"),
    prop("target_layer", "int", "layer where the effect is read"),
    prop("cells", "int", "cells"),
    prop("tested", "int", "targets tested", "targets"),
    prop("significant", "int", "targets with q at the threshold", "targets"),
    prop("ratio", "float",
         "median |joint| / sum |single| over tested targets (legacy redundancy ratio)"),
    prop("ratio_null", "float", "the same ratio for exactly additive effects on the same cells"),
    prop("cells_together", "int",
         "ablate: cells where all features of the set are active", "cells"),
    prop("set", "str", "ablate: id of the whole set; of a subset of it another than its own id"),
    prop("set_class", "str", "ablate: how the set was chosen: given, hubs, same, cross, random"),
    prop("pathway", "str", "ablate: what the features of the set have in common"),
    prop("tested_computed", "int", "ablate: targets whose computed contrast was tested", "targets"),
    prop("significant_computed", "int",
         "ablate: targets whose computed contrast has q at the threshold", "targets"),
    prop("signed_ratio", "float",
         "sum over targets of the mean joint effect, signed as the sum of the mean single effects,"
         " by the sum of |sums of mean single effects|: 1 for additive effects", "ratio"),
    prop("signed_ratio_low", "float", "95 % interval over cells, lower", "ratio"),
    prop("signed_ratio_high", "float", "95 % interval over cells, upper", "ratio"),
    prop("higher_order", "float",
         "median of the published higher-order interaction of |standardised effects|"),
    prop("higher_order_null", "float", "the same for exactly additive effects on the same cells"),
    prop("marginal", "float",
         "median of the published marginal effect of the last member: |standardised joint effect|"
         " less that without it"),
    prop("marginal_null", "float", "the same for exactly additive effects on the same cells"),
    prop("subadditive", "int", "targets with a published ratio below 0.8", "targets"),
    prop("additive", "int", "targets with a published ratio of 0.8 to 1.2", "targets"),
    prop("superadditive", "int", "targets with a published ratio above 1.2", "targets"),
    prop("subadditive_null", "int", "`subadditive` for exactly additive effects", "targets"),
    prop("additive_null", "int", "`additive` for exactly additive effects", "targets"),
    prop("superadditive_null", "int", "`superadditive` for exactly additive effects", "targets"),
    prop("effect", "float", "mean readout change (steer)"),
    prop("readout", "str",
         "readout behind `effect` where imported; in own runs the logits of the genes that the"
         " feature fires on minus those of the others"),
    prop("effect_low", "float", "95 % interval, lower"),
    prop("effect_high", "float", "95 % interval, upper"),
    P,
    prop("q", "float",
         "importance: Benjamini-Hochberg q of `p` over the features of the run", "probability"),
    prop("control", "float",
         "the same readout for the control: the mean over random directions of equal norm, which"
         " is far smaller than the change by one of them, since they have either sign"),
    prop("control_sd", "float",
         "its spread over the random directions: one of them changes the readout by about"
         " sqrt(control^2 + control_sd^2)"),
    prop("mode", "str",
         "steer: amplify (factor on the activation); clamp or clamp-all (value in units of the"
         " feature's mean active value, where it fires or at all gene positions)"),
    prop("norm_ratio", "float",
         "steer: median norm of the steered states by the 99.9 % quantile of clean norms", "ratio"),
    prop("beyond_norm", "bool",
         "steer: the norm ratio is above 2, which the model never sees; the condition takes no part"
         " in slopes"),
    prop("behaviour", "str", "circuit: the behaviour that its features keep, as asked for"),
    prop("refused", "str",
         "circuit: why it does not count; null where it does. A refused one has no features here,"
         " and its numbers are those of the set that came closest"),
    prop("size", "int", "circuit: features kept", "features"),
    prop("features_considered", "int",
         "circuit: features of the considered layers that fire, all others of them at their means",
         "features"),
    prop("sufficiency", "float",
         "circuit: share of the behaviour that its features keep when all others are at their"
         " means, on cells that did not choose it", "share"),
    prop("sufficiency_low", "float", "95 % interval over cells, lower", "share"),
    prop("sufficiency_high", "float", "95 % interval over cells, upper", "share"),
    prop("sufficiency_random", "float",
         "circuit: mean of random circuits of the same size, layers and firing rates", "share"),
    prop("sufficiency_p", "float",
         "circuit: share of random circuits that keep as much, (1 + hits) / (1 + draws)",
         "probability"),
    prop("sufficiency_edges", "float",
         "circuit: share of the behaviour that is kept when, besides, its features reach each other"
         " through the computed edges between them alone", "share"),
    prop("sufficiency_edges_low", "float", "95 % interval over cells, lower", "share"),
    prop("sufficiency_edges_high", "float", "95 % interval over cells, upper", "share"),
    prop("sufficiency_no_edges", "float",
         "circuit: the same without any edge between its features", "share"),
    prop("necessity", "float",
         "circuit: share of the behaviour that is lost when its features alone are at their means",
         "share"),
    prop("necessity_low", "float", "95 % interval over cells, lower", "share"),
    prop("necessity_high", "float", "95 % interval over cells, upper", "share"),
    prop("necessity_random", "float", "circuit: mean of the random circuits", "share"),
    prop("area", "float",
         "circuit: area under the curve of sufficiency against the share of features kept (CPR)"),
    prop("area_random", "float", "circuit: mean area of random orders of features"),
    prop("distance", "float",
         "circuit: area between that curve and 1 (CMD); 0 is a behaviour that is kept by nothing"),
    prop("distance_random", "float", "circuit: mean distance of random orders of features"),
    prop("edges", "int",
         "circuit: computed edges of the trace run between its features", "edges"),
    prop("edges_kept", "int",
         "circuit: those of them that connect it, the strongest of every feature", "edges"),
    RUN,
), color="#B5179E")

_CONTROL = NodeType("Control", "A control that could refute the edges of one layer pair.", (
    prop("name", "str", "caption"),
    prop("control", "str",
         "zero_edit, random_direction, feature_swap, direct, direction_null, split_half, context;"
         " of a null run: permuted, rotated; imported: sign_flip, and random_per_position (a new"
         " direction at every position of every cell, no control of specificity)"),
    prop("source_layer", "int", "layer of the edit"),
    prop("target_layer", "int", "layer measured"),
    prop("sources", "int", "source features in the sample"),
    prop("edges", "int",
         "edges of the same sources, calibrated rule; direction_null: computed edges of all"
         " sources"),
    prop("carried", "int", "direction_null: carried edges of all sources", "edges"),
    prop("generic", "int", "direction_null: generic edges of all sources", "edges"),
    prop("draws", "int", "direction_null: random directions drawn", "directions"),
    prop("expected_false", "float",
         "direction_null: computed edges that held-out random directions give at the same"
         " threshold", "edges"),
    prop("sigma_ratio", "float",
         "direction_null: spread over random directions that were drawn for the source itself /"
         " spread of the pooled null, median over pairs", "ratio"),
    prop("sigma_ratio_low", "float", "the same, 5 % quantile", "ratio"),
    prop("sigma_ratio_high", "float", "the same, 95 % quantile", "ratio"),
    prop("control_edges", "int", "edges of the control, same rule and same p threshold"),
    prop("edges_legacy", "int", "edges of the same sources, legacy rule"),
    prop("control_edges_legacy", "int", "edges of the control, legacy rule"),
    prop("max_abs_effect", "float", "largest |effect| of the control"),
    prop("found", "int",
         "split_half: effects of the sampled sources with p <= 0.01 in one half of the cells that"
         " the other half can test"),
    prop("agreement", "float",
         "split_half: share of `found` with the same sign and p <= 0.05 in the other half, at most"
         " 0.025 by chance; direct: correlation of total and direct effect on pre-activations;"
         " context: correlation of d with exact"),
    prop("relative_size", "float",
         "median over the edges of |mean effect of the control| / |mean effect|, per source",
         "ratio"),
    prop("larger_share", "float",
         "share of the edges with a larger mean effect than the control on the same target",
         "share"),
    prop("context", "str", "context: the one that was audited against exact"),
    prop("precision", "float",
         "context: share of its edges that are edges of the exact context", "share"),
    prop("recall", "float", "context: share of the exact context's edges that it finds", "share"),
    prop("cross_share", "float",
         "context: share of the exact effect that goes through positions that it keeps clean",
         "share"),
    RUN,
), color="#8D99AE")

_READOUT = NodeType("Readout", "What steering is read by: one number a cell.", (
    prop("name", "str", "caption: own_genes, state_shift, pseudotime, fate:..., ..."),
    prop("readout", "str",
         "own genes, state shift, markers, pseudotime, fate, type, or loss"),
    prop("unit", "str", "unit of a change"),
    prop("definition", "str", "how it is computed"),
    prop("measure", "str", "of a probe: R2, AUC, or balanced accuracy"),
    prop("accuracy", "float",
         "of a probe: the measure on held-out groups, or held-out cells where none were given"),
    prop("baseline", "float", "of a probe: mean of the same measure with shuffled labels"),
    P,
    prop("probe_cells", "int", "cells it was fitted on, none of them steered", "cells"),
    prop("probe_groups", "int", "groups held out together; 0: single cells", "groups"),
    RUN,
), color="#F4A261")

_FINDING = NodeType(
    "Finding", "What one analysis of a run found, in words; `id` is run/name.", (
    prop("name", "str", "name of the finding, such as coherence; its files are named so"),
    prop("verb", "str", "command of its run"),
    prop("position", "int", "place among the findings of its run, from 0"),
    prop("title", "str", "caption: heading in the report"),
    prop("sentence", "str", "the reading, with its null; or why nothing could be tested"),
    prop("null_text", "str", "how the null was drawn and how often"),
    prop("numbers", "str", "its numbers, JSON; the frame is in the run's folder"),
    prop("p", "float", "p of the finding where one p states it; otherwise in `numbers`",
         "probability"),
    RUN,
), caption="title", color="#6D597A")

NODES: dict[str, NodeType] = {
    node.label: node
    for node in (
        _MODEL, _DICTIONARY, _FEATURE, _GENE, _TERM, _GENE_SET_LIBRARY, _MODULE, _CELL_TYPE,
        _TISSUE, _PERTURBATION, _COHORT, _RUN, _INTERVENTION, _CONTROL, _READOUT,
        _FINDING,
    )
}
