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
    RelationshipType("Feature", "ATTRIBUTES_TO", "Feature",
        "What the source adds to the target's pre-activation, with attention patterns, norms and"
        " MLP outputs held at their clean values: one record per source, target and run, over"
        " cells. Its sign is that of the contribution; ablation takes it away.", (
        RUN,
        prop("weight", "float",
             "mean over the n cells of what the source adds in a cell: summed over its positions,"
             " averaged over the gene positions where the target fires; in an imported graph of one"
             " input the direct effect, summed over pairs of positions",
             "dictionary units of the target"),
        prop("sd", "float", "standard deviation of that over the n cells (n - 1)",
             "dictionary units of the target"),
        prop("n", "int", "cells in which the target fires and the source adds something", "cells"),
        prop("n_pos", "int", "cells in which the source adds to the target", "cells"),
        prop("n_neg", "int", "cells in which the source takes from the target", "cells"),
        prop("p", "float", "two-sided sign-flip p over the n cells", "probability"),
        prop("q", "float",
             "Benjamini-Hochberg of `p` over all pairs of the run that contribute in any cell, also"
             " those that are not stored", "probability"),
        prop("same_token", "float",
             "part of `weight` that comes from the target's own position, by all paths",
             "dictionary units of the target"),
        prop("invariant", "float",
             "input-invariant factor of the same-token path: the source's decoder along the"
             " target's encoder, seen through the norm before it"),
        prop("factor", "float",
             "input-dependent factor of that path, activation over sigma of the norm, averaged over"
             " the gene positions where the target fires; `invariant` times `factor` is what the"
             " residual stream alone carries from the same token"),
        prop("count", "int", "pairs of positions"),
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
    RelationshipType("Gene", "PREDICTS", "Gene",
        "Edges lead from features of the first gene to features of the second, by effects beyond"
        " those of permuted gene lists. What a library states is in REGULATES.", (
        RUN,
        prop("score", "float",
             "weighted mean of the signed strength of the edges; above 0 the first gene supports"
             " the second: losing it lowers the second"),
        prop("edges", "int", "edges between a feature of each", "edges"),
        prop("z", "float", "summed effects in standard deviations under permuted gene lists"),
        Q,
        prop("known", "str", "mode of the pair in the library of regulons; null where it has none"),
        prop("strongest_source", "str", "address of the source of the edge that says most"),
        prop("strongest_target", "str", "address of its target"),
        prop("observed", "float",
             "change of the second gene where the first is knocked out in the screen of the run",
             "log2 ratio"),
        prop("observed_q", "float", "q of that change", "probability"),
    )),
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
        prop("role", "str",
             "A, B, C for ablations; steered; hub, matched or random for importance; circuit"),
        prop("coefficient", "float", "factor on its activation"),
        prop("score", "float",
             "circuit: share of the behaviour attributed to the feature by integrated gradients, or"
             " lost when it alone is at its mean", "share"),
        prop("position", "int", "circuit: 1 is the feature that is kept first"),
        prop("leads_to", "str",
             "circuit: the feature of the circuit that its strongest computed edge leads to"),
    )),
    RelationshipType("Intervention", "SHIFTED", "Feature", "The intervention moved this feature.", (
        RUN,
        prop("dose", "float", "coefficient - 1"),
        prop("effect", "float", "mean joint effect, or mean change"),
        prop("interaction", "float",
             "mean interaction contrast of the features of the intervention: of two joint - sum of"
             " singles"),
        prop("low", "float", "95 % interval of the effect or interaction"),
        prop("high", "float", "95 % interval"),
        P,
        Q,
        prop("order", "int", "ablate: features of the contrast; q is over all tests of an order"),
        prop("computed", "float",
             "ablate: mean contrast of the computed part of effects on the pre-activation"),
        prop("computed_low", "float", "95 % interval of `computed`, lower"),
        prop("computed_high", "float", "95 % interval of `computed`, upper"),
        prop("p_computed", "float", "sign-flip p of `computed` over cells", "probability"),
        prop("q_computed", "float", "Benjamini-Hochberg q of `p_computed`", "probability"),
    )),
    RelationshipType("Intervention", "SHIFTED", "Readout",
        "Steering changed this readout, mean over cells.", (
        RUN,
        prop("dose", "float",
             "coefficient - 1; of clamped features the mean change in units of the mean active"
             " value", "doses"),
        prop("effect", "float", "mean change", "unit of the readout"),
        prop("low", "float", "95 % interval over cells"),
        prop("high", "float", "95 % interval over cells"),
        P,
        Q,
        prop("control", "float", "mean over random directions of equal norm"),
        prop("control_sd", "float", "spread over the random directions"),
        prop("matched", "float", "the direction of the feature that fires as often"),
        prop("cells", "int", "cells with a value", "cells"),
        prop("closed_form", "bool",
             "the last layer is steered and the readout is a probe of its states: fixed by weights,"
             " nothing propagates, and nothing is tested over cells"),
    )),
    RelationshipType("Feature", "STEERS", "Readout",
        "Slope of the readout on the dose when the feature is steered.", (
        RUN,
        prop("slope", "float", "mean over cells", "unit of the readout per dose"),
        prop("low", "float", "95 % interval over cells"),
        prop("high", "float", "95 % interval over cells"),
        P,
        prop("q", "float",
             "Benjamini-Hochberg q of `p`, the sign-flip p over cells, over all features and"
             " readouts of the run: whether the cells agree, as they do for almost any direction;"
             " whether the feature is special is `p_random`", "probability"),
        prop("p_random", "float",
             "(1 + random directions with a slope at least as large) / (1 + random directions)",
             "probability"),
        prop("above_random", "bool",
             "the absolute slope is above that of every random direction; null without any"),
        prop("control", "float", "root mean square slope of the random directions"),
        prop("matched", "float", "slope of the direction of the feature that fires as often"),
        prop("cells", "int", "cells", "cells"),
        prop("closed_form", "bool", "as in SHIFTED: fixed by weights, not tested over cells"),
    )),
    RelationshipType("Intervention", "SHIFTED", "Gene",
        "Steering moved the logit of this gene.", (
        RUN,
        prop("dose", "float", "coefficient - 1"),
        prop("effect", "float", "mean logit change", "logits"),
        prop("low", "float", "95 % interval"),
        prop("high", "float", "95 % interval"),
        P,
        prop("q", "float",
             "Benjamini-Hochberg q of `p` over the genes of this condition, not over the run",
             "probability"),
    )),
)

_PROVENANCE = (
    RelationshipType("Intervention", "FROM", "Run", "Provenance."),
    RelationshipType("Control", "FROM", "Run", "Provenance."),
    RelationshipType("Finding", "FROM", "Run", "The run that computed the finding."),
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
