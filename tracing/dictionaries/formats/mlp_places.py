"""Which MLP a transcoder stands for, from the names of the places that it reads and writes.

The MLP input is what the norm before the MLP gives, the MLP output what its layer adds to the
stream. TransformerLens gives ``ln2.hook_normalized`` before the weight and bias of that norm, and
``hook_mlp_in`` and ``hook_resid_mid`` before the norm itself: the first is read, the others are
refused, since a norm is not linear.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.formats.places import LAYER

_BEFORE = re.compile(r"(?:[^\W\d][\w-]*[./])*", re.ASCII)
# transcoders of a module read its input: mlp as the place that is read is that of the MLP
_READ = re.compile(r"mlp(?:\.hook_in|\.input)?|ln_?2\.output|ln_2|pre_feedforward_layernorm")
_READ_BEFORE_GAIN = re.compile(r"ln2\.hook_normalized")
_WRITTEN = re.compile(r"mlp(?:\.hook_out|\.output)?|hook_mlp_out|post_feedforward_layernorm")
_BEFORE_THE_NORM = re.compile(r"(?:hook_)?(?:mlp_in|resid_mid|resid_pre)|resid_mid")
_ELSEWHERE = re.compile(
    r"attn|attention|resid(?:ual)?_(?:pre|post|mid)|crosscod|cross_layer|(?<![a-z])clts?(?![a-z])",
    re.IGNORECASE,
)
_FIX = (
    "give transcoders from the MLP input, after its norm (layers.N.mlp, mlp.hook_in,"
    " ln2.hook_normalized), to the MLP output (hook_mlp_out) of the same layer"
)


class MlpPlace(NamedTuple):
    """Where a transcoder reads and writes."""

    layer: int  # 0-based
    gain: bool  # whether what it reads has the weight and bias of the norm in it
    writes: str  # the place in its layer


def mlp_place(reads: str, writes: str, folder: Path) -> MlpPlace:
    """The MLP of a transcoder.

    Parameters
    ----------
    reads, writes
        Names of the places, the same for a module whose input and output they are.
    folder
        The transcoder, for messages.

    Raises
    ------
    UserError
        If one is not the input or the output of an MLP, or they are in different layers.
    """
    (first, inside), (last, out) = _parts(reads, folder), _parts(writes, folder)
    neox = reads.startswith("gpt_neox.") and inside == "post_attention_layernorm"
    before_gain = bool(_READ_BEFORE_GAIN.fullmatch(inside))
    if not (_READ.fullmatch(inside) or before_gain or neox):
        why = (
            "it is before the norm of the MLP"
            if _BEFORE_THE_NORM.fullmatch(inside)
            else "it is not known as the input of an MLP"
        )
        raise UserError(f"{folder} is a transcoder that reads {reads!r}: {why}", _FIX)
    if not _WRITTEN.fullmatch(out):
        raise UserError(
            f"{folder} is a transcoder that writes {writes!r}, which is not known as the output of"
            " an MLP",
            _FIX,
        )
    if first != last:
        raise UserError(
            f"{folder} reads layer {first} ({reads!r}) and writes layer {last} ({writes!r}): it is"
            " a cross-layer transcoder",
            _FIX,
        )
    return MlpPlace(first, not before_gain, out)


def _parts(place: str, folder: Path) -> tuple[int, str]:
    """Layer of a place and what is named inside it."""
    found = re.search(LAYER, place)
    if not found:
        raise UserError(
            f"{folder} is a transcoder, and {place!r} does not say of which layer's MLP",
            "name the place or the folder like layers.5.mlp",
        )
    before, after = place[: found.start()], place[found.end() :]
    if not _BEFORE.fullmatch(before) or not after.startswith((".", "/")):
        raise UserError(
            f"{folder} is a transcoder of {place!r}, which is not known as an MLP", _FIX
        )
    return int(found[1]), after[1:]


def require_mlp_folder(layer: int, folder: Path) -> None:
    """Check that the name of a transcoder's folder, or else of the one above, does not name another
    layer or another place.

    Raises
    ------
    UserError
        If it does.
    """
    own = folder.name
    numbered = own if re.search(LAYER, own) else folder.parent.name
    numbers = [int(n) for n in re.findall(LAYER, numbered)]
    elsewhere = _ELSEWHERE.search(numbered if numbers else own)
    said = (
        f"layer {numbers[0]}"
        if numbers and layer not in numbers
        else elsewhere[0]
        if elsewhere
        else ""
    )
    if said:
        raise UserError(
            f"{folder} is a transcoder of the MLP of layer {layer}, and the name of its folder says"
            f" {said}; expected the same place in both",
            "give the configuration that was written with these weights; or rename the folder, if"
            " it is its name that is wrong",
        )
