"""dictionary_learning: ``ae.pt`` (a state dict) and ``config.json``, whose ``trainer.dict_class``
says what is computed.

    AutoEncoder                f = ReLU(W (x - b) + c)                          x^ = D f + b,
                               f and D then scaled to unit columns
    AutoEncoderNew             f = ReLU(W x + c)                                x^ = D f + b
    GatedAutoEncoder           f = ReLU(e^r u + m) where u + g > 0, u = W (x - b)    x^ = D f + b
    AutoEncoderTopK            f = the k largest of ReLU(W (x - b) + c)         x^ = D f + b
    BatchTopKSAE, Matryoshka.. f = ReLU(W (x - b) + c) where above a threshold  x^ = D f + b
    JumpReluAutoEncoder        f = ReLU(W x + c) where above each threshold     x^ = D f + b

The gated form is the jump of a = e^r u + m at the threshold m - e^r g, since u + g > 0 says a > m -
e^r g. In training BatchTopK takes the largest codes of a whole batch; afterwards the library itself
uses the stored threshold.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.places import (
    LAYER,
    layer_of,
    require_same_folder,
    require_same_layer,
)
from scircuit.tracing.dictionaries.formats.safe_files import (
    column_norms,
    need_weights,
    read_checkpoint,
    read_json,
    require_known,
    require_sizes,
    same_number,
    section,
    single,
    whole_number,
)
from scircuit.tracing.interfaces import JsonObject

_LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
_PLAIN = ("W_enc", "b_enc", "W_dec", "b_dec")
_GATED = ("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias")
_TENSORS = {
    "AutoEncoder": (*_LINEAR, "bias"),
    "AutoEncoderNew": (*_LINEAR, "decoder.bias"),
    "GatedAutoEncoder": _GATED,
    "AutoEncoderTopK": (*_LINEAR, "b_dec", "k", "threshold"),
    "BatchTopKSAE": (*_LINEAR, "b_dec", "k", "threshold"),
    "MatryoshkaBatchTopKSAE": (*_PLAIN, "k", "threshold", "group_sizes"),
    "JumpReluAutoEncoder": (*_PLAIN, "threshold"),
}


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "ae.pt").exists() and (folder / "config.json").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If the checkpoint is unsafe or does not fit its configuration, its class is none of those
        above, it has no threshold, or it does not read a layer's output.
    """
    config, path = read_json(folder / "config.json"), folder / "ae.pt"
    trainer = section(config, "trainer", folder / "config.json")
    if not trainer:
        raise UserError(
            f"{folder / 'config.json'} has no object 'trainer'",
            "give the dictionary_learning layout",
        )
    kind = trainer.get("dict_class")
    if not isinstance(kind, str) or kind not in _READERS:
        raise UserError(f"{folder} has dict_class {kind!r}", f"supported: {', '.join(_READERS)}")
    layer = _layer(folder, config, trainer)
    state = single(read_checkpoint(path), path)
    weights = _READERS[kind](state, trainer, path)
    require_known(state, _TENSORS[kind], path, f"dictionary_learning {kind}")
    features, width = weights["encoder"].shape
    require_sizes(trainer, {"activation_dim": width, "dict_size": features}, folder / "config.json")
    buffer = section(config, "buffer", folder / "config.json")
    require_sizes(buffer, {"d_submodule": width}, folder / "config.json")
    return Dictionary(
        layer,
        **weights,
        provenance={
            "trained_on": f"activations of {trainer.get('lm_name', 'a model not stated')}",
            "format": f"dictionary_learning {kind}",
        },
    )


def _layer(folder: Path, config: JsonObject, trainer: JsonObject) -> int:
    flow = section(config, "buffer", folder / "config.json").get("io", "out")
    if flow != "out":
        raise UserError(
            f"{folder} reads {flow!r} of its module; expected 'out', a layer's output",
            "give dictionaries of layer outputs",
        )
    named = str(trainer.get("submodule_name") or "")
    stated = trainer.get("layer")
    if stated is not None:
        stated = whole_number(stated, "layer", folder / "config.json")
        require_same_layer(named, stated, folder)
    named_by_folder = folder.name if re.search(LAYER, folder.name) else folder.parent.name
    if re.search(LAYER, named):
        place = named
    elif stated is not None:
        place = f"{named}_layer_{stated}".lstrip("_")
    else:
        place = f"{named} {named_by_folder}".strip()
    layer = layer_of(place, folder, stated=bool(named) or stated is not None)
    require_same_folder(place, layer, folder)
    return layer


def _auto(state: JsonObject, _trainer: JsonObject, path: Path) -> JsonObject:
    encoder, bias, decoder, mean = need_weights(
        state, (*_LINEAR, "bias"), path, "dictionary_learning"
    )
    norms = column_norms(decoder.T)
    return _weights(encoder * norms[:, None], bias * norms, (decoder / norms).T, mean=mean) | {
        "rule": "relu"
    }


def _auto_new(state: JsonObject, _trainer: JsonObject, path: Path) -> JsonObject:
    encoder, bias, decoder, offset = need_weights(
        state, (*_LINEAR, "decoder.bias"), path, "dictionary_learning"
    )
    return _weights(encoder, bias, decoder.T, offset=offset) | {"rule": "relu"}


def _gated(state: JsonObject, _trainer: JsonObject, path: Path) -> JsonObject:
    encoder, decoder, mean, rate, gate, magnitude = need_weights(
        state, _GATED, path, "dictionary_learning"
    )
    threshold = magnitude - rate.exp() * gate
    return _weights(rate.exp()[:, None] * encoder, magnitude, decoder.T, mean=mean) | {
        "rule": "jumprelu",
        "threshold": threshold,
    }


def _topk(state: JsonObject, trainer: JsonObject, path: Path) -> JsonObject:
    encoder, bias, decoder, mean = need_weights(
        state, (*_LINEAR, "b_dec"), path, "dictionary_learning"
    )
    return _weights(encoder, bias, decoder.T, mean=mean) | {
        "rule": "topk",
        "k": same_number((state.get("k"), trainer.get("k")), "k", path),
    }


def _batch_topk(state: JsonObject, _trainer: JsonObject, path: Path) -> JsonObject:
    encoder, bias, decoder, mean = need_weights(
        state, (*_LINEAR, "b_dec"), path, "dictionary_learning"
    )
    return _weights(encoder, bias, decoder.T, mean=mean) | {
        "rule": "batchtopk",
        "threshold": state.get("threshold"),
    }


def _matryoshka(state: JsonObject, _trainer: JsonObject, path: Path) -> JsonObject:
    encoder, bias, decoder, mean = need_weights(state, _PLAIN, path, "dictionary_learning")
    return _weights(encoder.T, bias, decoder, mean=mean) | {
        "rule": "batchtopk",
        "threshold": state.get("threshold"),
    }


def _jump(state: JsonObject, _trainer: JsonObject, path: Path) -> JsonObject:
    encoder, bias, decoder, offset, threshold = need_weights(
        state, (*_PLAIN, "threshold"), path, "dictionary_learning"
    )
    return _weights(encoder.T, bias, decoder, offset=offset) | {
        "rule": "jumprelu",
        "threshold": threshold,
    }


def _weights(
    encoder: Tensor,
    bias: Tensor,
    decoder: Tensor,
    *,
    mean: Tensor | None = None,
    offset: Tensor | None = None,
) -> JsonObject:
    zero = torch.zeros(encoder.shape[1])
    return {
        "encoder": encoder,
        "encoder_bias": bias,
        "decoder": decoder,
        "decoder_bias": zero if offset is None else offset,
        "mean": zero if mean is None else mean,
    }


_READERS = {
    "AutoEncoder": _auto,
    "AutoEncoderNew": _auto_new,
    "GatedAutoEncoder": _gated,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jump,
}
