"""Find the dictionaries below a folder, recognise their format, read the wanted layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    native,
    published,
    saelens,
    sparsify,
)
from scircuit.tracing.dictionaries.formats.places import LAYER
from scircuit.tracing.dictionaries.formats.safe_files import readable


class DictionaryFormat(Protocol):
    """What a module of `scircuit.tracing.dictionaries.formats` offers."""

    __name__: str

    def recognises(self, folder: Path) -> bool:
        """Whether a folder holds one dictionary of this format."""
        ...

    def read(self, folder: Path) -> Dictionary:
        """Read that dictionary."""
        ...


_FORMATS: tuple[DictionaryFormat, ...] = (
    native,
    saelens,
    sparsify,
    dictionary_learning,
    gemma_scope,
    published,
)
_INNER = 2  # levels of folders below a sub-folder that holds no dictionary itself


def load_dictionaries(
    folder: Path | str, layers: Iterable[int] | None = None
) -> dict[int, Dictionary]:
    """Dictionaries of a folder by layer, ascending.

    Parameters
    ----------
    folder
        Holds one sub-folder per layer, in the project's own, the published, the SAELens, the
        sparsify, the dictionary_learning (there also one level deeper) or the Gemma Scope layout
        (two levels deeper); or is itself one; or is a set of transcoders of circuit-tracer.
    layers
        Wanted layers; all by default.

    Raises
    ------
    UserError
        If there is none, a wanted layer is missing, two read the same layer, widths differ, or a
        file is unsafe or damaged.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(
            f"dictionaries: {folder} is a file; expected a folder with one sub-folder per layer",
            "give the folder that holds it",
        )
    if not folder.is_dir():
        raise UserError(
            f"dictionaries: {folder} does not exist",
            "give the folder that holds layer00, layer01, ...",
        )
    found: dict[int, Dictionary] = {}
    paths: dict[int, Path] = {}
    for path, read in _dictionaries(folder):
        with readable(f"dictionary {path}"):
            dictionary = read()
        layer = dictionary.layer
        if layer in found:
            raise UserError(
                f"dictionaries: {folder} holds two of layer {layer}:"
                f" {paths[layer].relative_to(folder)} and {path.relative_to(folder)}",
                "keep one dictionary per layer in the folder",
            )
        found[layer], paths[layer] = dictionary, path
    if not found:
        held = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise UserError(
            f"dictionaries: {folder} holds no dictionary of a known format; it holds {held}",
            "expected layerLL/dictionary.safetensors with config.json, layerLL_x4_k32/sae_final.pt"
            " with activation_mean.npy, SAELens, sparsify or dictionary_learning folders, or Gemma"
            " Scope or circuit-tracer transcoders; train some with: scircuit train",
        )
    missing = sorted(set(layers or ()) - set(found))
    if missing:
        raise UserError(
            f"dictionaries: {folder} has no layer {', '.join(map(str, missing))}; it has"
            f" {', '.join(map(str, sorted(found)))}",
            f"choose other layers, or train them: scircuit train --layers {missing[0]}",
        )
    wanted = sorted(found if layers is None else set(layers))
    widths = {found[layer].width for layer in wanted}
    if len(widths) > 1:
        each = ", ".join(f"layer {layer}: {found[layer].width}" for layer in wanted)
        raise UserError(
            f"dictionaries: {folder} mixes widths ({each})",
            "all dictionaries of a set must read the same model",
        )
    return {layer: found[layer] for layer in wanted}


def _dictionaries(folder: Path) -> Iterator[tuple[Path, Callable[[], Dictionary]]]:
    """Where each dictionary lies, and what reads it: the folder itself, its sub-folders, and those
    below sub-folders that hold none themselves.
    """
    if circuit_tracer.recognises(folder):
        with readable(f"transcoders {folder}"):
            found = list(circuit_tracer.read_each(folder))
        yield from found
        return  # its files may lie in folders that look like dictionaries
    for path in (folder, *_folders(folder)):
        reader = _format(path)
        if reader is not None:
            yield path, partial(reader.read, path)
        elif path != folder:
            inner = list(_below(path, _INNER))
            if not inner:
                _refuse_incomplete(path)
            yield from ((p, partial(f.read, p)) for p, f in inner)


def _below(folder: Path, levels: int) -> Iterator[tuple[Path, DictionaryFormat]]:
    for path in _folders(folder):
        reader = _format(path)
        if reader is not None:
            yield path, reader
        elif levels > 1:
            yield from ((p, f) for p, f in _below(path, levels - 1) if f is gemma_scope)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise UserError(
            f"dictionaries: {folder} cannot be read ({error})", "check its permissions"
        ) from error


def _format(folder: Path) -> DictionaryFormat | None:
    """The format of a folder; a checkpoint of the published layout is any ``.pt``, and counts only
    where no other format is found.
    """
    found = [f for f in _FORMATS if f is not published and f.recognises(folder)]
    if len(found) > 1:
        names = " and ".join(f.__name__.rpartition(".")[2] for f in found)
        raise UserError(
            f"dictionaries: {folder} holds dictionaries of two formats: {names}",
            "keep the files of one of them in the folder",
        )
    if found:
        return found[0]
    return published if published.recognises(folder) else None


_OF_DICTIONARIES = (
    "dictionary.safetensors",
    "sae_weights.safetensors",
    "sae.safetensors",
    "ae.pt",
    "sae_final.pt",
    "activation_mean.npy",
    "params.npz",
    "cfg.json",
)


def _refuse_incomplete(folder: Path) -> None:
    """Refuse a folder that holds a part of a dictionary, or is named like a layer and holds none:
    passed over, the layer would be missing without a word.
    """
    held = sorted(
        str(p.relative_to(folder))
        for place in (folder, *_folders(folder))
        for p in place.iterdir()
        if not p.is_dir()
    )
    parts = any(Path(name).name in _OF_DICTIONARIES for name in held)
    if parts or (held and re.search(LAYER, folder.name)):
        raise UserError(
            f"dictionaries: {folder} is no whole dictionary of a known format; it holds"
            f" {', '.join(held[:8])}",
            "copy the whole folder again from its source, or move it away to do without this layer",
        )
