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
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.places import layer_of, require_same_folder
from scircuit.tracing.dictionaries.formats.safe_files import (
    need_weights,
    read_checkpoint,
    require_known,
    require_sizes,
    same_number,
    section,
    single,
)
from scircuit.tracing.dictionaries.training_statistics import read_published

_FINAL = "sae_final.pt"
_WEIGHTS = ("W_enc.weight", "W_enc.bias", "W_dec.weight", "W_dec.bias")


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return bool(_checkpoints(folder)) and re.search(r"layer_?(\d+)", folder.name) is not None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(
        [*folder.glob("*.pt"), *folder.glob("*.pth")],
        key=lambda p: (p.name != _FINAL, p.name),
    )


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If the checkpoint is unsafe, weights are missing, k is not stated, or shapes do not fit.
    """
    path, *others = _checkpoints(folder)
    if others and path.name != _FINAL:
        raise UserError(
            f"{folder} has {1 + len(others)} checkpoints, {path.name},"
            f" {', '.join(p.name for p in others[:4])}, and none is {_FINAL}",
            f"keep the one that is meant, or call it {_FINAL}",
        )
    content = read_checkpoint(path)
    state = section(content, "model_state_dict", path) or content
    encoder, bias, decoder, decoder_bias = need_weights(
        single(state, path), _WEIGHTS, path, "published"
    )
    require_known(state, _WEIGHTS, path, "the published layout")
    layer = layer_of(folder.name, folder)
    require_same_folder(folder.name, layer, folder)
    stated = re.search(r"_k(\d+)", folder.name)
    k = same_number((content.get("k"), stated[1] if stated else None), "k", path)
    features, width = encoder.shape
    require_sizes(content, {"d_model": width, "n_features": features}, path)
    mean_path = folder / "activation_mean.npy"
    if not mean_path.exists():
        raise UserError(
            f"{folder} has no activation_mean.npy, which the dictionary subtracts",
            "copy it from the source of the checkpoint",
        )
    mean = _mean(mean_path)
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


def _mean(path: Path) -> torch.Tensor:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not a plain array ({error})",
            "copy it again; arrays of objects are not read",
        ) from error
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        kind = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
        raise UserError(
            f"{path} holds {kind}; expected one array of floating-point numbers",
            "copy it again from the source of the checkpoint",
        )
    return torch.from_numpy(found.astype(np.float32))
