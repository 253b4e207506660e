"""Geneformer: a BERT encoder (`scircuit.tracing.models.postnorm`), computed from the layers' own
weights.

Query, key and value weights are stacked into one matrix; the Hugging Face modules keep views of it,
so nothing is stored twice and `self_check` compares against their own forward.

V2 models have 20,275 tokens and read ``<cls> genes <eos>``; V1 models (Genecorpus-30M) have 25,426
tokens, all genes but ``<pad>`` and ``<mask>``, and read up to 2,048 genes without special tokens.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.models.huggingface import HuggingFaceAdapter, TransformersModel
from scircuit.tracing.models.postnorm import Layer, PostNorm
from scircuit.tracing.tokenisation.vocabulary import Vocabulary, geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.folder_vocabulary import read_vocabulary, with_names

V1_TOKENS = 25_426


class Geneformer(PostNorm, HuggingFaceAdapter):
    """A ``BertForMaskedLM`` whose tokens are genes."""

    family = "geneformer"
    model_class = "BertForMaskedLM"
    attention = "sdpa"
    needed = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "hidden_act",
    )
    folder: Path | None = None

    def __init__(
        self, model: TransformersModel, name: str, sha256: str, device: torch.device | str = "cpu"
    ) -> None:
        kind = getattr(model.config, "position_embedding_type", "absolute")
        if kind != "absolute":
            raise UserError(
                f"model {name} has position_embedding_type={kind!r}; Geneformer has 'absolute'",
                "give a Geneformer folder",
            )
        super().__init__(model, name, sha256, device)
        self.special = (
            (0, 1) if self.n_tokens == V1_TOKENS else (0, 1, 2, 3)
        )  # pad, mask; V2 adds cls and eos
        self.layers = [_fuse(module) for module in self.blocks]

    @classmethod
    def load(cls, folder: Path, device: str = "auto", name: str = "") -> Self:
        """Load a model folder; see `HuggingFaceAdapter.load`."""
        adapter = super().load(folder, device, name)
        adapter.folder = folder
        return adapter

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Dictionaries in the model's folder where there are any, else those of Geneformer V2.

        Raises
        ------
        UserError
            If neither has as many tokens as the model.
        """
        own = read_vocabulary(self.folder) if self.folder else None
        found = own or geneformer_v2()
        if self.folder:
            found = with_names(found, self.folder)
        if len(found) != self.n_tokens:
            v1 = (
                " (Geneformer V1, whose dictionaries are not shipped here)"
                if self.n_tokens == V1_TOKENS
                else ""
            )
            raise UserError(
                f"the model {self.name} has {self.n_tokens:,} tokens{v1}, the dictionary of"
                f" {found.name} has {len(found):,}",
                "put the model's own dictionaries beside its config.json as token_dictionary.json"
                " and gene_median_dictionary.json (Ensembl id -> token, Ensembl id -> median): the"
                " two pickles of the geneformer package, written as JSON numbers",
            )
        return found

    @property
    def blocks(self) -> TransformersModel:
        """Encoder layers."""
        return self.model.bert.encoder.layer

    def embed(self, cell: np.ndarray) -> Tensor:
        """Word plus position plus type embedding, normalised."""
        return self.model.bert.embeddings(input_ids=self.token_ids(cell)[None])[0]

    def head_rows(self, states: Tensor) -> Tensor:
        """``LN(act(W h + b))`` of the masked-LM head."""
        return self.model.cls.predictions.transform(states)

    def unembed(self, rows: Tensor) -> Tensor:
        """Vocabulary projection of the masked-LM head."""
        return self.model.cls.predictions.decoder(rows)


def _fuse(module: TransformersModel) -> Layer:
    """Stack query, key and value weights; the module's own weights become views of the stack."""
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
    return Layer(
        weight,
        bias,
        out.dense,
        out.LayerNorm,
        feed.dense,
        act,
        module.output.dense,
        module.output.LayerNorm,
    )
