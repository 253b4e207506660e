"""The choice among the columns that name genes, and the refusal where two good ones contradict each
other.

Two columns are compared in the rows where both name a gene that the table of ids and symbols knows,
without following old names. Ids and symbols that belong together differ in few rows, because some
symbols were given to another gene since (0.03 % between the two published tables of Geneformer):
`LIMIT` leaves room for that. Columns that were shifted, sorted or joined wrongly differ in nearly
all; where a few rows were exchanged, each gene of one column is in the other, in another of these
rows, which renaming does not explain either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.core.errors import UserError, quoted
from scircuit.tracing.cells.genes.candidates import Candidate, option_of
from scircuit.tracing.cells.genes.other_species import SPECIES

LIMIT = 0.02  # share of the rows compared in which two columns may name different genes
_MOVED = 0.001  # share of the rows compared whose genes may have changed places
_EVIDENCE = 0.1  # share of the genes of an unnamed column that others must name too


class Choice(NamedTuple):
    """The column to follow, those that fill its gaps, why, and what was not used."""

    base: Candidate
    fillers: tuple[Candidate, ...]
    why: str
    warnings: tuple[str, ...]


class Comparison(NamedTuple):
    """Rows in which two columns both name a known gene, those in which the genes differ, and those
    of these whose gene by the first column is that of another by the second.
    """

    rows: np.ndarray
    differ: np.ndarray
    moved: np.ndarray

    @property
    def contradict(self) -> bool:
        """Whether they differ in more rows than renamed symbols explain."""
        n, differ = len(self.rows), len(self.differ)
        many = differ > LIMIT * n and (differ >= 3 or 2 * differ >= n)
        return many or len(self.moved) > max(1, _MOVED * n)


def compare(a: Candidate, b: Candidate) -> Comparison:
    """Compare two columns row by row."""
    known = [c.exact & c.table.comparable[c.gene] for c in (a, b)]
    rows = np.flatnonzero(known[0] & known[1])
    differ = rows[a.gene[rows] != b.gene[rows]]
    return Comparison(rows, differ, differ[np.isin(a.gene[differ], b.gene[differ])])


def choose(found: Sequence[Candidate], prefer_ids: bool) -> Choice:
    """Choose among the index (first) and the columns.

    Parameters
    ----------
    found
        The candidates.
    prefer_ids
        Whether Ensembl ids come before symbols that map more genes: symbols are renamed over the
        years, ids are not.

    Raises
    ------
    UserError
        If two good candidates name different genes, or genes of different species.
    """
    for one in found:
        _refuse_halves(one)
    own = [c for c in found if c.role == "own"]
    pool = _agreeing([c for c in own if c.human])
    foreign = [c for c in own if c.foreign]
    if pool and foreign:
        _refuse_species(pool[0], foreign[0])
    warnings: list[str] = []
    unnamed = [c for c in found if c.role == "unnamed" and c.human]
    if pool:
        for one in unnamed:
            compared = [(compare(p, one), p) for p in pool]
            against = next((p for c, p in compared if c.contradict), None)
            if against:
                warnings.append(_ignored(one, against))
            elif max(len(c.rows) for c, _ in compared) >= _EVIDENCE * one.exact.sum():
                pool.append(one)
    elif not foreign:
        pool = _agreeing(unnamed)
    if not pool:
        others = [c for c in found if c.role != "own" and c.foreign]
        base = max(foreign or others or own, key=lambda c: (sum(c.species.values()), c.mapped))
        unused = [c for c in found if c.human and c is not base]
        hint = "; ".join(
            f"{c.column} names human genes ({c.mapped:,} have a token), which --gene-column takes"
            for c in unused
        )
        return Choice(base, (), hint, ())
    base = _best(pool, prefer_ids)
    rest = sorted((c for c in pool if c is not base), key=lambda c: -c.mapped)
    warnings += [
        f"{c.column} names genes of {_species(c)} and was not used"
        for c in found
        if c.role != "own" and c.foreign
    ]
    warnings += [_ignored(c, base) for c in found if c.role == "other" and c.human]
    warnings += [text for c in rest if (text := _few(base, c))]
    return Choice(base, tuple(rest), _why(base, rest, prefer_ids), tuple(warnings))


def _best(pool: Sequence[Candidate], prefer_ids: bool) -> Candidate:
    most = max(pool, key=lambda c: c.mapped)
    ids = [c for c in pool if c.kind == "Ensembl ids" and 2 * c.mapped >= most.mapped]
    return max(ids, key=lambda c: c.mapped) if ids and prefer_ids else most


def _why(base: Candidate, rest: Sequence[Candidate], prefer_ids: bool) -> str:
    if not rest:
        return ""
    most = max(c.mapped for c in rest)
    reason = "the most"
    if base.mapped < most or (base.mapped == most and base.kind == "Ensembl ids" and prefer_ids):
        reason = "Ensembl ids, which are not renamed as symbols are"
    elif base.mapped == most:
        reason = "as many as any"
    shown = ", ".join(f"{c.column} ({c.mapped:,})" for c in rest[:4])
    more = f" and {len(rest) - 4} more" if len(rest) > 4 else ""
    agree = "agrees" if len(rest) == 1 else "agree"
    return f"chosen with {base.mapped:,} genes ({reason}); {shown}{more} {agree}"


def _agreeing(pool: list[Candidate]) -> list[Candidate]:
    """The candidates, if no two of them contradict each other."""
    for i, a in enumerate(pool):
        for b in pool[i + 1 :]:
            compared = compare(a, b)
            if compared.contradict:
                agree = [c for c in pool if c is not a and c is not b]
                raise UserError(
                    f"genes: {a.column} and {b.column} name different genes in"
                    f" {len(compared.differ):,} of {len(compared.rows):,} rows where both are known"
                    f" ({_examples(a, b, compared.differ)}); expected at most {LIMIT:.0%}, for"
                    f" renamed symbols, and none that changed places{_votes(agree, a, b)}",
                    f"the columns were shifted or joined wrongly: repair var, or name the right one"
                    f" with --gene-column {_option(a)} or --gene-column {_option(b)}",
                )
    return pool


def _votes(others: Sequence[Candidate], a: Candidate, b: Candidate) -> str:
    said = []
    for one in others:
        with_a, with_b = (not compare(one, c).contradict for c in (a, b))
        if with_a != with_b:
            said.append(f"{one.column} agrees with {(a if with_a else b).column}")
    return f" ({'; '.join(said)})" if said else ""


def _refuse_halves(one: Candidate) -> None:
    """Names that hold an id and a symbol must mean one gene."""
    if not one.human or one.role == "other":
        return
    differ = np.flatnonzero(one.other >= 0)
    if len(differ) > max(2, LIMIT * one.filled):
        shown = ", ".join(one.names[i] for i in differ[:3])
        raise UserError(
            f"genes: {len(differ):,} of {one.filled:,} names in {one.column} hold an Ensembl id"
            f" and the symbol of another gene (such as {shown}); expected both to mean one gene",
            "make the names again from one source, or name another column with --gene-column",
        )


def _refuse_species(human: Candidate, foreign: Candidate) -> None:
    raise UserError(
        f"genes: {human.column} names {human.mapped:,} genes of the model and {foreign.column}"
        f" genes of {_species(foreign)}; expected one species",
        f"if the cells are human, say so with --gene-column {_option(human)}; genes of other"
        " species must be mapped to human orthologues first",
    )


def _species(one: Candidate) -> str:
    if not one.species:
        return "mouse or rat (by the case of the symbols)"
    infix = max(one.species, key=one.species.__getitem__)
    return SPECIES.get(infix, f"another species (ENS{infix}G)")


def _ignored(one: Candidate, against: Candidate) -> str:
    compared = compare(against, one)
    if not len(compared.differ):
        return f"{one.column} was not used: by its name it is of other genes"
    return (
        f"{one.column} names other genes than {against.column} in {len(compared.differ):,} of"
        f" {len(compared.rows):,} rows ({_examples(against, one, compared.differ)}) and was not"
        f" used; --gene-column {_option(one)} takes it"
    )


def _few(base: Candidate, other: Candidate) -> str:
    differ = compare(base, other).differ
    if not len(differ):
        return ""
    return (
        f"{len(differ):,} rows name another gene in {other.column}"
        f" ({_examples(base, other, differ)}): {base.column} was followed"
    )


def _examples(a: Candidate, b: Candidate, rows: np.ndarray) -> str:
    return ", ".join(f"{a.names[i]} beside {b.names[i]}" for i in rows[:3])


def _option(one: Candidate) -> str:
    return quoted(option_of(one.column))
