"""Whether a table measured a targeted panel of genes only, and whether that was declared.

A ranked model reads a cell as the order of its genes. Over a panel, or a table cut to its variable
genes, that order is another input than over a transcriptome: what lies between two genes is
missing, and the highest genes of the cell may be. Nothing in the tokens shows it. So a table that
measured fewer than 2,000 of the model's genes is refused unless this is declared (``panel``), or
the model's own vocabulary is the panel, so that it was trained on nothing else. So is a table of
less than a third of the model's genes that shows by itself that it was cut: every gene is marked as
highly variable, or the cells had more genes or counts when they were counted. Without such a mark a
thin table cannot be told from a cut one, and below two thirds this is said. (Tables of whole
transcriptomes hold 65 to 90 % of the genes, the 2,000 to 5,000 most variable 10 to 25 %.)

Models that bin values are not held to it: they are trained on chosen genes, and in which bin a gene
falls is taken among the genes at hand.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.preflight import CheckLine
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

FEW = 2_000  # genes; tables of whole transcriptomes have five times as many, panels mostly fewer
_OWN = 0.9  # share of a model's genes that a table measures if it is the panel of that model
_TENTH = 10
_CUT, _THIN = 1 / 3, 2 / 3  # shares of the model's genes: refused if cut, and said
_MARKS = ("highly_variable", "vst.variable", "is_hvg", "hvg")
_GENES = ("n_genes_by_counts", "n_genes", "nFeature_RNA", "n_features", "nfeatures")
_COUNTS = ("total_counts", "n_counts", "nCount_RNA", "n_umi", "nUMI")
_MORE_GENES, _MORE_COUNTS = 1.5, 1.25  # times what the table holds, in half of the cells


def check_panel(
    measured: int, vocabulary: Vocabulary, declared: bool, cut: str = ""
) -> CheckLine | None:
    """Say what a table of few genes is to the model; None where there is nothing to say.

    Parameters
    ----------
    measured
        Genes of the table that have a token, expressed or not.
    vocabulary
        Genes of the model.
    declared
        Whether the user said that a panel is meant.
    cut
        How the table shows that genes were chosen from it (`selection`), or empty.

    Returns
    -------
    A line that fails for an undeclared panel.
    """
    total = _genes(vocabulary)
    share = measured / max(total, 1)
    if vocabulary.bins or (measured >= FEW and share >= _THIN):
        return None
    found = f"{measured:,} of the model's {total:,} genes measured"
    if is_own_panel(measured, vocabulary):
        return CheckLine(
            "panel", True, f"{found}; the model's vocabulary is this panel", "the model's own genes"
        )
    expected = f"a table of all genes ({FEW:,} or more with a token)"
    if measured >= FEW and not (cut and share < _CUT):
        return CheckLine(
            "genes measured",
            True,
            f"warning: {found} ({share:.0%}); if genes were chosen for this table, their ranks are"
            " another input than the model was trained on: give the table of all genes",
            f"at least {_THIN:.0%} of the model's genes",
        )
    if measured >= FEW:
        why = f"{found} ({share:.0%}), and the table was cut to some genes: {cut}"
        expected = f"a table of all genes (below {_CUT:.0%} of the model's, a cut table is refused)"
    else:
        why = f"{found}: a targeted panel, or a table cut to some genes" + (f" ({cut})" * bool(cut))
    return CheckLine(
        "panel",
        declared,
        f"{found}; declared: genes are ranked among these only, an input that the model was not"
        " trained on"
        if declared
        else f"{why}; ranks among these only are another input than the model was trained on",
        expected,
        "give the table of all genes; if there is none, declare the panel with --panel, or train a"
        " model on it whose own vocabulary is the panel",
    )


def selection(var: pd.DataFrame, obs: pd.DataFrame, counts: sparse.csr_matrix, stored: bool) -> str:
    """How a table shows that its genes were chosen from more; empty where it does not.

    Parameters
    ----------
    var, obs
        Of the genes and of the cells, in the order of `counts`.
    counts
        Counts, [cells, genes].
    stored
        Whether they are counts as stored, so that their sums can be compared.
    """
    for name in _MARKS:
        marked = name in var and len(var) and pd.api.types.is_bool_dtype(var[name].dtype)
        if marked and bool(var[name].all()):
            return f"var[{name!r}] is true for every gene"
    held: list[tuple[tuple[str, ...], np.ndarray, float, str]] = [
        (_GENES, counts.getnnz(axis=1), _MORE_GENES, "genes")
    ]
    if stored:
        sums = np.asarray(counts.sum(axis=1)).ravel()
        held.append((_COUNTS, sums, _MORE_COUNTS, "counts"))
    for names, here, more, what in held:
        for name in names:
            if name not in obs or not pd.api.types.is_numeric_dtype(obs[name].dtype):
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                times = obs[name].to_numpy(dtype=float, na_value=np.nan) / here
            if np.isfinite(times).all() and float(np.median(times)) >= more:
                return (
                    f"obs[{name!r}] gives the cells {np.median(times):.1f} times the {what} that"
                    " are in the table"
                )
    return ""


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
