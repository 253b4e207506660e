"""A run's records on disk: Parquet shards, one per work unit and kind, and the manifest that lists
them with their hashes.

A unit is done when its marker ``units/<unit>.json`` exists: shards are written first, then the
marker, then the manifest, each under a temporary name and renamed. A process killed between two of
these steps leaves a unit either done or not done; a marker that is missing in the manifest is added
when the store is opened. A damaged marker is of no account: what the manifest lists of its unit is
done, and a unit it does not list is computed again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from scircuit.core import schema
from scircuit.core.errors import UserError, disk_full, quoted
from scircuit.core.files import Unreadable, atomic_path, read_json, sha256_file, write_json
from scircuit.core.run_files.manifest import (
    STATUSES,
    Manifest,
    ShardEntry,
    shard_entries,
    shard_key,
)
from scircuit.core.run_files.run_locks import owners
from scircuit.ingest.shards.content_hash import LATE_COLUMNS, content_hash

__all__ = ["ShardStore", "guarded", "read_shard", "shard_key"]

_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,120}")
T = TypeVar("T")
_REVISION = re.compile(r"\.r(\d+)\.parquet$")


def read_shard(folder: Path, entry: ShardEntry) -> pa.Table:
    """Read one shard after checking its hash.

    Raises
    ------
    UserError
        If the file is missing, damaged, or differs from the manifest.
    """
    path = Path(folder) / entry.name
    problem = _problem(path, entry)
    if problem:
        raise _refusal(path, problem)
    try:
        table = pq.read_table(path)
        table = schema.conform(entry.kind, schema.without_retired(entry.kind, table))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UserError(
            f"shard {path} cannot be read: {error}", "restore it from a backup or run again"
        ) from error
    if table.num_rows != entry.rows:
        raise UserError(
            f"shard {path} has {table.num_rows} rows, the manifest says {entry.rows}",
            "restore it or run again",
        )
    return table


def _refusal(path: Path, problem: str) -> UserError:
    """What is wrong with a shard: another process that works on the run, or damage."""
    run = path.parent
    if not (run / "manifest.json").exists():
        return UserError(
            f"run {run.name} was deleted while it was read", "list the runs with: scircuit runs"
        )
    held = [owner for owner in owners(run.parent.parent) if owner.run == run.name]
    if held:
        return UserError(
            f"shard {path}: {problem}; {held[0]} is working on run {run.name}",
            "wait until that process has ended, then give the same command again",
        )
    return UserError(
        f"shard {path}: {problem}",
        "restore the file from a backup, or delete the run (scircuit runs delete) and run it again",
    )


def _problem(path: Path, entry: ShardEntry) -> str:
    if path.exists() and not path.is_file():
        return "it is no file"
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        return "listed in the manifest, but missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return (
        ""
        if found == entry.sha256
        else f"it is damaged: sha256 {found[:12]}..., the manifest says {entry.sha256[:12]}..."
    )


class ShardStore:
    """Writes and reads the shards of one run folder; one writer at a time.

    Parameters
    ----------
    folder
        The run's folder.
    manifest
        Given for a new run; a folder that already has this run is opened unchanged.

    Raises
    ------
    UserError
        If the folder has no run, or another one than `manifest` names.
    """

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        self.folder = Path(folder)
        if manifest is None or (self.folder / "manifest.json").exists():
            found = Manifest.load(self.folder)
            if manifest is not None and manifest.run != found.run:
                raise UserError(
                    f"{self.folder} contains run {found.run}, not {manifest.run}",
                    "use another folder for the new run",
                )
            self.manifest = found
        else:
            self.manifest = manifest
            self._save(manifest)
        self._units: dict[str, tuple[ShardEntry, ...]] = {}
        self._adopt_finished_units()

    def _adopt_finished_units(self) -> None:
        """Add units to the manifest that a killed process had finished but not listed."""
        listed: dict[str, list[ShardEntry]] = {}
        for entry in self.manifest.shards:
            listed.setdefault(_unit_of(entry), []).append(entry)
        missing: list[ShardEntry] = []
        for marker in sorted((self.folder / "units").glob("*.json")):
            unit = marker.stem
            if unit in listed:
                self._units[unit] = tuple(listed[unit])
                continue
            entries = self._marked(marker)
            if entries is not None:
                self._units[unit] = entries
                missing += entries
        if missing:
            self.manifest = self.manifest.with_(shards=(*self.manifest.shards, *missing))

    def _marked(self, marker: Path) -> tuple[ShardEntry, ...] | None:
        """Shards of a finished unit as its marker lists them; None if marker or shards are damaged,
        so that the unit counts as not done.
        """
        try:
            found = read_json(marker)
            if not isinstance(found, dict) or "shards" not in found:
                return None
            entries = shard_entries(found["shards"])
        except (FileNotFoundError, Unreadable):
            return None
        whole = all(
            _unit_of(entry) == marker.stem and not _problem(self.folder / entry.name, entry)
            for entry in entries
        )
        return entries if whole else None

    def units(self) -> set[str]:
        """Work units that are done, including those without records."""
        return set(self._units)

    def add(self, unit: str, tables: Mapping[str, pa.Table]) -> list[ShardEntry]:
        """Write one unit's tables, then mark it as done; empty tables give no file.

        Where a kind carries ``run``, the column is set to this run's id.

        Parameters
        ----------
        unit
            Name of the work unit: letters, digits and ``_ . + -``.
        tables
            Kind to table.

        Returns
        -------
        list of ShardEntry
            The shards written, nodes before relationships. A unit that is already done with equal
            content is not written again.

        Raises
        ------
        UserError
            If the disk is full or not writable (the unit is then not done), or the unit is already
            done with other content.
        ValueError
            If a table does not fit its kind's declaration, or the unit's name is unusable.
        """
        if not _UNIT.fullmatch(unit):
            raise ValueError(
                f"unit name {unit!r} is not usable as a file name; use letters, digits and _ . + -"
            )
        order = [*schema.NODES, *schema.RELATIONSHIPS]
        for kind in tables:
            schema.properties_of(kind)
        ready = {
            k: self._with_run(k, schema.conform(k, tables[k]))
            for k in sorted(tables, key=order.index)
        }
        ready = {kind: table for kind, table in ready.items() if table.num_rows}
        if unit in self._units:
            return self._existing_if_equal(unit, ready)
        entries = [
            self._write(f"{unit}.{kind}.parquet", kind, table) for kind, table in ready.items()
        ]
        marker = self.folder / "units" / f"{unit}.json"
        _remove_folder(marker)
        guarded(
            lambda: write_json(marker, {"shards": [asdict(e) for e in entries]}),
            self.folder,
        )
        # The marker makes the unit final; if the manifest cannot be written now, the unit is added
        # to it at the next opening.
        self._units[unit] = tuple(entries)
        others = (entry for entry in self.manifest.shards if _unit_of(entry) != unit)
        self.manifest = self.manifest.with_(shards=(*others, *entries))
        self._save(self.manifest)
        return entries

    def _existing_if_equal(self, unit: str, tables: Mapping[str, pa.Table]) -> list[ShardEntry]:
        current = {shard_key(entry.name): entry for entry in self.manifest.shards}
        entries = [current[shard_key(entry.name)] for entry in self._units[unit]]
        equal = {e.kind for e in entries} == set(tables) and all(
            content_hash(self.read(entry)) == content_hash(tables[entry.kind]) for entry in entries
        )
        if not equal:
            raise UserError(
                f"unit {unit} of run {self.manifest.run} is already done, with other content",
                "records of a run never change; delete the run (scircuit runs delete) to compute it"
                " again",
            )
        return entries

    def _with_run(self, kind: str, table: pa.Table) -> pa.Table:
        if not any(p.name == "run" for p in schema.properties_of(kind)):
            return table
        run = self.manifest.run
        if "run" in table.column_names:
            others = set(table.column("run").unique().to_pylist()) - {run, None}
            if others:
                raise ValueError(
                    f"{kind} table has records of run {', '.join(sorted(others))}, but is written"
                    f" into run {run}"
                )
            table = table.drop_columns(["run"])
        return schema.conform(kind, table.append_column("run", pa.repeat(run, table.num_rows)))

    def _write(self, name: str, kind: str, table: pa.Table) -> ShardEntry:
        path = self.folder / name

        def write() -> str:
            with atomic_path(path) as temporary:
                pq.write_table(table, str(temporary), compression="zstd", row_group_size=100_000)
                return sha256_file(temporary)

        return ShardEntry(name, kind, table.num_rows, guarded(write, self.folder))

    def replace(self, entry: ShardEntry, table: pa.Table) -> ShardEntry:
        """Write a shard again with its late columns filled in; all else must be unchanged.

        The new file gets its own name; the manifest then lists it instead of the old one, which is
        deleted last.

        Raises
        ------
        ValueError
            If the shard is not in the manifest, or anything but its late columns changed.
        UserError
            If the disk is full (the old shard is kept), or the old shard is damaged.
        """
        key = shard_key(entry.name)
        current = next((e for e in self.manifest.shards if shard_key(e.name) == key), None)
        if current is None:
            raise ValueError(f"run {self.manifest.run} has no shard {entry.name}")
        ready = self._with_run(entry.kind, schema.conform(entry.kind, table))
        if content_hash(ready) != content_hash(self.read(current)):
            raise ValueError(
                f"only {', '.join(LATE_COLUMNS)} may change in shard {entry.name}, but other"
                " values or the row order changed"
            )
        revision = int(found[1]) + 1 if (found := _REVISION.search(current.name)) else 1
        name = key.removesuffix(".parquet") + f".r{revision}.parquet"
        new = self._write(name, entry.kind, ready)
        self._save(
            self.manifest.with_(
                shards=tuple(new if e is current else e for e in self.manifest.shards)
            )
        )
        (self.folder / current.name).unlink(missing_ok=True)
        return new

    def read(self, entry: ShardEntry) -> pa.Table:
        """Read the newest revision of a shard after checking its hash."""
        current = _revised(self.manifest, entry)
        if not (self.folder / current.name).exists():
            # another process may have filled in late columns since this store was opened
            with contextlib.suppress(UserError):
                current = _revised(Manifest.load(self.folder), current)
        return read_shard(self.folder, current)

    def tables(self, kind: str) -> pa.Table:
        """All shards of one kind as one table; an empty one when the run has none."""
        found = [self.read(entry) for entry in self.manifest.shards if entry.kind == kind]
        if not found:
            return schema.arrow_schema(kind).empty_table()
        return schema.conform(kind, pa.concat_tables(found, promote_options="default"))

    def finish(
        self,
        status: str,
        findings: Mapping[str, object] | None = None,
        seconds: float | None = None,
    ) -> None:
        """Set the run's status, findings and seconds in the manifest.

        Raises
        ------
        ValueError
            If the status is not one of `scircuit.core.study.STATUSES`.
        """
        if status not in STATUSES:
            raise ValueError(f"status {status!r}; expected one of {', '.join(STATUSES)}")
        changes: dict[str, object] = {"status": status}
        if findings is not None:
            changes["findings"] = dict(findings)
        if seconds is not None:
            changes["seconds"] = float(seconds)
        self._save(self.manifest.with_(**changes))
        if status == "complete":
            for stray in self.folder.glob(".*.parquet.*.tmp"):
                stray.unlink(missing_ok=True)

    def verify(self) -> list[str]:
        """Check every shard against the manifest; one sentence per problem."""
        found = (
            (entry, _problem(self.folder / entry.name, entry)) for entry in self.manifest.shards
        )
        return [f"{entry.name}: {problem}" for entry, problem in found if problem]

    def _save(self, manifest: Manifest) -> None:
        """Save the manifest, then use it: a failed save leaves the store unchanged."""
        guarded(lambda: manifest.save(self.folder), self.folder)
        self.manifest = manifest


def _revised(manifest: Manifest, entry: ShardEntry) -> ShardEntry:
    """A shard as the manifest lists it now."""
    key = shard_key(entry.name)
    return next((e for e in manifest.shards if shard_key(e.name) == key), entry)


def _remove_folder(marker: Path) -> None:
    """Remove an empty folder where the marker of a unit belongs; a link or a file is replaced."""
    if marker.is_dir() and not marker.is_symlink():
        try:
            marker.rmdir()
        except OSError as error:
            raise UserError(
                f"{marker} is a folder; the marker of a finished unit is a file",
                f"look what is in it, and remove it: rm -r {quoted(marker)}",
            ) from error


def _unit_of(entry: ShardEntry) -> str:
    """Work unit of a shard: its name is ``<unit>.<kind>.parquet``."""
    return shard_key(entry.name).removesuffix(f".{entry.kind}.parquet")


def guarded(write: Callable[[], T], folder: Path) -> T:
    """Call `write`, and turn a full or read-only disk into a `UserError`."""
    try:
        return write()
    except OSError as error:
        full = disk_full(error) or "No space" in str(error)
        raise UserError(
            f"cannot write into {folder}:"
            f" {'the disk is full' if full else error.strerror or error}",
            "free space or choose another --study folder, then run again: the run resumes where it"
            " stopped",
        ) from error
