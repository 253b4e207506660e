"""Text to tokens by a model's own ``tokenizer.json``, and which gene each token belongs to.

Tokens carry offsets, the span [a, b) of characters that they cover; gene i of a sentence covers
[s_i, e_i). A token belongs to the one gene with which its span overlaps, the space before the name
included where the tokeniser counts it to the token, and to none where it covers prompt, spaces or
the full stop. This is checked for every token that is read: a token over two genes, a character of
a name that no token covers, and a name that is read as unknown are refused, since nothing measured
there would be of one gene.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
_OTHER = ("tokenizer.model", "vocab.json", "spiece.model")  # forms that are not read
_SAVE = (
    "write it with transformers: AutoTokenizer.from_pretrained(the model's folder)"
    ".save_pretrained(the same folder)"
)


@dataclass(frozen=True, eq=False)
class SentenceTokeniser:
    """A tokeniser of the ``tokenizers`` library that neither cuts nor pads.

    Attributes
    ----------
    tokeniser
        The library's object.
    name
        What messages call it.
    sha256
        Hash of its file; empty for one made in memory.
    """

    tokeniser: Tokenizer
    name: str
    sha256: str = ""

    def __post_init__(self) -> None:
        self.tokeniser.no_truncation()
        self.tokeniser.no_padding()

    @classmethod
    def read(cls, folder: Path, n_tokens: int) -> Self:
        """Read ``tokenizer.json`` of a model's folder.

        Parameters
        ----------
        folder
            The model's.
        n_tokens
            Tokens that the model has embeddings of.

        Raises
        ------
        UserError
            If the file is missing or damaged, or has tokens that the model does not know.
        """
        from tokenizers import Tokenizer

        file = folder / FILE
        if not file.is_file():
            there = [n for n in _OTHER if (folder / n).is_file()]
            raise UserError(
                f"{folder} has no {FILE}" + (f", only {', '.join(there)}" if there else ""),
                _SAVE if there else "put it beside the weights: it comes with the model",
            )
        content = file.read_bytes()
        try:
            tokeniser = Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises nothing narrower
            raise UserError(
                f"{file} is not a tokeniser of the tokenizers library ({error})",
                f"download it again, or {_SAVE}",
            ) from error
        largest = max(tokeniser.get_vocab(with_added_tokens=True).values(), default=-1)
        if not 0 <= largest < n_tokens:
            raise UserError(
                f"{file} has token ids up to {largest:,}, the model has {n_tokens:,} tokens",
                "give the tokeniser that the model was trained with",
            )
        return cls(tokeniser, str(file), hashlib.sha256(content).hexdigest())

    def encode(self, text: str, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens of a text, and where its genes are.

        Special tokens that the tokeniser puts before a text (``<bos>``) are there; those after it
        are not, since the text goes on.

        Parameters
        ----------
        text
            What is read.
        spans
            First character of each gene's name and the one after its last, ascending, [n, 2].

        Returns
        -------
        Token ids, int64 [S]; the gene of each token as a row of `spans`, -1 for those of none,
        int64 [S]; and the span of characters of each token, int64 [S, 2].

        Raises
        ------
        UserError
            If a token covers two genes, or a name is not wholly covered or read as unknown.
        """
        found = self.tokeniser.encode(text)
        special = np.array(found.special_tokens_mask, dtype=bool)
        size = len(special) - int(np.argmin(special[::-1])) if not special.all() else 0
        ids = np.array(found.ids, dtype=np.int64)[:size]
        offsets = np.array(found.offsets, dtype=np.int64).reshape(-1, 2)[:size]
        begin, end = offsets[:, 0], offsets[:, 1]
        first = np.searchsorted(spans[:, 1], begin, "right")
        last = np.searchsorted(spans[:, 0], end, "left") - 1
        covers = end > begin
        both = np.flatnonzero(covers & (first < last))
        if len(both):
            raise self._merges(text, offsets[both[0]], spans[first[both[0]] : last[both[0]] + 1])
        gene = np.where(covers & (first == last), first, -1)
        self._check_covered(text, spans, offsets[gene >= 0], gene[gene >= 0], ids[gene >= 0])
        return ids, gene, offsets

    def _check_covered(
        self,
        text: str,
        spans: np.ndarray,
        offsets: np.ndarray,
        gene: np.ndarray,
        ids: np.ndarray,
    ) -> None:
        depth = np.zeros(len(text) + 1, dtype=np.int64)
        np.add.at(depth, offsets[:, 0], 1)
        np.add.at(depth, offsets[:, 1], -1)
        bare = np.r_[0, np.cumsum(np.cumsum(depth)[:-1] == 0)]  # characters without a token before
        lost = np.flatnonzero(bare[spans[:, 1]] > bare[spans[:, 0]])
        unknown = gene[ids == self._unknown()]
        for which, why in ((lost, "leaves out a part of"), (unknown, "has no token for a part of")):
            if len(which):
                begin, end = spans[which[0]]
                tokens = [str(self.tokeniser.id_to_token(int(t))) for t in ids[gene == which[0]]]
                raise UserError(
                    f"{self.name} {why} {len(np.unique(which)):,} gene names of a cell, such as"
                    f" {text[begin:end]} (its tokens: {', '.join(tokens) or 'none'}); expected"
                    " tokens that cover each name",
                    "give the tokeniser that the model was trained with",
                )

    def _merges(self, text: str, token: np.ndarray, spans: np.ndarray) -> UserError:
        names = " and ".join(text[a:b] for a, b in spans[:2])
        return UserError(
            f"{self.name} reads {text[token[0] : token[1]]!r} as one token, which covers parts of"
            f" {len(spans)} genes, such as {names}; expected tokens of one gene each",
            "give the tokeniser that the model was trained with, one that splits words at spaces",
        )

    def _unknown(self) -> int:
        """Id of the token for what is not known, or -1."""
        model: Any = self.tokeniser.model  # kinds of models have different fields
        name = getattr(model, "unk_token", None)
        found = self.tokeniser.token_to_id(name) if name else getattr(model, "unk_id", None)
        return -1 if found is None else int(found)
