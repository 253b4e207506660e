"""EleutherAI sparsify dictionaries: ``layers.N/cfg.json`` and ``layers.N/sae.safetensors`` (encoder.weight [F, d], encoder.bias, W_dec [F, d], b_dec)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file

from scircuit.settings import UserError
from tracing.dictionaries.dictionary import Dictionary


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "cfg.json").exists() and (folder / "sae.safetensors").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary; b_dec is subtracted before encoding and added after decoding.

    Raises
    ------
    UserError
        If it is a transcoder, or the layer cannot be told from the folder's name.
    """
    config = json.loads((folder / "cfg.json").read_text())
    numbers = re.findall(r"layers?[._]?(\d+)", folder.name)
    if not numbers:
        raise UserError(f"{folder}: which layer it reads cannot be told from the folder's name", "name the folder layers.5 or alike")
    if config.get("transcode") or config.get("skip_connection"):
        raise UserError(f"{folder} is a transcoder; expected a sparse autoencoder", "give an autoencoder of the layer's output")
    weights = load_file(folder / "sae.safetensors")
    if config.get("activation", "topk") != "topk":
        raise UserError(f"{folder} has activation {config['activation']!r}; expected 'topk'", "give a TopK dictionary")
    return Dictionary(
        int(numbers[0]), weights["encoder.weight"], weights["encoder.bias"], weights["W_dec"], torch.zeros_like(weights["b_dec"]), weights["b_dec"],
        rule="topk", k=int(config["k"]), provenance={"trained_on": "not stated in the file", "format": "sparsify"},
    )  # fmt: skip
