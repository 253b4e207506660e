"""The project's own format: ``layerLL/dictionary.safetensors`` and ``layerLL/config.json``.

Transcoders have a format of their own name in the same files, so that what reads only dictionaries
of layer outputs does not take one for such.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.core.files import write_json
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.mlp_places import require_mlp_folder
from scircuit.tracing.dictionaries.formats.places import require_same_folder
from scircuit.tracing.dictionaries.formats.safe_files import (
    need,
    need_weights,
    read_json,
    read_weights,
    require_known,
    require_sizes,
    section,
    truth,
    whole_number,
)
from scircuit.tracing.dictionaries.tensor_file import write_tensors
from scircuit.tracing.dictionaries.training_statistics import read_own
from scircuit.tracing.interfaces import JsonObject

FORMAT = "scircuit-dictionary-1"
TRANSCODER = "scircuit-transcoder-1"
_NAMES = ("encoder", "encoder_bias", "decoder", "decoder_bias", "mean")


def save_dictionary(dictionary: Dictionary, folder: Path | str) -> Path:
    """Write one dictionary below `folder`; returns its ``layerLL`` folder."""
    target = Path(folder) / f"layer{dictionary.layer:02d}"
    target.mkdir(parents=True, exist_ok=True)
    write_tensors(target / "dictionary.safetensors", dictionary.tensors)
    write_json(
        target / "config.json",
        {
            "format": TRANSCODER if dictionary.site == "mlp" else FORMAT,
            **({"site": "mlp", "gain": dictionary.gain} if dictionary.site == "mlp" else {}),
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
    transcoder = config.get("format") == TRANSCODER
    if config.get("format") not in (FORMAT, TRANSCODER):
        raise UserError(
            f"dictionary {folder} has format {config.get('format')!r}; expected {FORMAT!r} or"
            f" {TRANSCODER!r}",
            "write it with save_dictionary",
        )
    if config.get("site", "mlp" if transcoder else "output") != ("mlp" if transcoder else "output"):
        raise UserError(
            f"dictionary {folder} has format {config['format']!r} and site {config['site']!r}",
            "weights and config.json belong to different dictionaries: copy both again",
        )
    tensors = read_weights(path)
    stated, rule, k = need(config, ("layer", "rule", "k"), folder / "config.json", FORMAT)
    layer = whole_number(stated, "layer", folder / "config.json")
    if transcoder:
        require_mlp_folder(layer, folder)
    else:
        require_same_folder(f"layer {layer}", layer, folder)
    weights = need_weights(tensors, _NAMES, path, FORMAT)
    known = (*_NAMES, "threshold", *(("skip",) if transcoder else ()))
    require_known(tensors, known, path, str(config["format"]))
    features, width = weights[0].shape
    require_sizes(config, {"n_features": features, "width": width}, folder / "config.json")
    dictionary = Dictionary(
        layer,
        *weights,
        rule=rule,
        k=whole_number(k, "k", folder / "config.json"),
        threshold=tensors.get("threshold"),
        provenance=_provenance(config, folder / "config.json"),
        catalogue=partial(read_own, folder),
        site="mlp" if transcoder else "output",
        skip=tensors.get("skip"),
        gain=truth(config, "gain", True, folder / "config.json"),
    )
    if config.get("sha256") not in (None, dictionary.sha256):
        raise UserError(
            f"dictionary {folder}: the weights have hash {dictionary.sha256[:12]}, config.json says"
            f" {str(config['sha256'])[:12]}",
            "weights and config.json belong to different dictionaries, or a file was changed: copy"
            " both again",
        )
    return dictionary


def _provenance(config: JsonObject, path: Path) -> JsonObject:
    """What is stated of the training, with the types that its readers rely on.

    Raises
    ------
    UserError
        If a field is of another type.
    """
    found = section(config, "provenance", path)
    for names, fits, expected in _FIELDS:
        for name in names:
            value = found.get(name)
            if value is not None and not fits(value):
                raise UserError(
                    f"{path}: provenance.{name} is {value!r:.60}; expected {expected}",
                    "copy it again from its source, or remove the field",
                )
    return found


def _is_number(value: object) -> bool:
    """A number that can be written as one; explained variance may be far below 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


_FIELDS: tuple[tuple[tuple[str, ...], Callable[[object], bool], str], ...] = (
    (
        ("held_out", "trained_cells"),
        lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
        "a list of barcodes",
    ),
    (("model_sha256", "cells_sha256", "cells_file"), lambda v: isinstance(v, str), "text"),
    (
        ("cells",),
        lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 62,
        "a number of cells",
    ),
    (("variance_explained", "dead_share"), _is_number, "a number"),
)
