"""Lines of the preflight about cell sentences: genes and tokens of each cell, the wording, and what
was cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.preflight import CheckLine, require
from scircuit.tracing.sentences.prompt_templates import FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scircuit.tracing.sentences.sentence_tokens import Sentences


def sentence_lines(
    expressed: np.ndarray,
    cells: Sequence[np.ndarray],
    length: int,
    sentences: Sentences,
    minimum: int,
) -> list[CheckLine]:
    """Genes and tokens of the cells of a study.

    Parameters
    ----------
    expressed
        Genes of each cell that have a count and a name, [cells].
    cells
        As `scircuit.tracing.sentences.sentence_tokens.CELL`.
    length
        Longest input in tokens.
    sentences
        How they were written.
    minimum
        Genes that the median cell must have.

    Raises
    ------
    UserError
        If the median is below the minimum, or a cell has no gene.
    """
    named = [cell["gene"][cell["gene"] >= 0] for cell in cells]
    genes = np.array([len(np.unique(gene)) for gene in named])
    tokens = np.array([len(cell) for cell in cells])
    each = sum(map(len, named)) / max(int(genes.sum()), 1)
    written = CheckLine(
        "tokens",
        bool(np.median(genes) >= minimum and genes.min() > 0),
        f"{_spread(genes)} genes per cell (minimum / median / maximum) in {_spread(tokens)} tokens"
        f" with the prompt, {each:.2f} tokens per gene, {int((genes == 0).sum()):,} cells without"
        " any gene",
        f"a median of at least {minimum} genes, and no cell without genes",
        "use cells with more detected genes, a file with all genes, or a longer --max-length if the"
        " cells were cut; to continue anyway, lower --min-tokens",
    )
    template = sentences.template
    wording = (
        f"template {template.name} ({template.kind}, {template.organism}, up to"
        f" {template.top_n:,} genes; sha256 {template.sha256[:12]})"
    )
    if template.is_own:
        wording = (
            f"warning: {wording} has the wording of this package; a published model was trained"
            f" with another, to be given as {FILE} in its folder"
        )
    return [
        require(written),
        CheckLine("prompt", True, wording, "the wording that the model was trained with"),
        _cut_line(expressed, genes, length, template.top_n),
    ]


def _cut_line(expressed: np.ndarray, genes: np.ndarray, length: int, top_n: int) -> CheckLine:
    """Cells with more genes than the sentence has, and those that the context cut further."""
    many, short = expressed > top_n, genes < np.minimum(expressed, top_n)
    found = f"{_of(many)} have more than {top_n:,} genes"
    if short.any():
        left = int((np.minimum(expressed, top_n) - genes)[short].sum())
        found += (
            f"; {_of(short)} were cut further, to {_spread(genes[short])} genes, for the prompt to"
            f" fit into {length:,} tokens: {left:,} genes left out"
        )
    else:
        found += f"; none was cut further for the prompt to fit into {length:,} tokens"
    return CheckLine("truncated", True, found, "any number")


def _of(which: np.ndarray) -> str:
    return f"{int(which.sum()):,} of {len(which):,} cells ({which.mean():.0%})"


def _spread(values: np.ndarray) -> str:
    return f"{values.min():,} / {np.median(values):,.0f} / {values.max():,}"
