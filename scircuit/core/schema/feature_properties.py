"""Properties of ``Feature``: what trace, annotate, analyse, ablate and steer find out about it, and
what an imported atlas states.
"""
# fmt: off

from __future__ import annotations

from scircuit.core.schema.property import Property, prop

# An annotate run writes these as one block: a record with `annotation_run` also removes the values
# of an earlier run that it does not replace.
ANNOTATION_PROPERTIES: tuple[Property, ...] = (
    prop("annotation_run", "str", "annotate run that wrote the label and the properties after it"),
    prop("top_genes", "str[]",
         "symbols of the genes with the highest mean activation among those with enough firings"),
    prop("label", "str",
         "name of the term with the smallest calibrated q; absent where no term passed"),
    prop("label_library", "str", "library of `label`"),
    prop("label_q", "float", "calibrated q of `label`", "probability"),
    prop("label_null", "float",
         "p of its best term among random lists matched to it: (1 + lists as good) / (1 + lists);"
         " where no list is as good, a bound on the share of such lists: the number of terms as"
         " good that one is expected to have, if that is smaller",
         "probability"),
    prop("label_ties", "int", "further terms that tie with `label` in every criterion", "terms"),
    prop("annotated", "bool", "has at least one term at the run's q threshold"),
    prop("terms", "int", "number of terms at the run's q threshold", "terms"),
    prop("annotatable_genes", "int", "top genes that occur in at least one term", "genes"),
    prop("best_tf", "str", "transcription factor whose targets are most enriched in the top genes"),
    prop("best_tf_q", "float", "q of `best_tf`", "probability"),
    prop("tf_share", "float", "share of the top genes that are transcription factors", "share"),
    prop("tf_share_q", "float",
         "q of the test for more transcription factors among the top genes than in the background",
         "probability"),
    prop("tf_library", "str", "library of regulons that `best_tf` and `tf_share` come from"),
)

# Identity, and the clean pass of a trace run.
_TRACED: tuple[Property, ...] = (
    prop("name", "str", "caption: layer, index and label, such as `L05/F0898 DNA repair`"),
    prop("model", "str", "name of the model", indexed=True),
    prop("dictionary", "str", "id of the dictionary: model/set/layer"),
    prop("layer", "int", "0-based encoder layer whose output the dictionary reads", indexed=True),
    prop("index", "int", "0-based index of the latent in the dictionary"),
    prop("activation_run", "str",
         "trace run that wrote the firing rate and the properties after it, up to `context`"),
    prop("firing_rate", "float",
         "share of the cohort's gene positions where the feature is active", "share"),
    prop("cells_active", "int", "cells of the cohort with at least one active position", "cells"),
    prop("mean_activation", "float", "mean activation over active positions", "dictionary units"),
    prop("traced", "bool", "was this feature ablated as a source in a trace run"),
    prop("context", "str",
         "context in which it was ablated: exact, frozen, or the number of further positions"),
    prop("alive", "bool", "does the feature fire in the cohort at all"),
    prop("fire_count", "int", "positions of those cells where the feature fires", "positions"),
    prop("rare", "bool", "fires at fewer than 100 positions: its statistics rest on few firings"),
)

# As an imported atlas states them; own results have properties of their own.
_PUBLISHED: tuple[Property, ...] = (
    prop("published_label", "str", "label as published"),
    prop("published_library", "str", "library of `published_label`"),
    prop("published_terms", "int",
         "annotation entries as published, untested gene pairs included", "entries"),
    prop("string_density", "float",
         "share of the pairs of top genes that are STRING pairs, as published; not a test",
         "share"),
    prop("trrust_density", "float",
         "share of the pairs of top genes that are TRRUST pairs, as published; not a test",
         "share"),
    prop("svd_aligned", "bool",
         "as published: close to one of the first 50 singular vectors of the activations"),
    prop("layout_x", "float", "position on the published page; it shows module membership only"),
    prop("layout_y", "float", "as `layout_x`"),
    prop("causal_readout", "str",
         "readout of the published causal patching: own-token logit, or norm of the change of the"
         " final state"),
    prop("causal_target", "float", "published mean change at the feature's top genes"),
    prop("causal_other", "float", "published mean change at other genes"),
    prop("causal_ratio", "float",
         "|causal_target| / |causal_other| as published; unbounded where the second is near 0",
         "ratio"),
)

_ANALYSED: tuple[Property, ...] = (
    prop("analysis_run", "str",
         "analysis of a trace run that wrote the degrees, ranks and the properties with them"),
    prop("out_degree", "int", "edges out of the feature, by the rule of its analysis", "edges"),
    prop("in_degree", "int", "edges into the feature, by the rule of its analysis", "edges"),
    prop("out_degree_legacy", "int",
         "edges out by the legacy rule (|d| > 0.5, consistency > 0.7)", "edges"),
    prop("out_degree_by_layer", "int[]",
         "out-degree for each measured layer, in order", "edges"),
    prop("expected_degree", "float", "out-degree expected from the firing rate alone", "edges"),
    prop("residual_degree", "float", "log((out_degree + 1) / (expected_degree + 1))", "log ratio"),
    prop("hub_rank", "int",
         "rank by residual degree among sources, 1 is the strongest hub for its firing rate"),
    prop("degree_rank", "int", "rank by raw out-degree among sources, 1 is the highest"),
    prop("support_share", "float",
         "share of out-edges that are support (ablation lowers the target)", "share"),
    prop("pagerank", "float",
         "PageRank among the features of the run, by the edges of its analysis; damping 0.85",
         "share"),
    prop("pagerank_expected", "float",
         "mean PageRank in graphs with the same degrees for every pair of layers", "share"),
    prop("pagerank_p", "float",
         "p of a PageRank above that of such graphs; absent where none can differ", "probability"),
    prop("pagerank_q", "float",
         "Benjamini-Hochberg q of `pagerank_p` over the features with an edge in", "probability"),
    prop("coherence", "float",
         "share of its out-edges to annotated features whose target shares a term with it that is"
         " not generic", "share"),
    prop("coherence_expected", "float",
         "the same share expected with targets of the same layer, firing rate and number of terms",
         "share"),
    prop("even_degree", "int",
         "effects of the feature with p at most 0.01 in the even cells alone; null where its run"
         " did not measure halves", "effects"),
    prop("odd_degree", "int", "the same in the odd cells", "effects"),
    prop("testable_edges", "int",
         "its out-edges with at least six cells with an effect in each half of the cells",
         "edges"),
    prop("agreeing_edges", "int", "those of them in which both halves agree", "edges"),
    prop("compare_run", "str",
         "comparison of runs that wrote the two properties after it"),
    prop("compared_degree", "int",
         "out-edges of the feature in the compared runs that the other run could have found too",
         "edges"),
    prop("replicated_degree", "int",
         "those of them that the other run has: as an edge of the same sign, or between other"
         " models as an edge between counterparts", "edges"),
    prop("random_degree", "float",
         "calibrated edges when a random direction of equal norm is removed (sampled)", "edges"),
    prop("swap_degree", "float",
         "calibrated edges when another feature's direction is removed instead (sampled)",
         "edges"),
    prop("module", "str", "id of the module the feature belongs to"),
    prop("prediction_run", "str",
         "predict run with disease sets that wrote the two properties after it"),
    prop("disease", "str",
         "disease gene set in which its top genes are most enriched; absent where none passed"),
    prop("disease_q", "float",
         "Benjamini-Hochberg q of that set over all features and sets", "probability"),
)

_INTERVENED: tuple[Property, ...] = (
    prop("ablation_run", "str",
         "ablate run that wrote the properties after it, up to `interactions`"),
    prop("ablation_partners", "int",
         "pairs in which this feature was ablated jointly with another", "pairs"),
    prop("ablation_redundancy", "float",
         "median of |joint effect| / sum of |single effects| over its pairs' targets"),
    prop("ablation_null", "float",
         "the same ratio expected from exactly additive effects on the same cells"),
    prop("strongest_partner", "str",
         "address of the partner with the most significant interaction contrasts"),
    prop("interactions", "int", "significant interaction contrasts over all its pairs", "targets"),
    prop("steering_run", "str", "steer run that wrote the steering properties after it"),
    prop("steering_slope", "float",
         "slope of the readout on the dose (coefficient - 1), mean over cells", "per dose"),
    prop("steering_p", "float", "sign-flip p of the slope over cells", "probability"),
    prop("steering_gene", "str", "symbol of the gene token whose logit rises most per dose"),
    prop("steering_top_genes", "str[]", "gene tokens whose logits rise most per dose"),
    prop("steering_control", "float",
         "size of the same slope for random directions of equal norm (root mean square)",
         "per dose"),
    prop("steering_low", "float", "95 % interval of `steering_slope` over cells, lower",
         "per dose"),
    prop("steering_high", "float", "95 % interval of `steering_slope` over cells, upper",
         "per dose"),
    prop("steering_p_random", "float",
         "(1 + random directions with a slope at least as large) / (1 + random directions)",
         "probability"),
    prop("steering_matched", "float",
         "slope of the same readout for the direction of the feature that fires as often",
         "per dose"),
    prop("steering_state", "str",
         "readout beside the gene logits that steering moves most, in units of what random"
         " directions do; readouts that weights alone fix are left out"),
    prop("steering_state_slope", "float", "dose slope of that readout", "per dose"),
    prop("steering_norm_ratio", "float",
         "norm of the steered states by the 99.9 % quantile of clean norms, at the strongest"
         " condition", "ratio"),
    prop("steering_switch", "str",
         "on: more active in late cells than in early ones; off: less"),
    prop("steering_switch_d", "float",
         "standardised difference of the mean activation a cell, late minus early, on the half of"
         " the probe cells that did not choose it", "SD"),
    prop("importance_run", "str", "importance run that wrote the properties after it"),
    prop("importance", "float",
         "change of the masked-LM loss when the feature is ablated, mean over all cells, those in"
         " which it is not active as zero", "nats per masked gene"),
    prop("importance_p", "float", "sign-flip p of `importance` over cells", "probability"),
    prop("importance_q", "float",
         "Benjamini-Hochberg q of `importance_p` over the features of its run", "probability"),
    prop("importance_cells", "int", "cells of that run in which the feature is active", "cells"),
    prop("attribution_run", "str", "attribute run that wrote the properties after it"),
    prop("attributed", "float",
         "pre-activation that was taken apart: mean over the positions of a cell where the feature"
         " fires, then over cells; the parts after it add up to it", "dictionary units"),
    prop("attribution_edges", "float", "part of `attributed` from the sources of stored edges",
         "dictionary units"),
    prop("attribution_remainder", "float", "part from all other features", "dictionary units"),
    prop("attribution_errors", "float",
         "part from what the transcoders do not reconstruct, and from layers without one",
         "dictionary units"),
    prop("attribution_embeddings", "float", "part from token embeddings", "dictionary units"),
    prop("attribution_biases", "float", "part from biases", "dictionary units"),
    prop("attribution_gap", "float",
         "largest difference of sum and value over the positions, relative to the sum of absolute"
         " contributions: rounding", "ratio"),
)

IDENTITY = ("name", "model", "dictionary", "layer", "index")
"""What every feature has, whichever run writes it first: its address says all of it."""

FEATURE_PROPERTIES: tuple[Property, ...] = (
    *_TRACED, *ANNOTATION_PROPERTIES, *_PUBLISHED, *_ANALYSED, *_INTERVENED,
)

# What one run of a verb finds out about a feature belongs together: a record with the name of its
# run also removes the values of an earlier run that it does not replace.
FINDING_BLOCKS: dict[str, tuple[str, ...]] = {
    "annotation_run": tuple(p.name for p in ANNOTATION_PROPERTIES),
    "activation_run": (
        "activation_run", "firing_rate", "cells_active", "mean_activation", "traced", "context",
        "alive", "random_degree", "swap_degree",
    ),
    "analysis_run": (
        "analysis_run", "out_degree", "in_degree", "out_degree_legacy", "out_degree_by_layer",
        "expected_degree", "residual_degree", "hub_rank", "degree_rank", "support_share",
        "pagerank", "pagerank_expected", "pagerank_p", "pagerank_q",
        "coherence", "coherence_expected", "module",
        "even_degree", "odd_degree", "testable_edges", "agreeing_edges",
    ),
    "prediction_run": ("prediction_run", "disease", "disease_q"),
    "compare_run": ("compare_run", "compared_degree", "replicated_degree"),
    "ablation_run": (
        "ablation_run", "ablation_partners", "ablation_redundancy", "ablation_null",
        "strongest_partner", "interactions",
    ),
    "steering_run": tuple(p.name for p in _INTERVENED if p.name.startswith("steering_")),
    "importance_run": tuple(p.name for p in _INTERVENED if p.name.startswith("importance")),
    "attribution_run": tuple(p.name for p in _INTERVENED if p.name.startswith("attribut")),
}

ALSO_PUBLISHED = frozenset({"module"})
"""Of these blocks what imports state too: a block removes it only where an own run wrote it."""

FOUND_PROPERTIES: tuple[Property, ...] = tuple(
    p for p in FEATURE_PROPERTIES if p.name not in IDENTITY[1:]
)
"""What one run found out about a feature; the caption only where the run has labels."""
