"""A catalogue of the genes of features (`scircuit.tracing.clean_pass.feature_genes`) on disk: the
clean pass over many cells takes minutes, and what is tested with its result changes more often.

Its name is a hash of all that it depends on: model, dictionaries, the tokens of every cell, the
genes of the tokens, the kind of device, versions of the software, and the code that counts. Options
of the tests (top genes, fewest firings, seeds) do not enter: they choose from a catalogue. A file
that is absent, damaged or of another key is computed anew; what is read equals what was computed,
bit by bit.

::

    <folder>/<key>.parquet           the table
    <folder>/<key>-cells.parquet     activity cell by cell, where it was asked for
    <folder>/<key>.json              the rest, and the hashes of these files; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.files import atomic_path, canonical_json, sha256_file, write_json
from scircuit.tracing.clean_pass import feature_genes
from scircuit.tracing.clean_pass.feature_genes import Catalogue, CellActivity, build_catalogue
from scircuit.tracing.tokenisation.token_hash import tokens_sha256

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter

_CELL_COLUMNS = ("cell", "layer", "index", "total")


def stored_catalogue(
    folder: Path,
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    *,
    versions: Mapping[str, str],
    by_cell: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Catalogue:
    """The catalogue of a cohort, from disk where it is there, else computed and stored.

    Parameters
    ----------
    folder
        Where catalogues are kept.
    adapter, dictionaries, cohort, by_cell, progress
        As `scircuit.tracing.clean_pass.feature_genes.build_catalogue`; `progress` is not called for
        one from disk.
    versions
        Versions of the software that the result depends on.

    Raises
    ------
    UserError
        As `build_catalogue`. A catalogue that cannot be stored is none.
    """
    depends = _depends(adapter, dictionaries, cohort, versions)
    key = hashlib.sha256(canonical_json(depends).encode()).hexdigest()[:20]
    found = _read(Path(folder), key, depends, by_cell)
    if found is None:
        found = build_catalogue(adapter, dictionaries, cohort, by_cell=by_cell, progress=progress)
        try:
            _write(Path(folder), key, depends, found)
        except OSError:  # a full or read-only disk: the next run computes it again
            return found
    return found


def _depends(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    versions: Mapping[str, str],
) -> dict[str, object]:
    """All that a catalogue depends on."""
    genes = hashlib.sha256("\n".join(map(str, adapter.vocabulary.gene_of_token)).encode())
    return {
        "model": adapter.sha256,
        "config": adapter.config_sha256,
        "family": type(adapter).__name__,
        "dictionaries": {str(layer): d.sha256 for layer, d in sorted(dictionaries.items())},
        "cells": len(cohort.tokens),
        "tokens": tokens_sha256(cohort.tokens),
        "genes": genes.hexdigest(),
        "device": adapter.device.type,
        "numerics": adapter.numerics,
        "versions": dict(versions),
        "code": sha256_file(Path(feature_genes.__file__)),
    }


def _write(folder: Path, key: str, depends: Mapping[str, object], found: Catalogue) -> None:
    import pyarrow as pa

    tables = {key: found.table}
    if found.activity is not None:
        columns = {name: getattr(found.activity, name) for name in _CELL_COLUMNS}
        tables[f"{key}-cells"] = pa.table(columns)
    described = {
        "depends": depends,
        "sha256": {name: _write_table(folder, name, table) for name, table in tables.items()},
        "detection": list(found.detection.items()),
        "firing_rate": [[layer, rate.tolist()] for layer, rate in found.firing_rate.items()],
        "cells": found.cells,
        "positions": found.positions,
        "gene_positions": (
            None if found.activity is None else found.activity.gene_positions.tolist()
        ),
    }
    text = canonical_json(described)
    write_json(
        folder / f"{key}.json", {"sha256": hashlib.sha256(text.encode()).hexdigest(), "is": text}
    )


def _write_table(folder: Path, name: str, table: pa.Table) -> str:
    """Store a table; the hash of its file."""
    import pyarrow.parquet as pq

    with atomic_path(folder / f"{name}.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
        return sha256_file(temporary)


def _read(folder: Path, key: str, depends: Mapping[str, object], by_cell: bool) -> Catalogue | None:
    """The catalogue on disk; None where it is not there whole, or without what is asked for."""
    try:
        return _read_whole(folder, key, depends, by_cell)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _read_whole(
    folder: Path, key: str, depends: Mapping[str, object], by_cell: bool
) -> Catalogue | None:
    import pyarrow.parquet as pq

    outer = json.loads((folder / f"{key}.json").read_text())
    if hashlib.sha256(outer["is"].encode()).hexdigest() != outer["sha256"]:
        return None
    described: dict[str, Any] = json.loads(outer["is"])
    if described["depends"] != json.loads(canonical_json(depends)):
        return None
    wanted = (key, f"{key}-cells") if by_cell else (key,)
    if any(sha256_file(folder / f"{n}.parquet") != described["sha256"].get(n) for n in wanted):
        return None
    activity = None
    if by_cell:
        cells = pq.read_table(folder / f"{key}-cells.parquet")
        activity = CellActivity(
            **{name: cells.column(name).to_numpy() for name in _CELL_COLUMNS},
            gene_positions=np.array(described["gene_positions"], dtype=np.int64),
        )
    return Catalogue(
        pq.read_table(folder / f"{key}.parquet"),
        dict(described["detection"]),
        {layer: np.array(rate, dtype=np.float64) for layer, rate in described["firing_rate"]},
        described["cells"],
        described["positions"],
        activity,
    )
