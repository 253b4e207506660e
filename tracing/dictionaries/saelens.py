"""SAELens dictionaries: ``cfg.json`` and ``sae_weights.safetensors`` (W_enc [d, F], b_enc, W_dec [F, d], b_dec, threshold).

SAELens subtracts b_dec before encoding when ``apply_b_dec_to_input`` is set; that is a mean of b_dec and a decoder bias of zero here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file

from scircuit.settings import UserError
from tracing.dictionaries.dictionary import Dictionary

_RULES = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu"}


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "cfg.json").exists() and (folder / "sae_weights.safetensors").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If the architecture or a normalisation is not one this project computes, or the layer cannot be told.
    """
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")
    architecture = config.get("architecture", "standard")
    if architecture not in _RULES:
        raise UserError(f"{folder} has architecture {architecture!r}", f"supported: {', '.join(_RULES)}")
    for option, plain in (("normalize_activations", "none"), ("activation_fn_str", None), ("rescale_acts_by_decoder_norm", False)):
        found = config.get(option, plain)
        if plain is not None and found not in (plain, None):
            raise UserError(f"{folder} has {option} = {found!r}; expected {plain!r}", "fold the normalisation into the weights with SAELens first")
    rule = "topk" if config.get("activation_fn_str") == "topk" else _RULES[architecture]
    k = int(config.get("k") or (config.get("activation_fn_kwargs") or {}).get("k", 0))
    centred = bool(config.get("apply_b_dec_to_input", True))
    bias, zero = weights["b_dec"], torch.zeros_like(weights["b_dec"])
    return Dictionary(
        _layer(folder, config), weights["W_enc"].T, weights["b_enc"], weights["W_dec"], zero if centred else bias, bias if centred else zero,
        rule=rule, k=k, threshold=weights.get("threshold"), provenance={"trained_on": str(config.get("dataset_path", "not stated")), "format": "SAELens"},
    )  # fmt: skip


def _layer(folder: Path, config: dict) -> int:
    stated = config.get("hook_layer", (config.get("metadata") or {}).get("hook_layer"))
    if isinstance(stated, int):
        return stated
    numbers = re.findall(r"layers?[._]?(\d+)", f"{config.get('hook_name', '')} {folder.name}")
    if not numbers:
        raise UserError(f"{folder}: which layer it reads is not stated in cfg.json or the folder's name", "name the folder layer05 or alike")
    return int(numbers[0])
