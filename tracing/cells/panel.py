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

Genes may be set to zero instead of cut. Where a mark in var says which genes were kept and the
others hold nothing, these count as not measured. Without a mark, it is said when counts are found
in less than a third of the genes and more cells would show few more.

Models that bin values are not held to it: they are trained on chosen genes, and in which bin a gene
falls is taken among the genes at hand. Models that read sentences know the names of all genes, of
which no table has most; they are held to the genes of Geneformer V2, as many as a table of a whole
transcriptome has.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.preflight import CheckLine
from scircuit.tracing.cells.column_names import named, plain
from scircuit.tracing.tokenisation.vocabulary import Vocabulary, geneformer_v2

FEW = 2_000  # genes; tables of whole transcriptomes have five times as many, panels mostly fewer
_OWN = 0.9  # share of a model's genes that a table measures if it is the panel of that model
_TENTH = 10
_CUT, _THIN = 1 / 3, 2 / 3  # shares of the model's genes: refused if cut, and said
_KEPT, _TAKEN = ("highlyvariable", "hvg", "variablegene", "variablefeature"), "featureisfiltered"
_KEPT_ENDS = ("vstvariable", "mvpvariable", "dispvariable", "countsvariable")  # of Seurat
_GENES = ("n_genes_by_counts", "n_genes", "nFeature_RNA", "n_features", "nGene")
_COUNTS = ("total_counts", "n_counts", "nCount_RNA", "n_umi", "n_umis")
_MORE_GENES, _MORE_COUNTS = 1.5, 1.25  # times what the table holds, in half of the cells
_STRAY = 0.05  # of the genes with counts outside a mark, and of the genes outside with counts
_CELLS, _EXPRESSED = 10, 100  # cells and genes with counts, so that silent genes say something
_ONCE = 0.25  # of the genes with counts are in one cell only: more cells would show more genes


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
    whose = "a transcriptome's" if vocabulary.sentences else "the model's"
    found = f"{measured:,} of {whose} {total:,} genes measured"
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
            f"at least {_THIN:.0%} of {whose} genes",
        )
    if measured >= FEW:
        why = f"{found} ({share:.0%}), and the table was cut to some genes: {cut}"
        expected = f"a table of all genes (below {_CUT:.0%} of {whose}, a cut table is refused)"
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
    for name, kept in _marks(var):
        if len(var) and bool(kept.all()) and plain(name) != _TAKEN:
            return f"var[{name!r}] is true for every gene"
    held: list[tuple[tuple[str, ...], np.ndarray, float, str]] = [
        (_GENES, counts.getnnz(axis=1), _MORE_GENES, "genes")
    ]
    if stored:
        sums = np.asarray(counts.sum(axis=1)).ravel()
        held.append((_COUNTS, sums, _MORE_COUNTS, "counts"))
    for names, here, more, what in held:
        for name in named(obs.columns, names):
            if not pd.api.types.is_numeric_dtype(obs[name].dtype):
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                times = obs[name].to_numpy(dtype=float, na_value=np.nan) / here
            if np.isfinite(times).all() and float(np.median(times)) >= more:
                return (
                    f"obs[{name!r}] gives the cells {np.median(times):.1f} times the {what} that"
                    " are in the table"
                )
    return ""


def set_to_zero(var: pd.DataFrame, counts: sparse.csr_matrix) -> tuple[np.ndarray, str]:
    """Genes that a mark calls taken out and that hold no count, [genes], and how that shows.

    Parameters
    ----------
    var
        Of the genes.
    counts
        Counts, [cells, genes].
    """
    expressed = _expressed(counts) > 0
    for name, kept in _marks(var):
        stray = expressed & ~kept
        if kept.all() or not kept.any() or expressed.sum() < _EXPRESSED:
            continue
        if stray.sum() > _STRAY * expressed.sum() or stray.sum() > _STRAY * (~kept).sum():
            continue
        out = ~kept & ~expressed
        state = "true" if plain(name) == _TAKEN else "false"
        return out, f"var[{name!r}] is {state} for {int(out.sum()):,} genes that hold no count"
    return np.zeros(len(expressed), dtype=bool), ""


def zeroed_line(counts: sparse.csr_matrix, marked: str, vocabulary: Vocabulary) -> CheckLine | None:
    """Say that genes were, or seem, set to zero; None where there is nothing to say.

    Few cells show few of the genes that are there, so genes that are silent in them say nothing.
    Those seen in one cell only tell how many more other cells would show (Chao, 1984).

    Parameters
    ----------
    counts
        Counts, [cells, genes with a token].
    marked
        What a mark says about it (`set_to_zero`), or empty.
    vocabulary
        Genes of the model.
    """
    seen = _expressed(counts)
    cells, measured = len(counts.indptr) - 1, len(seen)
    if vocabulary.bins or measured < FEW:
        return None
    expected = "counts of all genes of the table"
    if marked:
        return CheckLine("silent genes", True, f"{marked}; counted as not measured", expected)
    there, once, twice = (int(n.sum()) for n in (seen > 0, seen == 1, seen == 2))
    likely = there + once * (once - 1) / (2 * (twice + 1))
    if cells < _CELLS or there < _EXPRESSED or once > _ONCE * there or likely >= _CUT * measured:
        return None
    return CheckLine(
        "silent genes",
        True,
        f"warning: only {there:,} of {measured:,} genes with a token have a count in any of"
        f" {cells:,} cells, and more cells would show few more; if the others were set to zero,"
        " ranks are another input than the model was trained on: give counts of all genes",
        expected,
    )


def _marks(var: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Columns that say which genes were kept, and whether each was, [genes]."""
    found = []
    for i, column in enumerate(var.columns):
        name = plain(column)
        taken = name == _TAKEN
        if not taken and not name.endswith(_KEPT_ENDS) and not any(k in name for k in _KEPT):
            continue
        truth = _truth(var.iloc[:, i])
        if truth is not None:
            found.append((str(column), ~truth if taken else truth))
    return found


def _truth(values: pd.Series) -> np.ndarray | None:
    """Truth values, however stored, missing ones as false; None where these are others."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(dtype=bool, na_value=False)
    text = values.astype(object).where(values.notna(), False).astype(str).str.lower()
    yes, no = text.isin(("true", "1", "1.0")), text.isin(("false", "0", "0.0"))
    return yes.to_numpy(dtype=bool) if bool((yes | no).all()) else None


def _expressed(counts: sparse.csr_matrix) -> np.ndarray:
    """Cells with a count of each gene, [genes]."""
    return sparse.csr_matrix(counts > 0).getnnz(axis=0)


def is_own_panel(measured: int, vocabulary: Vocabulary) -> bool:
    """Whether the model knows few genes, and the table measured nearly all of them."""
    return not vocabulary.bins and _OWN * _genes(vocabulary) <= measured < FEW


def least_tokens(minimum: int, measured: int, vocabulary: Vocabulary) -> int:
    """Median number of gene tokens that cells need; of sentences, genes.

    The minimum asked for suits transcriptomes. In the own panel of a model a cell cannot show as
    many genes, and a tenth of the panel is enough. A sentence cannot have more than its longest.
    """
    if vocabulary.sentences:
        return min(minimum, vocabulary.sentences.top_n)
    if not is_own_panel(measured, vocabulary):
        return minimum
    return min(minimum, math.ceil(measured / _TENTH))


def _genes(vocabulary: Vocabulary) -> int:
    if vocabulary.sentences:
        return len(geneformer_v2().median)
    return len(vocabulary) - len(vocabulary.specials)
