"""scGPT: an encoder with post-LayerNorm over genes and their binned expression, loaded from the
published checkpoint folder.

``h_{-1} = LN(E[gene]) + LN(W_2 relu(W_1 min(value, 512) + b_1) + b_2)``; layer l is that of BERT
with relu. The order of genes carries nothing: there are no positions. The prediction head reads the
expression of the gene at each position, ``W_c r(W_b r(W_a h + b_a) + b_b) + b_c`` with a leaky relu
r: one number a position and no logits over genes, so steering by gene logits does not apply.
Source: `scgpt/model/model.py` of the published code (MIT), restated; weights under its names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from scircuit.core.address import slug
from scircuit.core.errors import UserError
from scircuit.tracing.hardware.devices import choose_device
from scircuit.tracing.models.adapter import Whole
from scircuit.tracing.models.postnorm import Layer, PostNorm
from scircuit.tracing.models.scgpt_checkpoint import Arguments, read_arguments, read_weights
from scircuit.tracing.models.weight_files import TENSORS, precision, sha256_files
from scircuit.tracing.tokenisation.binning import CELL
from scircuit.tracing.tokenisation.vocabulary import Bins, Vocabulary
from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import scgpt_vocabulary

LARGEST_VALUE = 512.0


class Module(nn.Module):
    """Holder of the weights under their published names; its layers' own forward is what the
    adapter is checked against.
    """

    def __init__(self, shape: Arguments, tokens: int) -> None:
        super().__init__()
        d = shape.embsize
        self.encoder = nn.ModuleDict(
            {"embedding": nn.Embedding(tokens, d), "enc_norm": nn.LayerNorm(d)}
        )
        self.value_encoder = nn.ModuleDict(
            {"linear1": nn.Linear(1, d), "linear2": nn.Linear(d, d), "norm": nn.LayerNorm(d)}
        )
        layers = [
            nn.TransformerEncoderLayer(d, shape.nheads, shape.d_hid, dropout=0.0, batch_first=True)
            for _ in range(shape.nlayers)
        ]
        self.transformer_encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        head = [nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, 1)]
        self.decoder = nn.ModuleDict({"fc": nn.Sequential(*head)})


class ScGPT(PostNorm):
    """An scGPT checkpoint."""

    family = "scgpt"

    def __init__(
        self,
        module: Module,
        shape: Arguments,
        vocabulary: Vocabulary,
        name: str,
        sha256: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.sha256, self.vocabulary = name, sha256, vocabulary
        self.device = torch.device(device)
        # Any: nn.ModuleDict hides the type of what it holds
        self.model: Any = module.eval().requires_grad_(False).to(self.device)
        self.n_layers, self.width, self.n_heads, self.ffn = (
            shape.nlayers,
            shape.embsize,
            shape.nheads,
            shape.d_hid,
        )
        self.max_length, self.n_tokens, self.n_bins = (
            shape.max_seq_len,
            len(vocabulary),
            shape.n_bins,
        )
        self.dtype = next(module.parameters()).dtype
        self.special = tuple(sorted(vocabulary.specials))
        self.layers = [
            Layer(
                m.self_attn.in_proj_weight,
                m.self_attn.in_proj_bias,
                m.self_attn.out_proj,
                m.norm1,
                m.linear1,
                torch.relu_,
                m.linear2,
                m.norm2,
            )
            for m in self.model.transformer_encoder["layers"]
        ]

    @classmethod
    def load(cls, folder: Path, device: str = "auto", name: str = "") -> Self:
        """Load a folder with ``args.json``, ``vocab.json`` and ``best_model.pt``. Computes in
        float32.

        Raises
        ------
        UserError
            If a file is missing or is not what it should be, a weight is missing, unknown, of
            another shape or not finite, or the checkpoint could run code.
        """
        shape = read_arguments(folder)
        vocabulary = scgpt_vocabulary(folder, Bins(shape.n_bins, shape.pad_value))
        where = choose_device(device)
        with torch.device("meta"):
            module = Module(shape, len(vocabulary))
        weights = read_weights(
            folder, {name: tuple(value.shape) for name, value in module.state_dict().items()}
        )
        module.load_state_dict(
            {name: value.float() for name, value in weights.items()}, assign=True
        )
        files = [folder / "best_model.pt", folder / "args.json", folder / "vocab.json"]
        adapter = cls(
            module,
            shape,
            vocabulary,
            slug(name or folder.resolve().name),
            sha256_files(files),
            where,
        )
        adapter.stored = precision(value.dtype for value in weights.values())
        others = [f.name for f in sorted(folder.iterdir()) if f.suffix in TENSORS and f != files[0]]
        adapter.notes = (f"not read: {', '.join(others[:5])}",) if others else ()
        return adapter

    def embed(self, cell: np.ndarray) -> Tensor:
        """Gene embedding plus value embedding."""
        if np.asarray(cell).dtype != CELL:
            raise UserError(
                f"a cell of {self.name} needs a value beside each token; found"
                f" {np.asarray(cell).dtype}",
                "tokenise with this model's vocabulary",
            )
        genes, values = self.model.encoder, self.model.value_encoder
        x = (
            torch.from_numpy(cell["value"].copy())
            .to(self.device, self.dtype)
            .clamp(max=LARGEST_VALUE)[:, None]
        )
        value = values["norm"](values["linear2"](torch.relu(values["linear1"](x))))
        return genes["enc_norm"](genes["embedding"](self.token_ids(cell))) + value

    def predicted_expression(self, states: Tensor) -> Tensor:
        """Binned expression [N] that the head reads off last-layer states [N, d] for the gene at
        each position.
        """
        return self.model.decoder["fc"](states)[..., 0]

    @torch.inference_mode()
    def whole_forward(self, cell: np.ndarray) -> Whole:
        """The layers' own forward, by PyTorch's multi-head attention."""
        state, outputs = self.embed(cell)[None], []
        for layer in self.model.transformer_encoder["layers"]:
            state = layer(state)
            outputs.append(state[0])
        return Whole(outputs, None)

    def sample_cell(self, length: int) -> np.ndarray:
        """Different genes with values over all bins."""
        genes = super().sample_cell(length)
        cell = np.empty(len(genes), CELL)
        cell["token"], cell["value"] = genes, np.linspace(1, self.n_bins - 1, len(genes)).round()
        return cell
