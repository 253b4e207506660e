"""A study on disk: where its parts are, what a run was made of, and how its files become final.

::

    study/
      study.toml               what the user asked for
      runs/<run id>/manifest.json, log, *.parquet shards, units/     the source of truth (and parts/, until the run concludes)
      neo4j/                   the local server's home, a view that can be rebuilt
      report/index.html

The run id is a hash of verb, configuration, inputs and schema, so the same question asked twice is the same run and a changed
configuration is a new one. Files appear under their final name only when whole (temporary name, fsync, rename).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scircuit.core.config import UserError
from scircuit.core.schema import SCHEMA_VERSION

STATUSES = ("running", "interrupted", "failed", "complete")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no NaN, the same text for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)


def run_id(verb: str, config: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Identity of a run: verb and 10 hexadecimal digits of the hash of everything that determines its result."""
    text = canonical_json({"verb": verb, "config": config, "inputs": inputs, "schema": SCHEMA_VERSION})
    return f"{verb}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def disk_full(error: OSError) -> bool:
    """Whether it was room that a write lacked: on the disk, in the quota, or in what one file may hold."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n")


@dataclass(frozen=True)
class ShardEntry:
    """One shard as the manifest lists it."""

    name: str
    kind: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a run was made of and what it wrote; ``manifest.json``."""

    run: str
    verb: str
    config: dict[str, Any]
    inputs: dict[str, Any]
    version: str
    status: str = "running"
    started: str = ""
    seconds: float = 0.0
    parents: tuple[str, ...] = ()
    shards: tuple[ShardEntry, ...] = ()
    findings: dict[str, Any] = field(default_factory=dict)
    cohort: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)  # software the result depends on; empty in runs from before it was recorded

    @property
    def complete(self) -> bool:
        """Whether the run ended normally."""
        return self.status == "complete"

    def save(self, folder: Path) -> None:
        """Write ``manifest.json`` into the run's folder."""
        write_json(Path(folder) / "manifest.json", asdict(self))

    def with_(self, **changes: Any) -> Manifest:
        """Copy with some fields changed."""
        return replace(self, **changes)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read ``manifest.json``.

        Raises
        ------
        UserError
            If there is none, or it is not a manifest.
        """
        path = Path(folder) / "manifest.json"
        try:
            data = json.loads(path.read_text())
            data["shards"] = tuple(ShardEntry(**s) for s in data.get("shards", ()))
            data["parents"] = tuple(data.get("parents", ()))
            return cls(**data)
        except FileNotFoundError:
            raise UserError(f"no run at {folder}: manifest.json is missing", "list the runs with: scircuit runs") from None
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise UserError(
                f"{path} is not a run manifest ({error})", "restore it from a backup or delete the run's folder and run again"
            ) from error


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


@dataclass(frozen=True)
class Study:
    """Paths inside a study folder."""

    root: Path

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.root / "runs"

    @property
    def server_home(self) -> Path:
        """Home of the local Neo4j server."""
        return self.root / "neo4j"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report" / "index.html"

    def run_folder(self, run: str) -> Path:
        """Folder of one run."""
        return self.runs / run

    def manifests(self) -> list[Manifest]:
        """Manifests of all runs, oldest first."""
        found = [Manifest.load(p.parent) for p in self.runs.glob("*/manifest.json")]
        return sorted(found, key=lambda m: (m.started, m.run))

    def latest(self, verb: str, *, complete: bool = True) -> Manifest:
        """Newest run of a verb.

        Raises
        ------
        UserError
            If there is none.
        """
        found = [m for m in self.manifests() if m.verb == verb and (m.complete or not complete)]
        if not found:
            raise UserError(f"study {self.root} has no complete {verb!r} run", f"run it first: scircuit {verb} --study {self.root}")
        return found[-1]
