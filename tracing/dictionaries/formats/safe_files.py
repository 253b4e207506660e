"""Read the files of a dictionary: JSON, safetensors, and checkpoints of tensors; never code. What a
configuration states of the weights is checked against them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.core.expansion import check_zip
from scircuit.tracing.hardware.out_of_memory import out_of_memory
from scircuit.tracing.interfaces import JsonObject

Value = TypeVar("Value")
_MATRICES = (".weight", "W_enc", "W_dec", "W_skip", "encoder", "decoder")  # ends of their names


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what a file of the right format and the wrong content leads to, tensors of shapes that
    do not fit or values of other types, into one sentence.

    Raises
    ------
    UserError
        In place of these errors; running out of memory stays what it is.
    """
    try:
        yield
    except _CONTENT as error:
        if out_of_memory(error) or isinstance(error, UserError):
            raise
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{what} cannot be read: its files do not fit each other or their format"
            f" ({type(error).__name__}: {why})",
            "copy the whole folder again from its source",
        ) from error


_CONTENT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_json(path: Path) -> JsonObject:
    """JSON object of a file.

    Raises
    ------
    UserError
        If it is damaged or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
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


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file in float32: see `single`."""
    return single(read_tensors(path), path)


def single(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Values of a checkpoint with every tensor of floating point as float32, before any arithmetic:
    a norm or a product computed in half precision is another dictionary.

    Raises
    ------
    UserError
        If a tensor is of complex numbers or of 8 bits.
    """
    odd = {
        name: value.dtype
        for name, value in found.items()
        if isinstance(value, Tensor) and not _is_plain(value)
    }
    if odd:
        name, kind = next(iter(odd.items()))
        raise UserError(
            f"{path}: {name} is of {str(kind).removeprefix('torch.')}; expected numbers of float64,"
            " float32, float16 or bfloat16",
            "save the weights as they were before quantisation",
        )
    return {
        name: value.float()
        if isinstance(value, Tensor) and value.dtype.is_floating_point
        else value
        for name, value in found.items()
    }


def _is_plain(tensor: Tensor) -> bool:
    """Floating point of 16 bits or more, or whole numbers, of which a checkpoint has some beside
    its weights (k, group sizes).
    """
    kind = tensor.dtype
    return not kind.is_complex and (not kind.is_floating_point or tensor.element_size() >= 2)


def read_checkpoint(path: Path) -> JsonObject:
    """Tensors and plain values of a PyTorch checkpoint, never code.

    Raises
    ------
    UserError
        If it holds anything else, or is damaged.
    """
    check_zip(path)
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


def need_weights(
    found: Mapping[str, Any], names: tuple[str, ...], path: Path, layout: str
) -> list[Tensor]:
    """Weights of the names, in order.

    Raises
    ------
    UserError
        If one is missing, is no tensor of floating point, or has too few or many axes.
    """
    values = need(found, names, path, layout)
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
            kind = (
                f"of {str(value.dtype).removeprefix('torch.')}"
                if isinstance(value, Tensor)
                else f"a {type(value).__name__}"
            )
            raise UserError(
                f"{path}: {name} is {kind}; expected a tensor of floating-point numbers",
                "save the weights as they were before quantisation",
            )
        axes = 2 if name.endswith(_MATRICES) else 1
        if value.ndim != axes:
            raise UserError(
                f"{path}: {name} has shape {tuple(value.shape)}; expected {axes}"
                f" {'axes' if axes > 1 else 'axis'}",
                "copy it again from its source",
            )
    return values


def column_norms(decoder: Tensor) -> Tensor:
    """Length of each feature's direction, [F] of [F, d], to divide by: above 0 where a feature that
    died has none.
    """
    return decoder.norm(dim=1).clamp_min(torch.finfo(decoder.dtype).tiny)


def section(content: Mapping[str, Any], name: str, path: Path) -> JsonObject:
    """An object inside an object; empty where it is absent or null.

    Raises
    ------
    UserError
        If it is something else.
    """
    found = content.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(
            f"{path}: {name} is {found!r:.60}; expected an object", "copy it again from its source"
        )
    return found


def truth(content: Mapping[str, Any], name: str, default: bool, path: Path) -> bool:
    """A field that is true or false; `default` where it is absent.

    Raises
    ------
    UserError
        If it is something else.
    """
    found = content.get(name, default)
    if not isinstance(found, bool):
        raise UserError(
            f"{path}: {name} is {found!r:.60}; expected true or false",
            "copy it again from its source",
        )
    return found


def require_sizes(stated: Mapping[str, Any], sizes: Mapping[str, int], path: Path) -> None:
    """Check the sizes that a configuration states against those of the weights.

    Raises
    ------
    UserError
        If one differs.
    """
    for name, size in sizes.items():
        said = stated.get(name)
        if said is not None and whole_number(said, name, path) != size:
            raise UserError(
                f"{path} says {name} {said}; the weights have {size}",
                "give the configuration that was written with these weights",
            )


def require_known(found: Mapping[str, Any], known: Iterable[str], path: Path, layout: str) -> None:
    """Check that a file holds no tensor that is not computed here: passed over, it would leave
    another function than the one that was trained.

    Raises
    ------
    UserError
        If it does.
    """
    held = set(known)
    odd = [name for name, value in found.items() if isinstance(value, Tensor) and name not in held]
    if odd:
        raise UserError(
            f"{path} holds {', '.join(odd[:4])}, which {layout} does not have; expected"
            f" {', '.join(sorted(held))}",
            "give the weights with the configuration that was written with them (of a transcoder,"
            " one that says so)",
        )


def same_number(stated: Iterable[Any], what: str, path: Path) -> int:
    """A whole number that several fields state.

    Raises
    ------
    UserError
        If none does, or they differ.
    """
    values = dict.fromkeys(whole_number(v, what, path) for v in stated if v is not None)
    if len(values) != 1:
        raise UserError(
            f"{path}: {what} is {' and '.join(map(str, values)) or 'not stated'}",
            "give weights and configuration of the same training run",
        )
    return next(iter(values))


def whole_number(value: Any, what: str, path: Path) -> int:  # Any: whatever the file holds
    """A value that must be a whole number.

    Raises
    ------
    UserError
        If it is not.
    """
    with contextlib.suppress(TypeError, ValueError, OverflowError, RuntimeError):
        if not isinstance(value, bool) and int(value) == float(value):
            return int(value)
    raise UserError(
        f"{path}: {what} is {value!r}; expected a whole number",
        "copy the file again from its source",
    )
