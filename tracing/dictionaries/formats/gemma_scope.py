"""Gemma Scope transcoders: ``layer_5/width_16k/average_l0_76/params.npz`` (W_enc [d, F], b_enc,
W_dec [F, d], b_dec, threshold [F]).

    f = ReLU(W_enc^T x + b_enc) where W_enc^T x + b_enc > threshold        y^ = W_dec^T f + b_dec

x is the MLP input before the weight of its norm, which was folded into the MLP when they were
trained (Lieberum et al., Gemma Scope, 2024, section 3.2); y^ is the output of the norm after the
MLP. Its autoencoders of other places have the same files: only the name of a folder above tells
them apart.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.core.expansion import check_zip
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.places import LAYER
from scircuit.tracing.dictionaries.formats.safe_files import (
    need_weights,
    require_known,
    single,
)
from scircuit.tracing.interfaces import JsonObject

FILE = "params.npz"
_WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
_OTHER = re.compile(r"(?<![a-z])(?:res|resid|mlp|att|attn)(?![a-z])", re.IGNORECASE)
_LEVELS = 6  # of folders above whose names are read


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / FILE).exists()


def read(folder: Path) -> Dictionary:
    """Read one transcoder.

    Raises
    ------
    UserError
        If the file is damaged or holds anything but arrays, or the names of its folders do not say
        that it is a transcoder, and of which layer.
    """
    above = [folder.absolute(), *folder.absolute().parents][:_LEVELS]
    layers = [found for place in above[:3] if (found := re.search(LAYER, place.name))]
    if not layers:
        raise UserError(
            f"{folder}: the names of its folders do not say of which layer it is",
            "keep the folders of the source: layer_5/width_16k/average_l0_76",
        )
    for place in above:
        if re.search("transcod", place.name, re.IGNORECASE):
            break
        other = _OTHER.search(place.name)
        if other:
            raise UserError(
                f"{folder} lies in {place.name}, which says {other[0]}: it is a Gemma Scope"
                " autoencoder; expected a transcoder",
                "give the folders of gemma-scope-2b-pt-transcoders",
            )
    else:
        raise UserError(
            f"{folder} may be a transcoder or an autoencoder of any place: Gemma Scope has the same"
            f" {FILE} for all, and no folder above says which",
            "keep the name of the source in a folder above: gemma-scope-2b-pt-transcoders",
        )
    named: JsonObject = {"place": "ln2.hook_normalized", "writes": "hook_mlp_out"}
    return read_params(folder / FILE, int(layers[0][1]), gain=False, place=named)


def read_params(path: Path, layer: int, *, gain: bool, place: JsonObject) -> Dictionary:
    """Read the transcoder of a file.

    Parameters
    ----------
    path
        The file.
    layer
        0-based layer of the MLP.
    gain
        Whether it reads the weight of the norm too.
    place
        Names of the places, for the provenance.

    Raises
    ------
    UserError
        If the file is damaged, or does not hold the arrays of a transcoder.
    """
    weights = single(_arrays(path), path)
    encoder, bias, decoder, offset, threshold = need_weights(weights, _WEIGHTS, path, "Gemma Scope")
    require_known(weights, _WEIGHTS, path, "Gemma Scope")
    return Dictionary(
        layer,
        encoder.T,
        bias,
        decoder,
        offset,
        torch.zeros(encoder.shape[0]),
        rule="jumprelu",
        threshold=threshold,
        provenance={"trained_on": "not stated in the file", "format": "Gemma Scope", **place},
        site="mlp",
        gain=gain,
    )


def _arrays(path: Path) -> dict[str, Tensor]:
    """Arrays of an npz file, never objects."""
    check_zip(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not a file of plain arrays ({error})",
            "copy it again from its source; arrays of objects are not read",
        ) from error
    odd = {name: a.dtype for name, a in found.items() if a.dtype.kind not in "fiu"}
    if odd:
        name, kind = next(iter(odd.items()))
        raise UserError(
            f"{path}: {name} is of {kind}; expected numbers", "copy it again from its source"
        )
    return {
        name: torch.from_numpy(np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))))
        for name, a in found.items()
    }
