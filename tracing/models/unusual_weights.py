"""Weights that cannot be read as they lie: adapters beside a base model, and quantised weights.

An adapter (LoRA and its kin) is a change of a base model in files of its own; whoever loads the
base alone computes another model than the one that was trained. Quantised weights are whole numbers
with scales beside them; read as they are they mean nothing. Both are refused in words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.core.files import json_object
from scircuit.tracing.models.weight_files import STATE, TENSORS, read_inside

_HOLDS = (*TENSORS, ".json", ".h5", ".npz", ".npy", ".pkl", ".msgpack", ".onnx", ".gguf")
_DEEP = 3  # adapters/<name>/<checkpoint>/
_ADAPTER_FILE = re.compile(r"adapter|(^|[^a-z])(lora|dora|peft|ia3)([^a-z]|$)", re.IGNORECASE)
_ADAPTER_TENSOR = re.compile(
    r"lora_|(^|[._])(lora|dora|loha|lokr|hada_w|ia3_l|vera_lambda|oft_r|boft_r|lokr_w"
    r"|prompt_embeddings|modules_to_save|base_layer|adapters?)([._]|$)|^base_model\.model\."
)
_QUANTISED_FILE = re.compile(r"(quantize|quant|hf_quant)_config\.json$|[._-](int[48]|gptq|awq)\b")
_QUANTISED_TENSOR = re.compile(
    r"\.(qweight|qzeros|g_idx|SCB|CB|absmax|quant_map|weight_format|weight_packed|weight_scale"
    r"|weight_zero_point|scales|zeros|input_scale)$|quant_state|nested_absmax"
)
_WHOLE = re.compile(r"(^|\.)(position_ids|token_type_ids|num_batches_tracked)$")  # whole numbers
_CONFIG = ("quantization_config", "compression_config", "quantization")


def require_plain(folder: Path) -> None:
    """Refuse adapters in a folder or in one below it, and quantised weights.

    Raises
    ------
    UserError
        Which files say so, and what to do.
    """
    files = _files_below(folder)
    adapters = [f for f in files if _is_adapter_file(f.relative_to(folder)) or _describes_one(f)]
    if adapters:
        raise UserError(
            f"{folder} holds an adapter beside its weights"
            f" ({', '.join(str(f.relative_to(folder)) for f in adapters[:4])}); the base model"
            " alone is another model than the one that was trained",
            "merge it and save the whole model: PeftModel.from_pretrained(base, adapter)"
            ".merge_and_unload().save_pretrained(FOLDER); to trace the base itself, move the"
            " adapter's files away",
        )
    _require_no_quantised_config(folder)
    for file in _weight_files(folder):
        _require_plain_tensors(folder, file, _names(file))
    for file in files:  # below it; other models there are no part of this one
        if file.parent != folder and file.suffix in TENSORS and not re.search(STATE, file.name):
            _require_no_adapter(file, _names(file))


def require_floating(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of a model that are no floating-point numbers, whatever their names.

    Parameters
    ----------
    folder
        Model folder, for the message.
    weights
        All weights of its checkpoint; their types are used.

    Raises
    ------
    UserError
        How many there are, and the first.
    """
    whole = [name for name, t in weights.items() if not (_is_plain(t) or _WHOLE.search(name))]
    if whole:
        kind = str(weights[whole[0]].dtype).removeprefix("torch.")
        raise _quantised(folder, f"it holds {len(whole):,} such tensors: {whole[0]} of {kind}")


def _weight_files(folder: Path) -> Iterator[Path]:
    yield from (f for f in sorted(folder.iterdir()) if f.suffix in TENSORS and f.is_file())


def _files_below(folder: Path) -> list[Path]:
    """Files of a folder and of those below it, as deep as adapters are kept."""
    found = []
    for place, inside, names in os.walk(folder, followlinks=True):
        if len(Path(place).relative_to(folder).parts) >= _DEEP:
            inside.clear()
        inside[:] = [name for name in inside if not name.startswith(".")]
        found += [Path(place, name) for name in names]
    return sorted(found)


def _is_adapter_file(file: Path) -> bool:
    """Whether its name, or that of a folder around it, says that it holds an adapter."""
    named = file.stem if file.suffix == ".json" else str(file.with_suffix(""))
    return file.suffix in _HOLDS and _ADAPTER_FILE.search(named) is not None


def _describes_one(file: Path) -> bool:
    """Whether a JSON file of any name describes an adapter; one that cannot be read does not."""
    if file.suffix != ".json" or not file.is_file() or file.stat().st_size >= 1 << 20:
        return False
    content = json_object(file)
    return bool(content.get("peft_type") or content.get("adapters"))


def _require_no_quantised_config(folder: Path) -> None:
    config = json_object(folder / "config.json")
    stated = {name: config[name] for name in _CONFIG if config.get(name)}
    files = [f.name for f in sorted(folder.iterdir()) if _QUANTISED_FILE.search(f.name)]
    if not stated and not files:
        return
    kind = ""
    for value in stated.values():
        if isinstance(value, Mapping):
            kind = str(value.get("quant_method") or value.get("format") or "")[:40]
    found = (
        f"config.json has {', '.join(stated)}" + (f" ({kind})" if kind else "")
        if stated
        else f"{files[0]} lies in it"
    )
    raise _quantised(folder, found)


def _names(file: Path) -> Mapping[str, Tensor]:
    """Tensors without their values; none where the file is no file of tensors, which its reader
    says if it is needed.
    """
    try:
        return read_inside(file, "meta")
    except UserError:
        return {}


def _require_no_adapter(file: Path, tensors: Mapping[str, Tensor]) -> None:
    adapters = [name for name in tensors if _ADAPTER_TENSOR.search(name)]
    if adapters:
        raise UserError(
            f"{file} holds {len(adapters):,} weights of an adapter, such as {adapters[0]}; the"
            " model does not apply them",
            "merge the adapter and save the whole model: merge_and_unload(), then"
            " save_pretrained(FOLDER)",
        )


def _require_plain_tensors(folder: Path, file: Path, tensors: Mapping[str, Tensor]) -> None:
    _require_no_adapter(file, tensors)
    quantised = [
        name
        for name, tensor in tensors.items()
        if _QUANTISED_TENSOR.search(name)
        or (name.endswith((".weight", ".bias")) and not _is_plain(tensor))
    ]
    if quantised:
        first = quantised[0]
        kind = str(tensors[first].dtype).removeprefix("torch.")
        raise _quantised(
            folder, f"{file.name} holds {len(quantised):,} such tensors: {first} of {kind}"
        )


def _is_plain(tensor: Tensor) -> bool:
    """Floating point of 16 bits or more; formats of 8 bits need a scale."""
    return tensor.dtype.is_floating_point and tensor.element_size() >= 2


def _quantised(folder: Path, found: str) -> UserError:
    return UserError(
        f"{folder} holds a quantised model: {found}; expected weights of float32, float16 or"
        " bfloat16",
        "give the model as it was before quantisation, or dequantise it:"
        " model.dequantize().save_pretrained(FOLDER)",
    )
