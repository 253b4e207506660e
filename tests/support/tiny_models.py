"""Random models, dictionaries and cells of the interface of the real ones, small enough to be
traced within a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from scircuit.tracing.hardware.row_padding import by_row
from tests.support.example_scripts import example_script


class TinyDictionary:
    """A random TopK SAE: ``z = relu(top_k(W_e (x - mean) + b_e))``, columns of the decoder of
    unequal norm.
    """

    rule, decoder_norm, site = "topk", "none", "output"

    def __init__(
        self, layer: int, width: int, n_features: int, k: int, seed: int, scale: float = 1.0
    ) -> None:
        g = torch.Generator().manual_seed(seed)
        self.layer, self.width, self.n_features, self.k = layer, width, n_features, k
        self.w_enc = torch.randn(n_features, width, generator=g) / width**0.5
        self.b_enc = 0.1 * torch.randn(n_features, generator=g)
        self.w_dec = scale * torch.randn(width, n_features, generator=g) / width**0.5
        self.b_dec = 0.1 * torch.randn(width, generator=g)
        self.mean = 0.1 * torch.randn(width, generator=g)
        self.sha256, self.provenance = f"tiny-{layer}-{seed}", {}

    def to(self, target: Any) -> TinyDictionary:
        for name in ("w_enc", "b_enc", "w_dec", "b_dec", "mean"):
            setattr(self, name, getattr(self, name).to(target))
        return self

    @property
    def encoder(self) -> torch.Tensor:
        return self.w_enc

    def pre_activations(self, x: torch.Tensor) -> torch.Tensor:
        return by_row(lambda rows: (rows - self.mean) @ self.w_enc.T + self.b_enc, x)

    def select(self, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = a.topk(self.k, dim=-1)
        return values.relu(), indices

    def encode_topk(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.select(self.pre_activations(x))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        values, indices = self.encode_topk(x)
        return torch.zeros(*x.shape[:-1], self.n_features, dtype=x.dtype, device=x.device).scatter(
            -1, indices, values
        )

    def columns(self, features: torch.Tensor) -> torch.Tensor:
        return self.w_dec[:, features].T

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.w_dec.T + self.b_dec + self.mean


def tiny_model(
    layers: int = 4,
    width: int = 32,
    heads: int = 4,
    vocabulary: int = 60,
    positions: int = 40,
    seed: int = 0,
    spread: float = 0.1,
    act: str = "gelu",
    ffn: int = 0,
) -> Any:
    """Random ``BertForMaskedLM`` with weights large enough that layers do something."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn or 2 * width,
        max_position_embeddings=positions,
        initializer_range=spread,
        hidden_act=act,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        attn_implementation="eager",
    )
    return BertForMaskedLM(config).eval()


def tiny_esm(layers: int = 5) -> Any:
    """A random ``EsmForMaskedLM`` in which every part acts: rotary positions, norms before the
    blocks.
    """
    from transformers import EsmConfig, EsmForMaskedLM

    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
        position_embedding_type="rotary",
        token_dropout=False,
        pad_token_id=0,
        mask_token_id=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = EsmForMaskedLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(
                0.5 * torch.randn(p.shape) / p.shape[-1] ** 0.25
                if p.ndim > 1
                else (name.endswith("LayerNorm.weight")) + 0.2 * torch.randn(p.shape)
            )
    return model


def tiny_cells(
    n: int, vocabulary: int = 60, seed: int = 0, low: int = 8, high: int = 24
) -> list[np.ndarray]:
    """Random token lists of unequal length with cls and eos."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(low, high, n)
    return [
        np.r_[2, rng.choice(np.arange(4, vocabulary), s, replace=False), 3].astype(np.int64)
        for s in sizes
    ]


def tiny_cohort(tokens: Sequence[np.ndarray]) -> Any:
    """What the engine reads of a cohort."""
    record = pa.table({"id": ["tinycohort"], "name": ["tiny"], "cells": [len(tokens)]})
    return SimpleNamespace(tokens=list(tokens), record=lambda: record, sha256="tiny")


def scgpt_script(examples: Path) -> ModuleType:
    """`examples/train_demo_scgpt.py`, which restates scGPT with PyTorch's own encoder."""
    return example_script(examples, "train_demo_scgpt")


def tiny_scgpt(script: Any, *shape: int) -> Any:
    """The scGPT of `script` with random weights everywhere: PyTorch starts all layers alike and all
    norms at one and zero.
    """
    model = script.TransformerModel(*shape).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            drawn = torch.randn(p.shape, generator=g)
            p.copy_(
                drawn / p.shape[-1] ** 0.5
                if p.ndim > 1
                else ("norm" in name and name.endswith("weight")) + 0.2 * drawn
            )
    return model


def tiny_scgpt_cell(tokens: int, length: int, seed: int = 0) -> np.ndarray:
    """Random tokens with random expression bins."""
    from scircuit.tracing.tokenisation.binning import CELL

    rng = np.random.default_rng(seed)
    cell = np.empty(length, CELL)
    cell["token"], cell["value"] = rng.permutation(tokens)[:length], rng.integers(1, 51, length)
    return cell
