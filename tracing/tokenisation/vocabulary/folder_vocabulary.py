"""Vocabulary files in a model's own folder, as plain JSON.

``token_dictionary.json`` maps Ensembl ids and specials to token ids,
``gene_median_dictionary.json`` Ensembl ids to medians: the contents of the two pickles that come
with the geneformer package. Pickles themselves are never read. Symbols are those of Geneformer V2's
table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from scircuit.core.errors import UserError
from scircuit.tracing.tokenisation.vocabulary import SPECIALS, Vocabulary, geneformer_v2

Number = TypeVar("Number", int, float)

TOKENS, MEDIANS = "token_dictionary.json", "gene_median_dictionary.json"


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Vocabulary of a model folder; None where it has no token dictionary.

    Raises
    ------
    UserError
        If the two files do not fit each other.
    """
    if not (folder / TOKENS).is_file():
        return None
    token = read_json(folder / TOKENS, int)
    median = read_json(folder / MEDIANS, float)
    names = names_in_order(token, folder / TOKENS)
    genes = [g for g in names if g not in SPECIALS]
    lacking = [g for g in genes if not median.get(g, 0.0) > 0]
    if lacking:
        raise UserError(
            f"{folder / MEDIANS}: {len(lacking):,} of {len(genes):,} genes have no positive median,"
            f" such as {lacking[0]}",
            "give the medians of the same corpus",
        )
    known = geneformer_v2()
    table = {**known.outside, **known.symbol_to_ensembl}
    pad, mask, cls, eos = (token.get(s) for s in SPECIALS)
    if pad is None or mask is None:
        raise UserError(
            f"{folder / TOKENS} has no <pad> or no <mask>", "give the model's own token dictionary"
        )
    return Vocabulary(
        name=folder.resolve().name,
        token=token,
        median=median,
        symbol_to_ensembl={symbol: gene for symbol, gene in table.items() if gene in token},
        outside={symbol: gene for symbol, gene in table.items() if gene not in token},
        pad=pad,
        mask=mask,
        cls=cls,
        eos=eos,
        gene_of_token=tuple("" if g in SPECIALS else g for g in names),
        symbols={gene: symbol for symbol, gene in table.items() if gene in token},
    )


def read_json(file: Path, kind: Callable[[str], Number]) -> dict[str, Number]:
    """A JSON object of names to numbers.

    Raises
    ------
    UserError
        If the file is missing or something else.
    """
    if not file.is_file():
        raise UserError(
            f"{file.parent} has no {file.name}",
            "put it beside the weights: it comes with the model",
        )
    try:
        content = json.loads(file.read_text())
        return {str(name): kind(value) for name, value in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{file} is not a JSON object of names and numbers ({error})", "download it again"
        ) from error


def names_in_order(token: dict[str, int], file: Path) -> list[str]:
    """Names by token id.

    Raises
    ------
    UserError
        If ids are not 0 to n - 1, each once.
    """
    names = sorted(token, key=token.__getitem__)
    if [token[n] for n in names] != list(range(len(names))):
        raise UserError(
            f"{file}: token ids are not 0 to {len(names) - 1:,}, each once (they reach"
            f" {max(token.values(), default=-1):,})",
            "give the dictionary that the model was trained with",
        )
    return names
