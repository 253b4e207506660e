"""Models and dictionaries that keep everything but what was learnt: the null of a whole run.

permuted    every weight matrix of the model with its entries permuted; norms and biases stay. It
            computes something, of the same size, that no training has shaped. It needs dictionaries
            of its own.
rotated     the trained model, and dictionaries whose decoders are turned by one random rotation a
            layer. Features fire where they did and as strongly; what is removed points elsewhere.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.core.files import atomic_path
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.native import save_dictionary
from scircuit.tracing.dictionaries.tensor_file import write_tensors
from scircuit.tracing.models.weight_files import read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOT_COPIED = ("metrics.json",)  # what was measured on the trained model


def permuted_model(folder: Path, out: Path, seed: int) -> Path:
    """Copy of a model folder with permuted weights.

    Parameters
    ----------
    folder
        The trained model: ``*.safetensors``, or checkpoints that hold nothing but tensors.
    out
        Folder for the copy.
    seed
        Seed of the permutations; each matrix has its own, by its name.

    Raises
    ------
    UserError
        If there are no weight files, or they could run code.
    """
    weights = [f for f in sorted(folder.iterdir()) if f.suffix in (".safetensors", ".bin", ".pt")]
    if any(f.suffix == ".safetensors" for f in weights):
        weights = [f for f in weights if f.suffix == ".safetensors"]
    if not weights:
        raise UserError(f"{folder} has no weight files", "give a model folder")
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix == ".json" and file.name not in _NOT_COPIED:
            shutil.copyfile(file, out / file.name)
    for file in weights:
        tensors = permuted(_read(file), seed)
        if file.suffix == ".safetensors":
            write_tensors(out / file.name, tensors, {"format": "pt"})
            continue
        with atomic_path(out / file.name) as temporary:
            torch.save(tensors, temporary)
    return out


def permuted(tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Tensors with the entries of every floating-point matrix permuted; vectors (norms, biases)
    as they are.
    """
    found = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            found[name] = tensor
            continue
        generator = _generator(seed, name)
        order = torch.randperm(tensor.numel(), generator=generator)
        found[name] = tensor.flatten()[order].reshape(tensor.shape).contiguous()
    return found


def rotated_dictionaries(dictionaries: Iterable[Dictionary], out: Path, seed: int) -> Path:
    """Dictionaries with rotated decoders, one folder a layer.

    Parameters
    ----------
    dictionaries
        The trained ones.
    out
        Folder for ``layerLL``.
    seed
        Seed of the rotations; each layer has its own.
    """
    for own in dictionaries:
        generator = _generator(seed, f"layer {own.layer}")
        drawn = torch.randn(own.width, own.width, generator=generator, dtype=torch.float64)
        rotation = torch.linalg.qr(drawn)[0].float()
        t = {name: tensor.cpu() for name, tensor in own.tensors.items()}
        turned = Dictionary(
            own.layer,
            t["encoder"],
            t["encoder_bias"],
            t["decoder"] @ rotation,
            t["decoder_bias"],
            t["mean"],
            rule=own.rule,
            k=own.k if own.rule == "topk" else 0,
            threshold=t.get("threshold"),
            provenance=own.provenance,
            site=own.site,
            skip=t.get("skip"),
        )
        save_dictionary(turned, out)
    return out


def _generator(seed: int, name: str) -> torch.Generator:
    """A generator for one part of one copy. torch reads 32 bits of a seed, so both are hashed into
    them.
    """
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix != ".safetensors":
        return read_tensors(file)
    from safetensors.torch import load_file

    return load_file(file)
