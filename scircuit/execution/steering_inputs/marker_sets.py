"""Marker sets of ``steer --markers``: genes up and genes down."""

from __future__ import annotations

from pathlib import Path

from scircuit.core.errors import UserError

_FIX = (
    "give up:GENE,GENE down:GENE,GENE, or a file: one GMT line for the set up and one for the set"
    " down, or two columns GENE and up or down"
)


def read_markers(given: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Genes up and genes down, in the order given, each once.

    Parameters
    ----------
    given
        ``up:LYZ,CST3 down:CD34,KIT``; or the path of a file. A GMT file has one line a set, that
        with ``down`` in its name is down (else the second); a table has two columns,
        the gene and ``up`` or ``down``.

    Raises
    ------
    UserError
        If the file cannot be read, or no gene is up.
    """
    sets: dict[str, list[str]] = {"up": [], "down": []}
    if given.startswith(("up:", "down:")):
        for part in given.split():
            which, _, genes = part.partition(":")
            if which not in sets:
                raise UserError(f"markers {part!r}", _FIX)
            sets[which] += [g for g in genes.split(",") if g]
    else:
        _read_file(Path(given), sets)
    up, down = (tuple(dict.fromkeys(sets[k])) for k in ("up", "down"))
    if not up:
        raise UserError(f"markers {given!r}: {len(up)} genes up, {len(down)} down", _FIX)
    return up, down


def _read_file(path: Path, sets: dict[str, list[str]]) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"markers: {path} cannot be read: {what}", _FIX) from error
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    if lines and all(len(fields) > 2 for fields in lines):
        if len(lines) > 2:
            raise UserError(f"markers: {path.name} has {len(lines)} sets; expected 1 or 2", _FIX)
        called = ["down" in name.lower() for name, *_ in lines]
        if len(called) == 2 and called[0] == called[1]:  # the names do not say it, the order does
            called = [False, True]
        for (_, _, *genes), down in zip(lines, called, strict=True):
            which = "down" if down else "up"
            sets[which] += [g.strip() for g in genes if g.strip()]
        return
    for fields in lines:
        words = fields if len(fields) == 2 else fields[0].replace(",", " ").split()
        if len(words) != 2 or words[1].strip().lower() not in sets:
            if words and words[0].strip().lower() == "gene":
                continue
            raise UserError(f"markers: {path.name} has the line {' '.join(fields)[:60]!r}", _FIX)
        sets[words[1].strip().lower()].append(words[0].strip())
