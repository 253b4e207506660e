"""Models of the transformers library: loading with every check, and the library's own forward
pass to compare with.

A family of this kind names its class, its layers and the arithmetic of one row;
`docs/adapters.md` shows one whole.
"""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from scircuit.core.address import slug
from scircuit.core.errors import UserError
from scircuit.core.files import json_object
from scircuit.tracing.hardware.devices import choose_device
from scircuit.tracing.hardware.out_of_memory import out_of_memory
from scircuit.tracing.models.adapter import Adapter, Whole
from scircuit.tracing.models.checkpoint_files import checkpoint_of, is_harmless, require_tied
from scircuit.tracing.models.missing_weights import missing_weights
from scircuit.tracing.models.model_config import (
    arithmetic_sha256,
    config_for_states,
    read_config,
    require_config,
)
from scircuit.tracing.models.unusual_weights import require_floating
from scircuit.tracing.models.weight_files import (
    read_any,
    require_finite,
    sha256_files,
    stored_precision,
)

# models and modules of transformers are typed loosely, and differ between its versions
TransformersModel = Any

# What an encoder must have: every position sees every other.
_EXPECTED = {
    "is_decoder": False,
    "add_cross_attention": False,
    "sliding_window": None,
    "is_causal": False,
}


class HuggingFaceAdapter(Adapter):
    """A masked-token encoder of transformers, or a causal decoder.

    Attributes
    ----------
    model_class
        Name of its class in transformers, such as ``BertForMaskedLM``.
    attention
        Attention implementation for the library's own forward pass.
    needed
        Fields of ``config.json`` that must be there, since the library's defaults would change
        the numbers.
    decides
        Further fields that decide what is computed where they are there.
    bidirectional
        Whether every position sees every other, each head with its own keys; families that say
        otherwise have a `sight` of their own.
    """

    model: TransformersModel
    model_class: str
    attention: str = "eager"
    needed: tuple[str, ...] = ()
    decides: tuple[str, ...] = ()
    bidirectional: bool = True

    def __init__(
        self, model: TransformersModel, name: str, sha256: str, device: torch.device | str = "cpu"
    ) -> None:
        config = model.config
        if self.bidirectional:
            _require_encoder(config, name)
        self.name, self.sha256 = name, sha256
        self.device = torch.device(device)
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.dtype = next(model.parameters()).dtype
        self.n_layers, self.width, self.n_heads = (
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
        )
        self.ffn, self.max_length, self.n_tokens = (
            config.intermediate_size,
            config.max_position_embeddings,
            config.vocab_size,
        )

    @property
    @abstractmethod
    def blocks(self) -> TransformersModel:
        """Encoder layers of `model`, in order."""

    @classmethod
    def load(cls, folder: Path, device: str = "auto", name: str = "") -> Self:
        """Load a folder in Hugging Face layout; safetensors, or a ``.bin`` that holds nothing but
        tensors. Computes in float32.

        Raises
        ------
        UserError
            If weights are missing, incomplete, more than the configuration describes, not finite,
            or a pickle that could run code; or if there are two checkpoints.
        """
        import transformers

        base = getattr(transformers, cls.model_class).base_model_prefix
        held = checkpoint_of(folder, base)
        weights = {name: t for file in held.files for name, t in read_any(file, "meta").items()}
        require_floating(folder, weights)
        require_config(folder, weights, cls.needed)
        where = choose_device(device)
        model, missing, unexpected = cls._read(folder, held.safe)
        if missing:
            raise missing_weights(folder, cls.model_class, base, missing, unexpected)
        unknown = [name for name in unexpected if not is_harmless(name)]
        if unknown:
            raise UserError(
                f"{folder} holds {len(unknown)} weights that a {cls.model_class} of its"
                f" config.json does not have, such as {unknown[0]}; they would be left out",
                "give config.json and weights of the same model",
            )
        require_tied(folder, held.files)
        require_finite(model.named_parameters(), folder)
        adapter = cls(
            model.float(), slug(name or folder.resolve().name), sha256_files([*held.files]), where
        )
        adapter.config_sha256 = arithmetic_sha256(folder, (*cls.needed, *cls.decides))
        adapter.stored = stored_precision(held.files)
        adapter.notes = (
            *held.notes,
            *([f"not used: {', '.join(unexpected[:3])}"] if unexpected else []),
        )
        adapter.losses = _stated_losses(folder)
        return adapter

    @classmethod
    def _read(cls, folder: Path, safe: bool) -> tuple[TransformersModel, list[str], list[str]]:
        """Model, and the names of weights that are missing and that it has no place for, without
        the library's own messages.
        """
        import transformers
        from transformers.utils import logging

        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()
        with contextlib.suppress(AttributeError):
            logging.disable_progress_bar()
        try:
            kind = getattr(transformers, cls.model_class)
            config = kind.config_class.from_dict(config_for_states(folder))
            _require_activation(folder, config)
            model, info = kind.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=safe,
                # whatever type config.json names: a cast to a shorter one would be lost
                **{_dtype_option(transformers.__version__): torch.float32},
                output_loading_info=True,
                attn_implementation=cls.attention,
            )
        except (ImportError, UserError):
            raise  # a library that is missing or too old is no fault of the files
        except Exception as error:
            if out_of_memory(error):
                raise
            why = " ".join(str(error).split())[:300]
            raise UserError(
                f"{folder} does not load as a {cls.model_class} ({type(error).__name__}: {why})",
                "compare config.json with that of the model's source, or download it again",
            ) from error
        finally:
            logging.set_verbosity(verbosity)
        return model, sorted(info["missing_keys"]), sorted(info["unexpected_keys"])

    @torch.inference_mode()
    def whole_forward(self, cell: np.ndarray) -> Whole:
        """The library's own forward pass, its layers' outputs caught by hooks."""
        caught: list[Tensor] = []
        handles = [
            block.register_forward_hook(lambda _m, _i, output: caught.append(first(output)[0]))
            for block in self.blocks
        ]
        try:
            ids = self.token_ids(cell)[None]
            mask = torch.ones_like(ids)
            logits = self.model(input_ids=ids, attention_mask=mask, return_dict=True).logits[0]
        finally:
            for handle in handles:
                handle.remove()
        return Whole(caught, logits)


def _require_encoder(config: TransformersModel, name: str) -> None:
    for option, value in _EXPECTED.items():
        stated = getattr(config, option, value)
        if stated != value or type(stated) is not type(value):  # 0 is no false to the library
            raise UserError(
                f"model {name} has {option}={getattr(config, option)!r}; tracing needs"
                f" {value!r}: every position must see every other",
                "give a bidirectional encoder",
            )
    heads = config.num_attention_heads
    if getattr(config, "num_key_value_heads", heads) != heads:
        raise UserError(
            f"model {name} shares keys between heads, which its family does not say",
            "give a model with one key per head",
        )


def _require_activation(folder: Path, config: TransformersModel) -> None:
    from transformers.activations import ACT2FN

    act = getattr(config, "hidden_act", None)
    if act is not None and act not in ACT2FN:
        raise UserError(
            f"{folder / 'config.json'} has hidden_act={act!r}; expected an activation of"
            " transformers, such as 'relu' or 'gelu'",
            "compare config.json with that of the model's source",
        )


def huggingface_type(kind: str) -> Callable[[Path], bool]:
    """Whether a folder's ``config.json`` says ``model_type`` is `kind`."""
    return lambda folder: model_type(folder) == kind


def model_type(folder: Path) -> str | None:
    """``model_type`` of a folder's ``config.json``; None where there is no such file.

    Raises
    ------
    UserError
        If the file is not a JSON object.
    """
    config = read_config(folder)
    return None if config is None else str(config.get("model_type", ""))


def _dtype_option(version: str) -> str:
    """Name of the argument for the format of the weights, which transformers renamed."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """State returned by a layer: in a tuple in transformers 4, a tensor in 5."""
    return output[0] if isinstance(output, tuple) else output


def _stated_losses(folder: Path) -> dict[str, float]:
    """Held-out losses from a ``metrics.json`` beside the weights, where there is one."""
    stated = json_object(folder / "metrics.json")
    try:
        losses = {k: float(stated[k]) for k in ("mlm_loss", "unigram_loss") if k in stated}
    except (ValueError, TypeError):
        return {}
    return {name: loss for name, loss in losses.items() if math.isfinite(loss) and loss >= 0}
