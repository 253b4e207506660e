"""One published value and how it is recomputed; the verdict on it.

A `Check` is declared beside its fellows of one theme. Running it gives a `Row`:

=================  ==========================================================================
reproduced         the recomputed value rounds to the printed one
differs            it does not
refuted            a claim of the text that the files contradict
not published      a value that belongs beside a published one, which the study does not give
cannot be had      its files are missing, or no published file determines it: the row says which
=================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from scircuit.analysis.reproduction.printed import Value, same_as_printed, shown
from scircuit.analysis.reproduction.study_files import StudyFiles
from scircuit.core.errors import UserError

REPRODUCED, DIFFERS, REFUTED = "reproduced", "differs", "refuted"
UNPUBLISHED, CANNOT = "not published", "cannot be had"
VERDICTS = (REPRODUCED, DIFFERS, REFUTED, UNPUBLISHED, CANNOT)


@dataclass(frozen=True)
class Check:
    """A published value, declared.

    Parameters
    ----------
    id
        Short and unique: ``fdr``, with the theme in front of it in a row.
    what
        The value in words.
    published
        As printed; empty where the study gives none.
    recompute
        From the files; None where no published file determines the value.
    files
        What `recompute` reads. A name with ``*`` needs one file that matches.
    note
        How it is recomputed, what is wrong with it, or why it cannot be had.
    claim
        A statement of the text: contradicted, it is refuted and not merely different.
    holds
        Whether the recomputed value bears the claim out, where that is not equality.
    """

    id: str
    what: str
    published: str
    recompute: Callable[[StudyFiles], Value] | None = None
    files: tuple[str, ...] = ()
    note: str = ""
    claim: bool = False
    holds: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    id: str
    theme: str
    what: str
    published: str
    recomputed: str
    files: tuple[str, ...]
    verdict: str
    note: str

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {**asdict(self), "files": list(self.files)}


@dataclass(frozen=True)
class Theme:
    """Checks that belong together: a section of the page."""

    name: str
    title: str
    checks: tuple[Check, ...]


def run_check(check: Check, theme: str, files: StudyFiles) -> Row:
    """Recompute one value and compare it at the printed precision.

    Raises
    ------
    UserError
        If a file of the check is damaged or has another layout.
    """

    def row(recomputed: str, verdict: str, note: str) -> Row:
        where = f"{theme}.{check.id}"
        return Row(
            where, theme, check.what, check.published, recomputed, check.files, verdict, note
        )

    if check.recompute is None:
        return row("", CANNOT, check.note)
    missing = [name for name in check.files if files.path(name) is None]
    if missing:
        return row("", CANNOT, f"missing: {', '.join(missing)}")
    try:
        value = check.recompute(files)
    except UserError:
        raise
    except KeyError as error:
        raise _other_layout(check, f"has no {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise _other_layout(check, f"is not as published ({error})") from error
    text = shown(value, check.published)
    if not check.published:
        return row(text, UNPUBLISHED, check.note)
    agrees = check.holds(value) if check.holds else same_as_printed(check.published, value)
    failed = REFUTED if check.claim else DIFFERS
    return row(text, REPRODUCED if agrees else failed, check.note)


def run_checks(themes: Iterable[Theme], files: StudyFiles) -> list[Row]:
    """All rows, in the order of the themes."""
    return [run_check(check, theme.name, files) for theme in themes for check in theme.checks]


def _other_layout(check: Check, what: str) -> UserError:
    return UserError(
        f"{' or '.join(check.files) or check.id} {what}, needed for: {check.what}",
        "check that the files are those of the study, and whole",
    )
