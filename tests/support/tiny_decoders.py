"""Random decoders of the architectures of Cell2Sentence, small enough to be traced in a second, and
random transcoders of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scircuit.tracing.dictionaries import Dictionary
from scircuit.tracing.models.decoders.gemma2 import Gemma2
from scircuit.tracing.models.decoders.gpt_neox import GPTNeoX
from scircuit.tracing.models.decoders.sentence_model import SentenceModel

VOCABULARY, LENGTH = 61, 40
KINDS = ("parallel", "sequential", "gemma")


def random_weights(model: Any, seed: int) -> Any:
    """Weights and biases of a size at which attention, norms and activations all matter."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            size = 0.3 if "norm" in name or name.endswith("bias") else 1.4 * p.shape[-1] ** -0.5
            p.copy_(size * torch.randn(p.shape, generator=g))
            if "norm" in name and name.endswith("weight") and "Gemma" not in type(model).__name__:
                p.add_(1.0)
    return model.eval()


def neox_config(parallel: bool = True, layers: int = 4, **more: Any) -> Any:
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 256,
            "use_parallel_residual": parallel,
        }
        | more
    )


def gemma_config(layers: int = 4, **more: Any) -> Any:
    """Fewer keys than heads, heads wider than width / heads, a window, and bounds that bind."""
    from transformers import Gemma2Config

    return Gemma2Config(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "intermediate_size": 64,
            "max_position_embeddings": 256,
            "sliding_window": 7,
            "query_pre_attn_scalar": 9,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        }
        | more
    )


def tiny_decoder(kind: str, layers: int = 4, seed: int = 0) -> SentenceModel:
    """One of `KINDS`."""
    from transformers import Gemma2ForCausalLM, GPTNeoXForCausalLM

    if kind == "gemma":
        model = random_weights(Gemma2ForCausalLM(gemma_config(layers)), seed)
        model.set_attn_implementation("eager")
        return Gemma2(model, "tiny-gemma", "0" * 64)
    config = neox_config(kind == "parallel", layers)
    model = random_weights(GPTNeoXForCausalLM(config), seed)
    model.set_attn_implementation("eager")
    return GPTNeoX(model, f"tiny-{kind}", "0" * 64)


def decoder_cells(count: int, length: int = LENGTH, seed: int = 1) -> list[np.ndarray]:
    """Cells of random tokens, each of another length."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, length - 2 * i) for i in range(count)]


def tiny_transcoder(
    layer: int, width: int = 32, features: int = 48, k: int = 5, seed: int = 0, skip: bool = False
) -> Dictionary:
    """A random TopK transcoder of a layer."""
    g = torch.Generator().manual_seed(100 * seed + layer)

    def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=g)

    return Dictionary(
        layer,
        draw(features, width, scale=width**-0.5),
        draw(features, scale=0.1),
        draw(features, width, scale=0.5),
        draw(width, scale=0.1),
        torch.zeros(width),
        k=k,
        site="mlp",
        skip=draw(width, width, scale=0.1) if skip else None,
    )
