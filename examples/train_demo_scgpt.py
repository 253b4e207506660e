"""Train a small scGPT on the demo cells by masked-value prediction, and save it in the published
checkpoint layout.

    python examples/train_demo_scgpt.py --out my-scgpt

The model is restated here with PyTorch's own ``nn.TransformerEncoder``, under the names of the
published code, so it is also an oracle for `scircuit.tracing.models.scgpt`. Cells are read as scGPT
reads them (`scircuit.tracing.tokenisation.binning`); the bins of a share of the genes are replaced
by the mask value -1 and predicted back. ``metrics.json`` states the error on held-out cells beside
that of two guesses: the mean bin, and the mean bin of each gene."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scircuit.core.config import CellsConfig
from scircuit.core.files import write_json
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.held_out import held_out
from scircuit.tracing.tokenisation.vocabulary import Bins, geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import SPECIALS, from_tokens

CELLS = Path(__file__).parent / "cells" / "celltypist_sample_559cells.h5ad"
MASK = -1.0


class GeneEncoder(nn.Module):
    """Normalised embedding of a gene."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.enc_norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.enc_norm(self.embedding(ids))


class ValueEncoder(nn.Module):
    """Normalised embedding of a number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, width)
        self.linear2 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.clamp(x.unsqueeze(-1), max=512)
        return self.norm(self.linear2(torch.nn.functional.relu(self.linear1(x))))


class ExprDecoder(nn.Module):
    """Expression of the gene at a position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(width, width),
            nn.LeakyReLU(),
            nn.Linear(width, width),
            nn.LeakyReLU(),
            nn.Linear(width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).squeeze(-1)


class TransformerModel(nn.Module):
    """scGPT without the heads of other tasks."""

    def __init__(
        self, tokens: int, width: int, heads: int, hidden: int, layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape = {
            "embsize": width,
            "nheads": heads,
            "d_hid": hidden,
            "nlayers": layers,
            "dropout": dropout,
        }
        self.encoder = GeneEncoder(tokens, width)
        self.value_encoder = ValueEncoder(width)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.decoder = ExprDecoder(width)
        nn.init.uniform_(self.encoder.embedding.weight, -0.1, 0.1)

    def forward(self, ids: Tensor, values: Tensor, padding: Tensor | None = None) -> Tensor:
        """States of the last layer [B, S, d] for ids and values [B, S]."""
        return self.transformer_encoder(
            self.encoder(ids) + self.value_encoder(values), src_key_padding_mask=padding
        )


def save_checkpoint(
    model: TransformerModel, names: list[str], folder: Path, max_length: int, half: bool = False
) -> None:
    """Write args.json, vocab.json and best_model.pt with FlashAttention's names, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = {
        **model.shape,
        "n_layers_cls": 3,
        "n_bins": 51,
        "max_seq_len": max_length,
        "pad_token": "<pad>",
        "pad_value": -2,
        "mask_value": MASK,
        "input_style": "binned",
        "input_emb_style": "continuous",
        "fast_transformer": True,
    }
    (folder / "args.json").write_text(json.dumps(stated, indent=2) + "\n")
    (folder / "vocab.json").write_text(
        json.dumps({name: i for i, name in enumerate(names)}, indent=2) + "\n"
    )
    weights = {
        k.replace("self_attn.in_proj_", "self_attn.Wqkv."): v.half() if half else v.clone()
        for k, v in model.state_dict().items()
    }
    torch.save(weights, folder / "best_model.pt")


def batch_of(
    cells: list[np.ndarray], length: int, pad: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Ids and values [B, length]: of longer cells a random part that keeps ``<cls>``, of shorter
    ones all and padding.
    """
    ids, values = torch.full((len(cells), length), pad), torch.full((len(cells), length), -2.0)
    for i, cell in enumerate(cells):
        rest = 1 + rng.permutation(len(cell) - 1)[: length - 1]
        chosen = cell[np.r_[0, rest]]
        ids[i, : len(chosen)] = torch.from_numpy(chosen["token"].copy())
        values[i, : len(chosen)] = torch.from_numpy(chosen["value"].copy())
    return ids, values


def squared_error(
    model: TransformerModel, ids: Tensor, values: Tensor, hidden: Tensor, pad: int
) -> Tensor:
    """Squared error at the masked positions, [masked]."""
    states = model(ids, values.masked_fill(hidden, MASK), ids == pad)
    return (model.decoder(states)[hidden] - values[hidden]) ** 2


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--length", type=int, default=128, help="longest input in tokens")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--mask", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)
    rng, generator = np.random.default_rng(args.seed), torch.Generator().manual_seed(args.seed)

    known = geneformer_v2()
    names = [*sorted(known.symbol_to_ensembl), *SPECIALS]
    vocabulary = from_tokens(names, Bins(51, -2.0), "demo")
    cohort = load_cohort(CellsConfig(cells=args.cells, n_cells=0), vocabulary, 1 << 20)
    out = held_out(cohort.barcodes, 0.1, args.seed)
    train, test = (
        [c for c, h in zip(cohort.tokens, out, strict=True) if not h],
        [c for c, h in zip(cohort.tokens, out, strict=True) if h],
    )
    model = TransformerModel(len(names), args.width, args.heads, args.width, args.layers)
    nn.init.constant_(
        model.state_dict()["decoder.fc.4.bias"], 25.0
    )  # the middle bin, where guesses start
    optimiser = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.learning_rate, args.steps)
    started = time.perf_counter()
    for step in range(args.steps):
        ids, values = batch_of(
            [train[i] for i in rng.permutation(len(train))[: args.batch]],
            args.length,
            vocabulary.pad,
            rng,
        )
        hidden = (torch.rand(ids.shape, generator=generator) < args.mask) & (values > 0)
        loss = squared_error(model, ids, values, hidden, vocabulary.pad).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(
                f"step {step + 1}: mean squared error {loss.item():.1f},"
                f" {time.perf_counter() - started:.0f} s",
                file=sys.stderr,
            )

    total, count = np.zeros(len(names)), np.zeros(len(names))
    for cell in train:
        np.add.at(total, cell["token"][1:], cell["value"][1:])
        np.add.at(count, cell["token"][1:], 1)
    mean = total.sum() / count.sum()
    of_gene = (total + 3 * mean) / (count + 3)
    model.eval()
    with torch.no_grad():
        ids, values = batch_of(test, args.length, vocabulary.pad, np.random.default_rng(args.seed))
        hidden = (torch.rand(ids.shape, generator=generator) < 0.15) & (values > 0)
        error = float(squared_error(model, ids, values, hidden, vocabulary.pad).mean())
    target, which = values[hidden].numpy(), ids[hidden].numpy()
    metrics = {
        "mse": error,
        "mse_of_mean": float(((target - mean) ** 2).mean()),
        "mse_of_gene_mean": float(((target - of_gene[which]) ** 2).mean()),
        "masked": len(target),
        "seconds": round(time.perf_counter() - started, 1),
        "steps": args.steps,
        "seed": args.seed,
        "cells_train": len(train),
        "held_out": [b for b, h in zip(cohort.barcodes, out, strict=True) if h],
        "torch": torch.__version__,
    }
    save_checkpoint(model, names, args.out, args.length)
    write_json(args.out / "metrics.json", metrics)
    print(
        f"{args.out}: mean squared error {error:.1f} bins^2 on held-out cells; guessing the mean"
        f" {metrics['mse_of_mean']:.1f}, the gene's mean {metrics['mse_of_gene_mean']:.1f}",
        file=sys.stderr,
    )
    return metrics


if __name__ == "__main__":
    main()
