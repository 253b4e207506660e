"""Random decoders with norms before their blocks, and random transcoders of them, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.models.adapter import Whole
from scircuit.tracing.models.attention import Sight
from scircuit.tracing.models.decoders.prenorm import Affine, Norm, PreNorm, PreNormLayer

KINDS = ("parallel", "sequential")


class TinyPreNorm(PreNorm):
    """``parallel`` is like GPT-NeoX: LayerNorms, biases, a part of each head rotated.
    ``sequential`` is like Gemma-2: four RMSNorms, shared keys, bounded scores, and a window in
    every second layer.
    """

    family, special = "tiny", ()

    def __init__(
        self,
        kind: str,
        layers: int = 4,
        width: int = 24,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> None:
        g = torch.Generator().manual_seed(seed)
        parallel = kind == "parallel"
        self.name, self.sha256, self.kind = f"tiny-{kind}", "0" * 64, kind
        self.n_layers, self.width, self.ffn, self.n_heads = layers, width, 2 * width, 4
        self.groups = 4 if parallel else 2
        self.max_length, self.n_tokens = 400, 50
        self.device, self.dtype = torch.device("cpu"), dtype
        self.model = torch.nn.Module()

        def drawn(*shape: int, size: float = 1.0) -> torch.Tensor:
            return size * torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

        def norm(size: float = 1.0) -> Norm:
            return Norm(
                size * (1 + drawn(width, size=0.3)),
                drawn(width, size=0.2) if parallel else None,
                1e-5,
                parallel,
            )

        def affine(out: int, inputs: int) -> Affine:
            return Affine(
                drawn(out, inputs, size=1.5 / inputs**0.5),
                drawn(out, size=0.2) if parallel else None,
            )

        def feed() -> Any:
            up, down = affine(self.ffn, width), affine(width, self.ffn)
            return lambda x: down(torch.nn.functional.gelu(up(x)))

        e = self.head_size
        self.table, self.rates = drawn(self.n_tokens, width), 1 / 10.0 ** torch.arange(e // 4)
        self.layers = [
            PreNormLayer(
                norm(),
                affine(self.n_heads * e, width),
                affine(self.groups * e, width),
                affine(self.groups * e, width),
                affine(width, self.n_heads * e),
                None if parallel else norm(0.7),
                norm(),
                feed(),
                None if parallel else norm(0.7),
                parallel,
            )
            for _ in range(layers)
        ]
        self.final_norm, self.unembedding = norm(), drawn(self.n_tokens, width)

    @property
    def head_size(self) -> int:
        return 8  # H e is not d

    def sight(self, layer: int) -> Sight:
        if self.kind == "parallel":
            return Sight(causal=True)
        return Sight(causal=True, window=3 if layer % 2 else None, cap=2.0)

    def embed(self, cell: np.ndarray) -> torch.Tensor:
        return self.table[self.token_ids(cell)]

    def whole_forward(self, cell: np.ndarray) -> Whole:
        raise NotImplementedError


def tiny_transcoders(
    model: TinyPreNorm, features: int = 60, k: int = 5, skip: bool = False, rule: str = "topk"
) -> dict[int, Dictionary]:
    """Random transcoders of every layer."""
    g = torch.Generator().manual_seed(7)
    d = model.width
    found = {}
    for layer in range(model.n_layers):
        matrix = torch.randn(d, d, generator=g) / d**0.5 if skip else None
        found[layer] = Dictionary(
            layer,
            torch.randn(features, d, generator=g) / d**0.5,
            0.1 * torch.randn(features, generator=g),
            torch.randn(features, d, generator=g) / d**0.5,
            0.1 * torch.randn(d, generator=g),
            0.1 * torch.randn(d, generator=g),
            rule=rule,
            k=k if rule == "topk" else 0,
            threshold=torch.full((features,), 0.8) if rule == "jumprelu" else None,
            site="mlp",
            skip=matrix,
        )
    return found


def tiny_cell(length: int, seed: int = 0) -> np.ndarray:
    """Tokens of one cell."""
    return np.random.default_rng(seed).integers(0, 50, length)
