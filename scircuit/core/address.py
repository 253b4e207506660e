"""The printed identity of a feature: ``model/dictionary/L05/F0898``.

An address names one latent of one sparse dictionary at one layer of one model. It is the key of the
``Feature`` node, safe in URLs, shells and file names, and it is parsed strictly: an address that is
nearly right raises instead of naming something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from scircuit.core.errors import UserError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LAYER = re.compile(r"L(\d{2,3})")
_INDEX = re.compile(r"F(\d{4,7})")
_LOOSE = re.compile(
    r"[Ll]?(\d{1,3})/[Ff]?(\d{1,7})"
)  # what people type; only used to say what they meant


class Address(NamedTuple):
    """One feature: model name, dictionary set name, 0-based layer, 0-based index."""

    model: str
    dictionary: str
    layer: int
    index: int

    def __str__(self) -> str:
        return f"{self.model}/{self.dictionary}/L{self.layer:02d}/F{self.index:04d}"

    @property
    def short(self) -> str:
        """The last two parts, short enough for a caption: ``L05/F0898``."""
        return f"L{self.layer:02d}/F{self.index:04d}"


def slug(name: str) -> str:
    """Lower-case `name` and replace what an address may not contain by ``-``.

    Raises
    ------
    UserError
        If nothing usable is left.
    """
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", name.strip().lower()).strip("-._")
    if not cleaned:
        raise UserError(
            f"the name {name!r} has no letter a-z and no digit, and the addresses of features are"
            " made of these",
            "give names: --model-name geneformer-v2-316m --dictionary-name k562-x4-k32, or rename"
            " the folder",
        )
    return cleaned


def listed(given: Iterable[str]) -> tuple[str, ...]:
    """Addresses from options that were given several times, or as lists with commas or spaces
    between them; each once, in order.
    """
    parts = (part for text in given for part in text.replace(",", " ").split())
    return tuple(dict.fromkeys(parts))


def dictionary_id(model: str, dictionary: str, layer: int) -> str:
    """Key of the ``Dictionary`` node of one layer: ``model/dictionary/L05``."""
    return f"{model}/{dictionary}/L{layer:02d}"


def parse(text: str) -> Address:
    """Read an address from its printed form.

    Parameters
    ----------
    text
        For example ``geneformer-v2-316m/k562-x4-k32/L05/F0898``.

    Raises
    ------
    ValueError
        If `text` is not exactly an address; the message says which part is wrong.
    """
    parts = text.split("/")
    expected = "model/dictionary/L05/F0898 (layer of 2-3 digits, index of 4-7 digits)"
    if len(parts) != 4:
        raise ValueError(f"address {text!r} has {len(parts)} parts, expected 4: {expected}")
    model, dictionary, layer, index = parts
    for part, name in ((model, "model"), (dictionary, "dictionary")):
        if not _NAME.fullmatch(part):
            raise ValueError(
                f"address {text!r}: the {name} {part!r} may hold only a-z 0-9 . _ -; expected"
                f" {expected}"
            )
    layer_match, index_match = _LAYER.fullmatch(layer), _INDEX.fullmatch(index)
    if layer_match is None or index_match is None:
        wrong = layer if layer_match is None else index
        loose = _LOOSE.fullmatch(f"{layer}/{index}")
        meant = Address(model, dictionary, int(loose[1]), int(loose[2])) if loose else expected
        raise ValueError(f"address {text!r}: {wrong!r} is not well formed; expected {meant}")
    address = Address(model, dictionary, int(layer_match[1]), int(index_match[1]))
    if str(address) != text:
        raise ValueError(f"address {text!r} is not in its one printed form; expected {address}")
    return address
