"""Files of an scGPT checkpoint: ``args.json`` and the weights of ``best_model.pt``, with every name
checked.

The published code loads with ``strict=False``, so a weight that is missing or has another name goes
unnoticed and stays random. Here each weight must exist in its shape; names that are neither needed
nor those of heads of other tasks are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.models.model_config import require_object
from scircuit.tracing.models.unusual_weights import require_floating
from scircuit.tracing.models.weight_files import read_tensors, require_finite

# Heads of other tasks, which do not touch the states: cell class, expression from the cell
# embedding, the mark of genes to be generated, and the batch discriminator. They may be absent and
# are not read.
UNUSED = ("cls_decoder.", "mvc_decoder.", "flag_encoder.", "grad_reverse_discriminator.")
# FlashAttention's names of what PyTorch calls in_proj; the newer wrapper puts `_impl` in between.
_RENAMED = (
    (r"self_attn\.(_impl\.)?Wqkv\.", "self_attn.in_proj_"),
    (r"self_attn\._impl\.out_proj\.", "self_attn.out_proj."),
)
_NEEDED = {
    "input_emb_style": "continuous",
    "input_style": "binned",
    "pre_norm": False,
    "explicit_zero_prob": False,
    "activation": "relu",
}


class Arguments(NamedTuple):
    """What ``args.json`` says of the model's shape and input."""

    embsize: int
    nheads: int
    d_hid: int
    nlayers: int
    n_bins: int
    max_seq_len: int
    pad_value: float


_LARGEST = {
    "embsize": 10**5,
    "nheads": 10**5,
    "d_hid": 10**6,
    "nlayers": 1000,
    "n_bins": 10**5,
    "max_seq_len": 10**7,
}


def _is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_arguments(folder: Path) -> Arguments:
    """Shape and input of a checkpoint.

    Raises
    ------
    UserError
        If ``args.json`` is missing, incomplete, or describes an input this project does not make.
    """
    file = folder / "args.json"
    if not file.is_file():
        raise UserError(
            f"{folder} has no args.json",
            "give the whole checkpoint folder: args.json, vocab.json, best_model.pt",
        )
    stated: dict[str, Any] = require_object(file, "download it again")
    missing = [name for name in Arguments._fields if not _is_number(stated.get(name))]
    if missing:
        raise UserError(
            f"{file} lacks {', '.join(missing)}",
            "give the args.json that came with the checkpoint",
        )
    for name in Arguments._fields[:-1]:
        if stated[name] != int(stated[name]) or not 0 < stated[name] <= _LARGEST[name]:
            raise UserError(
                f"{file} has {name}={stated[name]!r}; expected a whole number of 1 to"
                f" {_LARGEST[name]:,}",
                "give the args.json that came with the checkpoint",
            )
    if stated["embsize"] % stated["nheads"]:
        raise UserError(
            f"{file}: {stated['nheads']} heads do not divide a width of {stated['embsize']}",
            "give the args.json that came with the checkpoint",
        )
    for name, value in _NEEDED.items():
        if stated.get(name, value) != value:
            raise UserError(
                f"{file} has {name}={stated[name]!r}; only {value!r} is supported",
                "give the published whole-human checkpoint or one like it",
            )
    return Arguments(
        *(int(stated[name]) for name in Arguments._fields[:-1]),
        pad_value=float(stated["pad_value"]),
    )


def read_weights(folder: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights under PyTorch's names, as stored.

    Parameters
    ----------
    folder
        Checkpoint folder.
    expected
        Name -> shape of every weight that is needed.

    Raises
    ------
    UserError
        If one is missing, unknown, of another shape or not finite, or the file could run code.
    """
    file = folder / "best_model.pt"
    if not file.is_file():
        raise UserError(
            f"{folder} has no best_model.pt",
            "give the whole checkpoint folder: args.json, vocab.json, best_model.pt",
        )
    found: dict[str, Tensor] = {}
    for name, value in read_tensors(file).items():
        name = str(name)
        for pattern, plain in _RENAMED:
            name = re.sub(pattern, plain, name)
        if name in found:
            raise UserError(
                f"{file} holds {name} twice, under two of its names",
                "save the state_dict() of the model again",
            )
        if not name.startswith(UNUSED):
            found[name] = value
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        parts = [
            f"{verb} {len(names)} weights"
            f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for verb, names in (("lacks", missing), ("has unknown", unknown))
            if names
        ]
        raise UserError(
            f"{file} {' and '.join(parts)}",
            "give a checkpoint of the published TransformerModel whose args.json fits it",
        )
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            what = (
                "vocab.json and the gene embedding are of different sizes"
                if name == "encoder.embedding.weight"
                else "args.json does not fit it"
            )
            raise UserError(
                f"{file}: {name} is {list(found[name].shape)}; expected {list(shape)}: {what}",
                "give the three files of one checkpoint",
            )
    require_floating(folder, found)
    require_finite(found.items(), file)
    return found
