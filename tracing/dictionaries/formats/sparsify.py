"""EleutherAI sparsify: ``layers.5/cfg.json`` and ``layers.5/sae.safetensors`` (encoder.weight [F,
d], encoder.bias, W_dec [F, d], b_dec).

    f = the k largest of ReLU(W (x - b_dec) + c)        x^ = W_dec^T f + b_dec

A transcoder, which predicts another state than it reads, is refused.
"""

from __future__ import annotations

from pathlib import Path

import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.places import layer_of, require_same_folder, the_one
from scircuit.tracing.dictionaries.formats.safe_files import (
    need_weights,
    read_json,
    read_weights,
    require_known,
    require_sizes,
    whole_number,
)

_WEIGHTS = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "cfg.json").exists() and (folder / "sae.safetensors").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If files are damaged or do not fit each other, it is a transcoder, it has another rule than
        TopK, or the layer cannot be told from the folder's name.
    """
    config, path = read_json(folder / "cfg.json"), folder / "sae.safetensors"
    if config.get("transcode") or config.get("skip_connection"):
        raise UserError(
            f"{folder} is a transcoder; expected a sparse autoencoder",
            "give an autoencoder of the layer's output",
        )
    rule = "signed" if config.get("signed") else config.get("activation", "topk")
    if rule != "topk":
        raise UserError(
            f"{folder} has activation {rule!r}; expected 'topk'", "give a TopK dictionary"
        )
    stated = (config.get("hookpoint"), config.get("hook_name"))
    named = the_one(stated, "hookpoint", folder / "cfg.json")
    layer = layer_of(named or folder.name, folder, stated=bool(named))
    require_same_folder(named or folder.name, layer, folder)
    weights = read_weights(path)
    encoder, bias, decoder, mean = need_weights(weights, _WEIGHTS, path, "sparsify")
    require_known(weights, _WEIGHTS, path, "sparsify")
    features, width = encoder.shape
    # num_latents is 0 where expansion_factor says it.
    sizes = {"d_in": width} | ({"num_latents": features} if config.get("num_latents") else {})
    require_sizes(config, sizes, folder / "cfg.json")
    return Dictionary(
        layer,
        encoder,
        bias,
        decoder,
        torch.zeros_like(mean),
        mean,
        rule="topk",
        k=whole_number(config.get("k"), "k", folder / "cfg.json"),
        provenance={"trained_on": "not stated in the file", "format": "sparsify"},
    )
