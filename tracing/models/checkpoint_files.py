"""Which files of a folder are the model's weights: one checkpoint, whole, and no other beside it.

The library takes the first of ``model.safetensors``, ``model.safetensors.index.json`` with its
parts, ``pytorch_model.bin`` and ``pytorch_model.bin.index.json``, and says nothing of the rest.
Here a second checkpoint is compared with the first: the same numbers in another file are a note,
other numbers are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.models.model_config import read_config
from scircuit.tracing.models.weight_files import STATE, TENSORS, read_any, read_inside
from scircuit.tracing.models.weight_names import bare_name, module_in, name_in

_SINGLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# The same model for other libraries: never read.
_ELSEWHERE = (".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".tflite")


class Checkpoint(NamedTuple):
    """Weight files of a model, in name order, and what else of this kind lies in its folder."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def safe(self) -> bool:
        """Whether they are safetensors."""
        return self.files[0].suffix == ".safetensors"


def checkpoint_of(folder: Path, base: str = "") -> Checkpoint:
    """The one checkpoint of a folder in Hugging Face layout.

    Parameters
    ----------
    folder
        Model folder.
    base
        What the names of the encoder's weights begin with in a model with a head, such as ``bert``.

    Raises
    ------
    UserError
        If there is none, a part of it is missing, a weight is in it twice, or another one holds
        other numbers.
    """
    found = [files for name in _names() if (files := _files(folder, name))]
    notes: list[str] = []
    for files in found:
        twice = _require_once(files, base)
        if twice:
            notes.append(f"{twice:,} weights of {files[0].name} are there under two names")
    if not found:
        raise _none(folder)
    chosen, *others = found
    notes += [_same(folder, chosen, other, base) for other in others]
    known = {file for files in found for file in files}
    rest = [f for f in sorted(folder.iterdir()) if f not in known and f.is_file()]
    unread: list[str] = []
    for file in rest:
        if re.search(STATE, file.name) or file.suffix not in (*TENSORS, *_ELSEWHERE):
            continue
        if file.suffix in TENSORS and _overlaps(chosen, file, base):
            notes.append(_same(folder, chosen, (file,), base))
        else:
            unread.append(file.name)
    unread += [f"{p.name}/" for p in sorted(folder.iterdir()) if p.is_dir() and _has_weights(p)]
    if unread:
        notes.append(f"not read: {_listed(unread)}")
    return Checkpoint(chosen, tuple(notes))


def _has_weights(folder: Path) -> bool:
    """Whether a folder, or one in it, holds a file of weights; one that cannot be read does not."""
    try:
        held = [*folder.glob("*"), *folder.glob("*/*")]
    except OSError:
        return False
    return folder.name.startswith("checkpoint-") or any(
        f.suffix in TENSORS and not re.search(STATE, f.name) for f in held
    )


def _names() -> Iterator[str]:
    """File names in the order in which the library looks for them."""
    for single, index in zip(_SINGLE, _INDEX, strict=True):
        yield single
        yield index


def _files(folder: Path, name: str) -> tuple[Path, ...]:
    path = folder / name
    if not path.is_file():
        if path.exists() or path.is_symlink():
            raise UserError(
                f"{path} is no file that can be read; expected the model's weights",
                "download the model again",
            )
        return ()
    return _parts(path) if name in _INDEX else (path,)


def _parts(index: Path) -> tuple[Path, ...]:
    """Files that an index names, each in its own folder."""
    try:
        stated = json.loads(index.read_text(encoding="utf-8"))
        weights = stated["weight_map"]
        named = sorted(set(weights.values()))
        odd = [name for name in named if Path(name).name != name]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(
            f"{index} is no index of weight files ({type(error).__name__}: {error})",
            "download the model again",
        ) from error
    missing = [name for name in named if not (index.parent / name).is_file()]
    if odd or missing or not named:
        what = (
            f"names files outside the folder, such as {odd[0]}"
            if odd
            else f"names {len(missing)} of {len(named)} files that are not there:"
            f" {_listed(missing)}"
            if missing
            else "names no files"
        )
        raise UserError(f"{index} {what}", "download the model again, with all its parts")
    files = tuple(index.parent / name for name in named)
    _require_listed(index, weights, files)
    if not isinstance(stated.get("metadata"), dict):
        raise UserError(
            f'{index} has no object "metadata", without which the library does not read it',
            f'add "metadata": {{}} beside "weight_map" in {index.name}, or save the model again'
            " with save_pretrained(FOLDER)",
        )
    return files


def _require_once(files: tuple[Path, ...], base: str) -> int:
    """Refuse a weight that is there twice with other values, in two parts or under two names: the
    library takes one of them. How many are there twice with the same values.
    """
    place: dict[str, tuple[Path, str]] = {}
    values, twice = cache(read_any), 0
    for file in files:
        for name in read_any(file, "meta"):
            first, own = place.setdefault(bare_name(name, base), (file, name))
            if (first, own) == (file, name):
                continue
            twice += own != name
            if _equal(values(first)[own], values(file)[name]):
                continue
            raise UserError(
                f"{first.name} and {file.name} in {file.parent} both hold {name}, with other values"
                if first != file
                else f"{file} holds one weight under two names, {own} and {name}, with other values"
                " (and the library takes one of them)",
                "download the model again: the parts are of different checkpoints"
                if first != file
                else "keep the weights of one training and save the model again with"
                " save_pretrained(FOLDER)",
            )
    return twice


def _require_listed(index: Path, listed: Iterable[str], files: Iterable[Path]) -> None:
    """Refuse an index that lists weights which none of its files holds."""
    held = {name for file in files for name in read_any(file, "meta")}
    lacking = sorted(set(listed) - held)
    if lacking:
        raise UserError(
            f"{index} lists {len(lacking):,} weights that its files do not hold, such as"
            f" {lacking[0]}",
            "download the model again, with all its parts",
        )


def _none(folder: Path) -> UserError:
    """The error for a folder without weights, which names where some are."""
    parts = sorted(f.name for f in folder.glob("*-of-*") if f.suffix in TENSORS)
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir()]
    below = [p.name for p in inside if any((p / name).is_file() for name in (*_SINGLE, *_INDEX))]
    if parts:
        return UserError(
            f"{folder} has {len(parts)} parts of a checkpoint ({_listed(parts)}) and no index of"
            " them",
            "download model.safetensors.index.json too, or save the model again in one file",
        )
    others = [f.name for f in sorted(folder.iterdir()) if f.suffix in (*TENSORS, *_ELSEWHERE)]
    if others and not below:
        return UserError(
            f"{folder} has no model.safetensors or pytorch_model.bin; it has {_listed(others)}",
            f"if {others[0]} is meant and holds tensors, call it model{Path(others[0]).suffix}"
            if others[0].endswith(".safetensors")
            else "save the model with save_pretrained(FOLDER)",
        )
    if below:
        return UserError(
            f"{folder} has no model.safetensors of its own; {len(below)} checkpoints lie below it:"
            f" {_listed(below)}",
            f"give one of them, such as {folder / below[-1]}",
        )
    return UserError(
        f"{folder} has no model.safetensors",
        "download the model again, with its weights",
    )


def _overlaps(chosen: tuple[Path, ...], other: Path, base: str) -> bool:
    """Whether a file holds weights of the names of the model; one that cannot be read does not.

    Raises
    ------
    UserError
        If it holds something else for parts of the model, such as differences to its weights.
    """
    try:
        held = [bare_name(name, base) for name in read_inside(other, "meta")]
    except UserError:
        return False
    names = {bare_name(name, base) for file in chosen for name in read_inside(file, "meta")}
    if any(name_in(name, names) for name in held):
        return True
    changes = [name for name in held if not is_harmless(name) and module_in(name, names)]
    if changes:
        raise UserError(
            f"{other} holds {len(changes):,} tensors for parts of the model under other names than"
            f" its weights have, such as {changes[0]}; they would not be applied",
            "if they change the model (differences, an adapter), add them to its weights and save"
            " the whole model; else move the file away",
        )
    return False


def _same(folder: Path, first: tuple[Path, ...], second: tuple[Path, ...], base: str) -> str:
    """A note that two checkpoints hold the same numbers, up to the rounding of the shorter format.

    Raises
    ------
    UserError
        If they do not.
    """
    held = {bare_name(name, base): (name, tensor) for name, tensor in _all(first).items()}
    a = {bare: tensor for bare, (_, tensor) in held.items()}
    b = {
        name_in(bare := bare_name(name, base), a) or bare: tensor
        for name, tensor in _all(second).items()
    }
    shared = sorted(set(a) & set(b))
    differ = [name for name in shared if not _equal(a[name], b[name])]
    apart = sorted(name for name in set(a) ^ set(b) if not is_harmless(name))
    names = [", ".join(file.name for file in files) for files in (first, second)]
    # a partial file (some layers of a later training) has names apart and numbers that differ
    if differ or (apart and not set(b) <= set(a)) or not shared:
        found = (
            f"{len(differ):,} of {len(shared):,} weights have other values, such as"
            f" {held[differ[0]][0]}"
            if differ
            else f"{len(apart):,} weights are in one of them only, such as {apart[0]}"
            if apart
            else "they share no names"
        )
        raise UserError(
            f"{folder} holds two checkpoints, {names[0]} and {names[1]}: {found}",
            "keep the one that is meant in the folder and move the other away",
        )
    return f"{names[1]} holds the same numbers"


def _all(files: Iterable[Path]) -> dict[str, Tensor]:
    return {name: tensor for file in files for name, tensor in read_inside(file).items()}


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    short = a.dtype if a.element_size() < b.element_size() else b.dtype
    return torch.equal(a.to(short).double(), b.to(short).double())


# Weights of other tasks, which the states do not pass through, and buffers; and the vocabulary
# projection, which is the embedding itself and stored in some formats only.
_HARMLESS = re.compile(
    r"(^|\.)(pooler|seq_relationship|classifier|qa_outputs|score|contact_head|position_ids"
    r"|inv_freq)(\.|$)|^(cls\.predictions|lm_head)\.(decoder\.(weight|bias)|bias)$"
)


_TIED = (("word_embeddings.weight", "predictions.decoder.weight"), ("bias", "decoder.bias"))


def require_tied(folder: Path, files: Iterable[Path]) -> None:
    """Refuse a vocabulary projection that ``config.json`` ties to the embedding (as it does when it
    says nothing) and that is stored with other values: versions of the library take the one or the
    other.

    Raises
    ------
    UserError
        The two weights.
    """
    untied = (read_config(folder) or {}).get("tie_word_embeddings") is False
    files = list(files)
    names = {name: file for file in files for name in read_any(file, "meta")}
    for ends in _TIED[untied:]:
        first, second = (_ending(names, end) for end in ends)
        if not first or not second:
            continue
        if not _equal(read_any(names[first])[first], read_any(names[second])[second]):
            raise UserError(
                f"{folder} holds {second} with other values than {first}, and they are one weight"
                " in a model of its config.json",
                "give config.json and weights of the same training; a projection of its own needs"
                " tie_word_embeddings: false",
            )


def _ending(names: Iterable[str], end: str) -> str:
    """The name of a weight of the head or embedding; empty where there is none."""
    pattern = rf"predictions\.{end}$" if end.endswith("bias") else rf"(^|\.){end}$"
    return next((name for name in names if re.search(pattern, name)), "")


def is_harmless(name: str) -> bool:
    """Whether a weight may be there or not without a change of the states."""
    return _HARMLESS.search(name) is not None


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
