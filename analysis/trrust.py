"""TRRUST: which transcription factor regulates which gene, in which direction, by which papers.

Rows are ``TF TAB target TAB mode TAB PubMed ids``, several for a pair when papers disagree. They are merged per pair:
Activation and Repression together give ``Both``; ``Unknown`` only where no row states a direction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from analysis.genesets import GeneSetLibrary, Term, read_lines
from analysis.symbols import repair
from scircuit.settings import UserError

_MODES = {"activation": "Activation", "1": "Activation", "repression": "Repression", "2": "Repression", "unknown": "Unknown", "0": "Unknown"}
_HEADERS = {"tf", "source", "regulator", "gene_symbol", "tf_name"}
_DATA = Path(__file__).resolve().parent / "data" / "trrust"


class Regulation(NamedTuple):
    """One TF-target pair; `mode` is Activation, Repression, Both or Unknown; `pmids` sorted."""

    tf: str
    target: str
    mode: str
    pmids: tuple[str, ...]


@dataclass(frozen=True)
class Regulons:
    """All pairs of one file, one entry a pair, in order of TF and target."""

    name: str
    file: str
    sha256: str
    release: str
    licence: str
    pairs: tuple[Regulation, ...]
    rows: int
    notes: tuple[str, ...] = ()

    @property
    def tfs(self) -> set[str]:
        """Transcription factors, upper case."""
        return {p.tf.upper() for p in self.pairs}

    def library(self) -> GeneSetLibrary:
        """Target sets as a gene-set library: one term per TF (accession: the TF) holding all its targets."""
        targets: dict[str, list[str]] = {}
        for pair in self.pairs:
            targets.setdefault(pair.tf, []).append(pair.target)
        terms = tuple(Term(tf, f"{tf} targets", tuple(genes)) for tf, genes in targets.items())
        return GeneSetLibrary(self.name, self.file, self.sha256, self.release, self.licence, terms, self.notes)

    def modes(self, tf: str) -> dict[str, str]:
        """Target (upper case) -> mode, for one TF."""
        return {p.target.upper(): p.mode for p in self.pairs if p.tf.upper() == tf.upper()}


def _merge(modes: Iterable[str]) -> str:
    stated = set(modes) - {"Unknown"}
    if not stated:
        return "Unknown"
    return "Both" if len(stated) > 1 else stated.pop()


def read_trrust(path: Path | str, *, name: str = "TRRUST", release: str = "v2", licence: str = "CC BY-SA 4.0") -> Regulons:
    """Read a TRRUST table, with or without header, modes as words or as 0/1/2 (unknown, activation, repression).

    Raises
    ------
    UserError
        If the file cannot be read or a row is not ``TF target mode PMIDs``.
    """
    path = Path(path)
    lines, digest = read_lines(path)
    fix = "a TRRUST file has rows of: TF TAB target TAB Activation|Repression|Unknown (or 1|2|0) TAB PubMed ids joined by ;"
    rows: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    notes: list[str] = []
    count = 0
    for number, line in enumerate(lines, 1):
        columns = [c.strip() for c in line.split("\t")]
        if number == 1 and columns[0].lower().lstrip("#") in _HEADERS:
            continue
        mode = _MODES.get(columns[2].lower()) if len(columns) >= 3 else None
        if mode is None or not columns[0] or not columns[1]:
            raise UserError(f"{path}, line {number}: {line[:70]!r} is not a TRRUST row", fix)
        tf, target = repair(columns[0]), repair(columns[1])
        notes += [f"line {number}: {s.note}" for s in (tf, target) if s.note]
        modes, pmids = rows.setdefault((tf.text, target.text), (set(), set()))
        modes.add(mode)
        pmids.update(p.strip() for p in ";".join(columns[3:]).split(";") if p.strip())
        count += 1
    if not rows:
        raise UserError(f"{path} has a header and no rows", fix)
    pairs = tuple(Regulation(tf, target, _merge(m), tuple(sorted(ids))) for (tf, target), (m, ids) in sorted(rows.items()))
    return Regulons(name, path.name, digest, release, licence, pairs, count, tuple(notes))


@cache
def shipped_trrust() -> Regulons:
    """TRRUST v2, human, as shipped (CC BY-SA 4.0; ``analysis/data/trrust/NOTICE.md``)."""
    return read_trrust(_DATA / "trrust_v2_human.tsv.gz")
