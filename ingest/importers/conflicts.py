"""Conflicts of an import with a study: dictionaries of another size, the same edges in another
format, and values that own runs wrote.

The first two are refused: features of two dictionaries would share nodes, and every edge would
exist twice. The third is noted: an import does not replace values of own runs
(`scircuit.ingest.graph.statements`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from scircuit.core.address import parse
from scircuit.core.errors import UserError, quoted
from scircuit.core.study import Manifest, Study
from scircuit.ingest.importers.source import Source
from scircuit.ingest.shards.shard_store import ShardStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EDGES = "Feature-AFFECTS-Feature"
_IDENTITY = ("id", "name", "model", "dictionary", "layer", "index")
_SAME_SHARE = 0.9  # edges of both sources with the same d, as a share of the smaller source
_D_TOLERANCE = 0.02  # relative to 1 + |d|: half precision and rounded decimals
_OTHER_NAMES = (
    "these are different dictionaries: give the import other names (--model-name,"
    " --dictionary-name)"
)


def check_conflicts(study: Study, source: Source) -> list[str]:
    """Refuse an import that contradicts the study; return notes on values that own runs keep.

    Parameters
    ----------
    study
        Its runs on disk are compared, whether they are in the graph or not.
    source
        The import.

    Raises
    ------
    UserError
        If a dictionary or model in the study is too small for the import's features, or an import
        of another format has the same edges.
    """
    others = [
        m
        for m in study.manifests()
        if m.verb != "import"
        or (m.inputs.get("format"), m.inputs.get("name")) != (source.format, source.name)
    ]
    models = set(source.uses.get("Model", ()))
    stores = {m.run: ShardStore(study.run_folder(m.run)) for m in others}
    related = [m for m in others if models & set(_column(stores[m.run], "Model", "id"))]
    if not related:
        return []
    imported = _tables(source)
    features = imported["Feature"].to_pandas()
    _check_sizes(features, imported, {m.run: stores[m.run] for m in related})
    for manifest in related:
        if manifest.verb == "import":
            _check_same_edges(study, manifest, stores[manifest.run], imported.get(EDGES))
    return _note_own_values(features, {m.run: stores[m.run] for m in others if m.verb != "import"})


def _tables(source: Source) -> dict[str, pa.Table]:
    """Tables of the source, of the kinds that are compared."""
    import pyarrow as pa

    parts: dict[str, list[pa.Table]] = {"Feature": [], "Dictionary": [], "Model": [], EDGES: []}
    for tables in source.units.values():
        for kind, table in tables().items():
            if kind in parts:
                parts[kind].append(table)
    return {
        kind: pa.concat_tables(found, promote_options="default")
        for kind, found in parts.items()
        if found
    }


def _column(store: ShardStore, kind: str, name: str) -> list[str]:
    table = store.tables(kind)
    return table.column(name).to_pylist() if name in table.column_names else []


def _stated(
    tables: Mapping[str, pa.Table] | ShardStore, kind: str, name: str
) -> Iterator[tuple[str, int]]:
    """Ids with a number that is stated for them."""
    table = tables.tables(kind) if isinstance(tables, ShardStore) else tables.get(kind)
    if table is not None and name in table.column_names:
        yield from (
            (i, n)
            for i, n in zip(
                table.column("id").to_pylist(), table.column(name).to_pylist(), strict=True
            )
            if n is not None
        )


def _largest(ids: Iterable[str]) -> dict[str, int]:
    """Dictionary id -> largest index of these addresses."""
    found: dict[str, int] = {}
    for text in ids:
        dictionary = text.rsplit("/", 1)[0]
        found[dictionary] = max(found.get(dictionary, 0), parse(text).index)
    return found


def _check_sizes(
    features: pd.DataFrame, imported: Mapping[str, pa.Table], stores: Mapping[str, ShardStore]
) -> None:
    """Refuse features beyond the size of a dictionary or model, in the import or in the study."""
    highest, stated = _largest(features["id"]), dict(_stated(imported, "Dictionary", "features"))
    for run, store in stores.items():
        for dictionary, size in _stated(store, "Dictionary", "features"):
            if stated.get(dictionary, size) != size:
                raise UserError(
                    f"{dictionary} has {size:,} latents in run {run} and {stated[dictionary]:,} in"
                    " this import",
                    _OTHER_NAMES,
                )
            if highest.get(dictionary, 0) >= size:
                beyond = sum(
                    f.startswith(f"{dictionary}/") and parse(f).index >= size
                    for f in features["id"]
                )
                raise UserError(
                    f"{beyond:,} features of {dictionary} in this import, up to"
                    f" F{highest[dictionary]:04d}, exceed its {size:,} latents in run {run}",
                    _OTHER_NAMES,
                )
        for model, layers in _stated(store, "Model", "layers"):
            last = max(
                (parse(f).layer for f in features["id"] if f.startswith(f"{model}/")), default=-1
            )
            if last >= layers:
                raise UserError(
                    f"the import has features of layer {last} of {model}, which has {layers} layers"
                    f" in run {run} (0 to {layers - 1})",
                    _OTHER_NAMES,
                )
        for dictionary, index in (
            _largest(_column(store, "Feature", "id")).items() if stated else ()
        ):
            if index >= stated.get(dictionary, index + 1):
                raise UserError(
                    f"run {run} has the feature F{index:04d} of {dictionary}, which has"
                    f" {stated[dictionary]:,} latents in this import",
                    _OTHER_NAMES,
                )


def _check_same_edges(
    study: Study, manifest: Manifest, store: ShardStore, edges: pa.Table | None
) -> None:
    """Refuse edges that another import already has: the same study in another format."""
    import numpy as np

    if edges is None or not store.tables(EDGES).num_rows:
        return
    columns = ["source", "target", "d"]
    both = (
        edges.select(columns)
        .to_pandas()
        .merge(
            store.tables(EDGES).select(columns).to_pandas(), on=columns[:2], suffixes=("", "_known")
        )
    )
    close = np.abs(both["d"] - both["d_known"]) <= _D_TOLERANCE * (1 + np.abs(both["d"]))
    same = int(close.sum())
    fewer = min(edges.num_rows, store.tables(EDGES).num_rows)
    if same >= _SAME_SHARE * fewer:
        raise UserError(
            f"run {manifest.run} ({manifest.inputs.get('format')}) already has {same:,} of these"
            f" {edges.num_rows:,} edges with the same effects: the same study in another format",
            "keep the more detailed format; to replace the other: scircuit runs delete"
            f" {manifest.run} --study {quoted(study.root)}",
        )


def _note_own_values(features: pd.DataFrame, own: Mapping[str, ShardStore]) -> list[str]:
    """Number of features with values from own runs, and values that the import gives as well."""
    given = {
        name: set(features.loc[features[name].notna(), "id"])
        for name in features.columns
        if name not in _IDENTITY
    }
    ids = set(features["id"])
    described: set[str] = set()
    both: dict[str, set[str]] = {}
    runs: dict[str, None] = {}
    for run, store in own.items():
        table = store.tables("Feature").to_pandas()
        for name in table.columns.difference(_IDENTITY) if len(table) else ():
            if found := set(table.loc[table[name].notna(), "id"]) & ids:
                described |= found
                runs[run] = None
            if shared := found & given.get(name, set()):
                both.setdefault(name, set()).update(shared)
    if not described:
        return []
    names = ", ".join(f"{n} ({len(found):,})" for n, found in sorted(both.items()))
    ignored = f". Ignored values of the import: {names}" if both else ""
    return [
        f"{len(described):,} of {len(ids):,} features already have values from your own runs"
        f" ({', '.join(runs)}); these are kept{ignored}"
    ]
