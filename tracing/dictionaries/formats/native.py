"""The project's own format: ``layerLL/dictionary.safetensors`` and ``layerLL/config.json``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.core.files import write_json
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.safe_files import (
    need,
    read_json,
    read_tensors,
    whole_number,
)
from scircuit.tracing.dictionaries.tensor_file import write_tensors
from scircuit.tracing.dictionaries.training_statistics import read_own

FORMAT = "scircuit-dictionary-1"
_NAMES = ("encoder", "encoder_bias", "decoder", "decoder_bias", "mean")


def save_dictionary(dictionary: Dictionary, folder: Path | str) -> Path:
    """Write one dictionary below `folder`; returns its ``layerLL`` folder."""
    target = Path(folder) / f"layer{dictionary.layer:02d}"
    target.mkdir(parents=True, exist_ok=True)
    write_tensors(target / "dictionary.safetensors", dictionary.tensors)
    write_json(
        target / "config.json",
        {
            "format": FORMAT,
            "layer": dictionary.layer,
            "width": dictionary.width,
            "n_features": dictionary.n_features,
            "k": dictionary.k,
            "rule": dictionary.rule,
            "decoder_norm": dictionary.decoder_norm,
            "sha256": dictionary.sha256,
            "provenance": dictionary.provenance,
        },
    )
    return target


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "dictionary.safetensors").exists() and (folder / "config.json").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If files are damaged or do not fit each other.
    """
    config, path = read_json(folder / "config.json"), folder / "dictionary.safetensors"
    if config.get("format") != FORMAT:
        raise UserError(
            f"dictionary {folder} has format {config.get('format')!r}; expected {FORMAT!r}",
            "write it with save_dictionary",
        )
    tensors = read_tensors(path)
    layer, rule, k = need(config, ("layer", "rule", "k"), folder / "config.json", FORMAT)
    dictionary = Dictionary(
        whole_number(layer, "layer", folder / "config.json"),
        *need(tensors, _NAMES, path, FORMAT),
        rule=rule,
        k=whole_number(k, "k", folder / "config.json"),
        threshold=tensors.get("threshold"),
        provenance=config.get("provenance"),
        catalogue=partial(read_own, folder),
    )
    if config.get("sha256") not in (None, dictionary.sha256):
        raise UserError(
            f"dictionary {folder}: the weights have hash {dictionary.sha256[:12]}, config.json says"
            f" {str(config['sha256'])[:12]}",
            "weights and config.json belong to different dictionaries, or a file was changed: copy"
            " both again",
        )
    return dictionary
