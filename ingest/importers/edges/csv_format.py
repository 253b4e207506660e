"""Edges as CSV (``circuit_edges*.csv``), with or without counts of the cells with a positive, a
negative and no effect.

Required columns: src_layer, src_feature, tgt_layer, tgt_feature, cohens_d, consistency. Optional:
sign, mean_delta, n_pos, n_neg, n_zero, consistency_sym, passes_symmetric_rule, condition. A byte
order mark, semicolons and decimal commas are accepted; rows of another length, text in numeric
columns and a last line without a line end stop the import.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.edge_rules import symmetric_consistency
from scircuit.core.errors import UserError
from scircuit.ingest.importers.edges.edge_table import RULE, Edges, detected_cap
from scircuit.ingest.importers.strict_files import BOM

if TYPE_CHECKING:
    import pyarrow as pa

_ENDS = ("src_layer", "src_feature", "tgt_layer", "tgt_feature")
_OTHER_NAMES = {
    "source_layer": "src_layer",
    "source_feature": "src_feature",
    "target_layer": "tgt_layer",
    "target_feature": "tgt_feature",
}
_COUNTS = ("n_pos", "n_neg", "n_zero")
_ROW = "row of the file, from 1"  # kept through filters, for messages
_SIGN_OF = {
    **dict.fromkeys(("1", "+1", "+", "1.0", "positive", "pos", "excitatory"), 1),
    **dict.fromkeys(("-1", "-", "-1.0", "negative", "neg", "inhibitory"), -1),
}


def read_csv(path: Path, condition: str) -> Edges:
    """Read one file of edges.

    Raises
    ------
    UserError
        If a column is missing, a value is not a number, a row has another length, or columns
        contradict each other.
    """
    raw = path.read_bytes()
    table, notes = _read_table(path, raw)
    table = _select_condition(table, condition, path.name)
    source_layer, source, target_layer, target = (
        _integers(table, name, path.name) for name in _ENDS
    )
    values = {
        "d": _numbers(table, "cohens_d", path.name),
        "consistency": _numbers(table, "consistency", path.name),
    }
    if "mean_delta" in table.column_names:
        values["mean"] = _numbers(table, "mean_delta", path.name)
    counts = [c for c in _COUNTS if c in table.column_names]
    if len(counts) == len(_COUNTS):
        pos, neg, zero = (_numbers(table, c, path.name) for c in _COUNTS)
        values |= {"n": pos + neg + zero, "n_pos": pos, "n_neg": neg}
    elif counts:
        notes.append(
            f"{', '.join(counts)} are given without"
            f" {', '.join(c for c in _COUNTS if c not in counts)}: the counts are left out"
        )
    edges = Edges(source_layer, source, target_layer, target, values)
    _check_signs(table, values["d"], path.name)
    notes += _check_symmetric(table, values, path.name)
    cap, of = detected_cap(edges)
    if cap:
        notes.append(
            f"many have exactly {cap} edges of {of}, and none has more: the file seems to contain"
            f" only the {cap} strongest"
        )
    full = "n" in values
    lacks = (
        *(() if full else ("n", "counts", "symmetric_rule")),
        *(() if "mean" in values else ("mean",)),
        "sd",
        "p",
        "computed",
        "null",
        "cells",
        *(("all_edges",) if cap else ()),
    )
    return replace(
        edges,
        lacks=lacks,
        cap=cap,
        cap_of=of,
        rule=RULE,
        notes=tuple(notes),
        findings={"edges_kept": len(edges)},
    )


def _read_table(path: Path, raw: bytes) -> tuple[pa.Table, list[str]]:
    import pyarrow as pa
    from pyarrow import csv

    notes = []
    if raw.startswith(BOM):
        raw = raw.removeprefix(BOM)
        notes.append("the file starts with a byte order mark, which was ignored")
    if not raw.strip():
        raise UserError(f"{path.name} is empty", "check that it is the right file")
    if not raw.endswith(b"\n"):
        raise UserError(
            f"{path.name} does not end with a line end: it may be truncated",
            "fetch it again; if it is complete, add a line end after its last row",
        )
    header = raw.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    delimiter = max(",;\t", key=header.count)
    if delimiter != ",":
        notes.append(f"columns are separated by {'tabs' if delimiter == chr(9) else 'semicolons'}")

    def parse(point: str) -> pa.Table:
        names = [
            _OTHER_NAMES.get(n.strip().strip('"'), n.strip().strip('"'))
            for n in header.split(delimiter)
        ]
        types = {
            n: pa.float64()
            for n in ("cohens_d", "consistency", "mean_delta", "consistency_sym", *_COUNTS, *_ENDS)
        }
        types |= {n: pa.string() for n in names if n not in types}
        return csv.read_csv(
            io.BytesIO(raw),
            read_options=csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=csv.ParseOptions(delimiter=delimiter),
            convert_options=csv.ConvertOptions(
                column_types=types, decimal_point=point, null_values=[""], strings_can_be_null=True
            ),
        )

    try:
        table = parse(".")
    except pa.ArrowInvalid as error:
        try:
            if delimiter == ",":
                raise
            table = parse(",")
            notes.append("decimal commas were read as decimal points")
        except pa.ArrowInvalid:
            raise UserError(
                f"{path.name} cannot be read as a table of numbers:"
                f" {str(error).splitlines()[0][:200]}",
                "correct the row, or fetch the file again",
            ) from error
    table = table.append_column(_ROW, pa.array(range(1, len(table) + 1)))
    wanted = [*_ENDS, "cohens_d", "consistency"]
    missing = [c for c in wanted if c not in table.column_names]
    if missing:
        raise UserError(
            f"{path.name} has no column {', '.join(missing)}; it has"
            f" {', '.join(table.column_names[:-1])}",
            f"required columns: {', '.join(wanted)}",
        )
    return table, notes


def _select_condition(table: pa.Table, condition: str, name: str) -> pa.Table:
    import pyarrow.compute as pc

    if "condition" not in table.column_names:
        if condition:
            raise UserError(
                f"{name} has no column condition, so {condition!r} cannot be chosen",
                "leave --condition out",
            )
        return table
    held = sorted({str(c) for c in table.column("condition").unique().to_pylist()})
    if not condition and len(held) > 1:
        raise UserError(
            f"{name} has {len(held)} conditions: {', '.join(held)}",
            "import one at a time: --condition NAME",
        )
    if condition and condition not in held:
        raise UserError(
            f"{name} has no condition {condition!r}; it has {', '.join(held)}",
            "choose one of these",
        )
    return table.filter(pc.equal(table.column("condition"), condition)) if condition else table  # pyright: ignore[reportAttributeAccessIssue]


def _numbers(table: pa.Table, name: str, where: str) -> np.ndarray:
    found = table.column(name).to_numpy().astype(float)
    for bad, what, fix in (
        (np.isinf(found), "infinite", ""),
        (np.isnan(found), "empty or not a number", "leave these rows out, or "),
    ):
        if bad.any():
            first = table.column(_ROW)[int(bad.argmax())].as_py()
            raise UserError(
                f"{where}: {name} is {what} in {int(bad.sum()):,} of {len(found):,} rows, first in"
                f" row {first:,} after the header",
                f"{fix}export the file again",
            )
    return found


def _integers(table: pa.Table, name: str, where: str) -> np.ndarray:
    found = _numbers(table, name, where)
    if (found != np.floor(found)).any():
        raise UserError(
            f"{where}: {name} has {found[found != np.floor(found)][0]:g}, expected integers",
            "check which column is which",
        )
    return found.astype(np.int64)


def _check_signs(table: pa.Table, d: np.ndarray, where: str) -> None:
    if "sign" not in table.column_names:
        return
    given = [_SIGN_OF.get(str(s).strip().lower()) for s in table.column("sign").to_pylist()]
    unknown = [i for i, s in enumerate(given) if s is None]
    if unknown:
        raise UserError(
            f"{where}: sign is {table.column('sign')[unknown[0]].as_py()!r} in {len(unknown):,}"
            f" rows, expected one of {', '.join(_SIGN_OF)}",
            "check which column is which",
        )
    wrong = np.array(given, dtype=float) * d < 0
    if wrong.any():
        raise UserError(
            f"{where}: sign and cohens_d contradict each other in {int(wrong.sum()):,} of"
            f" {len(d):,} rows",
            "check which column is which",
        )


def _check_symmetric(table: pa.Table, values: dict[str, np.ndarray], where: str) -> list[str]:
    notes = []
    if "consistency_sym" in table.column_names and "n_pos" in values:
        given = _numbers(table, "consistency_sym", where)
        moved = values["n_pos"] + values["n_neg"]
        off = (np.abs(symmetric_consistency(values["n_pos"], values["n_neg"]) - given) > 0.01) & (
            moved > 0
        )
        if off.any():
            raise UserError(
                f"{where}: consistency_sym is not max(n_pos, n_neg) / (n_pos + n_neg) in"
                f" {int(off.sum()):,} rows",
                "check which column is which",
            )
    if "passes_symmetric_rule" in table.column_names:
        passing = sum(
            str(v).strip().lower() in ("true", "1", "1.0")
            for v in table.column("passes_symmetric_rule").to_pylist()
        )
        notes.append(
            f"{passing:,} of {table.num_rows:,} edges pass the symmetric rule according to the file"
        )
    return notes
