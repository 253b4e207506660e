"""A study on disk: where its parts are, what a run was made of, and how its files become final.

::

    study/
      study.toml               what the user asked for
      runs/<run id>/           the source of truth: manifest.json, log, *.parquet shards, units/,
                               and parts/ until the run concludes
      neo4j/                   the local server's home, a view that can be rebuilt
      report/index.html

The run id is a hash of verb, configuration, inputs and schema, so the same question asked twice is
the same run and a changed configuration is a new one. Files appear under their final name only when
whole (temporary name, fsync, rename).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scircuit.core.errors import UserError
from scircuit.core.files import canonical_json, write_json
from scircuit.core.schema import SCHEMA_VERSION

STATUSES = ("running", "interrupted", "failed", "complete")


def run_id(verb: str, config: Mapping[str, object], inputs: Mapping[str, object]) -> str:
    """Identity of a run: verb and 10 hexadecimal digits of the hash of everything that determines
    its result.
    """
    text = canonical_json(
        {"verb": verb, "config": config, "inputs": inputs, "schema": SCHEMA_VERSION}
    )
    return f"{verb}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


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
    packages: dict[str, str] = field(
        default_factory=dict
    )  # software the result depends on; empty in runs from before it was recorded

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
            raise UserError(
                f"no run at {folder}: manifest.json is missing", "list the runs with: scircuit runs"
            ) from None
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise UserError(
                f"{path} is not a run manifest ({error})",
                "restore it from a backup or delete the run's folder and run again",
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
            raise UserError(
                f"study {self.root} has no complete {verb!r} run",
                f"run it first: scircuit {verb} --study {self.root}",
            )
        return found[-1]
