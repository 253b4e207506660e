"""Gemma-2, the architecture of the larger Cell2Sentence models: a causal decoder with RMSNorms
before and after both blocks, keys shared by groups of heads, sliding windows in every other layer,
and bounded scores and logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.models.attention import Sight
from scircuit.tracing.models.decoders.prenorm import Affine, Norm, PreNormLayer
from scircuit.tracing.models.decoders.sentence_model import SentenceModel
from scircuit.tracing.models.huggingface import TransformersModel


class Gemma2(SentenceModel):
    """A ``Gemma2ForCausalLM`` that reads cell sentences."""

    family = "gemma-2"
    model_class = "Gemma2ForCausalLM"
    needed = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "max_position_embeddings",
        "hidden_activation",
        "rms_norm_eps",
        "query_pre_attn_scalar",
        "sliding_window",
        "attn_logit_softcapping",
        "final_logit_softcapping",
    )

    def __init__(
        self, model: TransformersModel, name: str, sha256: str, device: torch.device | str = "cpu"
    ) -> None:
        if getattr(model.config, "use_bidirectional_attention", None):
            raise UserError(
                f"model {name} has use_bidirectional_attention=True; expected causal attention",
                "give a Gemma-2 language model",
            )
        super().__init__(model, name, sha256, device)

    @property
    def blocks(self) -> Any:
        """Decoder layers."""
        return self.model.model.layers

    @property
    def rotary(self) -> Any:
        """The library's module of rotary positions."""
        return self.model.model.rotary_emb

    def read_layer(self, block: Any) -> PreNormLayer:
        """Weights of a layer; the scale of its scores, where it is not ``1 / sqrt(e)``, goes into
        the queries.
        """
        attention = block.self_attn
        query = Affine(attention.q_proj.weight, attention.q_proj.bias)
        scale = attention.scaling * self.head_size**0.5
        if scale != 1.0:
            bias = None if query.bias is None else query.bias * scale
            query = Affine(query.weight * scale, bias)
        return PreNormLayer(
            _norm(block.input_layernorm),
            query,
            Affine(attention.k_proj.weight, attention.k_proj.bias),
            Affine(attention.v_proj.weight, attention.v_proj.bias),
            Affine(attention.o_proj.weight, attention.o_proj.bias),
            _norm(block.post_attention_layernorm),
            _norm(block.pre_feedforward_layernorm),
            block.mlp,
            _norm(block.post_feedforward_layernorm),
            parallel=False,
        )

    def sight(self, layer: int) -> Sight:
        """Causal; every other layer sees a window only; scores are bounded."""
        attention = self.blocks[layer].self_attn
        return Sight(True, attention.sliding_window, attention.attn_logit_softcapping)

    def embed(self, cell: np.ndarray) -> Tensor:
        """Token embedding, scaled by the library's module."""
        return self.model.model.embed_tokens(self.token_ids(cell))

    @property
    def final_norm(self) -> Norm:
        """Norm before the projection to logits."""
        return _norm(self.model.model.norm)

    def logits(self, states: Tensor) -> Tensor:
        """Token logits [..., V] of last-layer states [..., d], bounded as the model bounds them."""
        found, cap = super().logits(states), self.model.config.final_logit_softcapping
        return found if cap is None else cap * (found / cap).tanh()

    def mean_logits(self, states: Tensor) -> Tensor:
        """Token logits [B, V] averaged over rows: the bound is not linear, so they are averaged
        after it.
        """
        return self.logits(states).mean(1)


def _norm(module: Any) -> Norm:
    return Norm(1.0 + module.weight, None, module.eps, centred=False)
