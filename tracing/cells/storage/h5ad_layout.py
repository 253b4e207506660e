"""AnnData as stored in HDF5 (h5ad, also of before 2020) and zarr: tables, X, layers and raw.

A layer or a raw that cannot be read is left out and named; obs, var and X must be readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from scircuit.core.errors import UserError
from scircuit.tracing.cells.storage.compound_tables import is_compound, read_compound
from scircuit.tracing.cells.storage.expression import Expression, Matrix
from scircuit.tracing.cells.storage.stored_columns import read_table
from scircuit.tracing.cells.storage.stored_matrices import stored_matrix
from scircuit.tracing.cells.storage.stored_nodes import (
    HdfNode,
    Unreadable,
    attribute_text,
    child,
    is_array,
    names,
    read,
    texts,
)


def read_anndata(path: Path, file: HdfNode, form: str) -> Expression:
    """The AnnData at a group, of a file whose kind is `form` in words.

    Raises
    ------
    UserError
        If obs, var or X cannot be read.
    """
    notes: list[str] = []
    obs, var = _table(path, file, "obs", notes), _table(path, file, "var", notes)
    matrices: dict[str, Matrix] = {}
    unreadable: dict[str, str] = {}
    for name, node, its_var in _stored(path, file, var, notes, unreadable):
        try:
            matrices[name] = stored_matrix(path.name, name, node, len(obs), its_var)
        except Unreadable as error:
            if name == "X" and not _is_null(node):
                raise UserError(
                    f"cells: {path.name}: X cannot be read: {error.reason}", error.fix
                ) from error
            unreadable[name] = error.reason
            notes.append(f"{name} is left out: {error.reason}")
    organism = _organism(child(file, "uns"))
    return Expression(
        path,
        form,
        obs,
        matrices,
        organism=organism,
        notes=tuple(notes),
        unreadable=unreadable,
    )


def _organism(uns: HdfNode) -> str:
    """Species that `uns` names; empty where it names none, or stores anything but a text."""
    for name in ("organism", "species", "organism_ontology_term_id"):
        node = child(uns, name)
        if not is_array(node) or node.shape not in ((), (1,)):
            continue
        try:
            value = texts(read(node).reshape(1))[0]
        except Unreadable:
            continue
        if isinstance(value, str) and value:
            return value
    return ""


def _stored(
    path: Path, file: HdfNode, var: pd.DataFrame, notes: list[str], unreadable: dict[str, str]
) -> list[tuple[str, HdfNode, pd.DataFrame]]:
    """Name, node and genes of every matrix that the file lists."""
    try:
        top = names(file)
        layers = child(file, "layers")
        layered = sorted(names(layers))
    except Unreadable as error:
        raise UserError(f"cells: {path.name}: {error.reason}", error.fix) from error
    found = [("X", child(file, "X"), var)] if "X" in top else []
    found += [(f"layers/{name}", child(layers, name), var) for name in layered]
    if "raw.X" in top:  # before 2020
        raw_x, raw_var, null = child(file, "raw.X"), child(file, "raw.var"), False
    elif "raw" in top:
        raw = child(file, "raw")
        raw_x, raw_var, null = child(raw, "X"), child(raw, "var"), _is_null(raw)
    else:
        return found
    try:
        if null:
            raise Unreadable("it is null")
        its_var, raw_notes = _read_table(raw_var, child(file, "uns"), "raw/var")
    except Unreadable as error:
        unreadable["raw/X"] = reason = error.reason if null else f"raw/var: {error.reason}"
        notes.append(f"raw is left out: {reason}")
        return found
    notes += raw_notes
    return [*found, ("raw/X", raw_x, its_var)]


def _read_table(node: HdfNode, uns: HdfNode, name: str) -> tuple[pd.DataFrame, list[str]]:
    return read_compound(node, uns, name) if is_compound(node) else read_table(node, name)


def _is_null(node: HdfNode) -> bool:
    """Whether nothing is stored on purpose."""
    return attribute_text(node, "encoding-type") == "null" or (
        is_array(node) and node.shape is None
    )


def _table(path: Path, file: HdfNode, name: str, notes: list[str]) -> pd.DataFrame:
    try:
        table, more = _read_table(child(file, name), child(file, "uns"), name)
    except Unreadable as error:
        raise UserError(
            f"cells: {path.name}: {name} cannot be read: {error.reason}", error.fix
        ) from error
    notes += more
    return table


def inner_anndata(file: HdfNode) -> list[str]:
    """Groups one or two levels down that hold an AnnData, as ``tables/table`` of SpatialData."""
    found = []
    for name in names(file):
        group = child(file, name)
        inner = {name: group, **{f"{name}/{n}": child(group, n) for n in names(group)[:_LOOKED_AT]}}
        found += [place for place, node in inner.items() if {"obs", "var"} <= set(names(node))]
    return found[:_LOOKED_AT]


_LOOKED_AT = 20  # groups
_RNA = ("rna", "gex", "gene expression", "gene_expression", "scrna", "mrna")


def read_mudata(path: Path, file: HdfNode, form: str) -> Expression:
    """The RNA modality of a MuData file, with the annotations that all modalities share.

    Raises
    ------
    UserError
        If there is no RNA modality, or more than one.
    """
    try:
        held = names(child(file, "mod"))
    except Unreadable as error:
        raise UserError(f"cells: {path.name}: mod: {error.reason}", error.fix) from error
    found = held if len(held) == 1 else [name for name in held if name.lower() in _RNA]
    if len(found) != 1:
        listed = ", ".join(held) or "none"
        raise UserError(
            f"cells: {path.name} holds the modalities {listed}; expected one of RNA, named"
            f" {', '.join(_RNA[:3])}" + (f", found {len(found)}" if found else ""),
            "write the one you mean: mudata.read_h5mu('cells.h5mu').mod['NAME']"
            ".write_h5ad('cells.h5ad')",
        )
    node = child(child(file, "mod"), found[0])
    given = read_anndata(path, node, f"{form}, modality {found[0]}")
    obs, notes = _with_shared(given.obs, child(file, "obs"))
    organism = given.organism or _organism(child(file, "uns"))
    return replace(given, obs=obs, organism=organism, notes=(*given.notes, *notes))


def _with_shared(obs: pd.DataFrame, node: HdfNode) -> tuple[pd.DataFrame, list[str]]:
    """Annotations of a modality, and those of all modalities that it lacks."""
    try:
        shared, notes = read_table(node, "obs of all modalities")
    except Unreadable as error:
        return obs, [f"obs of all modalities is left out: {error.reason}"]
    more = [c for c in shared.columns if c not in obs.columns and ":" not in str(c)]
    if not more or shared.index.has_duplicates or not obs.index.isin(shared.index).all():
        return obs, notes
    unreadable: Mapping[str, str] = {**shared.attrs["unreadable"], **obs.attrs["unreadable"]}
    joined = obs.join(shared[more])
    joined.attrs["unreadable"] = dict(unreadable)
    return joined, notes
