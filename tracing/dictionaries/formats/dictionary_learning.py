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

from pathlib import Path

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.safe_files import (
    column_norms,
    layer_of,
    need_weights,
    read_checkpoint,
    read_json,
    require_same_layer,
    section,
    single,
    whole_number,
)
from scircuit.tracing.interfaces import JsonObject

_LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
_PLAIN = ("W_enc", "b_enc", "W_dec", "b_dec")


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "ae.pt").exists() and (folder / "config.json").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If the checkpoint is unsafe, its class is none of those above, it has no threshold, or it
        does not read a layer's output.
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
    return Dictionary(
        layer,
        **_READERS[kind](state, trainer, path),
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
    place = (
        f"{named} layer_{stated}"
        if isinstance(stated, int)
        else f"{folder.parent.name} {folder.name}"
    )
    return layer_of(place, folder)


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
    names = ("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias")
    encoder, decoder, mean, rate, gate, magnitude = need_weights(
        state, names, path, "dictionary_learning"
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
        "k": _k(state, trainer, path),
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


def _k(state: JsonObject, trainer: JsonObject, path: Path) -> int:
    stated = [
        whole_number(v, "k", path) for v in (state.get("k"), trainer.get("k")) if v is not None
    ]
    if len(set(stated)) != 1:
        raise UserError(
            f"{path}: k is {' and '.join(map(str, stated)) or 'not stated'}",
            "give checkpoint and config.json of the same training run",
        )
    return stated[0]


_READERS = {
    "AutoEncoder": _auto,
    "AutoEncoderNew": _auto_new,
    "GatedAutoEncoder": _gated,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jump,
}
