"""EleutherAI sparsify: ``layers.5/cfg.json`` and ``layers.5/sae.safetensors`` (encoder.weight [F,
d], encoder.bias, W_dec [F, d], b_dec).

    f = the k largest of ReLU(W (x - b_dec) + c)        x^ = W_dec^T f + b_dec

A transcoder (``transcode``) reads the input of the module that it is named after, and predicts its
output:

    f = the k largest of ReLU(W x + c)                  y^ = W_dec^T f + b_dec (+ W_skip x)
"""

from __future__ import annotations

from pathlib import Path

import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.mlp_places import mlp_place, require_mlp_folder
from scircuit.tracing.dictionaries.formats.places import layer_of, require_same_folder, the_one
from scircuit.tracing.dictionaries.formats.safe_files import (
    need_weights,
    read_json,
    read_weights,
    require_known,
    require_sizes,
    truth,
    whole_number,
)
from scircuit.tracing.interfaces import JsonObject

_WEIGHTS = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "cfg.json").exists() and (folder / "sae.safetensors").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If files are damaged or do not fit each other, it has another rule than TopK, or the layer
        cannot be told from the folder's name; and for a transcoder of anything but an MLP.
    """
    config, path = read_json(folder / "cfg.json"), folder / "sae.safetensors"
    transcode = truth(config, "transcode", False, folder / "cfg.json")
    skipping = truth(config, "skip_connection", False, folder / "cfg.json")
    if skipping and not transcode:
        raise UserError(
            f"{folder} is no transcoder and has a skip connection, which would reconstruct its"
            " input without any feature",
            "give a transcoder, or an autoencoder without a skip connection",
        )
    rule = "signed" if config.get("signed") else config.get("activation", "topk")
    if rule != "topk":
        raise UserError(
            f"{folder} has activation {rule!r}; expected 'topk'", "give a TopK dictionary"
        )
    stated = (config.get("hookpoint"), config.get("hook_name"))
    named = the_one(stated, "hookpoint", folder / "cfg.json")
    place = named or folder.name
    if transcode:
        layer, _, writes = mlp_place(place, place, folder)
        require_mlp_folder(layer, folder)
    else:
        layer, writes = layer_of(place, folder, stated=bool(named)), ""
        require_same_folder(place, layer, folder)
    known = (*_WEIGHTS, "W_skip") if skipping else _WEIGHTS
    weights = read_weights(path)
    encoder, bias, decoder, offset = need_weights(weights, known, path, "sparsify")[:4]
    require_known(weights, known, path, "sparsify")
    features, width = encoder.shape
    # num_latents is 0 where expansion_factor says it.
    sizes = {"d_in": width} | ({"num_latents": features} if config.get("num_latents") else {})
    require_sizes(config, sizes, folder / "cfg.json")
    zero = torch.zeros_like(offset)
    provenance: JsonObject = {"trained_on": "not stated in the file", "format": "sparsify"}
    if transcode:
        provenance |= {"place": place, "writes": writes}
    return Dictionary(
        layer,
        encoder,
        bias,
        decoder,
        offset if transcode else zero,
        zero if transcode else offset,
        rule="topk",
        k=whole_number(config.get("k"), "k", folder / "cfg.json"),
        provenance=provenance,
        site="mlp" if transcode else "output",
        skip=weights.get("W_skip"),
    )
