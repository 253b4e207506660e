"""GPT-NeoX, the architecture of Pythia and so of the first Cell2Sentence models: a causal decoder
with LayerNorms before its blocks, attention and feed-forward in parallel or one after the other,
and queries and keys rotated in a part of each head.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.models.decoders.prenorm import Affine, Norm, PreNormLayer
from scircuit.tracing.models.decoders.sentence_model import SentenceModel


class GPTNeoX(SentenceModel):
    """A ``GPTNeoXForCausalLM`` that reads cell sentences."""

    family = "gpt-neox"
    model_class = "GPTNeoXForCausalLM"
    needed = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "hidden_act",
        "layer_norm_eps",
        "use_parallel_residual",
    )

    @property
    def blocks(self) -> Any:
        """Decoder layers."""
        return self.model.gpt_neox.layers

    @property
    def rotary(self) -> Any:
        """The library's module of rotary positions."""
        return self.model.gpt_neox.rotary_emb

    def read_layer(self, block: Any) -> PreNormLayer:
        """Weights of a layer; those of queries, keys and values, which the library stores head by
        head as ``[q | k | v]``, are copied apart.
        """
        attention = block.attention
        weight = attention.query_key_value.weight.data
        bias = attention.query_key_value.bias
        heads = weight.unflatten(0, (self.n_heads, 3, self.head_size))
        parts = [heads[:, i].flatten(0, 1).contiguous() for i in range(3)]
        biases: list[Tensor | None] = [None] * 3
        if bias is not None:
            split = bias.data.unflatten(0, (self.n_heads, 3, self.head_size))
            biases = [split[:, i].flatten().contiguous() for i in range(3)]
        query, key, value = (Affine(w, b) for w, b in zip(parts, biases, strict=True))
        return PreNormLayer(
            _norm(block.input_layernorm),
            query,
            key,
            value,
            Affine(attention.dense.weight, attention.dense.bias),
            None,
            _norm(block.post_attention_layernorm),
            block.mlp,
            None,
            bool(self.model.config.use_parallel_residual),
        )

    def embed(self, cell: np.ndarray) -> Tensor:
        """Token embedding; positions enter by the rotation."""
        return self.model.gpt_neox.embed_in(self.token_ids(cell))

    @property
    def final_norm(self) -> Norm:
        """Norm before the projection to logits."""
        return _norm(self.model.gpt_neox.final_layer_norm)


def _norm(module: torch.nn.LayerNorm) -> Norm:
    return Norm(module.weight, module.bias, module.eps, centred=True)
