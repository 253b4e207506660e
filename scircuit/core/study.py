"""A study on disk: where its parts are, and which runs can be read.

::

    study/
      study.toml               what the user asked for
      runs/<run id>/           the source of truth: manifest.json, log, *.parquet shards, units/,
                               and parts/ until the run concludes
      neo4j/                   the local server's home, a view that can be rebuilt
      report/index.html, and report/figures/ with each figure as SVG and CSV
      catalogues/              genes of each feature, kept for the next annotation
      .locks/                  who writes which run (`scircuit.core.run_files.run_locks`)

The run id is a hash of verb, configuration, inputs and schema, so the same question asked twice is
the same run and a changed configuration is a new one. Files appear under their final name only when
whole (temporary name, fsync, rename).

A run is a folder ``runs/<run id>`` whose manifest names the same run. A link in ``runs/`` is never
followed. A run that cannot be read is named wherever runs are listed, and the others go on working.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import say
from scircuit.core.run_files.manifest import (
    FILE,
    STATUSES,
    Manifest,
    NewerManifest,
    ShardEntry,
    is_run_id,
    require_run_id,
    run_id,
)

__all__ = [
    "STATUSES",
    "Manifest",
    "ShardEntry",
    "Study",
    "UnreadableRun",
    "now",
    "parents_first",
    "run_id",
    "to_the_second",
]


class UnreadableRun(NamedTuple):
    """A folder in ``runs/`` that cannot be used as a run, and why."""

    run: str
    newer: bool
    problem: str
    fix: str


_said: set[tuple[Path, UnreadableRun]] = set()  # each is said once by a process


def now(timespec: str = "seconds") -> str:
    """UTC time, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec=timespec)


def to_the_second(time: str) -> str:
    """A time of `now`, as people read it."""
    return re.sub(r"\.\d+", "", time)


def parents_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Runs oldest first, and each after those of them that it builds on.

    Start times alone do not say so: a clock may have been set back, and runs of two machines meet
    in one study.
    """
    waiting = sorted(manifests, key=lambda m: (m.started, m.run))
    ordered = []
    while waiting:
        still = {m.run for m in waiting}
        ready = (m for m in waiting if not still.intersection(m.parents))
        following = next(ready, waiting[0])  # runs that name each other, in edited files, end too
        waiting.remove(following)
        ordered.append(following)
    return ordered


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

    @property
    def exists(self) -> bool:
        """Whether the folder holds a study: runs, options or a server."""
        return any((self.root / name).exists() for name in ("runs", "study.toml", "neo4j"))

    def require(self, otherwise: str = "there is nothing to read") -> None:
        """Refuse a folder that holds no study, and name studies with a similar name.

        Parameters
        ----------
        otherwise
            What follows from there being none.

        Raises
        ------
        UserError
            If there is no study.
        """
        if self.exists:
            return
        found = "holds no study" if self.root.is_dir() else "does not exist"
        near = studies_like(self.root)
        raise UserError(
            f"study {self.root} {found}: {otherwise}",
            f"did you mean --study {' or --study '.join(map(quoted, near))}?"
            if near
            else "give the folder of a study (--study DIR), or begin one: scircuit demo,"
            " scircuit trace or scircuit import",
        )

    def run_folder(self, run: str) -> Path:
        """Folder of one run.

        Raises
        ------
        UserError
            If the text is not the id of a run, or the folder is a link.
        """
        folder = self.runs / require_run_id(run)
        if folder.is_symlink():
            raise UserError(
                f"{folder} is a link; a run is a folder of the study itself",
                "move the folder there instead of the link, or delete the link",
            )
        return folder

    def manifest(self, run: str) -> Manifest:
        """Manifest of one run.

        Raises
        ------
        UserError
            If there is no such run, or its manifest is damaged, of a newer version or another
            run's.
        """
        folder = self.run_folder(run)
        if not folder.is_dir():
            self.require(f"there is no run at {folder}")
        found = Manifest.load(folder)
        if found.run != run:
            raise UserError(
                f"{folder / FILE} is the manifest of another run, {found.run}",
                f"name the folder {found.run} again, or remove it by hand if it is a copy",
            )
        return found

    def survey(self) -> tuple[list[Manifest], list[UnreadableRun]]:
        """Manifests of all runs, oldest first, and what in ``runs/`` cannot be used as one."""
        found: list[Manifest] = []
        unreadable: list[UnreadableRun] = []
        for folder in self._run_folders():
            try:
                found.append(self.manifest(folder.name))
            except UserError as error:
                if folder.is_symlink() or folder.exists():  # else deleted in this moment
                    newer = isinstance(error, NewerManifest)
                    unreadable.append(UnreadableRun(folder.name, newer, error.problem, error.fix))
        return sorted(found, key=lambda m: (m.started, m.run)), unreadable

    def manifests(self) -> list[Manifest]:
        """Manifests of all runs, oldest first; those that cannot be read are said on stderr."""
        found, unreadable = self.survey()
        for run in unreadable:
            if (self.root, run) not in _said:
                _said.add((self.root, run))
                say(f"  run {run.run} is left out: {run.problem} (fix: {run.fix})")
        return found

    def latest(self, verb: str, *, complete: bool = True) -> Manifest:
        """Newest run of a verb.

        Raises
        ------
        UserError
            If there is none.
        """
        manifests = self.manifests()
        found = [m for m in manifests if m.verb == verb and (m.complete or not complete)]
        if found:
            return found[-1]
        self.require(f"it has no complete {verb!r} run")
        damaged = [run for run in self.survey()[1] if run.run.startswith(f"{verb}-")]
        if damaged:
            raise UserError(
                f"study {self.root} has no complete {verb!r} run that can be read:"
                f" {damaged[0].problem}",
                damaged[0].fix,
            )
        raise UserError(
            f"study {self.root} has no complete {verb!r} run",
            f"run it first: scircuit {verb} --study {quoted(self.root)}",
        )

    def _run_folders(self) -> list[Path]:
        """What in ``runs/`` is a run or was one; not what a process left that was ended before its
        first file.
        """
        try:
            inside = sorted(self.runs.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            if not self.root.is_dir():
                return []
            raise UserError(
                f"{self.runs} is a file; the runs of a study are in a folder of this name",
                "move the file away, and put the runs back if there were some",
            ) from error
        except OSError as error:
            raise UserError(
                f"the runs in {self.runs} cannot be listed: {error.strerror}",
                "make the folder readable",
            ) from error
        return [p for p in inside if _may_be_a_run(p)]


def _may_be_a_run(path: Path) -> bool:
    named = is_run_id(path.name)
    if path.is_symlink() or not path.is_dir():
        return named
    with suppress(OSError):
        files = [p.name for p in path.iterdir() if not p.name.startswith(".")]
        return FILE in files or (named and bool(files))
    return named


def studies_like(missing: Path, most: int = 3) -> list[Path]:
    """Studies whose folder has a similar name to one that is not there."""
    near: dict[str, Path] = {}
    for place in dict.fromkeys((missing.parent, Path())):
        with suppress(OSError):
            near |= {p.name: p for p in sorted(place.iterdir()) if p.is_dir() and Study(p).exists}
    close = difflib.get_close_matches(missing.name, near, n=most, cutoff=0.6)
    return [near[name] for name in close]
