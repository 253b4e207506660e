"""The manifest of a run: what it was made of and what it wrote (``manifest.json``).

A manifest is read as a stranger's file: every field is checked, and its own hash (``seal``) shows a
change of what no form can show, such as a digit of a finding. Manifests of earlier versions have
neither seal nor schema and are read all the same (`may_differ` turns what their findings lack into
a message); one of a newer schema is refused by its version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scircuit.core.errors import UserError
from scircuit.core.files import Unreadable, canonical_json, read_json, write_json
from scircuit.core.schema import NODES, RELATIONSHIPS, SCHEMA_VERSION
from scircuit.core.terminal import one_line

STATUSES = ("running", "interrupted", "failed", "complete")
FILE = "manifest.json"

_RUN = re.compile(r"[a-z]{1,20}-[0-9a-z]{1,40}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,200}")
_REVISION = re.compile(r"\.r\d+(?=\.parquet$)")
_SEALED = ("config", "inputs", "cohort", "findings", "shards")
_MOST = 2**53  # the largest count that every reader of JSON keeps


def is_run_id(run: object) -> bool:
    """Whether a text has the form of a run's id: a verb, a hyphen, letters and digits."""
    return isinstance(run, str) and bool(_RUN.fullmatch(run))


def require_run_id(run: str) -> str:
    """The same text, if it has the form of a run's id: nothing else is ever a part of a path.

    Raises
    ------
    UserError
        If it has another form.
    """
    if not is_run_id(run):
        shown = one_line(repr(run) if len(str(run)) <= 60 else repr(str(run)[:57] + "..."))
        raise UserError(
            f"{shown} is not the id of a run; expected a verb and ten digits, such as"
            " trace-1a2b3c4d5e",
            "list the runs with: scircuit runs",
        )
    return run


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


class NewerManifest(UserError):
    """A run of a newer schema than this version reads."""


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
    schema: int = SCHEMA_VERSION  # 0 in runs from before it was recorded
    further: dict[str, Any] = field(default_factory=dict)  # fields that another version wrote

    @property
    def complete(self) -> bool:
        """Whether the run ended normally."""
        return self.status == "complete"

    def save(self, folder: Path) -> None:
        """Write ``manifest.json`` into the run's folder."""
        record = asdict(self)
        record |= record.pop("further")
        write_json(Path(folder) / FILE, record | {"seal": _seal(record)})

    def with_(self, **changes: Any) -> Manifest:
        """Copy with some fields changed."""
        return replace(self, **changes)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read ``manifest.json``.

        Raises
        ------
        UserError
            If there is none, it is damaged, or a newer version wrote it.
        """
        path = Path(folder) / FILE
        try:
            data = read_json(path)
            if not isinstance(data, dict):
                raise Unreadable(f"it holds a {type(data).__name__}, not an object")
            _refuse_newer(path, data)
            found = cls(**_checked(data))
            if (found.schema or "seal" in data) and data.get("seal") != _seal(data):
                raise Unreadable("it was changed after scircuit wrote it")
        except FileNotFoundError:
            raise UserError(
                f"no run at {folder}: {FILE} is missing", "list the runs with: scircuit runs"
            ) from None
        except Unreadable as error:
            raise UserError(
                f"{path} is not a run manifest ({error})",
                "restore it from a backup, or delete the run (scircuit runs delete"
                f" {Path(folder).name}) and run it again",
            ) from error
        return found


def shard_key(name: str) -> str:
    """Name of a shard without its revision: the same before and after its late columns are filled
    in.
    """
    return _REVISION.sub("", name)


def shard_entries(found: object) -> tuple[ShardEntry, ...]:
    """List of shards as a manifest or the marker of a work unit holds it.

    Raises
    ------
    Unreadable
        If it is no such list: a name that leads out of the folder, an undeclared kind, the same
        shard twice, a count that is none.
    """
    if not isinstance(found, list | tuple):
        raise Unreadable(f"its shards are {_kind(found)}")
    entries = tuple(_entry(item) for item in found)
    seen: set[str] = set()
    for entry in entries:
        if (key := shard_key(entry.name)) in seen:
            raise Unreadable(f"it lists shard {key} twice")
        seen.add(key)
    return entries


@contextlib.contextmanager
def may_differ(*manifests: Manifest | None) -> Iterator[None]:
    """Turn an error in the block into a message, where a manifest without a seal may be the cause.

    Raises
    ------
    UserError
        If the block fails and one of the manifests is of an earlier version.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        old = [m for m in manifests if m is not None and not m.schema]
        if isinstance(error, UserError) or not old:
            raise
        raise UserError(
            f"the manifest of run {old[0].run} (scircuit {one_line(old[0].version[:20])}) does not"
            f" hold what is needed here ({type(error).__name__}: {error})",
            "restore it from a backup, or run the verb that wrote it again",
        ) from error


def _entry(item: object) -> ShardEntry:
    if not isinstance(item, dict) or set(item) != {"name", "kind", "rows", "sha256"}:
        raise Unreadable("a shard of its list has not the fields name, kind, rows and sha256")
    name, kind, rows, digest = (item[n] for n in ("name", "kind", "rows", "sha256"))
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise Unreadable(f"{_shown(name)} is not the name of a shard")
    if kind not in (*NODES, *RELATIONSHIPS):
        raise Unreadable(f"shard {name} is of the undeclared kind {_shown(kind)}")
    if type(rows) is not int or not 0 <= rows <= _MOST:
        raise Unreadable(f"shard {name} has {_shown(rows)} rows")
    if not isinstance(digest, str):
        raise Unreadable(f"the hash of shard {name} is {_kind(digest)}")
    return ShardEntry(name, kind, rows, digest)


def _refuse_newer(path: Path, data: Mapping[str, Any]) -> None:
    schema = data.get("schema", 0)
    if type(schema) is int and schema > SCHEMA_VERSION:
        version = one_line(str(data.get("version", "unknown"))[:40])
        raise NewerManifest(
            f"run {path.parent.name} was written by a newer scircuit ({version}): its records are"
            f" of schema {schema:.6g}, and this version reads up to {SCHEMA_VERSION}",
            f"install scircuit {version} or newer",
        )


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a manifest, each of its type; those that are not known are kept apart."""
    types = {
        **dict.fromkeys(("run", "verb", "version", "status", "started"), str),
        **dict.fromkeys(("config", "inputs", "findings", "cohort", "packages"), dict),
    }
    needed = ("run", "verb", "config", "inputs", "version")
    if missing := [name for name in needed if name not in data]:
        raise Unreadable(f"it lacks {', '.join(missing)}")
    known = {name: data[name] for name in types if name in data}
    for name, value in known.items():
        if not isinstance(value, types[name]):
            raise Unreadable(f"its field {name!r} is {_kind(value)}")
    if not _RUN.fullmatch(known["run"]):
        raise Unreadable(f"{_shown(known['run'])} is not the id of a run")
    if known.get("status", "running") not in STATUSES:
        raise Unreadable(f"its status {_shown(known['status'])} is none of {', '.join(STATUSES)}")
    schema, seconds = data.get("schema", 0), data.get("seconds", 0.0)
    if type(schema) is not int or schema < 0:
        raise Unreadable(f"its schema is {_shown(schema)}")
    if type(seconds) not in (int, float) or not (math.isfinite(seconds) and 0 <= seconds <= _MOST):
        raise Unreadable(f"it took {_shown(seconds)} seconds")
    parents = data.get("parents", ())
    if not isinstance(parents, list) or not all(isinstance(p, str) for p in parents):
        raise Unreadable("its parents are not a list of runs")
    if not all(isinstance(v, str) for v in known.get("packages", {}).values()):
        raise Unreadable("a version of its packages is not a text")
    own = {*types, "schema", "seconds", "parents", "shards", "seal"}
    return {
        **known,
        "schema": schema,
        "seconds": float(seconds),
        "parents": tuple(parents),
        "shards": shard_entries(data.get("shards", [])),
        "further": {name: value for name, value in data.items() if name not in own},
    }


def _seal(record: Mapping[str, Any]) -> str:
    """Hash of what a manifest states beside its plain fields, as it is when read again."""
    stated = {name: record.get(name, {}) for name in _SEALED}
    plain = json.loads(json.dumps(stated, default=str))
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()[:32]


def _shown(value: object) -> str:
    text = repr(value)
    return one_line(text if len(text) <= 60 else text[:57] + "...")


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
