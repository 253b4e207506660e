"""Tables of transcription factor and target -> `Regulons`: TRRUST, CollecTRI, DoRothEA and similar
tables.

One row is one statement; rows of a pair are merged. The mode of a row is a word (activation,
repression, unknown), TRRUST's number (0 unknown, 1 activation, 2 repression), or the sign of a
weight; Activation and Repression together give ``Both``, and ``Unknown`` stays only where no row
states a direction.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scircuit.analysis.genesets.build_library import library_name, refuse_mouse_genes
from scircuit.analysis.genesets.gene_files import GeneFile, symbol_notes
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.symbols import repair
from scircuit.core.errors import UserError

WORDS = {
    "activation": "Activation",
    "activator": "Activation",
    "activates": "Activation",
    "stimulation": "Activation",
    "positive": "Activation",
    "up": "Activation",
    "+": "Activation",
    "repression": "Repression",
    "repressor": "Repression",
    "represses": "Repression",
    "inhibition": "Repression",
    "negative": "Repression",
    "down": "Repression",
    "-": "Repression",
    "unknown": "Unknown",
    "unk": "Unknown",
    "": "Unknown",
    "na": "Unknown",
}
NUMBERS = {"0": "Unknown", "1": "Activation", "2": "Repression"}
_FIX = (
    "a regulon table has rows of: TF TAB target TAB Activation|Repression|Unknown (or 1|2|0) TAB"
    " PubMed ids joined by ; or a header such as source,target,weight"
)


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
        """Target sets as a gene-set library: one term per TF (accession: the TF) holding all its
        targets.
        """
        targets: dict[str, list[str]] = {}
        for pair in self.pairs:
            targets.setdefault(pair.tf, []).append(pair.target)
        terms = tuple(Term(tf, f"{tf} targets", tuple(genes)) for tf, genes in targets.items())
        return GeneSetLibrary(
            self.name, self.file, self.sha256, self.release, self.licence, terms, self.notes
        )

    def modes(self, tf: str) -> dict[str, str]:
        """Target (upper case) -> mode, for one TF."""
        return {p.target.upper(): p.mode for p in self.pairs if p.tf.upper() == tf.upper()}


def merged(modes: Iterable[str]) -> str:
    """Mode of a pair from those of its rows."""
    stated = set(modes) - {"Unknown"}
    if not stated:
        return "Unknown"
    return "Both" if len(stated) > 1 else stated.pop()


def _mode_of(values: Sequence[str], signed: bool) -> tuple[Mapping[str, str], int, str]:
    """How to read a column: value -> mode, how many values are no finite numbers, and the first
    that cannot be read ("" if all can).
    """
    found: dict[str, str] = {}
    odd = 0
    numbers = {v for v in values if v not in WORDS}
    trrust = not signed and numbers <= NUMBERS.keys()
    for value, times in Counter(values).items():
        if value in WORDS:
            found[value] = WORDS[value]
            continue
        if trrust:
            found[value] = NUMBERS[value]
            continue
        try:
            weight = float(value)
        except ValueError:
            return found, odd, value
        if math.isfinite(weight):
            found[value] = "Activation" if weight > 0 else "Repression" if weight < 0 else "Unknown"
        else:
            found[value] = "Unknown"
            odd += times
    return found, odd, ""


def build_regulons(
    rows: Sequence[tuple[int, str, str, str, str]],
    source: GeneFile,
    path: Path | str,
    *,
    name: str,
    release: str,
    licence: str,
    signed: bool,
    notes: Iterable[str] = (),
) -> Regulons:
    """Merge rows of (line number, TF, target, mode, papers) to pairs.

    Parameters
    ----------
    rows
        As read; papers joined by ``;`` or ``,``.
    signed
        Whether the mode column is a weight, whose sign counts, and not TRRUST's 0, 1, 2.

    Raises
    ------
    UserError
        If there is no row, a row has no TF, no target or an unknown mode, or the genes are mouse
        genes.
    """
    if not rows:
        raise UserError(f"{path} has a header and no rows", _FIX)
    read, not_finite, wrong = _mode_of([mode.lower() for _, _, _, mode, _ in rows], signed)
    pairs: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    odd = []
    for number, tf_text, target_text, mode, papers in rows:
        if not tf_text or not target_text or (wrong and mode.lower() == wrong):
            raise UserError(
                f"{path}, line {number}: {source.lines[number - 1][:70]!r} is not a row of TF,"
                " target and mode",
                _FIX,
            )
        tf, target = repair(tf_text), repair(target_text)
        odd += [s for s in (tf, target) if s.note]
        modes, ids = pairs.setdefault((tf.text, target.text), (set(), set()))
        modes.add(read[mode.lower()])
        ids.update(p.strip() for p in papers.replace(",", ";").split(";") if p.strip())
    refuse_mouse_genes(path, list(dict.fromkeys(gene for pair in pairs for gene in pair))[:20000])
    every = [*source.notes, *notes, *symbol_notes(odd)]
    if not_finite:
        every.append(
            f"{not_finite} of {len(rows)} rows have a weight that is not a finite number; their"
            " mode is Unknown"
        )
    found = tuple(
        Regulation(tf, target, merged(m), tuple(sorted(ids)))
        for (tf, target), (m, ids) in sorted(pairs.items())
    )
    return Regulons(
        name or library_name(path),
        source.file,
        source.sha256,
        release,
        licence,
        found,
        len(rows),
        tuple(every),
    )
