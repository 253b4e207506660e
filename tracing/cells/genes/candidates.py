"""The index and the columns of `var` that may name the genes, each read name by name.

What a column is called says how far to trust it: the index and a column called ``gene_ids`` or
``symbol`` name the rows themselves (*own*); ``host_gene_id``, ``mouse_gene_id`` or ``nearest_gene``
name other genes (*other*), and are used only when asked for; any other column (*unnamed*) counts
when it does not contradict the first kind.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from scircuit.tracing.cells.genes.written_names import How, Name, read_name
from scircuit.tracing.tokenisation.vocabulary.gene_table import GeneTable

INDEX = "var index"
IDS = "Ensembl ids"
COLUMN = "var:"  # before the name of a column in --gene-column, where `index` is the index
_GOOD = 0.2  # share of its names that a column of gene names must have in the table
_DISTINCT = 0.2  # share of its genes that must differ: a column of one target gene names no rows
_PROBES = 1000
_NAMED = re.compile(
    r"^ens|ensembl|ensg|geneid|genename|genesymbol|geneshortname|symbol|hgnc|hugo|featureid|featurename"
)
_PLAIN = {"gene", "genes", "id", "ids", "name", "names", "index", "feature", "features", "varnames"}
_OF_OTHERS = {
    *("host", "ortholog", "orthologs", "orthologue", "orthologous", "homolog", "homologue"),
    *("homologs", "paralog", "paralogue", "nearest", "neighbor", "neighbour", "closest", "mouse"),
    *("mmusculus", "mus", "murine", "mgi", "rat", "rnorvegicus", "zebrafish", "macaque", "pig"),
    *("parent", "overlapping", "overlap", "antisense", "sense", "partner", "ligand", "receptor"),
    *("target", "targets", "regulator", "tf", "linked", "peak", "enhancer", "previous", "prev"),
    *("old", "alias", "aliases", "synonym", "synonyms", "upstream", "downstream", "adjacent"),
    *("human", "hsapiens", "other", "nearby", "correlated", "coexpressed", "best", "fusion"),
}


@dataclass(frozen=True)
class Candidate:
    """A column of names.

    Attributes
    ----------
    column
        ``var index`` or ``var[...]``.
    role
        ``own``, ``unnamed`` or ``other``.
    names
        As written; empty where missing, [genes].
    gene
        Number of the gene, or -1, [genes].
    how
        How each name was read (`How`), [genes].
    other
        Second gene that the same name names, or -1, [genes].
    species
        Names of other species, by infix of their Ensembl ids.
    table
        What the numbers mean.
    """

    column: str
    role: str
    names: tuple[str, ...] = field(repr=False)
    gene: np.ndarray = field(repr=False)
    how: np.ndarray = field(repr=False)
    other: np.ndarray = field(repr=False)
    species: dict[str, int]
    table: GeneTable = field(repr=False)

    @cached_property
    def exact(self) -> np.ndarray:
        """Whether each name is a symbol or an id as it is, [genes]."""
        return self.how >= How.SYMBOL

    @cached_property
    def mapped(self) -> int:
        """Names that are exact and have a token."""
        return int(self.table.has_token[self.gene[self.exact]].sum())

    @cached_property
    def filled(self) -> int:
        """Names that are not missing."""
        return int((self.how != How.MISSING).sum())

    @cached_property
    def human(self) -> bool:
        """Whether these are names of human genes."""
        known = int(self.exact.sum())
        distinct = len(np.unique(self.gene[self.exact]))
        rodent = int((self.how == How.RODENT).sum())
        return (
            known > max(0, rodent)
            and known >= max(_GOOD * self.filled, 1)
            and distinct >= _DISTINCT * known
        )

    @cached_property
    def foreign(self) -> bool:
        """Whether these are names of genes of another species."""
        names = int(np.isin(self.how, (How.FOREIGN, How.RODENT)).sum())
        return not self.human and self.filled > 0 and 2 * names >= self.filled

    @cached_property
    def ids(self) -> int:
        """Human Ensembl ids."""
        return int(np.isin(self.how, (How.ID, How.UNLISTED, How.RETIRED)).sum())

    @property
    def kind(self) -> str:
        """`IDS` or ``symbols``."""
        ids = self.ids + sum(self.species.values())
        return IDS if 2 * ids >= max(1, self.filled) else "symbols"


def candidates(var: pd.DataFrame, table: GeneTable) -> list[Candidate]:
    """The index first, then every column of text in the order of the file."""
    found = [read_column(INDEX, "own", var.index.to_series(), table)]
    for position, column in enumerate(var.columns):
        values = var.iloc[:, position]
        if is_text(values):
            found.append(read_column(f"var[{str(column)!r}]", role(str(column)), values, table))
    return found


def is_text(values: pd.Series) -> bool:
    """Whether a column holds text."""
    return isinstance(values.dtype, pd.CategoricalDtype) or (
        pd.api.types.is_object_dtype(values.dtype) or pd.api.types.is_string_dtype(values.dtype)
    )


def role(column: str) -> str:
    """What the name of a column says about whose genes it names."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column).lower())
    if _OF_OTHERS & set(words):
        return "other"
    plain = "".join(words)
    return "own" if plain in _PLAIN or _NAMED.search(plain) else "unnamed"


def option_of(column: str) -> str:
    """What --gene-column takes for the index or a column, by a candidate's name for it."""
    if column == INDEX:
        return "index"
    return option_for(ast.literal_eval(column.removeprefix("var[").removesuffix("]")))


def option_for(name: str) -> str:
    """What --gene-column takes for a column of var."""
    return f"{COLUMN}{name}" if name == "index" or name.startswith(COLUMN) else name


def read_column(column: str, role: str, values: pd.Series, table: GeneTable) -> Candidate:
    """Read every name once, however often it occurs."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, distinct = values.cat.codes.to_numpy(), list(values.cat.categories)
    else:
        codes, distinct = pd.factorize(column_text(values))
    names = [_text(v) for v in distinct]
    read = _read(names, table)
    names.append("")  # code -1
    gene = np.array([*(r.gene for r in read), -1], dtype=np.int64)[codes]
    how = np.array([*(r.how for r in read), How.MISSING], dtype=np.int8)[codes]
    other = np.array([*(r.other for r in read), -1], dtype=np.int64)[codes]
    times = np.bincount(codes[codes >= 0], minlength=len(read))
    species: dict[str, int] = {}
    for one, n in zip(read, times.tolist(), strict=True):
        if one.how == How.FOREIGN:
            species[one.species] = species.get(one.species, 0) + n
    written = tuple(np.array(names, dtype=object)[codes].tolist())
    return Candidate(column, role, written, gene, how, other, species, table)


def _read(names: list[str], table: GeneTable) -> list[Name]:
    """Read distinct names. A long column of which no name in a thousand is one of a gene, such as
    descriptions or positions, is not read further.
    """
    if len(names) > 2 * _PROBES:
        # drawn, since a stride may fall in step with the order of the names
        probe = np.random.default_rng(0).choice(len(names), _PROBES, replace=False)
        if all(read_name(names[i], table).how <= How.UNKNOWN for i in probe.tolist()):
            return [Name(-1, How.UNKNOWN if name else How.MISSING) for name in names]
    return [read_name(name, table) for name in names]


def column_text(values: pd.Series) -> np.ndarray:
    """A column as text, empty where a value is missing, however the column marks that."""
    return np.array([_text(v) for v in values.astype(object)], dtype=object)


def _text(value: object) -> str:
    """A value of a column as text; empty for a missing one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    missing = value is None or value is pd.NA or (isinstance(value, float) and value != value)
    return "" if missing else str(value)
