"""Read the files of a dictionary: JSON, safetensors, and checkpoints of tensors; never code.

Some formats state in names rather than in fields which layer is read, and which part of it:
`layer_of` reads such names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.interfaces import JsonObject

Value = TypeVar("Value")

_LAYER = r"(?<![a-z])(?:blocks?|layers?|h)[._]?(\d+)"


def read_json(path: Path) -> JsonObject:
    """JSON object of a file.

    Raises
    ------
    UserError
        If it is damaged or no object.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}", "copy it again from its source") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}; expected an object",
            "copy it again from its source",
        )
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises
    ------
    UserError
        If it is damaged or no safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is damaged or no safetensors file: {error}", "copy it again from its source"
        ) from error


def read_checkpoint(path: Path) -> JsonObject:
    """Tensors and plain values of a PyTorch checkpoint, never code.

    Raises
    ------
    UserError
        If it holds anything else, or is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} is not a checkpoint of tensors and plain values ({first[:160]}); it was not"
            " loaded, because a pickle can run code",
            "save the state dict alone with torch.save(model.state_dict(), path), or as"
            " safetensors",
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}; expected a dict of tensors",
            "save the state dict",
        )
    return content


def need(
    found: Mapping[str, Value], names: tuple[str, ...], path: Path, layout: str
) -> list[Value]:
    """Values of the names, in order.

    Raises
    ------
    UserError
        If one is missing.
    """
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(map(str, found)) or 'nothing'}",
            f"give the {layout} layout",
        )
    return [found[name] for name in names]


def whole_number(value: Any, what: str, path: Path) -> int:  # Any: whatever the file holds
    """A value that must be a whole number.

    Raises
    ------
    UserError
        If it is not.
    """
    try:
        if int(value) == float(value):
            return int(value)
    except (TypeError, ValueError):
        pass
    raise UserError(
        f"{path}: {what} is {value!r}; expected a whole number",
        "copy the file again from its source",
    )


def layer_of(place: str, folder: Path) -> int:
    """0-based layer whose output a dictionary reads, from the name of its place in the model.

    ``blocks.5.hook_resid_post``, ``layers.5`` and ``encoder.layer.5`` are the output of layer 5;
    ``blocks.5.hook_resid_pre`` is that of layer 4.

    Raises
    ------
    UserError
        If no layer is named, or the place is inside a layer (attention, feed-forward) or before the
        first.
    """
    numbers = re.findall(_LAYER, place)
    if not numbers:
        raise UserError(
            f"{folder}: neither the configuration nor the name says which layer it reads",
            "name the folder like layer05",
        )
    if re.search(
        r"mlp|attn|attention|hook_z|ln\d|_mid|intermediate|\.dense$", place
    ):  # output.dense: before residual and norm
        raise UserError(
            f"{folder} reads {place!r}; expected the output of a layer (residual stream)",
            "give dictionaries of layer outputs",
        )
    layer = int(numbers[-1]) - ("resid_pre" in place)
    if layer < 0:
        raise UserError(
            f"{folder} reads {place!r}, the embedding; expected the output of a layer",
            "give dictionaries of layer outputs",
        )
    return layer
