"""The relationship types, their ends and their properties."""
# fmt: off

from __future__ import annotations

from scircuit.core.schema.edge_properties import (
    ACTIVE_IN_PROPERTIES,
    AFFECTS_PROPERTIES,
    CONTROL_PROPERTIES,
)
from scircuit.core.schema.feature_properties import FOUND_PROPERTIES
from scircuit.core.schema.property import RUN, P, Q, RelationshipType, prop

_BETWEEN_FEATURES = (
    RelationshipType("Feature", "AFFECTS", "Feature",
        "Ablating the source changes the target: one record per source, target and run. n_zero,"
        " Hedges' g and the consistencies are derived in queries.",
        AFFECTS_PROPERTIES),
    RelationshipType("Feature", "CONTROL_AFFECTS", "Feature",
        "Effect on the target when the control replaces the source, for the sampled sources: one"
        " record per source, target, run and control, stored by the same rule as AFFECTS and for"
        " every calibrated edge of the source.",
        CONTROL_PROPERTIES),
    RelationshipType("Feature", "ATTRIBUTES_TO", "Feature", "Transcoder attribution.", (
        RUN,
        prop("weight", "float",
             "invariant weight; in an imported graph of one input the direct effect, summed over"
             " pairs of positions"),
        prop("mean", "float", "mean of the dependent factor"),
        prop("share", "float", "share of cells"),
        prop("count", "int", "tokens; in an imported graph pairs of positions"),
    )),
    RelationshipType("Feature", "CO_OCCURS", "Feature",
        "Active at the same positions more often than chance.", (
        RUN,
        prop("pmi", "float", "pointwise mutual information", "bits"),
        prop("count", "int", "positions"),
        prop("method", "str", "how counted"),
        prop("rank", "int",
             "1 is the strongest of the source, where only the strongest were published"),
    )),
    RelationshipType("Feature", "SAME_GENES", "Feature",
        "The two features fire on the same genes: other layers, or another model.", (
        RUN,
        prop("overlap", "float", "weighted Jaccard overlap of the two lists of top genes", "share"),
        prop("shared", "int", "shared top genes", "genes"),
        P,
        Q,
    )),
    RelationshipType("Feature", "OF", "Dictionary", "The feature is a latent of the dictionary."),
    RelationshipType("Dictionary", "NEXT", "Dictionary",
        "The second dictionary of a set reads the next layer."),
)

_GENES_AND_TERMS = (
    RelationshipType("Feature", "LOADS_ON", "Gene", "The feature fires on tokens of this gene.", (
        RUN,
        prop("rank", "int", "1 is the gene with the highest mean activation"),
        prop("mean_activation", "float", "mean activation over firings", "dictionary units"),
        prop("fire_count", "int", "positions", "positions"),
    )),
    RelationshipType("Feature", "ENRICHED_FOR", "Term",
        "The feature's top genes are over-represented in the term.", (
        RUN,
        P,
        Q,
        prop("q_feature", "float",
             "Benjamini-Hochberg over every term for this feature alone", "probability"),
        prop("q_layer", "float",
             "Benjamini-Hochberg over every feature x every term of the layer", "probability"),
        prop("q_calibrated", "float",
             "q of a feature whose best term has this p, against random lists matched to the"
             " feature", "probability"),
        prop("odds_ratio", "float",
             "sample odds ratio, 0.5 added to each cell; as published where imported"),
        prop("odds_infinite", "bool", "the published odds ratio is infinite"),
        prop("activation", "int", "TRRUST: shared targets that the TF activates", "genes"),
        prop("repression", "int", "TRRUST: shared targets that the TF represses", "genes"),
        prop("overlap", "int", "shared genes", "genes"),
        prop("term_genes", "int",
             "genes of the term in the background of this test, which may hold fewer than the"
             " library lists", "genes"),
        prop("listed_genes", "int", "genes of the feature's list in that background", "genes"),
        prop("background_genes", "int", "genes of the background of this test", "genes"),
        prop("genes", "str[]", "shared gene symbols"),
        prop("library", "str", "library of the term"),
        prop("test", "str", "hypergeometric, weighted, or as published"),
        prop("origin", "str", "own or published"),
    )),
    RelationshipType("Gene", "MEMBER_OF", "Term",
        "The gene belongs to the gene set. Only genes that some feature lists are stored, so that"
        " counting them gives less than the term: `Term.size` has the genes in its file,"
        " `Term.size_in_background` and `ENRICHED_FOR.term_genes` those that were tested.", (
        prop("origin", "str",
             "library; closure (by a child term); reconstructed (from published overlaps)"),
    )),
    RelationshipType("Term", "IS_A", "Term", "The first term is a kind of the second."),
    RelationshipType("Feature", "MEMBER_OF", "Module",
        "The feature belongs to the module.", (RUN,)),
    RelationshipType("Gene", "REGULATES", "Gene",
        "A library of regulons, such as TRRUST: the first gene is a transcription factor of the"
        " second.", (
        prop("library", "str", "library of regulons; each keeps its own records"),
        prop("mode", "str", "Activation, Repression, Unknown, or Both"),
        prop("pmids", "str[]", "PubMed ids"),
    ), key=("library",)),
    RelationshipType("Term", "MEMBER_OF", "GeneSetLibrary", "The term comes from the library."),
)

_CELLS_AND_PERTURBATIONS = (
    RelationshipType("Feature", "ACTIVE_IN", "CellType",
        "The feature fires more in this cell type.", (RUN, *ACTIVE_IN_PROPERTIES)),
    RelationshipType("Feature", "ACTIVE_IN", "Tissue",
        "The feature fires more in this tissue.", (RUN, *ACTIVE_IN_PROPERTIES)),
    RelationshipType("Feature", "RESPONDS_TO", "Perturbation",
        "The feature changes under the perturbation.", (
        RUN,
        prop("effect", "float", "mean change"),
        prop("low", "float", "95 % interval"),
        prop("high", "float", "95 % interval"),
        prop("cells", "int", "cells"),
        prop("controls", "int", "control cells"),
        prop("control_firings", "int",
             "positions of the control cells where the feature fires", "positions"),
        prop("degenerate", "bool",
             "the published effect divides by a standard deviation near zero: too few firings in"
             " the controls"),
    )),
)

_INTERVENTIONS = (
    RelationshipType("Feature", "PART_OF", "Intervention",
        "The feature was changed in the intervention.", (
        RUN,
        prop("role", "str", "A, B, C for ablations; steered"),
        prop("coefficient", "float", "factor on its activation"),
    )),
    RelationshipType("Intervention", "SHIFTED", "Feature", "The intervention moved this feature.", (
        RUN,
        prop("dose", "float", "coefficient - 1"),
        prop("effect", "float", "mean joint effect, or mean change"),
        prop("interaction", "float", "mean interaction contrast: joint - sum of singles"),
        prop("low", "float", "95 % interval of the effect or interaction"),
        prop("high", "float", "95 % interval"),
        P,
        Q,
    )),
    RelationshipType("Intervention", "SHIFTED", "Gene",
        "Steering moved the logit of this gene.", (
        RUN,
        prop("dose", "float", "coefficient - 1"),
        prop("effect", "float", "mean logit change", "logits"),
        prop("low", "float", "95 % interval"),
        prop("high", "float", "95 % interval"),
        P,
        Q,
    )),
)

_PROVENANCE = (
    RelationshipType("Intervention", "FROM", "Run", "Provenance."),
    RelationshipType("Control", "FROM", "Run", "Provenance."),
    RelationshipType("Run", "FROM", "Run", "This run was computed from that run."),
    RelationshipType("Run", "FOUND", "Feature",
        "What this run found out about the feature. The newest values are on the feature too; these"
        " stay when another run of the same verb follows. Loading a run's features writes them.",
        FOUND_PROPERTIES),
    RelationshipType("Run", "USED", "Model", "Input of the run."),
    RelationshipType("Run", "USED", "Dictionary", "Input of the run."),
    RelationshipType("Run", "USED", "Cohort", "Input of the run."),
    RelationshipType("Run", "USED", "GeneSetLibrary", "Input of the run."),
    RelationshipType("Dictionary", "OF", "Model", "The dictionary reads this model."),
)

RELATIONSHIPS: dict[str, RelationshipType] = {
    relationship.kind: relationship
    for relationship in (
        *_BETWEEN_FEATURES, *_GENES_AND_TERMS, *_CELLS_AND_PERTURBATIONS, *_INTERVENTIONS,
        *_PROVENANCE,
    )
}

AT_LOAD = frozenset({"Run-FOUND-Feature"})
"""Kinds that no shard holds: loading the ends writes them."""
