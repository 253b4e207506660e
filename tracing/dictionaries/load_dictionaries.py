"""Find the dictionaries below a folder, recognise their format, read the wanted layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats import (
    dictionary_learning,
    native,
    published,
    saelens,
    sparsify,
)


class DictionaryFormat(Protocol):
    """What a module of `scircuit.tracing.dictionaries.formats` offers."""

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
    published,
)


def load_dictionaries(
    folder: Path | str, layers: Iterable[int] | None = None
) -> dict[int, Dictionary]:
    """Dictionaries of a folder by layer, ascending.

    Parameters
    ----------
    folder
        Holds one sub-folder per layer, in the project's own, the published, the SAELens, the
        sparsify or the dictionary_learning layout (there also one level deeper); or is itself one.
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
    for path, reader in _dictionary_folders(folder):
        dictionary = reader.read(path)
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
            " with activation_mean.npy, or SAELens, sparsify or dictionary_learning folders; train"
            " some with: scircuit train",
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


def _dictionary_folders(folder: Path) -> Iterator[tuple[Path, DictionaryFormat]]:
    """Folders that hold a dictionary and the format of each: the folder itself, its sub-folders,
    and the sub-folders of those that hold none themselves.
    """
    for path in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        reader = _format(path)
        if reader is not None:
            yield path, reader
        elif path != folder:
            yield from (
                (p, f)
                for p in sorted(path.iterdir())
                if p.is_dir() and (f := _format(p)) is not None
            )


def _format(folder: Path) -> DictionaryFormat | None:
    return next((f for f in _FORMATS if f.recognises(folder)), None)
