"""Every way in which a folder of JSON and tensors can be damaged, one at a time.

`damages` lists the ways for a folder as it is; each is applied to a fresh copy. What may come of it
is success with the same numbers, or one `UserError`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from scircuit.core.errors import UserError

BIG = 10**30


class Damage(NamedTuple):
    """What is done to which file of a folder."""

    what: str
    file: str
    do: Callable[[Path], object]

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def damages(folder: Path, tensors: tuple[str, ...] = ()) -> Iterator[Damage]:
    """Ways to damage each file below a folder: the file as a whole, fields of JSON objects, and the
    named tensors.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        file = str(path.relative_to(folder))
        for what, do in _WHOLE.items():
            yield Damage(what, file, do)
        if path.suffix == ".json":
            for where in _fields(json.loads(path.read_text())):
                for what, value in _VALUES.items():
                    yield Damage(f"{'.'.join(where)} {what}", file, _set(where, value))
        if path.suffix in (".safetensors", ".pt", ".bin"):
            held = read(path)
            for name in [n for n in held if not tensors or n in tensors]:
                for what, change in _TENSORS.items():
                    yield Damage(f"{name} {what}", file, _change(name, change))
            yield Damage("another tensor beside the others", file, _add)


def outcome(
    folder: Path, place: Path, damage: Damage, numbers: Callable[[Path], Any], expected: Any
) -> str:
    """What comes of a damaged copy of `folder` at `place`: ``same``, ``other numbers``, or the
    sentence of the refusal; any other error is raised.
    """
    shutil.copytree(folder, place)
    damage.do(place / damage.file)
    try:
        found = numbers(place)
    except UserError as error:
        return str(error)
    finally:
        shutil.rmtree(place)
    same = np.array_equal(np.asarray(expected), np.asarray(found))
    return "same" if same else "other numbers"


def read(path: Path) -> dict[str, Any]:
    """Tensors of a file."""
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, weights_only=True)


def write(path: Path, tensors: dict[str, Any]) -> None:
    """Write them again."""
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(tensors, path, {"format": "pt"})
    else:
        torch.save(tensors, path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


_WHOLE: dict[str, Callable[[Path], object]] = {
    "removed": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "zeros": lambda p: p.write_bytes(bytes(p.stat().st_size)),
    "noise": _noise,
    "a directory": _directory,
    "a link to itself": _loop,
    "deep": lambda p: p.write_text("[" * 50_000),
}
_REMOVED = object()
_VALUES = {
    "removed": _REMOVED,
    "null": None,
    "a list": [1],
    "text": "seven",
    "an object": {"a": 1},
    "huge": BIG,
    "negative": -1,
    "NaN": float("nan"),
    "infinite": float("inf"),
}


def _fields(content: Any) -> Iterator[tuple[str, ...]]:
    """Fields of an object and of the objects in it."""
    for name, value in content.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, *inner) for inner in _fields(value))


def _set(where: tuple[str, ...], value: Any) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        content = json.loads(path.read_text())
        place = content
        for name in where[:-1]:
            place = place[name]
        if value is _REMOVED:
            del place[where[-1]]
        else:
            place[where[-1]] = value
        path.write_text(json.dumps(content))

    return do


_TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "removed": lambda t: None,
    "of one more row": lambda t: torch.cat([t, t[:1]]) if t.ndim else torch.stack([t, t]),
    "flat": lambda t: t.flatten()[:-1].clone(),
    "of one more axis": lambda t: t[None].clone(),
    "empty": lambda t: t.flatten()[:0].clone(),
    "of whole numbers": lambda t: t.to(torch.int32),
    "of 8 bits": lambda t: t.to(torch.int8),
    "complex": lambda t: t.to(torch.complex64),
    "NaN": lambda t: torch.full_like(t, float("nan"), dtype=torch.float32),
}


def _change(
    name: str, change: Callable[[torch.Tensor], torch.Tensor | None]
) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        held = read(path)
        owner = next(d for d in (held, *held.values()) if isinstance(d, dict) and name in d)
        if not isinstance(owner[name], torch.Tensor):
            return
        changed = change(owner[name])
        owner.pop(name)
        if changed is not None:
            owner[name] = changed.contiguous()
        write(path, held)

    return do


def _add(path: Path) -> None:
    held = read(path)
    write(path, {**held, "encoder.layer.9.extra.weight": torch.ones(3)})
