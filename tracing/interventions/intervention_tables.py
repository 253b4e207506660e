"""What joint ablation and steering share: reading addresses, tests over cells, q within a family,
and tables by kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address, parse
from scircuit.core.errors import UserError
from scircuit.core.schema import arrow_schema, conform
from scircuit.tracing.statistics.q_values import q_table

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.dictionaries.dictionary import Dictionary


def read_addresses(
    addresses: Sequence[Address | str], dictionaries: Mapping[int, Dictionary], minimum: int
) -> list[Address]:
    """Parse addresses, drop repeats, and check them against the dictionaries.

    Raises
    ------
    UserError
        If one is malformed, of another dictionary set, or not in the dictionaries; or if fewer than
        `minimum` remain.
    """
    found: list[Address] = []
    for given in addresses:
        try:
            address = given if isinstance(given, Address) else parse(given)
        except ValueError as error:
            raise UserError(str(error), "copy addresses from a query or from the report") from error
        if (
            address.layer not in dictionaries
            or not 0 <= address.index < dictionaries[address.layer].n_features
        ):
            layers = ", ".join(str(t) for t in sorted(dictionaries))
            raise UserError(
                f"{address} is not in the dictionaries, which cover layers {layers}",
                "use addresses of this run",
            )
        if found and (address.model, address.dictionary) != (found[0].model, found[0].dictionary):
            raise UserError(
                f"{address} and {found[0]} are of different models or dictionaries",
                "change features of one set at a time",
            )
        if address not in found:
            found.append(address)
    if len(found) < minimum:
        raise UserError(
            f"{len(found)} feature(s) given, at least {minimum} needed",
            "give addresses such as model/set/L05/F0898",
        )
    return found


def interval(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over cells (first axis) and its 95 % t interval; the interval is NaN for fewer than two
    cells.
    """
    from scipy.special import stdtrit

    n, mean = len(x), x.mean(0)
    if n < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = stdtrit(n - 1, 0.975) * x.std(0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def q_of(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q of a family; NaN takes no part and stays NaN."""
    tested = ~np.isnan(p)
    table = q_table(*np.unique(p[tested], return_counts=True))
    q = np.full(len(p), np.nan)
    q[tested] = table.q[np.searchsorted(table.p, p[tested])]
    return q


def tables_of(rows: Mapping[str, Iterable[Mapping[str, object]]]) -> dict[str, pa.Table]:
    """Rows by kind as tables of that kind; NaN becomes null."""
    import pyarrow as pa

    def clean(value: object) -> object:
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and not np.isfinite(value) else value

    result = {}
    for kind, given in rows.items():
        records = [{k: clean(v) for k, v in row.items()} for row in given]
        schema = arrow_schema(kind, records[0].keys() if records else None)
        result[kind] = conform(kind, pa.Table.from_pylist(records, schema=schema))
    return result
