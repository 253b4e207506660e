"""What an import meets in a study: dictionaries of another size, the same edges in another form,
and values that own runs wrote.

The first two are refused, since features of two dictionaries would share nodes, and every edge
would be there twice. The third is said: values of own runs stay whatever an import says
(`scircuit.ingest.graph.statements`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from scircuit.core.address import parse
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.ingest.importers.source import Source
from scircuit.ingest.shards.shard_store import ShardStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EDGES = "Feature-AFFECTS-Feature"
_IDENTITY = ("id", "name", "model", "dictionary", "layer", "index")
_SAME, _NEAR = (
    0.9,
    0.02,
)  # share of the edges, and difference of d relative to 1 + |d|, as half precision and rounded decimals can make
_OTHER_NAMES = (
    "they are of different dictionaries: give the import names of its own (--model-name,"
    " --dictionary-name)"
)


def meet(study: Study, source: Source) -> list[str]:
    """Notes on what a study already knows of the features of an import.

    Parameters
    ----------
    study
        Its runs on disk are looked at, whether they are in the graph or not.
    source
        What is to be imported.

    Raises
    ------
    UserError
        If a known dictionary or model is too small for the import's features, or an import of
        another format holds the same edges.
    """
    others = [
        m
        for m in study.manifests()
        if m.verb != "import"
        or (m.inputs.get("format"), m.inputs.get("name")) != (source.format, source.name)
    ]
    models = set(source.uses.get("Model", ()))
    known = {m.run: ShardStore(study.run_folder(m.run)) for m in others}
    related = [m for m in others if models & set(_column(known[m.run], "Model", "id"))]
    if not related:
        return []
    mine = _tables(source)
    features = mine["Feature"].to_pandas()
    _sizes(features, mine, {m.run: known[m.run] for m in related})
    for manifest in related:
        if manifest.verb == "import":
            _same_edges(study, manifest, known[manifest.run], mine.get(EDGES))
    return _own_values(features, {m.run: known[m.run] for m in others if m.verb != "import"})


def _tables(source: Source) -> dict[str, pa.Table]:
    """What the source gives of the kinds that are compared."""
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
    """Ids and a number that is stated of them."""
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


def _sizes(
    features: pd.DataFrame, mine: Mapping[str, pa.Table], known: Mapping[str, ShardStore]
) -> None:
    """Refuse features that a dictionary or model of that size does not have, on either side."""
    highest, stated = _largest(features["id"]), dict(_stated(mine, "Dictionary", "features"))
    for run, store in known.items():
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


def _same_edges(
    study: Study, manifest: Manifest, store: ShardStore, edges: pa.Table | None
) -> None:
    """Refuse edges that another import holds: the same study in another form."""
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
    same = int((np.abs(both["d"] - both["d_known"]) <= _NEAR * (1 + np.abs(both["d"]))).sum())
    fewer = min(edges.num_rows, store.tables(EDGES).num_rows)
    if same >= _SAME * fewer:
        raise UserError(
            f"run {manifest.run} ({manifest.inputs.get('format')}) holds {same:,} of these"
            f" {edges.num_rows:,} edges with the same effects: the same study in another form",
            "keep the form that says more; to replace the other: scircuit runs delete"
            f" {manifest.run} --study {study.root}",
        )


def _own_values(features: pd.DataFrame, own: Mapping[str, ShardStore]) -> list[str]:
    """How many features have values of own runs, and which the import says too."""
    given = {
        name: set(features.loc[features[name].notna(), "id"])
        for name in features.columns
        if name not in _IDENTITY
    }
    ids = set(features["id"])
    touched: set[str] = set()
    both: dict[str, set[str]] = {}
    runs: dict[str, None] = {}
    for run, store in own.items():
        table = store.tables("Feature").to_pandas()
        for name in table.columns.difference(_IDENTITY) if len(table) else ():
            if found := set(table.loc[table[name].notna(), "id"]) & ids:
                touched |= found
                runs[run] = None
            if shared := found & given.get(name, set()):
                both.setdefault(name, set()).update(shared)
    if not touched:
        return []
    also = (
        ": of these, what the import says of"
        f" {', '.join(f'{n} ({len(found):,})' for n, found in sorted(both.items()))} is not shown"
        if both
        else ""
    )
    return [
        f"{len(touched):,} of {len(ids):,} features have values of runs of your own"
        f" ({', '.join(runs)}), which stay{also}"
    ]
