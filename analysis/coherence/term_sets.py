r"""Which terms each feature has, as tables of yes and no, and which pairs of features share one.

Three kinds of sharing, one bit each:

- ``all``: any term, as the published studies count it;
- ``specific``: a term that is not generic. Generic are the placeholders of published annotations
  (`PLACEHOLDERS`, which say that some pair of top genes is in a database and not which) and terms
  that more than a tenth of the annotated features have;
- ``ontology``: a specific term, or a common ancestor in the ontology that is informative,

      information(a) = -log2( share of annotated features with a or a kind of a )  >=  log2(20)

  which is Resnik's similarity above a threshold (Resnik 1995). It needs an annotation that was made
  with an ontology file.

Terms are told apart by library: the same name in two libraries is two terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

PLACEHOLDERS = ("pairwise_enrichment", "transcription_factors")
GENERIC_SHARE = 0.1
GENERIC_FEATURES = 10
INFORMATIVE_SHARE = 0.05


class TermSets(NamedTuple):
    """Terms of features.

    Parameters
    ----------
    kinds
        Names of the kinds of sharing, in the order of the bits.
    tables
        For each kind the features that have each term, bool (features, terms).
    size
        Number of specific terms of every feature, (features,).
    annotated
        Features with a term of any kind, bool (features,).
    generic
        Names of the generic terms, most frequent first.
    """

    kinds: tuple[str, ...]
    tables: tuple[sparse.csr_matrix, ...]
    size: np.ndarray
    annotated: np.ndarray
    generic: tuple[str, ...]

    def shared(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Bit b of each pair: do both have a term in common by kind b; uint8 (sources, targets)."""
        found = np.zeros((sources.size, targets.size), np.uint8)
        for bit, table in enumerate(self.tables):
            pairs = (table[sources] @ table[targets].T).tocoo()
            found[pairs.row, pairs.col] |= np.uint8(1 << bit)
        return found


def term_sets(
    terms: pd.DataFrame, features: int, parents: Mapping[str, Sequence[str]] | None = None
) -> TermSets:
    """The terms of features.

    Parameters
    ----------
    terms
        Columns feature (position), term (id), name.
    features
        Number of features.
    parents
        Term -> direct parents in its ontology; empty or None: the kind ``ontology`` is left out.
    """
    unique = terms.drop_duplicates(["feature", "term"])
    names = sorted(unique["term"].unique())
    number = {term: i for i, term in enumerate(names)}
    row = unique["feature"].to_numpy(np.int64)
    column = np.array([number[term] for term in unique["term"]], np.int64)
    name_of = dict(zip(unique["term"], unique["name"], strict=True))
    table = _table(row, column, (features, len(names)))
    annotated = np.diff(table.indptr) > 0
    times = np.bincount(column, minlength=len(names))
    most = max(GENERIC_SHARE * int(annotated.sum()), GENERIC_FEATURES)
    placeholder = np.array([_plain(name_of[t]) in PLACEHOLDERS for t in names], dtype=bool)
    generic = placeholder | (times > most)
    specific = _columns(table, ~generic)
    kinds, tables = ["all", "specific"], [table, specific]
    if parents:
        kinds.append("ontology")
        tables.append(_with_ancestors(row, column, names, generic, parents, features))
    order = [i for i in np.lexsort((np.arange(len(names)), -times)) if generic[i]]
    return TermSets(
        tuple(kinds),
        tuple(tables),
        np.diff(specific.indptr),
        annotated,
        tuple(str(name_of[names[i]]) for i in order),
    )


def _with_ancestors(
    row: np.ndarray,
    column: np.ndarray,
    names: Sequence[str],
    generic: np.ndarray,
    parents: Mapping[str, Sequence[str]],
    features: int,
) -> sparse.csr_matrix:
    """Specific terms, and informative ancestors of all terms."""
    above = {t: _ancestors(t, parents) for t in names}
    every = sorted({*names, *(a for found in above.values() for a in found)})
    number = {term: i for i, term in enumerate(every)}
    reach = [[number[t], *(number[a] for a in above[t])] for t in names]
    length = np.array([len(r) for r in reach])
    rows = np.repeat(row, length[column])
    columns = np.concatenate([np.array(reach[c]) for c in column]) if row.size else column
    table = _table(rows, columns, (features, len(every)))
    carried = np.asarray(cast("sparse.csr_matrix", table > 0).sum(0)).ravel()
    annotated = int((np.diff(table.indptr) > 0).sum())
    informative = carried <= max(INFORMATIVE_SHARE * annotated, 2)
    own = np.zeros(len(every), bool)
    own[[number[t] for t, g in zip(names, generic, strict=True) if not g]] = True
    # an ancestor that only one term leads to says no more than the term; a specific term stays
    return _columns(table, informative | own)


def _ancestors(term: str, parents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All ancestors, each once; a cycle ends where it began."""
    seen: dict[str, None] = {}
    queue = [*parents.get(term, ())]
    while queue:
        one = queue.pop()
        if one != term and one not in seen:
            seen[one] = None
            queue += parents.get(one, ())
    return tuple(seen)


def _plain(name: object) -> str:
    return str(name).strip().lower().replace(" ", "_")


def _table(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    from scipy import sparse

    found = sparse.csr_matrix((np.ones(row.size, np.int32), (row, column)), shape=shape)
    found.sum_duplicates()
    found.data[:] = 1
    return found


def _columns(table: sparse.csr_matrix, keep: np.ndarray) -> sparse.csr_matrix:
    return table.tocsc()[:, np.flatnonzero(keep)].tocsr()
