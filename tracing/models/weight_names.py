"""Names of weights: which of a file's names stand for one weight of the model.

A weight has several names. An encoder that was saved alone has none of the prefix that it has
inside a model with a head (``bert.``), wrappers put their own before it (``module.``), and old
libraries call the scale and shift of a norm gamma and beta.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_OLD = ((re.compile(r"(?<=Norm\.)gamma$"), "weight"), (re.compile(r"(?<=Norm\.)beta$"), "bias"))
_LONG = 3  # parts of a name that no other network has by chance


def bare_name(name: str, base: str) -> str:
    """The name without the prefix of the encoder, `base`, and with today's words."""
    for pattern, word in _OLD:
        name = pattern.sub(word, name)
    return name.removeprefix(f"{base}.") if base else name


def name_in(name: str, names: Collection[str]) -> str:
    """The one of the model's bare names that a name is or ends in; empty where there is none."""
    return next((part for part in _endings(name) if part in names), "")


def module_in(name: str, names: Collection[str]) -> bool:
    """Whether a name is that of something inside a part of the model that has weights (a linear
    map, a norm), such as ``...query.weight_delta``.
    """
    parents = {known.rpartition(".")[0] for known in names}
    for ending in _endings(name):
        parts = ending.split(".")
        if any(".".join(parts[:end]) in parents for end in range(_LONG, len(parts))):
            return True
    return False


def _endings(name: str) -> Iterator[str]:
    """A name itself, then its ends of several parts."""
    parts = name.split(".")
    yield name
    for start in range(1, len(parts) - _LONG + 1):
        yield ".".join(parts[start:])
