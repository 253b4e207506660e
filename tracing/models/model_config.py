"""``config.json`` of a model folder beside the weights it describes, before anything is built.

The library fills what a configuration lacks with defaults and leaves out weights that it does not
describe: a model of twelve layers with six in its configuration loads as one of six. Here the
numbers must be there, possible, and those of the tensors.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.core.files import canonical_json

_FIX = "give config.json and weights of the same model: download both again"
_COUNTS = {
    "vocab_size": (r"word_embeddings\.weight$", 0),
    "hidden_size": (r"word_embeddings\.weight$", 1),
    "max_position_embeddings": (r"position_embeddings\.weight$", 0),
    "type_vocab_size": (r"token_type_embeddings\.weight$", 0),
    "intermediate_size": (r"\.layer\.\d+\.intermediate\.dense\.weight$", 0),
}
"""Numbers of a configuration, and the tensor and the axis that have them too."""
_MOST = 10**7
_ARITHMETIC: dict[str, object] = {
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
}
"""Fields that decide what is computed, with what the library takes where they are not written."""
_NOT_WRITTEN = "position_embedding_type"  # versions of the library differ: absolute is left out
_ASIDE = (
    *("chunk_size_feed_forward", "gradient_checkpointing", "use_cache", "torchscript"),
    *("use_bfloat16", "dtype", "torch_dtype", "attn_implementation", "_attn_implementation"),
    *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict"),
    *("problem_type", "num_labels", "id2label", "label2id", "finetuning_task", "prefix"),
    *("task_specific_params", "classifier_dropout", "initializer_range", "auto_map"),
    *("quantization_config", "pruned_heads", "tokenizer_class", "_name_or_path"),
    *("_commit_hash", "transformers_version", "architectures"),
)
"""Fields of memory, speed, output, other tasks and origin. The states do not depend on them, and
some end the library's forward pass with an error; those that would matter if they were not empty
(quantisation, pruned heads) are refused before.
"""
_RANGES = (
    ("layer_norm_eps", 1e-20, 1e-3),
    ("hidden_dropout_prob", 0.0, 1.0),
    ("attention_probs_dropout_prob", 0.0, 1.0),
)


def read_config(folder: Path) -> dict[str, object] | None:
    """Content of ``config.json``; None where there is no such file.

    Raises
    ------
    UserError
        If it is not a JSON object.
    """
    config = folder / "config.json"
    if not config.is_file():
        return None
    return require_object(config, "download the model again")


def require_object(file: Path, fix: str) -> dict[str, object]:
    """Object in a JSON file.

    Raises
    ------
    UserError
        If there is none that can be read; with what to do, as given.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not a JSON object ({error})", fix) from error
    return content


def arithmetic_sha256(folder: Path, needed: tuple[str, ...]) -> str:
    """Hash of the fields of ``config.json`` that decide what is computed with the same weights."""
    stated = read_config(folder) or {}
    config = {name: value for name, value in _ARITHMETIC.items() if name != _NOT_WRITTEN} | stated
    fields = {name: config[name] for name in (*needed, *_ARITHMETIC) if name in config}
    if fields.get(_NOT_WRITTEN) == _ARITHMETIC[_NOT_WRITTEN]:
        del fields[_NOT_WRITTEN]
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


def config_for_states(folder: Path) -> dict[str, object]:
    """``config.json`` without the fields on which no state depends."""
    config = read_config(folder) or {}
    return {name: value for name, value in config.items() if name not in _ASIDE}


def require_config(folder: Path, weights: Mapping[str, Tensor], needed: tuple[str, ...]) -> None:
    """Check the configuration of an encoder against the shapes of its weights.

    Parameters
    ----------
    folder
        Model folder.
    weights
        Its tensors, of which the shapes are used.
    needed
        Fields without which the library would compute with a default.

    Raises
    ------
    UserError
        The field, what it says and what the weights have.
    """
    config = read_config(folder) or {}
    file = folder / "config.json"
    missing = [name for name in needed if name not in config]
    if missing:
        raise UserError(
            f"{file} lacks {', '.join(missing)}, which the library would fill with a default", _FIX
        )
    counts = [*_COUNTS, "num_hidden_layers", "num_attention_heads"]
    for name in (n for n in counts if n in config):
        value = config[name]
        if type(value) is not int or not 0 < value < _MOST:
            raise UserError(f"{file} has {name}={value!r}; expected a positive whole number", _FIX)
    for name, (pattern, axis) in _COUNTS.items():
        shapes = [tuple(t.shape) for key, t in weights.items() if re.search(pattern, key)]
        found = {shape[axis] for shape in shapes if len(shape) == 2}
        if name in config and found and found != {config[name]}:
            raise UserError(
                f"{file} has {name}={config[name]!r}; the weights have"
                f" {' and '.join(map(str, sorted(found)))}",
                _FIX,
            )
    layers = {int(m[1]) for key in weights if (m := re.search(r"encoder\.layer\.(\d+)\.", key))}
    if layers and "num_hidden_layers" in config and len(layers) != config["num_hidden_layers"]:
        raise UserError(
            f"{file} has num_hidden_layers={config['num_hidden_layers']!r}; the weights have"
            f" {len(layers)} layers",
            _FIX,
        )
    _require_numbers(file, config)


def _require_numbers(file: Path, config: Mapping[str, object]) -> None:
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if isinstance(width, int) and isinstance(heads, int) and width % heads:
        raise UserError(f"{file}: {heads} heads do not divide a width of {width}", _FIX)
    for name, least, most in _RANGES:
        value = config.get(name, least)
        if isinstance(value, bool) or not (
            isinstance(value, int | float) and math.isfinite(value) and least <= value <= most
        ):
            raise UserError(
                f"{file} has {name}={value!r}; expected a number of {least:g} to {most:g}", _FIX
            )
    if not isinstance(tied := config.get("tie_word_embeddings", True), bool):
        raise UserError(
            f"{file} has tie_word_embeddings={tied!r}; expected true or false (whether the"
            " projection onto the vocabulary is the embedding)",
            _FIX,
        )
    if pruned := config.get("pruned_heads"):
        raise UserError(
            f"{file} has pruned_heads={pruned!r:.60}; expected every layer with all its heads",
            "give the model before pruning; if its weights are whole, write pruned_heads: {}",
        )
    act = config.get("hidden_act", "gelu")
    if not isinstance(act, str):
        raise UserError(f"{file} has hidden_act={act!r}; expected a name such as 'relu'", _FIX)
