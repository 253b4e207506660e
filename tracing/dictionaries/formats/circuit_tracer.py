"""circuit-tracer: a folder with ``config.yaml`` and one ``layer_N.safetensors`` for each layer
(W_enc [F, d], b_enc, W_dec [F, d], b_dec, ``activation_function.threshold`` and W_skip [d, d] where
there are some), or a list ``transcoders`` of such files and of Gemma Scope's.

    f = rule(W_enc x + b_enc)        y^ = W_dec^T f + b_dec (+ W_skip x)

The rule is ``activation`` (relu, or topk with its k), else the jump at the stored thresholds, else
ReLU; where fewer than k codes of topk are above 0, the library keeps some below, which are 0 here.
``feature_input_hook`` and ``feature_output_hook`` name the places in each layer. A
cross-layer transcoder (``model_kind``) writes to later layers too: refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.gemma_scope import read_params
from scircuit.tracing.dictionaries.formats.mlp_places import mlp_place
from scircuit.tracing.dictionaries.formats.safe_files import (
    need,
    need_weights,
    read_weights,
    require_known,
    whole_number,
)
from scircuit.tracing.interfaces import JsonObject

CONFIG = "config.yaml"
_BYTES = 2**20  # of a configuration
_WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")
_THRESHOLD = "activation_function.threshold"
_REMOTE = re.compile(r"hf://[^/]+/[^/]+/([^?]+)(?:\?.*)?")


def recognises(folder: Path) -> bool:
    """Whether a folder holds a set of transcoders of this format."""
    path = folder / CONFIG
    try:
        return path.is_file() and b"feature_input_hook" in path.read_bytes()[:_BYTES]
    except OSError:
        return False


def read_each(folder: Path) -> Iterator[tuple[Path, Callable[[], Dictionary]]]:
    """The file of each layer, and what reads it.

    Raises
    ------
    UserError
        If the configuration is damaged, names places that are no MLP's, is that of a cross-layer
        transcoder, or names files that are not there.
    """
    path = folder / CONFIG
    config = _config(path)
    kind = config.get("model_kind", "transcoder_set")
    if kind != "transcoder_set":
        raise UserError(
            f"{folder} is a {str(kind).replace('_', ' ')!r:.60}; expected a transcoder of each"
            " layer (model_kind: transcoder_set)",
            "give transcoders that write to the MLP output of their own layer alone",
        )
    reads, writes = need(config, ("feature_input_hook", "feature_output_hook"), path, CONFIG)
    files = _files(folder, config)
    if not files:
        held = ", ".join(sorted(p.name for p in folder.iterdir())[:8])
        raise UserError(
            f"{folder} has {CONFIG} and no layer_N.safetensors; it has {held}",
            "copy the whole folder again from its source",
        )
    for layer, file in files:
        places = [f"blocks.{layer}.{name}" for name in (reads, writes)]
        place = mlp_place(places[0], places[1], folder)
        named: JsonObject = {"place": places[0], "writes": place.writes}
        named |= {"model": str(config.get("model_name") or ""), "scan": str(config.get("scan", ""))}
        if file.suffix == ".npz":
            yield file, partial(read_params, file, layer, gain=place.gain, place=named)
        else:
            yield file, partial(_read, file, layer, config, place.gain, named)


def _read(file: Path, layer: int, config: JsonObject, gain: bool, named: JsonObject) -> Dictionary:
    weights = read_weights(file)
    encoder, bias, decoder, offset = need_weights(weights, _WEIGHTS, file, "circuit-tracer")
    activation, threshold = config.get("activation"), weights.get(_THRESHOLD)
    rule = activation or ("relu" if threshold is None else "jumprelu")
    if rule not in ("relu", "topk", "jumprelu"):
        raise UserError(
            f"{file.parent / CONFIG} has activation {rule!r:.60}",
            "supported: relu, topk, jumprelu",
        )
    known = (*_WEIGHTS, "W_skip", *((_THRESHOLD,) if rule == "jumprelu" else ()))
    require_known(weights, known, file, f"circuit-tracer {rule}")
    return Dictionary(
        layer,
        encoder,
        bias,
        decoder,
        offset,
        torch.zeros(encoder.shape[1]),
        rule=rule,
        k=whole_number(config.get("k"), "k", file.parent / CONFIG) if rule == "topk" else 0,
        threshold=threshold,
        provenance={"trained_on": "not stated in the file", "format": "circuit-tracer", **named},
        site="mlp",
        skip=weights.get("W_skip"),
        gain=gain,
    )


def _config(path: Path) -> JsonObject:
    import yaml

    try:
        text = path.read_bytes()
        if len(text) > _BYTES:
            raise UserError(
                f"{path} has {len(text):,} bytes; expected a short configuration",
                "copy it again from its source",
            )
        found = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        why = " ".join(str(error).split())[:160]
        raise UserError(f"{path} is damaged: {why}", "copy it again from its source") from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} holds a {type(found).__name__}; expected names and values",
            "copy it again from its source",
        )
    return found


def _files(folder: Path, config: JsonObject) -> list[tuple[int, Path]]:
    """Layers and their files: those of the list in its order, or those that are there by name."""
    listed = config.get("transcoders")
    if listed is None:
        by_name = [
            (int(found[1]), path)
            for path in folder.glob("layer_*.safetensors")
            if (found := re.fullmatch(r"layer_(\d+)\.safetensors", path.name))
        ]
        if not by_name and any(_is_cross_layer(path) for path in folder.glob("*.safetensors")):
            raise UserError(
                f"{folder} holds W_enc_N.safetensors: it is a cross-layer transcoder; expected"
                " layer_N.safetensors",
                "give transcoders that write to the MLP output of their own layer alone",
            )
        return sorted(by_name)
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UserError(
            f"{folder / CONFIG}: transcoders is {listed!r:.60}; expected a list of files",
            "copy it again from its source",
        )
    files = []
    for layer, name in enumerate(listed):
        remote = _REMOTE.fullmatch(name)
        file = folder / (remote[1] if remote else name)
        if not file.is_file():
            raise UserError(
                f"{folder / CONFIG} names {name} for layer {layer}, and {file} is not there",
                "download the files it names into this folder, in the folders they have there",
            )
        files.append((layer, file))
    return files


def _is_cross_layer(path: Path) -> bool:
    if re.fullmatch(r"W_(?:enc|dec)_\d+\.safetensors", path.name):
        return True
    try:
        with safe_open(path, framework="pt") as file:
            return any(re.fullmatch(r"W_(?:enc|dec)_\d+", name) for name in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError):
        return False
