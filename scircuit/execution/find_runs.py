"""Which run a verb works on: the trace run that is meant, and imported runs, which can stand for it
only as far as their source goes.
"""

from __future__ import annotations

from scircuit.core.errors import UserError, quoted
from scircuit.core.study import Manifest, Study


def trace_run(study: Study, run: str) -> Manifest:
    """Manifest of the named trace run, or of the newest complete one.

    Raises
    ------
    UserError
        If there is none, it is of another verb, or it is not complete.
    """
    if not run:
        return study.latest("trace")
    manifest = study.manifest(run)
    if manifest.verb != "trace":
        raise UserError(
            f"run {run} is of verb {manifest.verb!r}, expected a trace run",
            f"list them: scircuit runs --study {quoted(study.root)}",
        )
    if not manifest.complete:
        raise UserError(
            f"trace run {run} is {manifest.status}",
            f"finish it first: scircuit trace --study {quoted(study.root)}",
        )
    return manifest


def imported_run(study: Study, run: str) -> Manifest | None:
    """Manifest of the named run if it was imported, else None.

    Raises
    ------
    UserError
        If there is no such run, or its import is not complete.
    """
    if not run:
        return None
    manifest = study.manifest(run)
    if manifest.verb != "import":
        return None
    if not manifest.complete:
        raise UserError(
            f"import run {run} is {manifest.status}",
            f"import the same files again: scircuit import --study {quoted(study.root)}",
        )
    return manifest


def child_of(study: Study, verb: str, parent: str) -> Manifest | None:
    """Newest complete run of a verb that was computed from `parent`."""
    found = [m for m in study.manifests() if m.verb == verb and m.complete and parent in m.parents]
    return found[-1] if found else None


def refuse_imported(run: Manifest, needed: tuple[str, ...], purpose: str) -> None:
    """Refuse what the gaps of an imported run forbid, with the reason.

    Raises
    ------
    UserError
        If its source lacks any of `needed`.
    """
    from scircuit.ingest.importers.gaps import refuse_if_missing

    refuse_if_missing(run.run, run.findings.get("lacks", ()), needed, purpose)
