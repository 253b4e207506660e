"""Geneformer: a BERT encoder with post-LayerNorm, computed from the layers' own weights.

Layer l on states x: ``a = softmax(q k^T / sqrt(d_h)) v`` per head with q, k, v affine in x; ``y = LN(x + W_o a + b_o)``;
``h = LN(y + W_2 act(W_1 y + b_1) + b_2)``. Query, key and value weights are fused into one matrix; the Hugging Face modules keep
views of it, so nothing is stored twice and `self_check` compares against their own forward.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scircuit.address import slug
from scircuit.settings import UserError
from tracing.models.base import Adapter, choose_device, sha256_files

_TOLERANCE = 1e-4  # float32 through tens of layers; a wrong activation or norm gives errors of order 1


class _Layer(NamedTuple):
    qkv: Tensor  # [3d, d]
    qkv_bias: Tensor  # [3d]
    out: Any
    norm_1: Any
    up: Any
    act: Any
    down: Any
    norm_2: Any


class Geneformer(Adapter):
    """A ``BertForMaskedLM`` whose tokens are genes."""

    family = "geneformer"
    special = (0, 1, 2, 3)  # pad, mask, cls, eos of the V2 vocabulary

    def __init__(self, model: Any, name: str, sha256: str, device: torch.device | str = "cpu") -> None:
        config = model.config
        for option, value in (("position_embedding_type", "absolute"), ("is_decoder", False), ("add_cross_attention", False)):
            if getattr(config, option, value) != value:
                raise UserError(
                    f"model {name} has {option}={getattr(config, option)!r}; Geneformer has {value!r}",
                    "give a Geneformer folder such as Geneformer-V2-316M",
                )
        self.name, self.sha256 = name, sha256
        self.device = torch.device(device)
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.dtype = next(model.parameters()).dtype
        self.n_layers, self.width, self.n_heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
        self.ffn, self.max_length, self.n_tokens = config.intermediate_size, config.max_position_embeddings, config.vocab_size
        self.layers = [_fuse(module) for module in model.bert.encoder.layer]

    @classmethod
    def load(cls, folder: Path, device: str = "auto", name: str = "") -> Geneformer:
        """Load a folder in Hugging Face layout; safetensors, or a ``.bin`` that holds nothing but tensors.

        Raises
        ------
        UserError
            If weights are missing, incomplete, or a pickle that could run code.
        """
        from transformers import BertForMaskedLM
        from transformers.utils import logging

        files = sorted(folder.glob("*.safetensors"))
        safe = bool(files)
        if not safe:
            files = sorted(folder.glob("pytorch_model*.bin"))
            if not files:
                raise UserError(f"{folder} has no model.safetensors", "download the model again, with its weights")
            for file in files:
                _refuse_code(file)
        where = choose_device(device)
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()
        with contextlib.suppress(AttributeError):
            logging.disable_progress_bar()
        try:
            loaded: Any = BertForMaskedLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=safe, output_loading_info=True, attn_implementation="sdpa",
                dtype=torch.float32,
            )  # fmt: skip
        except Exception as error:
            raise UserError(f"{folder} does not load as a BERT masked-LM ({type(error).__name__}: {error})", "download it again") from error
        finally:
            logging.set_verbosity(verbosity)
        model, info = loaded
        missing = sorted(info["missing_keys"])
        if missing:
            raise UserError(
                f"{folder} lacks {len(missing)} weights of a BERT masked-LM, such as {missing[0]}",
                "give the masked-LM checkpoint itself, not a fine-tuned classifier or a partial download",
            )
        adapter = cls(model, slug(name or folder.resolve().name), sha256_files(files), where)
        adapter.losses = _stated_losses(folder)
        return adapter

    def embed(self, tokens: Tensor) -> Tensor:
        """Word plus position plus type embedding, normalised."""
        return self.model.bert.embeddings(input_ids=tokens)

    def project(self, layer: int, states: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        """Queries, keys and values by one product."""
        w = self.layers[layer]
        query, key, value = F.linear(states, w.qkv, w.qkv_bias).split(self.width, dim=-1)
        return query, key, value

    def project_query(self, layer: int, states: Tensor, positions: Tensor) -> Tensor:  # noqa: ARG002
        """Queries alone."""
        w, d = self.layers[layer], self.width
        return F.linear(states, w.qkv[:d], w.qkv_bias[:d])

    def project_key_value(self, layer: int, states: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Keys and values alone."""
        w, d = self.layers[layer], self.width
        key, value = F.linear(states, w.qkv[d:], w.qkv_bias[d:]).split(d, dim=-1)
        return key, value

    def finish(self, layer: int, states: Tensor, context: Tensor) -> Tensor:
        """Output projection, feed-forward and both residual norms."""
        w = self.layers[layer]
        y = w.norm_1(w.out(context).add_(states))
        return w.norm_2(w.down(w.act(w.up(y))).add_(y))

    def head_rows(self, states: Tensor) -> Tensor:
        """``LN(act(W h + b))`` of the masked-LM head."""
        return self.model.cls.predictions.transform(states)

    def unembed(self, rows: Tensor) -> Tensor:
        """Vocabulary projection of the masked-LM head."""
        return self.model.cls.predictions.decoder(rows)

    @torch.inference_mode()
    def self_check(self) -> list[Any]:
        """Compare with the model's own forward: states, logits, single layers, attention rows, zero edit."""
        from tracing.checks import CheckLine

        length = min(self.max_length, 48)
        genes = torch.randint(max(self.special) + 1, self.n_tokens, (length - 2,), generator=torch.Generator().manual_seed(0))
        tokens = torch.cat([torch.tensor([2]), genes, torch.tensor([3])]).to(self.device)
        whole = self.model(input_ids=tokens[None], output_hidden_states=True)
        wanted = [h[0] for h in whole.hidden_states[1:]]
        ours = self.clean_states(tokens)
        lines = []

        def compare(name: str, error: float, limit: float, fix: str) -> None:
            lines.append(CheckLine(name, error <= limit, f"largest difference {error:.1e}", f"at most {limit:.0e}", fix))

        fix = "use a transformers version this adapter was tested with, and report the model"
        scale = max(1.0, max(float(h.abs().max()) for h in wanted))
        compare("layers equal the whole forward", _gap(zip(ours, wanted, strict=True)) / scale, _TOLERANCE, fix)
        logits = self.logits(ours[-1])
        compare("logits equal the whole forward", _gap([(logits, whole.logits[0])]) / max(1.0, float(whole.logits.abs().max())), _TOLERANCE, fix)
        single = [_first(self.model.bert.encoder.layer[i](wanted[i - 1][None])).reshape(wanted[i].shape) for i in range(1, self.n_layers)]
        compare("each layer called as a function", _gap(zip(single, ours[1:], strict=True)) / scale, _TOLERANCE, fix)
        rows = torch.tensor([[1, length // 2]], device=self.device)
        some = [self.layer_rows(i, ours[i - 1][None], rows)[0] for i in range(1, self.n_layers)]
        compare("chosen rows equal all rows", _gap((a, b[rows[0]]) for a, b in zip(some, ours[1:], strict=True)) / scale, _TOLERANCE, fix)
        nothing = (torch.zeros(1, dtype=torch.long, device=self.device), rows[0, :1])
        zero = [self.layer_edited(i, ours[i - 1], ours[i - 1][None], nothing)[0] for i in range(1, self.n_layers)]
        compare("zero edit changes nothing", _gap(zip(zero, ours[1:], strict=True)) / scale, _TOLERANCE, fix)
        compare("attention rows sum to one", self._attention_error(ours), _TOLERANCE, fix)
        return lines

    def _attention_error(self, states: list[Tensor]) -> float:
        """Largest |1 - attention of a constant value|: with v = 1 every context entry is the sum of its attention row."""
        worst = 0.0
        for i in range(1, self.n_layers):
            before = states[i - 1][None]
            query, key, value = self.project(i, before, torch.arange(before.shape[1], device=before.device))
            worst = max(worst, float((self.attend(query, key, torch.ones_like(value)) - 1).abs().max()))
        return worst


def _fuse(module: Any) -> _Layer:
    """Stack query, key and value weights and make the module's own weights views of the stack."""
    attention = module.attention.self
    parts = (attention.query, attention.key, attention.value)
    weight = torch.cat([p.weight.data for p in parts]).contiguous()
    bias = torch.cat([p.bias.data for p in parts]).contiguous()
    width = parts[0].weight.shape[0]
    for i, part in enumerate(parts):
        part.weight.data = weight[i * width : (i + 1) * width]
        part.bias.data = bias[i * width : (i + 1) * width]
    out, feed = module.attention.output, module.intermediate
    act = feed.intermediate_act_fn
    if type(act).__name__ in ("ReLU", "ReLUActivation"):
        act = torch.relu_  # in place: a tenth of the time on a CPU
    return _Layer(weight, bias, out.dense, out.LayerNorm, feed.dense, act, module.output.dense, module.output.LayerNorm)


def _stated_losses(folder: Path) -> dict[str, float]:
    """Held-out losses from a ``metrics.json`` beside the weights, where there is one."""
    try:
        stated = json.loads((folder / "metrics.json").read_text())
        return {k: float(stated[k]) for k in ("mlm_loss", "unigram_loss") if k in stated}
    except (OSError, ValueError, TypeError):
        return {}


def _first(output: Any) -> Tensor:
    """State out of a layer's return: a tuple in transformers 4, a bare tensor in 5."""
    return output[0] if isinstance(output, tuple) else output


def _gap(pairs: Any) -> float:
    return max((float((a - b).abs().max()) for a, b in pairs), default=0.0)


def _refuse_code(file: Path) -> None:
    """Load a pickled checkpoint with tensors only, or refuse it."""
    try:
        torch.load(file, map_location="meta", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{file} is a pickle that holds more than tensors, and loading it could run code ({type(error).__name__})",
            "convert it to model.safetensors where you trust it: save_pretrained(folder, safe_serialization=True)",
        ) from error
