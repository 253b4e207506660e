"""What happens on resume: a run that was ended before its conclusion goes on where it was.

The same command finds the run by its id (`scircuit.core.study.run_id`), and then

1. other versions of the software are refused (`require_same_software`): results of two versions
   must not be mixed;
2. work units keep the size they were begun with (`begun_settings`), and those with all their files
   on disk are skipped (`missing_units`, files of `UnitFiles`);
3. q is set on all stored edges, whether or not that was done before;
4. finished parts of the controls and the audit are read instead of computed
   (`scircuit.execution.partial_results`);
5. shards that are not in the graph yet are loaded (`scircuit.ingest.graph.stream`).

Everything is on disk under its final name only when whole, so the result does not depend on where a
run was interrupted. A complete run is not computed again: its findings are shown.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import BadZipFile

import numpy as np

from scircuit.core.errors import UserError, quoted
from scircuit.core.files import atomic_path
from scircuit.core.progress import say
from scircuit.core.study import Manifest, Study
from scircuit.execution.software_versions import differing, listed

if TYPE_CHECKING:
    from scircuit.tracing.engine.jobs import Done
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.engine.unit_results import Counted, UnitResult
    from scircuit.tracing.statistics.skewness import Null

_FAMILIES = ("total", "direct", "computed")


def require_same_software(study: Study, manifest: Manifest, installed: Mapping[str, str]) -> None:
    """Refuse to resume an unfinished run with other versions of the software its result depends on.

    Parameters
    ----------
    study, manifest
        The study, and the manifest of the run.
    installed
        Versions of the packages installed now.

    Raises
    ------
    UserError
        If a version differs.
    """
    if manifest.complete:
        return
    if not manifest.packages:
        say(
            f"  run {manifest.run} does not record the package versions it was started with"
            f" (scircuit {manifest.version}); resuming it with {listed(installed)}"
        )
        return
    expected, found = differing(manifest.packages, installed)
    if expected:
        raise UserError(
            f"cannot resume run {manifest.run}: started with {listed(expected)}, now"
            f" {listed(found)}",
            f"install {listed(expected)} again, or delete the run and start anew: scircuit"
            f" runs delete {manifest.run} --study {quoted(study.root)}",
        )


_BESIDE = {
    "config": "another config.json of the model",
    "tokens": "other tokens of the same cells, which the dictionaries of the model's folder decide",
}


def require_same_inputs(study: Study, manifest: Manifest, beside: Mapping[str, object]) -> None:
    """Refuse a run, finished or not, that was computed from other inputs than its id tells of.

    Parameters
    ----------
    study, manifest
        The study, and the manifest of the run.
    beside
        Hashes of the inputs as they are now; a run that does not state one passes.

    Raises
    ------
    UserError
        If one differs.
    """
    for name, value in beside.items():
        if manifest.inputs.get(name, value) != value:
            raise UserError(
                f"run {manifest.run} was computed with {_BESIDE[name]}",
                "restore the files that it was computed with, or delete the run and start anew:"
                f" scircuit runs delete {manifest.run} --study {quoted(study.root)}",
            )


def begun_settings(settings: TraceSettings, manifest: Manifest) -> TraceSettings:
    """Settings of a resumed run: its work units keep the size they were begun with.

    Raises
    ------
    UserError
        If the manifest does not say which that is.
    """
    stored = manifest.config.get("unit_features")
    if type(stored) is not int or stored < 1:
        raise UserError(
            f"the manifest of run {manifest.run} has {stored!r} features a work unit",
            f"delete the run and start anew: scircuit runs delete {manifest.run}",
        )
    return replace(settings, unit_features=stored)


class StoredUnit(NamedTuple):
    """What is on disk of a work unit beside its stored edges."""

    total: Counted
    null: Null
    direct: Counted
    computed: Counted
    held_out: np.ndarray
    live: int
    pairs: int
    zero_edit_max: float
    notes: tuple[str, ...]


class UnitFiles:
    """Files of the p values of work units, which their stored edges alone do not give:
    ``units/<unit>.npz`` in the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def has(self, unit: str) -> bool:
        """Whether a unit's file is on disk."""
        return self._path(unit).exists()

    def write(self, done: Done) -> None:
        """Store the p values of the unit that a job computed.

        Raises
        ------
        UserError
            If the disk is full.
        """
        from scircuit.ingest.shards.shard_store import guarded

        guarded(partial(self._write, done.result, done.notes), self._run)

    def _write(self, found: UnitResult, notes: tuple[str, ...]) -> None:
        with atomic_path(self._path(found.name)) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                **{
                    f"{family}_{name}": values
                    for family in _FAMILIES
                    for name, values in getattr(found, family)._asdict().items()
                },
                held_out=found.held_out.astype(np.int32),
                live=found.live,
                pairs=found.pairs,
                zero=found.zero_edit_max,
                **{f"null_{name}": value for name, value in found.null._asdict().items()},
                notes=np.array(notes, dtype=str),
            )

    def read(self, unit: str) -> StoredUnit:
        """What is stored of a unit.

        Raises
        ------
        UserError
            If its file is damaged.
        """
        path = self._path(unit)
        try:
            return self._read(path)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            BadZipFile,
            zlib.error,
        ) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}: {error})",
                "delete this file and give the same command again: its work unit is computed anew",
            ) from error

    @staticmethod
    def _read(path: Path) -> StoredUnit:
        from scircuit.tracing.engine.unit_results import Counted
        from scircuit.tracing.statistics.skewness import Null

        with np.load(path, allow_pickle=False) as u:
            return StoredUnit(
                total=Counted(u["total_p"], u["total_counts"]),
                null=Null(*(u[f"null_{name}"] for name in Null._fields)),
                direct=Counted(u["direct_p"], u["direct_counts"]),
                computed=Counted(u["computed_p"], u["computed_counts"]),
                held_out=u["held_out"].astype(np.int64),
                live=int(u["live"]),
                pairs=int(u["pairs"]),
                zero_edit_max=float(u["zero"]),
                notes=tuple(map(str, u["notes"])),
            )

    def _path(self, unit: str) -> Path:
        return self._run / "units" / f"{unit}.npz"


def missing_units(units: Iterable[str], stored: Collection[str], files: UnitFiles) -> list[str]:
    """Work units that still have to be computed: without stored edges, or without p values."""
    return [unit for unit in units if unit not in stored or not files.has(unit)]
