"""Vocabulary files in a model's own folder, as plain JSON.

``token_dictionary.json`` maps Ensembl ids and specials to token ids,
``gene_median_dictionary.json`` Ensembl ids to medians, and ``ensembl_mapping_dict.json``, where it
is there, retired Ensembl ids to those that took their place: the contents of the pickles that come
with the geneformer package. Pickles themselves are never read. Symbols are those of Geneformer V2's
table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from scircuit.core.errors import UserError
from scircuit.tracing.tokenisation.vocabulary import SPECIALS, Vocabulary, geneformer_v2

Value = TypeVar("Value", int, float, str)

TOKENS, MEDIANS = "token_dictionary.json", "gene_median_dictionary.json"
RETIRED = "ensembl_mapping_dict.json"
NAMES = "gene_names.json"


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
        retired=_retired(folder / RETIRED),
    )


def with_names(vocabulary: Vocabulary, folder: Path) -> Vocabulary:
    """The vocabulary as ``gene_names.json`` in a model's folder asks: ``{"follow_old_symbols": 0}``
    for a model that was trained on cells whose symbols were read as written.

    Raises
    ------
    UserError
        If the file is something else.
    """
    file = folder / NAMES
    if not file.is_file():
        return vocabulary
    found = read_json(file, int)
    if set(found) != {"follow_old_symbols"}:
        raise UserError(
            f"{file} holds {', '.join(found) or 'nothing'}; expected follow_old_symbols, 0 or 1",
            "correct it, or remove it: then old symbols are followed",
        )
    return replace(vocabulary, follow=bool(found["follow_old_symbols"]))


def _retired(file: Path) -> dict[str, str]:
    """The entries from one Ensembl id to another; the published file holds symbols as well, and
    every id as its own. Empty without the file.
    """
    if not file.is_file():
        return {}
    found = read_json(file, str)
    return {
        old: new
        for old, new in found.items()
        if old != new and old.startswith("ENSG") and new.startswith("ENSG")
    }


def read_json(file: Path, kind: Callable[[str], Value]) -> dict[str, Value]:
    """A JSON object of names to numbers, or to other names.

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
        content = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): kind(value) for name, value in content.items()}
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{file} is not a JSON object of names and values ({error})", "download it again"
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
