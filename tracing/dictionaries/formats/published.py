"""The published Geneformer dictionaries: ``layerLL_x4_k32/`` with a PyTorch checkpoint and
``activation_mean.npy``.

The checkpoint holds ``model_state_dict`` (``W_enc.weight`` [F, d], ``W_enc.bias`` [F],
``W_dec.weight`` [d, F], ``W_dec.bias`` [d]), ``d_model``, ``n_features`` and ``k``. It was trained
with rows of W_dec normalised over the features, so directions are not unit vectors. The checkpoint
is a pickle: only tensors and plain values are read from it; one that asks for anything else is
refused before it runs.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.safe_files import need, read_checkpoint, whole_number
from scircuit.tracing.dictionaries.training_statistics import read_published

_WEIGHTS = ("W_enc.weight", "W_enc.bias", "W_dec.weight", "W_dec.bias")


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return bool(_checkpoints(folder)) and re.search(r"layer_?(\d+)", folder.name) is not None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(
        [*folder.glob("*.pt"), *folder.glob("*.pth")],
        key=lambda p: (p.name != "sae_final.pt", p.name),
    )


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If the checkpoint is unsafe, weights are missing, k is not stated, or shapes do not fit.
    """
    path = _checkpoints(folder)[0]
    content = read_checkpoint(path)
    state = content.get("model_state_dict", content)
    encoder, bias, decoder, decoder_bias = need(state, _WEIGHTS, path, "published")
    layer = int(re.findall(r"layer_?(\d+)", folder.name)[0])
    stated = re.search(r"_k(\d+)", folder.name)
    k = whole_number(content.get("k", stated[1] if stated else None), "k", path)
    width = encoder.shape[-1]
    mean_path = folder / "activation_mean.npy"
    if not mean_path.exists():
        raise UserError(
            f"{folder} has no activation_mean.npy, which the dictionary subtracts",
            "copy it from the source of the checkpoint",
        )
    try:
        mean = torch.from_numpy(np.load(mean_path, allow_pickle=False).astype(np.float32))
    except ValueError as error:
        raise UserError(
            f"{mean_path} is not a plain array ({error})",
            "copy it again; arrays of objects are not read",
        ) from error
    if mean.shape != (width,):
        raise UserError(
            f"{mean_path} has shape {tuple(mean.shape)}; expected ({width},)",
            "use the mean of the same layer and model",
        )
    return Dictionary(
        layer,
        encoder,
        bias,
        decoder.T,
        decoder_bias,
        mean,
        rule="topk",
        k=k,
        provenance={
            "trained_on": "published checkpoint, cells not stated in the file",
            "file": path.name,
        },
        catalogue=partial(read_published, folder),
    )
