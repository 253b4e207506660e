"""Whether a table measured a targeted panel of genes only, and whether that was declared.

A ranked model reads a cell as the order of its genes. Over a panel, or a table cut to its variable
genes, that order is another input than over a transcriptome: what lies between two genes is
missing, and the highest genes of the cell may be. Nothing in the tokens shows it. So a table that
measured few of the model's genes is refused unless this is declared (``panel``), or the model's own
vocabulary is the panel, so that it was trained on nothing else.

Models that bin values are not held to it: they are trained on chosen genes, and in which bin a gene
falls is taken among the genes at hand.
"""

from __future__ import annotations

import math

from scircuit.core.preflight import CheckLine
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

FEW = 2_000  # genes; tables of whole transcriptomes have five times as many, panels mostly fewer
_OWN = 0.9  # share of a model's genes that a table measures if it is the panel of that model
_TENTH = 10


def check_panel(measured: int, vocabulary: Vocabulary, declared: bool) -> CheckLine | None:
    """Say what a table of few genes is to the model; None where there is nothing to say.

    Parameters
    ----------
    measured
        Genes of the table that have a token, expressed or not.
    vocabulary
        Genes of the model.
    declared
        Whether the user said that a panel is meant.

    Returns
    -------
    A line that fails for an undeclared panel.
    """
    if vocabulary.bins or measured >= FEW:
        return None
    total = _genes(vocabulary)
    found = f"{measured:,} of the model's {total:,} genes measured"
    if is_own_panel(measured, vocabulary):
        return CheckLine(
            "panel", True, f"{found}; the model's vocabulary is this panel", "the model's own genes"
        )
    return CheckLine(
        "panel",
        declared,
        f"{found}; declared: genes are ranked among these only, an input that the model was not"
        " trained on"
        if declared
        else f"{found}: a targeted panel, or a table cut to some genes; ranks among these only are"
        " another input than the model was trained on",
        f"a table of all genes ({FEW:,} or more with a token)",
        "give the table of all genes; if there is none, declare the panel with --panel, or train a"
        " model on it whose own vocabulary is the panel",
    )


def is_own_panel(measured: int, vocabulary: Vocabulary) -> bool:
    """Whether the model knows few genes, and the table measured nearly all of them."""
    return not vocabulary.bins and _OWN * _genes(vocabulary) <= measured < FEW


def least_tokens(minimum: int, measured: int, vocabulary: Vocabulary) -> int:
    """Median number of gene tokens that cells need.

    The minimum asked for suits transcriptomes. In the own panel of a model a cell cannot show as
    many genes, and a tenth of the panel is enough.
    """
    if not is_own_panel(measured, vocabulary):
        return minimum
    return min(minimum, math.ceil(measured / _TENTH))


def _genes(vocabulary: Vocabulary) -> int:
    return len(vocabulary) - len(vocabulary.specials)
