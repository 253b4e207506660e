"""MLPs of which the right transcoder is known, and the clean MLP of decoders by hooks on the
library's own modules.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scircuit.core.config import TrainConfig

WIDTH, CAUSES, ACTIVE = 24, 32, 3


class PlantedMlp:
    """``y = W2 ReLU(W1 x - 1) + c``: x is a few of 32 known directions and an offset, W1 has a row
    for each that fires on it alone, and its column of W2 is another random direction. With
    `linear`, x has a dense part too, and y a linear map of x. Token ids seed the draw.
    """

    config_sha256, family, has_mlp_site = "", "planted", True
    name, sha256, n_layers, width, max_length = "planted", "0" * 64, 2, WIDTH, 66
    device = torch.device("cpu")

    def __init__(self, linear: float = 0.0) -> None:
        g = torch.Generator().manual_seed(3)
        self.read = torch.nn.functional.normalize(torch.randn(CAUSES, WIDTH, generator=g), dim=1)
        self.written = torch.nn.functional.normalize(torch.randn(CAUSES, WIDTH, generator=g), dim=1)
        self.offset_in, self.offset_out = torch.randn(2, WIDTH, generator=g) * 3
        self.linear = linear * torch.randn(WIDTH, WIDTH, generator=g) / WIDTH**0.5

    def draw(self, cell: np.ndarray, layer: int) -> tuple[Tensor, Tensor]:
        """Which directions each position has, and how much of each."""
        g = torch.Generator().manual_seed(int(cell[1]) * 2 + layer)
        which = torch.stack([torch.randperm(CAUSES, generator=g)[:ACTIVE] for _ in cell])
        return which, torch.rand(len(cell), ACTIVE, generator=g) * 2 + 1

    def clean_mlp(self, cell: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        found = []
        for layer in range(self.n_layers):
            which, size = self.draw(cell, layer)
            x = torch.einsum("nk,nkd->nd", size, self.read[which])
            if self.linear.any():
                g = torch.Generator().manual_seed(int(cell[1]) * 2 + layer + 10**6)
                x = x + 0.5 * torch.randn(x.shape, generator=g)
            y = 4 * torch.einsum("nk,nkd->nd", size, self.written[which])
            y = y + x @ self.linear.T + self.offset_out
            y[-1] = 1e4  # a position that must not be trained on
            found.append((x + self.offset_in, y))
        return found

    def gene_positions(self, cell: np.ndarray) -> Tensor:
        return torch.arange(1, len(cell) - 1)

    def training_positions(self, cell: np.ndarray) -> Tensor:
        return torch.arange(len(cell) - 1)


def transcoder_config(out: Path, **options: Any) -> TrainConfig:
    return TrainConfig(
        model="",
        cells=Path("world.h5ad"),
        out=out,
        **{
            "site": "mlp",
            "expansion": 2,
            "k": ACTIVE,
            "epochs": 20,
            "batch_rows": 256,
            "learning_rate": 3e-3,
            **options,
        },
    )


def hooked_mlp(adapter: Any, cell: np.ndarray) -> list[tuple[Tensor, Tensor]]:
    """MLP inputs and outputs [S, d] of every layer, by hooks on the library's modules: the output
    is that of the norm after the MLP where there is one.
    """
    kept: dict[tuple[int, str], Tensor] = {}
    hooks = []

    def keep(layer: int) -> Any:
        def hook(_module: Any, inputs: Any, output: Tensor) -> None:
            kept.setdefault((layer, "in"), inputs[0][0])
            kept[layer, "out"] = output[0]

        return hook

    for layer, block in enumerate(adapter.blocks):
        hooks.append(block.mlp.register_forward_hook(keep(layer)))
        after = getattr(block, "post_feedforward_layernorm", None)
        if after is not None:
            hooks.append(after.register_forward_hook(keep(layer)))
    try:
        with torch.no_grad():
            adapter.model(torch.from_numpy(np.asarray(cell))[None])
    finally:
        for hook in hooks:
            hook.remove()
    return [(kept[layer, "in"], kept[layer, "out"]) for layer in range(adapter.n_layers)]


def hooked_loss(
    adapter: Any, cell: np.ndarray, layer: int | None, instead: Tensor | None
) -> Tensor:
    """Mean next-token loss of the library's model, [], with the MLP output of a layer replaced."""
    hooks = []
    if layer is not None and instead is not None:
        block = adapter.blocks[layer]
        module = getattr(block, "post_feedforward_layernorm", block.mlp)
        hooks.append(module.register_forward_hook(lambda *_: instead[None]))
    ids = torch.from_numpy(np.asarray(cell))[None]
    try:
        with torch.no_grad():
            logits = adapter.model(ids).logits[0].double()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:])
