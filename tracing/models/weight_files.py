"""Weight files: tensors only, all of them finite, and in which precision they were stored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.core.expansion import check_zip
from scircuit.core.files import sha256_file

TENSORS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Ends of the names of files of tensors."""
STATE = r"optimizer|scheduler|scaler|rng_state|training_args|trainer_state"
"""In the names of what a training leaves beside its weights."""


def sha256_files(files: list[Path]) -> str:
    """Hash of one file; of several, the hash of their hashes in name order."""
    hashes = [sha256_file(f) for f in sorted(files)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _loaded(file: Path, device: str) -> object:
    """Content of a PyTorch checkpoint, of tensors and plain values only."""
    check_zip(file)
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except Exception as error:
        raise UserError(
            f"{file} is not a checkpoint of tensors alone, and loading it could run code"
            f" ({type(error).__name__})",
            "if you trust it, load it yourself and save its state_dict() again with torch.save or"
            " safetensors",
        ) from error


def read_tensors(file: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Tensors of a PyTorch checkpoint, which is loaded with tensors only.

    Raises
    ------
    UserError
        If it holds anything that could run code, is damaged, or is no mapping of names to tensors.
    """
    content = _loaded(file, device)
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        found = (
            f"a mapping with keys such as {', '.join(map(str, list(content)[:3]))}"
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise UserError(
            f"{file} holds {found}; expected a mapping of names to tensors",
            "save the model's state_dict() alone",
        )
    return content


def read_any(file: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Tensors of a weight file of either format; on the device ``meta`` their names, shapes and
    types without values.

    Raises
    ------
    UserError
        If it is damaged, or could run code.
    """
    if file.suffix != ".safetensors":
        return read_tensors(file, device)
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        if device != "meta":
            return load_file(file, device)
        with safe_open(file, "pt") as held:
            parts = {name: held.get_slice(name) for name in held.keys()}  # noqa: SIM118  (no mapping)
            return {
                name: torch.empty(
                    part.get_shape(),
                    dtype=_SAFETENSORS.get(part.get_dtype(), torch.uint8),
                    device="meta",
                )
                for name, part in parts.items()
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{file} is damaged or no safetensors file: {error}", "download the model again"
        ) from error


# Where the checkpoints of trainers keep the weights, and what wrappers put before their names.
_INNER = ("state_dict", "model_state_dict", "model", "module", "net")
_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.|model\.)+")


def read_inside(file: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Tensors as `read_any` gives them, also those in an inner mapping of a trainer's checkpoint,
    without what wrappers put before their names.

    Raises
    ------
    UserError
        As `read_any`.
    """
    content = read_any(file, device) if file.suffix == ".safetensors" else _loaded(file, device)
    if not isinstance(content, dict):
        return {}
    within = [held for name in _INNER if isinstance(held := content.get(name), dict)]
    if not _any(content):  # under any other word
        within += [held for held in content.values() if isinstance(held, dict) and _any(held)]
    inner = within[0] if within else content
    return {
        _WRAPPED.sub("", str(name)): value
        for name, value in inner.items()
        if isinstance(value, Tensor)
    }


def _any(held: Mapping[Any, object]) -> bool:
    return any(isinstance(value, Tensor) for value in held.values())


_SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "BOOL": torch.bool,
}


def precision(dtypes: Iterable[torch.dtype]) -> str:
    """Names of the floating-point types among `dtypes`, such as ``float16``."""
    return (
        " and ".join(sorted({str(d).removeprefix("torch.") for d in dtypes if d.is_floating_point}))
        or "none"
    )


def stored_precision(files: Iterable[Path]) -> str:
    """Floating-point types in weight files, read without their values."""
    from safetensors import safe_open

    found: list[torch.dtype] = []
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as held:
                kinds = {held.get_slice(name).get_dtype() for name in held.keys()}  # noqa: SIM118  (no mapping)
            found += [_SAFETENSORS[kind] for kind in kinds & set(_SAFETENSORS)]
        else:
            found += [value.dtype for value in read_tensors(file, "meta").values()]
    return precision(found)


def require_finite(named: Iterable[tuple[str, Tensor]], where: Path | str) -> None:
    """Refuse weights that are NaN or infinite.

    Raises
    ------
    UserError
        The first tensor with NaN or infinity, and how many of its entries are.
    """
    bad = [
        (name, int((~torch.isfinite(value)).sum()))
        for name, value in named
        if not bool(torch.isfinite(value).all())
    ]
    if bad:
        more = f", and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise UserError(
            f"{where}: {bad[0][1]:,} values of {bad[0][0]} are NaN or infinite{more}, and so would"
            " be the states computed from them",
            "download the model again and compare its checksum, or use an earlier checkpoint of the"
            " training",
        )
