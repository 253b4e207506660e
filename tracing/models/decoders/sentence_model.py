"""Decoders of transformers that read a cell as a sentence of gene names: what GPT-NeoX and Gemma-2
have in common beside their layers (`scircuit.tracing.models.decoders.prenorm`).

A cell is tokens with the number of the gene that each spells beside it
(`scircuit.tracing.sentences`); tokens of the prompt spell none. Logits at position p predict the
token at p + 1.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.models.attention import Sight
from scircuit.tracing.models.decoders.prenorm import Norm, PreNorm, PreNormLayer
from scircuit.tracing.models.huggingface import HuggingFaceAdapter, TransformersModel

if TYPE_CHECKING:
    from scircuit.tracing.tokenisation.vocabulary import Vocabulary


class SentenceModel(PreNorm, HuggingFaceAdapter):
    """A causal language model of transformers with norms before its blocks."""

    bidirectional = False
    tokens_are_genes = False
    special = ()
    decides = (
        *("rotary_pct", "rotary_emb_base", "rope_theta", "rope_parameters", "rope_scaling"),
        *("attention_bias", "layer_types"),
    )
    folder: Path | None = None

    def __init__(
        self, model: TransformersModel, name: str, sha256: str, device: torch.device | str = "cpu"
    ) -> None:
        kind = (getattr(model.config, "rope_parameters", None) or {}).get("rope_type", "default")
        if kind != "default":
            raise UserError(
                f"model {name} has rotary positions of type {kind!r}; expected 'default', whose"
                " turns do not depend on the length of the input",
                "give the model before its context was extended",
            )
        super().__init__(model, name, sha256, device)
        self.rates = self.rotary.original_inv_freq.float().to(self.device)
        self.layers = [self.read_layer(block) for block in self.blocks]

    @classmethod
    def load(cls, folder: Path, device: str = "auto", name: str = "") -> Self:
        """Load a model folder; see `HuggingFaceAdapter.load`."""
        adapter = super().load(folder, device, name)
        adapter.folder = folder
        return adapter

    @abstractmethod
    def read_layer(self, block: Any) -> PreNormLayer:
        """Weights of one layer of the library's model."""

    @property
    @abstractmethod
    def rotary(self) -> Any:
        """The library's module of rotary positions."""

    @property
    @abstractmethod
    def final_norm(self) -> Norm:
        """Norm before the projection to logits."""

    @property
    def head_size(self) -> int:
        """Entries of a query, a key or a value of one head."""
        return getattr(self.model.config, "head_dim", None) or self.width // self.n_heads

    def training_positions(self, cell: np.ndarray) -> Tensor:
        """Positions whose rows transcoders are trained on: all, since attribution follows the words
        of the prompt too.
        """
        return torch.arange(len(cell), device=self.device)

    def sight(self, layer: int) -> Sight:  # noqa: ARG002
        """Every query sees itself and what comes before it."""
        return Sight(causal=True)

    def head_rows(self, states: Tensor) -> Tensor:
        """Last-layer states after the final norm."""
        return self.final_norm(states)

    def unembed(self, rows: Tensor) -> Tensor:
        """Projection to token logits, before any bound."""
        return self.model.lm_head(rows)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Genes by number, and how a cell is written and tokenised; read from the model's folder.

        Raises
        ------
        UserError
            If the folder lacks a tokeniser that fits the model.
        """
        from scircuit.tracing.sentences.sentence_vocabulary import sentence_vocabulary

        if self.folder is None:
            raise UserError(
                f"{self.name} was not read from a folder, so it has no tokeniser",
                "load it with load_model(folder)",
            )
        return sentence_vocabulary(self.folder, self.n_tokens)
