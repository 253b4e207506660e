"""Which layer a dictionary reads, from the name of its place in the model and of its folders.

A place that a configuration names must be a known name of a layer's output. Names of folders are
free text: they are refused for words of places inside a layer, and where they contradict the
configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from scircuit.core.errors import UserError

# h alone is too common in names (h1_cells, 24h_5): it needs its dot or line, and to begin a word.
LAYER = r"(?:(?<![a-z])(?:blocks?|layers?)[._]?|(?<![a-zA-Z0-9])h[._])(\d+)"

_STREAM = r"resid(?:ual)?(?:_(?:post|pre|out|stream))?"
# encoder.layer.5, model.layers.5, transformer.h.5; resid_post_layer_5 of dictionary_learning.
_BEFORE = re.compile(
    rf"(?:[^\W\d][\w-]*[./])*(?:(?:{_STREAM}|output|encoder|transformer|model)_)?", re.ASCII
)
# In TransformerLens hook_normalized_resid_post is the state after the last norm of a post-norm
# layer, its output, as hook_out is; output is the module that ends a layer of BERT or ESM, and in
# nnsight what a layer returns, whose entry 0 is the state.
_AFTER = re.compile(
    r"(?:[./](?:output(?:\.0|\[0\])?|hook_out|hook_normalized_resid_post|resid_out|residual_stream"
    r"|(?:hook_)?resid_(?:post|pre)))?"
)
# Words of free text that name a place other than a layer's output.
_INSIDE = re.compile(
    r"mlp|attn|attention|hook_(?!resid_|normalized_resid_post|out(?![a-z]))"
    r"|hook_normalized(?!_resid_post)|(?<![a-z])ln_?(?:\d|f|$)|layer_?norm|rms_?norm"
    r"|(?<![a-z])norm\d?(?![a-z])|_mid(?![a-z])|intermediate|feed_?forward|ffn|linear"
    r"|_proj(?![a-z])|(?<![a-z])fc_?\d|dropout|embed|logits|lm_head|pooler|router|transcod|crosscod"
    r"|(?<![a-z])(?:moe|experts?|mixer|mixing|conv\d?|adapter|lora)(?![a-z])"
    r"|resid(?:ual)?_(?:delta|update)",
    re.IGNORECASE,
)
# A folder that names no layer names a place only where it has no other words: mlp, mlp_out.
_PARTS = {"attention", "attn", "ffn", "mlp", "mlps", "moe"} | {
    f"{kind}coder{s}" for kind in ("trans", "cross") for s in ("", "s")
}
_BESIDE = {"hook", "in", "out", "output", "outputs", "sae", "saes"}


def layer_of(place: str, folder: Path, *, stated: bool = False) -> int:
    """0-based layer whose output a dictionary reads, from the name of its place in the model.

    ``blocks.5.hook_resid_post``, ``layers.5`` and ``encoder.layer.5`` are the output of layer 5;
    ``blocks.5.hook_resid_pre`` is that of layer 4.

    Parameters
    ----------
    place
        The name.
    folder
        The dictionary, for messages.
    stated
        Whether a configuration gives the name: then what stands before the layer must be known
        too. The name of a folder may begin as it likes.

    Raises
    ------
    UserError
        If no layer is named, or two are, or the place is not known as a layer's output, or is
        before the first.
    """
    found = re.search(LAYER, place)
    if not found:
        raise UserError(
            f"{folder}: neither the configuration nor the name says which layer it reads",
            "name the folder like layer05",
        )
    odd = _not_an_output(place[: found.start()], place[found.end() :], stated)
    if odd:
        raise UserError(
            f"{folder} reads {place!r} ({odd}); expected the output of a layer (residual stream)",
            "give dictionaries of layer outputs; if this place is the output of the layer under"
            " another name, call it encoder.layer.N",
        )
    layer = int(found[1]) - _is_input(place)
    if layer < 0:
        raise UserError(
            f"{folder} reads {place!r}, the embedding; expected the output of a layer",
            "give dictionaries of layer outputs",
        )
    return layer


def _not_an_output(before: str, after: str, stated: bool) -> str:
    """What in a name, before and after its layer, is not known of a layer's output."""
    inside = _INSIDE.search(before)
    if inside:
        return inside[0]
    if stated and not _BEFORE.fullmatch(before):
        return before.strip("./_ ") or before
    if after.startswith((".", "/", "[")):
        return "" if _AFTER.fullmatch(after) else after.lstrip("./")
    # A label with free text: layer_4_normal_cells, layer04_x4_k32.
    part = _INSIDE.search(after) or re.search(LAYER, after)
    return part[0] if part else ""


def _is_input(place: str) -> bool:
    return "resid_pre" in place.lower()


def the_one(stated: Iterable[object], what: str, path: Path) -> str:
    """The name of a place that several fields may state; empty where none does.

    Raises
    ------
    UserError
        If they differ.
    """
    names = list(dict.fromkeys(str(name) for name in stated if name))
    if len(names) > 1:
        raise UserError(
            f"{path} names two places, {names[0]!r} and {names[1]!r}; expected one {what}",
            "give the configuration that was written with these weights",
        )
    return names[0] if names else ""


def require_same_layer(place: str, stated: object, folder: Path) -> None:
    """Check that a layer that is stated beside the name of a place is the one in the name.

    Raises
    ------
    UserError
        If they differ.
    """
    found = re.search(LAYER, place)
    if isinstance(stated, int) and found and int(found[1]) != stated:
        raise UserError(
            f"{folder} names layer {int(found[1])} ({place!r}) and layer {stated}",
            "give the configuration that was written with these weights",
        )


def require_same_folder(place: str, layer: int, folder: Path) -> None:
    """Check that the names of a dictionary's folder and of the folder above do not contradict the
    place that was read.

    Parameters
    ----------
    place
        Name of the place, as the configuration states it.
    layer
        The layer read: for ``blocks.5.hook_resid_pre`` a folder may be called by 5 or by 4.
    folder
        The dictionary.

    Raises
    ------
    UserError
        If one names another layer, a part of a layer, or the layer's other end.
    """
    own = folder.name
    # The folder above may be any set's; it names the layer where the folder itself does not.
    numbered = own if re.search(LAYER, own) else folder.parent.name
    numbers = [int(n) for n in re.findall(LAYER, numbered)]
    fits = {layer, *(int(n) for n in re.findall(LAYER, place))}
    if numbers and not fits & set(numbers):
        said = f"layer {numbers[0]}"
    else:
        inside = _INSIDE.search(numbered) if numbers else None
        ends = re.search(r"resid_(?:pre|post)", numbered.lower()) if numbers else None
        said = inside[0] if inside else ""
        if not said and ends and _is_input(numbered) != _is_input(place):
            said = ends[0]
        for name in (own, folder.parent.name):
            said = said or _part(name)
    if said:
        raise UserError(
            f"{folder} is of layer {layer} ({place!r}), and the name of its folder says {said};"
            " expected the same place in both",
            "give the configuration that was written with these weights; or rename the folder, if"
            " it is its name that is wrong",
        )


def _part(name: str) -> str:
    """The part of a layer that the whole name of a folder stands for; empty where it says anything
    else.
    """
    words = set(re.split(r"[\W_]+", name.lower())) - {""}
    parts = words & _PARTS
    return min(parts) if parts and words <= _PARTS | _BESIDE else ""
