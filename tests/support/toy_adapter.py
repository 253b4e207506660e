"""A tiny adapter with attention and feed-forward in parallel, whose weights a test can set one by
one.

``h_l = x + W_o attention(x) + W_2 act(W_1 x + b)``: no norms, so without feed-forward and with
uniform attention a layer is linear, and what a planted pair of weights does can be told by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from scircuit.tracing.models.adapter import Adapter, Whole
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort
from tests.support.tiny_tracer import open_tracer, tiny_config


class Toy(Adapter):
    """Random weights of a given size."""

    family, adds_to_stream = "toy", True
    special = (0, 1, 2, 3)

    def __init__(
        self,
        layers: int = 3,
        width: int = 32,
        attention: float = 0.3,
        feed: float = 0.3,
        act: Callable[[torch.Tensor], torch.Tensor] = torch.nn.functional.gelu,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        g = torch.Generator().manual_seed(seed)
        self.name, self.sha256 = "toy", "0" * 64
        self.n_layers, self.width, self.ffn, self.n_heads = layers, width, 2 * width, 4
        self.max_length, self.n_tokens = 40, 60
        self.device, self.dtype, self.act = torch.device("cpu"), dtype, act

        def drawn(*shape: int, size: float = 1.0) -> torch.nn.Parameter:
            values = size * torch.randn(*shape, generator=g) / shape[-1] ** 0.5
            return torch.nn.Parameter(values.to(dtype), requires_grad=False)

        d, ffn = self.width, self.ffn
        self.table = width**0.5 * drawn(self.n_tokens, d)
        self.weights = [
            torch.nn.ParameterDict(
                {
                    "qkv": drawn(3 * d, d),
                    "out": drawn(d, d, size=attention),
                    "up": drawn(ffn, d),
                    "bias": drawn(ffn),
                    "down": drawn(d, ffn, size=feed),
                }
            )
            for _ in range(layers)
        ]
        self.model = torch.nn.ModuleList(self.weights)

    def embed(self, cell: np.ndarray) -> torch.Tensor:
        return self.table[self.token_ids(cell)]

    def project(
        self, layer: int, states: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query, key, value = (states @ self.weights[layer]["qkv"].T).chunk(3, dim=-1)
        return query, key, value

    def finish(self, layer: int, states: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return states + sum(self.blocks(layer, states, context))

    def blocks(
        self, layer: int, states: torch.Tensor, context: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What attention and feed-forward add."""
        w = self.weights[layer]
        fed = self.act(states @ w["up"].T + w["bias"]) @ w["down"].T
        return context @ w["out"].T, fed

    def whole_forward(self, cell: np.ndarray) -> Whole:
        return Whole(self.clean_states(cell), None)


def toy_tracer(
    adapter: Adapter,
    source: int = 0,
    targets: tuple[int, ...] = (1, 2),
    cells: int = 9,
    latents: int = 48,
    k: int = 4,
    change: Callable[[dict[int, TinyDictionary]], None] = lambda _: None,
    dictionaries: Mapping[int, Any] | None = None,
    **options: Any,
) -> Any:
    """Tracer of an adapter with random dictionaries, which `change` may set otherwise."""
    if dictionaries is None:
        made = {
            t: TinyDictionary(t, adapter.width, latents, k, seed=t, scale=2.0).to(adapter.dtype)
            for t in (source, *targets)
        }
        change(made)
        dictionaries = made
    config = tiny_config(source_layers=(source,), target_layers=targets, **options)
    return open_tracer(adapter, dictionaries, tiny_cohort(tiny_cells(cells, seed=3)), config)
