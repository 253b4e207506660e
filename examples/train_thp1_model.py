"""Train the THP-1 demo's model: a small Geneformer-like BERT on 20,729 real cells of a CRISPR
knock-out screen.

    python examples/train_thp1_model.py         # made examples/thp1/model, 15 min on 1 free core

The training is that of `train_demo_model.py`. Four things differ:

- the screen's table holds a panel of 299 genes, and the model's vocabulary is that panel: the 248
  genes that Geneformer V2 knows, with its medians. A cell is then all of its genes, and ranks are
  those among the panel, not among a transcriptome;
- few tokens and steps: weights start larger, position embeddings start as sines and cosines, and
  gene embeddings hold the place of the gene's median among all medians in the same form, so that
  the order of genes is learnt early;
- cells are not thinned, for there are enough of them; those of like length share a batch;
- the loss on held-out cells stands beside two baselines that know the rest of the cell
  (`gene_gene_loss`), not only beside the gene frequencies."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from train_demo_model import Data, batches, mask_genes, options, train

from scircuit.core.config import CellsConfig
from scircuit.core.files import write_json
from scircuit.core.preflight import printed
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.expression_files import open_expression
from scircuit.tracing.tokenisation.vocabulary import SPECIALS, Vocabulary, geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.folder_vocabulary import (
    MEDIANS,
    TOKENS,
    read_vocabulary,
)

HERE = Path(__file__).resolve().parent
CELLS = HERE / "thp1" / "cells" / "papalexi2021_thp1_crispr_20729cells.h5ad"
SETTINGS = {
    "cells": CELLS,
    "out": HERE / "thp1" / "model",
    "positions": 250,
    "layers": 4,
    "width": 96,
    "steps": 6000,
    "batch": 32,
    "learning_rate": 2e-3,
    "thin": 1.0,
    "threads": 1,
    "every": 400,
    "pool": 40,
    "waves": True,
    "spread": 0.08,
}


def panel_vocabulary(cells: Path, folder: Path) -> Vocabulary:
    """The genes of the panel that Geneformer V2 knows, with its medians, as a vocabulary of their
    own; written into the model's folder.
    """
    known = geneformer_v2()
    with open_expression(cells) as expression:
        names = {str(name) for name in expression.matrices["X"].var.index}
    genes = sorted(gene for symbol, gene in known.symbol_to_ensembl.items() if symbol in names)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MEDIANS, {gene: known.median[gene] for gene in genes})
    write_json(folder / TOKENS, {name: i for i, name in enumerate((*SPECIALS, *genes))})
    vocabulary = read_vocabulary(folder)
    assert vocabulary is not None
    return vocabulary


class GeneGene(nn.Module):
    """Multinomial logistic regression of a masked gene on what is seen of its cell.

    Terms: the genes that are present and not masked (one weight for every pair of genes), the
    masked gene's position and the number of tokens of the cell (one weight for each value and
    gene); with `neighbours` also the unmasked genes next to it in the order, before and after.
    """

    def __init__(self, tokens: int, positions: int, neighbours: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(tokens))
        self.present = nn.Parameter(torch.zeros(tokens, tokens))
        self.position = nn.Parameter(torch.zeros(positions, tokens))
        self.length = nn.Parameter(torch.zeros(positions, tokens))
        self.before = nn.Parameter(torch.zeros(tokens, tokens)) if neighbours else None
        self.after = nn.Parameter(torch.zeros(tokens, tokens)) if neighbours else None

    def forward(self, inputs: torch.Tensor, chosen: torch.Tensor, pad: int) -> torch.Tensor:
        """Logits of the masked genes, [masked, tokens]."""
        present = torch.zeros(len(inputs), len(self.bias)).scatter_(1, inputs, 1.0)
        cell, place = chosen.nonzero(as_tuple=True)
        length = (inputs != pad).sum(dim=1)
        logits = (self.bias + present @ self.present + self.length[length])[cell]
        logits = logits + self.position[place]
        if self.before is not None and self.after is not None:
            logits = logits + self.before[_nearest(inputs, chosen)[cell, place]]
            backwards = _nearest(inputs.flip(1), chosen.flip(1)).flip(1)
            logits = logits + self.after[backwards[cell, place]]
        return logits


def _nearest(inputs: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Last token at or before each position that is not masked, [cells, longest]."""
    at = torch.arange(inputs.shape[1]).expand_as(inputs).masked_fill(chosen, 0)
    return inputs.gather(1, at.cummax(dim=1).values)


def gene_gene_loss(data: Data, args: argparse.Namespace, neighbours: bool) -> float:
    """Loss of `GeneGene` on the masked genes of the held-out cells, in nats; trained with Adam on
    ten epochs of the training cells, masked as for the evaluation.
    """
    pad, size = data.vocabulary.pad, len(data.vocabulary)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    model = GeneGene(size, args.positions + 1, neighbours)
    with torch.no_grad():
        model.bias.copy_(torch.from_numpy(np.log((data.frequency + 0.05) / data.frequency.sum())))
    steps = 10 * len(data.train) // args.batch
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _, tokens in zip(range(steps), batches(data, args), strict=False):
        inputs, chosen = mask_genes(tokens, 0.15, data.vocabulary, data.seen, generator, False)
        logits = model(inputs, chosen, pad)
        loss = functional.cross_entropy(logits, tokens[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    total, count = 0.0, 0
    with torch.no_grad():
        for tokens, inputs, chosen in data.evaluation:
            logits = model(inputs, chosen, pad)
            total += float(functional.cross_entropy(logits, tokens[chosen], reduction="sum"))
            count += int(chosen.sum())
    return total / count


def main() -> None:
    args = options(sys.argv[1:], **SETTINGS)
    vocabulary = panel_vocabulary(args.cells, args.out)
    cohort = load_cohort(
        CellsConfig(cells=args.cells, where=tuple(args.where), n_cells=0),
        vocabulary,
        args.positions,
    )
    print(printed(cohort.report), file=sys.stderr)
    data = train(cohort, vocabulary, args, "train_thp1_model.py")
    stated = json.loads((args.out / "metrics.json").read_text())
    for name, neighbours in (("gene_gene_loss", False), ("gene_gene_neighbours_loss", True)):
        stated[name] = gene_gene_loss(data, args, neighbours)
        print(f"{name}: {stated[name]:.3f}", file=sys.stderr)
    write_json(args.out / "metrics.json", stated)


if __name__ == "__main__":
    main()
