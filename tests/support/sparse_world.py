"""A world of which the right dictionary is known: states that are sums of a few directions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from scircuit.core.config import TrainConfig

WIDTH, CAUSES, ACTIVE = 32, 48, 3


class SparseWorld:
    """States that are a few of 48 known directions, scaled: what a dictionary should find. Token
    ids seed the draw.
    """

    config_sha256 = ""
    name, sha256, n_layers, width, max_length, device = (
        "world",
        "0" * 64,
        2,
        WIDTH,
        66,
        torch.device("cpu"),
    )

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.directions = torch.nn.functional.normalize(
            torch.randn(CAUSES, WIDTH, generator=g), dim=1
        )
        self.offset = torch.randn(WIDTH, generator=g) * 5

    def embed(self, tokens):
        self.tokens = tokens
        return torch.zeros(len(tokens), WIDTH)

    def layer(self, layer, _states):
        g = torch.Generator().manual_seed(int(self.tokens[1]) * 2 + layer)
        which = torch.stack([torch.randperm(CAUSES, generator=g)[:ACTIVE] for _ in self.tokens])
        size = torch.rand(len(self.tokens), ACTIVE, generator=g) + 0.5
        states = 10 * torch.einsum("nk,nkd->nd", size, self.directions[which]) + self.offset
        states[[0, -1]] = 1e4  # specials must not be trained on
        return states[None]

    def gene_positions(self, tokens):
        return torch.arange(1, len(tokens) - 1)


def cohort(cells=80, length=66):
    tokens = [np.array([2, *range(i + 10, i + 8 + length), 3]) for i in range(cells)]
    return SimpleNamespace(
        tokens=tokens,
        barcodes=tuple(f"cell{i}" for i in range(cells)),
        file=Path("world.h5ad"),
        sha256="1" * 64,
        filters=(),
    )


def config(out, **options):
    return TrainConfig(
        model="",
        cells=Path("world.h5ad"),
        out=out,
        **{
            "expansion": 2,
            "k": ACTIVE,
            "epochs": 20,
            "batch_rows": 256,
            "learning_rate": 3e-3,
            **options,
        },
    )
