"""Finished parts of the controls and the audit: they stay in the run's folder until the run
concludes, so that an interruption loses one part at most.

::

    runs/<run id>/parts/<name>-L<layer>-F<first source>.npz    arrays of the result, nesting, notes
                                                       .json   sha256 of that file and of its job

A part is done when its ``.json`` exists: arrays first, then that, each under a temporary name and
renamed. What a run uses of a part is always what is read from these files, so a result does not
depend on whether the part was computed before an interruption or after it. A part that is damaged,
or that belongs to another job (other sources, another rule), is computed anew. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.errors import UserError
from scircuit.core.files import atomic_path, sha256_file, write_json
from scircuit.tracing.engine.jobs import Done

if TYPE_CHECKING:
    from scircuit.tracing.engine.jobs import Job

PARTS = "parts"
_ROOM = "scircuit.tracing"


class PartialResults:
    """Results of the jobs ``work(tracer, sources, rule, ...)`` of one name, in a run's folder.

    Parameters
    ----------
    run
        The run's folder.
    name
        What the jobs compute, ``controls`` or ``audit``.
    rule
        What an edge is in the run; parts found under another rule are not used.
    """

    def __init__(self, run: Path, name: str, rule: object) -> None:
        self._run, self._name, self._rule = run, name, _digest(rule)

    def has(self, job: Job) -> bool:
        """Whether the result of this job is stored, and whole."""
        path = self._path(job)
        try:
            return json.loads(path.with_suffix(".json").read_text()) == self._marker(
                job, sha256_file(path)
            )
        except (OSError, ValueError, RecursionError):
            return False

    def write(self, done: Done) -> None:
        """Store the result of a job.

        Raises
        ------
        UserError
            If the disk is full.
        TypeError
            If the result contains something that `pack` does not take.
        """
        from scircuit.ingest.shards.shard_store import guarded

        path, arrays = self._path(done.job), []
        value = pack(done.result, arrays)

        def write() -> None:
            with atomic_path(path) as temporary:
                with temporary.open("wb") as file:
                    np.savez(
                        file,
                        *arrays,
                        value=np.array(json.dumps(value)),
                        notes=np.array(done.notes, dtype=str),
                    )
                digest = sha256_file(temporary)
            write_json(path.with_suffix(".json"), self._marker(done.job, digest))

        guarded(write, self._run)

    def read(self, job: Job) -> Done:
        """Result of a job that is stored.

        Raises
        ------
        UserError
            If it is not there or not whole.
        """
        path = self._path(job)
        if not self.has(job):
            raise UserError(
                f"{path} was found or written whole in this run, and is missing or damaged now",
                "run the same command again: this part is computed anew",
            )
        with np.load(path, allow_pickle=False) as found:
            arrays = [found[f"arr_{i}"] for i in range(len(found.files) - 2)]
            return Done(
                job,
                unpack(json.loads(str(found["value"])), arrays),
                tuple(map(str, found["notes"])),
            )

    def _path(self, job: Job) -> Path:
        return (
            self._run / PARTS / f"{self._name}-L{job.layer:02d}-F{int(job.arguments[0][0]):05d}.npz"
        )

    def _marker(self, job: Job, sha256: str) -> dict[str, str]:
        return {
            "sha256": sha256,
            "job": _digest((job.work.__qualname__, job.layer, job.arguments[0], self._rule)),
        }


def remove_parts(run: Path) -> None:
    """Remove the parts of a run that has concluded; what cannot be removed stays."""
    shutil.rmtree(run / PARTS, ignore_errors=True)


def _digest(value: object) -> str:
    """Hash of a value that `pack` takes, of every bit of its arrays."""
    arrays: list[np.ndarray] = []
    found = hashlib.sha256(json.dumps(pack(value, arrays)).encode())
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def pack(value: object, arrays: list[np.ndarray]) -> Any:
    """A value as plain JSON, its arrays appended to `arrays`; floats keep every bit.

    Raises
    ------
    TypeError
        If it contains anything but arrays, numbers, texts, and tuples, lists, dicts and named
        tuples of the engine of such.
    """
    into = partial(pack, arrays=arrays)
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be stored")
        arrays.append(np.asarray(value))
        return {"array" if isinstance(value, np.ndarray) else "scalar": len(arrays) - 1}
    if isinstance(value, float):
        return {"float": value.hex()}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {"dict": [[into(k), into(v)] for k, v in value.items()]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        kind = type(value)
        if not kind.__module__.startswith(f"{_ROOM}."):
            raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not a record of the engine")
        return {
            "record": f"{kind.__module__}:{kind.__qualname__}",
            "fields": {name: into(getattr(value, name)) for name in getattr(value, "_fields")},  # noqa: B009
        }
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [into(v) for v in value]}
    raise TypeError(f"a {type(value).__name__} cannot be stored as a part")


def unpack(value: object, arrays: list[np.ndarray]) -> Any:
    """What `pack` was given."""
    if not isinstance(value, dict):
        return value
    out = partial(unpack, arrays=arrays)
    if "record" in value:
        return _record(value["record"])(**{name: out(v) for name, v in value["fields"].items()})
    ((tag, content),) = value.items()
    if tag == "dict":
        return {out(k): out(v) for k, v in content}
    if tag == "float":
        return float.fromhex(content)
    if tag in ("tuple", "list"):
        return {"tuple": tuple, "list": list}[tag](map(out, content))
    return arrays[content] if tag == "array" else arrays[content][()]


def _record(name: str) -> Any:
    """A named tuple of the engine, and nothing else, by its name."""
    module, _, kind = name.partition(":")
    found = (
        getattr(importlib.import_module(module), kind, None)
        if module.startswith(f"{_ROOM}.")
        else None
    )
    if not (isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")):
        raise ValueError(f"{name} is not a record of the engine")
    return found
