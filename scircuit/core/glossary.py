"""The terms of this project: what each means and by which words it is found in texts.

``docs/glossary.md``, the report and the Browser guide use this one declaration. The words are those
of the field; nothing here defines a second name for the same thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One term of the glossary.

    Attributes
    ----------
    name
        The term, as it is written in texts.
    meaning
        Its definition: one or two sentences in plain text.
    words
        Regular expression of the words by which it is found; empty: the name, also in the plural.
    also
        Names of related terms.
    """

    name: str
    meaning: str
    words: str = ""
    also: tuple[str, ...] = ()

    def occurs_in(self, text: str) -> bool:
        """Whether a text uses the term."""
        pattern = self.words or rf"\b{re.escape(self.name)}s?\b"
        return re.search(pattern, text, re.IGNORECASE) is not None


PAGE = "https://github.com/scircuit/scircuit/blob/main/docs/glossary.md"
"""Where the whole glossary is."""

# What is looked at, then how an effect is measured, then its statistics, controls and biology.
TERMS: tuple[Term, ...] = (
    Term(
        "feature",
        "One latent of a sparse dictionary at one layer of one model. It has an activation at "
        "every position of a cell, and most of these are zero.",
        also=("dictionary", "address"),
    ),
    Term(
        "dictionary",
        "A sparse autoencoder or transcoder: an encoder, a decoder, a sparsity rule and the "
        "mean it subtracts. It describes the output of one layer, or as a transcoder its MLP.",
        r"\bdictionar(y|ies)\b",
    ),
    Term(
        "transcoder",
        "A dictionary that reads what a layer's feed-forward (MLP) reads, after the norm, and "
        "writes what it adds to the residual stream.",
        r"\btranscoders?\b",
        also=("dictionary", "attribution"),
    ),
    Term(
        "address",
        "The identity of a feature in print: model / set of dictionaries / layer / index, "
        "such as geneformer-v2-316m/k562-x4-k32/L05/F0898.",
    ),
    Term(
        "layer",
        "Layers are counted from 0. Layer l means the output of encoder layer l.",
    ),
    Term(
        "position",
        "One token of a cell: for Geneformer and scGPT, one gene; models of cell sentences spell a "
        "gene by several. Special tokens and words of the prompt are not counted.",
    ),
    Term(
        "activation",
        "The value of a feature at one position, in the units of its dictionary. A feature is "
        "active (it fires) where the activation is above zero.",
        r"\bactivations?\b|_activation\b",
        also=("firing rate",),
    ),
    Term(
        "firing rate",
        "The share of the cohort's gene positions at which a feature is active.",
        r"\bfiring[ _]rates?\b",
        also=("activation",),
    ),
    Term(
        "cohort",
        "The cells that a run uses: chosen by explicit filters, drawn with a seed, recorded "
        "with row numbers, barcodes and composition.",
    ),
    Term(
        "run",
        "One execution of a verb, with its configuration, software versions, seed, device and "
        "the hashes of model, dictionaries and cells. Its id is a hash of configuration and "
        "inputs.",
    ),
    Term(
        "clean pass",
        "The model applied to the unmodified cell. All effects are differences from it.",
        r"\bclean pass\b",
    ),
    Term(
        "ablation",
        "Removing a feature's contribution, its activation times its decoder direction, from "
        "the output of its layer at the positions where it is active.",
        r"\bablat(ion|e|ed|ing)\b|_ablation|ablation_",
        also=("effect",),
    ),
    Term(
        "source",
        "The feature that is ablated.",
        r"\bsource( feature)?s?\b",
        also=("target",),
    ),
    Term(
        "target",
        "A feature of a later layer whose change is measured.",
        also=("source",),
    ),
    Term(
        "effect",
        "The change of a target's activation, or of its pre-activation, when the source is "
        "ablated, averaged over the positions of one cell where the source is active.",
        also=("ablation", "edge", "pre-activation"),
    ),
    Term(
        "pre-activation",
        "The product of a target's encoder with the state, before the sparsity rule sets most "
        "values to zero. Effects on it have a direct and a computed part.",
        r"\bpre-activations?\b",
        also=("direct", "computed"),
    ),
    Term(
        "direct",
        "The part of an effect that the residual stream alone carries: the edit passes with the "
        "output of every block held at its clean value.",
        r"\bdirect\b|_direct\b",
        also=("computed", "carried"),
    ),
    Term(
        "computed",
        "The part of an effect that the blocks computed: the total less the direct effect. A "
        "computed edge has such a part in at least six cells, and it is specific to the "
        "direction of the source: q_computed is at most 0.05.",
        r"\bcomputed (edges?|effects?|part|rule|mean)\b|\bcomputed,|\bcomputed_|_computed\b"
        r"|blocks? computed",
        also=("direct", "direction null", "carried", "generic"),
    ),
    Term(
        "carried",
        "A carried edge is specific in its direct part and not computed: the residual stream "
        "carries the feature on, and no block does anything specific with it.",
        also=("direct", "computed"),
    ),
    Term(
        "generic",
        "A generic edge has an effect that is not zero, and is neither computed nor carried: a "
        "random direction of the same length does as much.",
        also=("computed", "carried", "calibrated"),
    ),
    Term(
        "direction null",
        "The effects of random directions of the same length at the same positions, the same "
        "direction at all positions and in all cells. z is the distance of the feature's own "
        "effect from their mean, in their standard deviations.",
        r"\bdirection[ _]null\b|\bz_(direct|computed)\b|\brandom directions\b",
        also=("expected false", "random direction"),
    ),
    Term(
        "expected false",
        "How many computed edges random directions give at the same threshold. These directions "
        "are held out: they are not among those that set the null.",
        r"\bexpected[ _]false\b",
        also=("direction null", "computed"),
    ),
    Term(
        "context",
        "Which positions are computed again after an ablation. exact: all of them, the total "
        "effect. frozen: only those where the source is active, the local effect. A number m: "
        "those and the m most affected others.",
        r"\bcontexts?\b",
        also=("audit",),
    ),
    Term(
        "edge",
        "A source, a target and the statistics of the effect over cells. In the graph: AFFECTS.",
        r"\bedges?\b|AFFECTS",
        also=("computed", "carried", "generic", "calibrated", "legacy"),
    ),
    Term(
        "support",
        "Ablating the source lowers the target (mean < 0): the source supports the target.",
        r"\bsupports?\b|support_share",
        also=("suppress",),
    ),
    Term(
        "suppress",
        "Ablating the source raises the target (mean > 0): the source suppresses the target.",
        r"\bsuppress(es)?\b",
        also=("support",),
    ),
    Term(
        "d",
        "Mean effect divided by its standard deviation over cells. It says how steady an "
        "effect is, not how large.",
        r"(?<![\w'|])\|?d\|?(?![\w'(])",
    ),
    Term(
        "p",
        "Two-sided sign-flip p value of an effect: how often random signs of the cells' "
        "effects give a mean at least as large. With k cells it is at least 2^(1-k).",
        r"\bp\b( value)?",
        also=("q",),
    ),
    Term(
        "q",
        "False discovery rate by Benjamini-Hochberg, over all tests of the family that is "
        "named with it. For an edge: all live tests of the run with an effect in at least six "
        "cells.",
        r"\bq( value)?\b|_q\b|\bq_",
        also=("p", "live test"),
    ),
    Term(
        "live test",
        "A pair of source and target with an effect above the numeric floor in at least one cell.",
        r"\blive[ _]tests?\b",
        also=("numeric floor",),
    ),
    Term(
        "numeric floor",
        "Effects up to this size count as zero. It is at least the largest effect of the zero "
        "edit, which is rounding.",
        r"\bnumeric floor\b",
        also=("zero edit",),
    ),
    Term(
        "calibrated",
        "The edge rule that compares an effect with zero: q at most 0.05, a non-zero effect in at "
        "least six cells, and a mean effect of at least a thousandth of the target's mean "
        "activation. Of an annotation: judged against random gene lists matched to the feature.",
        r"\bcalibrated\b|_calibrated",
        also=("generic", "legacy", "q"),
    ),
    Term(
        "legacy",
        "The published edge rule, |d| > 0.5 and more than 70 % of the cells on one side. It "
        "is offered for replication only.",
        r"\blegacy\b|_legacy",
        also=("calibrated",),
    ),
    Term(
        "halves",
        "In how many of two fixed halves of the cells an edge has the same sign and p at most "
        "0.05. The edge was chosen on all cells, so this is a stricter rule and not a "
        "replication.",
        r"\bhalves\b|\bhalf\b|split_half",
        also=("control",),
    ),
    Term(
        "control",
        "A measurement that could refute a result: the zero edit, a random direction, a "
        "feature swap, the direction null, and split halves of the cells.",
        r"\bcontrols?\b",
        also=("zero edit", "random direction", "feature swap", "direction null", "halves"),
    ),
    Term(
        "zero edit",
        "The same computation with an edit of zero. Its result shows the rounding error.",
        r"\bzero[ _]edit\b",
        also=("numeric floor",),
    ),
    Term(
        "random direction",
        "An edit of equal length in a random direction, at the same positions, fixed over cells.",
        r"\brandom (direction|ablation)s?\b|random_d",
        also=("control",),
    ),
    Term(
        "feature swap",
        "An edit of equal length along the direction of another feature, at the same positions.",
        r"\bswap(_|\b)",
        also=("control",),
    ),
    Term(
        "audit",
        "A comparison of a run that is not exact with exact tracing of a random sample of its "
        "sources: precision, recall and correlation for each pair of layers.",
        r"\baudit\b|\bprecision\b|\brecall\b",
        also=("context",),
    ),
    Term(
        "out-degree",
        "The number of edges that leave a feature.",
        r"\bout[-_]degrees?\b",
        also=("hub",),
    ),
    Term(
        "hub",
        "A feature with more outgoing edges than its firing rate explains. Hubs are ranked by "
        "the residual of the out-degree (hub_rank).",
        r"\bhubs?\b|hub_rank",
        also=("out-degree",),
    ),
    Term(
        "module",
        "A group of features that a method put together; its source is named in the run.",
    ),
    Term(
        "interaction",
        "The effect of ablating several features together less the sum of their single effects.",
        r"\binteractions?\b",
        also=("interaction contrast",),
    ),
    Term(
        "interaction contrast",
        "The part of a joint effect that no smaller set of the features explains: of two the "
        "joint effect less the single ones, of three less those of the pairs as well. It is "
        "taken in each cell and tested against 0.",
        r"\bcontrasts?\b",
        also=("interaction",),
    ),
    Term(
        "steering",
        "Multiplying a feature's activation by a coefficient and measuring the change of the "
        "model's output. The dose is the coefficient minus 1.",
        r"\bsteer(ing|ed)?\b|steering_",
        also=("clamp", "readout"),
    ),
    Term(
        "clamp",
        "Setting a feature's activation to a fixed value, in units of its mean where it is active.",
        r"\bclamp(ed|ing|s|-all)?\b",
        also=("steering",),
    ),
    Term(
        "readout",
        "What steering is measured by: one number a cell, such as the loss of masked genes, the "
        "logits of a set of genes, or the value of a probe.",
        also=("probe", "steering"),
    ),
    Term(
        "probe",
        "A linear model that reads a property of cells, such as type or pseudotime, from the "
        "model's last state. It is fitted on other cells, and its accuracy on cells it has not "
        "seen stands beside it.",
        also=("readout",),
    ),
    Term(
        "behaviour circuit",
        "The smallest set of features found that keeps a stated share of a behaviour, such as "
        "the prediction of a gene set, when all other features are held at their means.",
        r"\bbehaviou?r circuits?\b|\bcircuits? of (a|the) behaviour\b",
        also=("sufficiency", "necessity"),
    ),
    Term(
        "sufficiency",
        "The share of a behaviour that a circuit keeps when every other feature is held at its "
        "mean.",
        r"\bsufficien(cy|t)\b",
        also=("behaviour circuit",),
    ),
    Term(
        "necessity",
        "The share of a behaviour that is lost when the circuit alone is held at its means.",
        r"\bnecess(ity|ary)\b",
        also=("behaviour circuit",),
    ),
    Term(
        "top genes",
        "The genes with the highest mean activation of a feature, among those with enough firings.",
        r"\btop[ _]genes\b",
    ),
    Term(
        "background",
        "The genes that could have been found: those the model can see and the cells express.",
    ),
    Term(
        "term",
        "A named gene set of a library, such as a GO process, a Reactome pathway or the "
        "targets of a transcription factor.",
        also=("library",),
    ),
    Term(
        "library",
        "A collection of gene sets from one source: GO, Reactome, TRRUST or a file of yours.",
        r"\blibrar(y|ies)\b",
    ),
    Term(
        "label",
        "The name of the term with the smallest calibrated q of a feature.",
        r"\blabels?\b|label_",
        also=("term",),
    ),
    Term(
        "published",
        "As an imported source states it. It is kept beside what this project computes and is "
        "never merged with it.",
        r"\bpublished\b|published_",
        also=("imported",),
    ),
    Term(
        "imported",
        "Read from published results or from files of other tools, as a run of its own. The "
        "run lists what its source does not contain.",
        r"\bimport(ed)?\b",
        also=("published",),
    ),
    Term(
        "attribution",
        "What a feature of a transcoder adds to a later one's pre-activation, exactly, with "
        "attention patterns, norms and MLP outputs held at their clean values. It says what a "
        "value is made of; ablation says what happens without it.",
        r"\battribut(ions?|e|ed)\b|attribution_",
        also=("transcoder", "ablation"),
    ),
    Term(
        "null",
        "What would be found if nothing but chance were at work, for instance random gene "
        "lists that match a feature in how often its genes are detected.",
        r"_null\b|null_|random (gene )?lists?",
    ),
)
