"""Train the demo's model: a small Geneformer-like BERT by masked language modelling on the shipped
immune cells.

    python examples/train_demo_model.py             # made examples/model, 5 min on 2 cores
    python examples/train_demo_model.py --cells mine.h5ad --out my-model --width 256

Each cell becomes its highest-ranking genes (the official Geneformer V2 tokenisation,
`scircuit.tracing.tokenisation.rank`), a share of them is masked and the model guesses which genes
they were. Choices that matter with few cells:

- every epoch sees each cell anew, with its counts thinned binomially, as if sequenced less deeply;
- gene embeddings start from the principal components of the training cells' log expression, and the
  output bias from the training cells' gene frequencies, so training starts at the unigram loss
  instead of log(20,275);
- input and output embeddings are one matrix, and only masked rows and genes seen in training enter
  the softmax.

`metrics.json` holds the loss on held-out cells (chosen by barcode,
`scircuit.tracing.cells.held_out`) over the whole vocabulary, beside the unigram baseline on the
same masked tokens."""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM

from scircuit.core.config import CellsConfig
from scircuit.core.files import sha256_file, write_json
from scircuit.core.preflight import printed
from scircuit.tracing.cells.cohort import Cohort, load_cohort
from scircuit.tracing.cells.held_out import held_out
from scircuit.tracing.tokenisation.rank import tokenise_matrix
from scircuit.tracing.tokenisation.vocabulary import Vocabulary, geneformer_v2

HERE = Path(__file__).resolve().parent


def options(arguments: list[str], **defaults: object) -> argparse.Namespace:
    """The options of a training, with defaults of another model where given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--cells", type=Path, default=HERE / "cells" / "celltypist_sample_559cells.h5ad"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        help="obs filter COLUMN=VALUE[,VALUE...]; repeat for several",
    )
    parser.add_argument(
        "--mixed", action="store_true", help="declare that a mixed population is intended"
    )
    parser.add_argument("--out", type=Path, default=HERE / "model")
    parser.add_argument(
        "--positions", type=int, default=258, help="longest input: gene tokens, <cls> and <eos>"
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16, help="cells a step")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--mask", type=float, default=0.2, help="share of genes masked in training")
    parser.add_argument(
        "--thin",
        type=float,
        default=0.4,
        help="least share of counts kept in an epoch; 1: no thinning",
    )
    parser.add_argument(
        "--held-out", type=float, default=0.1, help="share of cells kept for evaluation"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=100, help="steps between evaluations")
    parser.add_argument(
        "--so-far", type=Path, help="folder for the model as it is at each evaluation"
    )
    parser.add_argument(
        "--pool",
        type=int,
        default=1,
        help="batches drawn at once and sorted by length of the cells",
    )
    parser.add_argument(
        "--waves", action="store_true", help="position embeddings start as sines and cosines"
    )
    parser.add_argument(
        "--spread", type=float, default=0.02, help="standard deviation of the first weights"
    )
    parser.set_defaults(**defaults)
    return parser.parse_args(arguments)


def thinned(counts: sparse.csr_matrix, least: float, rng: np.random.Generator) -> sparse.csr_matrix:
    """Each cell as if sequenced less deeply: counts drawn from a binomial with a rate between
    `least` and 1.
    """
    rate = np.repeat(rng.uniform(least, 1.0, len(counts.indptr) - 1), np.diff(counts.indptr))
    data = rng.binomial(np.rint(counts.data).astype(np.int64), rate).astype(np.float32)
    result = sparse.csr_matrix(
        (data, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape
    )
    result.eliminate_zeros()
    return result


def padded(sequences: list[np.ndarray], pad: int) -> torch.Tensor:
    """Sequences as one tensor, [cells, longest]."""
    out = torch.full((len(sequences), max(map(len, sequences))), pad, dtype=torch.long)
    for i, sequence in enumerate(sequences):
        out[i, : len(sequence)] = torch.from_numpy(sequence)
    return out


def mask_genes(
    tokens: torch.Tensor,
    share: float,
    vocabulary: Vocabulary,
    seen: torch.Tensor,
    generator: torch.Generator,
    corrupt: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and the mask of the tokens to guess; with `corrupt` 80 % become <mask>, 10 % another
    gene, 10 % stay.
    """
    chosen = (torch.rand(tokens.shape, generator=generator) < share) & (
        tokens > max(vocabulary.specials)
    )
    inputs = tokens.masked_fill(chosen, vocabulary.mask)
    if corrupt:
        draw = torch.rand(tokens.shape, generator=generator)
        other = seen[torch.randint(len(seen), tokens.shape, generator=generator)]
        inputs = torch.where(chosen & (draw < 0.1), tokens, inputs)
        inputs = torch.where(chosen & (draw >= 0.1) & (draw < 0.2), other, inputs)
    return inputs, chosen


def guesses(
    model: BertForMaskedLM, inputs: torch.Tensor, chosen: torch.Tensor, pad: int
) -> torch.Tensor:
    """States of the masked rows just before the output embedding, [masked, width]."""
    attention = None if not bool((inputs == pad).any()) else (inputs != pad).long()
    states = model.bert(input_ids=inputs, attention_mask=attention)[0]
    return model.cls.predictions.transform(states[chosen])


def principal_components(
    counts: sparse.csr_matrix, genes: np.ndarray, width: int, seed: int
) -> np.ndarray:
    """Directions of the genes in the training cells' standardised log expression, unit root mean
    square, [genes, width].
    """
    depth = np.asarray(counts.sum(axis=1)).ravel()
    expression = (
        (sparse.diags_array(1e4 / np.maximum(depth, 1)) @ counts[:, genes]).log1p().toarray()
    )
    expression -= expression.mean(axis=0)
    expression /= expression.std(axis=0) + 0.1
    components = min(width, min(expression.shape) - 1)
    _, s, v = torch.svd_lowrank(
        torch.from_numpy(expression.astype(np.float32)), q=components, niter=4
    )
    directions = (v * s.sqrt()).numpy()
    out = np.random.default_rng(seed).normal(size=(len(genes), width)) * 0.1
    out[:, :components] += directions / directions.std()
    return (out / np.sqrt((out**2).mean(axis=1, keepdims=True))).astype(np.float32)


@torch.no_grad()
def evaluate(
    model: BertForMaskedLM, batches: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], pad: int
) -> float:
    """Mean cross-entropy of the masked genes over the whole vocabulary, in nats."""
    model.eval()
    total, count = 0.0, 0
    for tokens, inputs, chosen in batches:
        logits = model.cls.predictions.decoder(guesses(model, inputs, chosen, pad))
        total += float(functional.cross_entropy(logits, tokens[chosen], reduction="sum"))
        count += int(chosen.sum())
    model.train()
    return total / count


def unigram_loss(train: list[np.ndarray], targets: np.ndarray, size: int) -> float:
    """Loss of the training cells' gene frequencies on the same tokens; the smoothing that suits the
    targets best.
    """
    counts = np.bincount(np.concatenate([s[1:-1] for s in train]), minlength=size).astype(
        np.float64
    )
    return min(
        float(-np.log((counts[targets] + a) / (counts.sum() + a * size)).mean())
        for a in (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
    )


def waves(positions: int, width: int) -> torch.Tensor:
    """Sines and cosines of the position, of root mean square 0.05: a shift by one position is a
    rotation, so attention to the next gene is learnt at once.
    """
    turns = torch.logspace(0, -math.log10(positions), width // 2)
    angle = torch.arange(positions)[:, None] * turns
    return 0.05 * math.sqrt(2) * torch.cat([angle.sin(), angle.cos()], dim=1)


class Data(NamedTuple):
    """What a training reads.

    Attributes
    ----------
    vocabulary, genes
        Tokens of the model; gene of each column of `counts`.
    counts
        Training cells, [cells, genes].
    train, test
        Token sequences of the training and the held-out cells.
    out
        Mask of the held-out cells, [all cells].
    columns, seen
        Columns with a count in a training cell, in the order of their tokens; these tokens.
    frequency
        Count of each token in the training sequences, [tokens].
    evaluation
        Tokens, inputs and mask of each batch of held-out cells.
    """

    vocabulary: Vocabulary
    genes: tuple[str, ...]
    counts: sparse.csr_matrix
    train: list[np.ndarray]
    test: list[np.ndarray]
    out: np.ndarray
    columns: np.ndarray
    seen: torch.Tensor
    frequency: np.ndarray
    evaluation: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]

    @property
    def targets(self) -> np.ndarray:
        """The masked genes of the held-out cells."""
        return torch.cat([tokens[chosen] for tokens, _, chosen in self.evaluation]).numpy()


def prepare(cohort: Cohort, vocabulary: Vocabulary, args: argparse.Namespace) -> Data:
    """Cells held out by barcode, and their masks fixed by the seed."""
    out = held_out(cohort.barcodes, args.held_out, args.seed)
    train, test = (
        [s for s, h in zip(cohort.tokens, out, strict=True) if not h],
        [s for s, h in zip(cohort.tokens, out, strict=True) if h],
    )
    token = np.array([vocabulary.token[g] for g in cohort.genes])
    counts = sparse.csr_matrix(cohort.counts[~out])
    columns = np.flatnonzero(counts.getnnz(axis=0))
    order = np.argsort(token[columns])
    columns, seen = columns[order], torch.from_numpy(token[columns][order])
    frequency = np.bincount(
        np.concatenate([s[1:-1] for s in train]), minlength=len(vocabulary)
    ).astype(np.float64)
    evaluation = []
    for start in range(0, len(test), args.batch):
        tokens = padded(test[start : start + args.batch], vocabulary.pad)
        fixed = torch.Generator().manual_seed(args.seed + 1 + start)
        evaluation.append(
            (tokens, *mask_genes(tokens, 0.15, vocabulary, seen, fixed, corrupt=False))
        )
    return Data(
        vocabulary, cohort.genes, counts, train, test, out, columns, seen, frequency, evaluation
    )


def new_model(data: Data, args: argparse.Namespace) -> BertForMaskedLM:
    """An untrained model: gene embeddings from principal components, output bias from
    frequencies.
    """
    config = BertConfig(
        vocab_size=len(data.vocabulary),
        hidden_size=args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        intermediate_size=4 * args.width,
        max_position_embeddings=args.positions,
        initializer_range=args.spread,
        hidden_act="relu",
        type_vocab_size=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=data.vocabulary.pad,
        tie_word_embeddings=True,
    )
    model = BertForMaskedLM(config)
    embedding, bias = model.bert.embeddings.word_embeddings.weight, model.cls.predictions.bias
    directions = principal_components(data.counts, data.columns, args.width, args.seed)
    frequency = data.frequency
    with torch.no_grad():
        if args.waves:
            model.bert.embeddings.position_embeddings.weight[:] = waves(args.positions, args.width)
        embedding[len(data.vocabulary.specials) :] = 0.0
        embedding[data.seen] = torch.from_numpy(directions) * 0.05
        if args.waves:
            median = torch.tensor([data.vocabulary.median[data.genes[c]] for c in data.columns])
            turn, _ = torch.linalg.qr(torch.randn(args.width, args.width))
            embedding[data.seen] += (
                waves(len(median), args.width)[median.argsort().argsort()] @ turn
            )
        bias[data.seen] = torch.from_numpy(
            np.log((frequency[data.seen] + 0.05) / frequency.sum())
        ).float()
    return model


def batches(data: Data, args: argparse.Namespace) -> Iterator[torch.Tensor]:
    """Batches of training cells without end, [cells, longest]: every epoch sees each cell anew."""
    rng, queue, pool = np.random.default_rng(args.seed), [], args.batch * args.pool
    while True:
        while len(queue) < pool:
            view = thinned(data.counts, args.thin, rng) if args.thin < 1 else data.counts
            epoch = tokenise_matrix(view, data.genes, data.vocabulary, args.positions)
            queue += [epoch[i] for i in rng.permutation(len(epoch))]
        taken, queue = queue[:pool], queue[pool:]
        starts = np.arange(0, pool, args.batch)
        if args.pool > 1:  # cells of like length share a batch, so that little of it is padding
            taken.sort(key=len)
            starts = rng.permutation(starts)
        for start in starts:
            yield padded(taken[start : start + args.batch], data.vocabulary.pad)


def rate(step: int, args: argparse.Namespace) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to 2 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / args.steps)))
    return min((step + 1) / max(1, args.steps // 20), 0.02 + 0.98 * cosine)


def fit(model: BertForMaskedLM, data: Data, args: argparse.Namespace) -> list[dict]:
    """Train by masked language modelling; losses now and then."""
    vocabulary, seen, frequency = data.vocabulary, data.seen, data.frequency
    generator = torch.Generator().manual_seed(args.seed)
    embedding, bias = model.bert.embeddings.word_embeddings.weight, model.cls.predictions.bias
    position = torch.full((len(vocabulary),), -1, dtype=torch.long)
    position[seen] = torch.arange(len(seen))
    decay = [p for p in model.parameters() if p.ndim > 1 and p is not embedding]
    rest = [p for p in model.parameters() if p.ndim < 2 or p is embedding]
    optimiser = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": args.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=args.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, args))
    started, history, log_norm = time.perf_counter(), [], 0.0
    model.train()
    for step, tokens in zip(range(args.steps), batches(data, args), strict=False):
        inputs, chosen = mask_genes(tokens, args.mask, vocabulary, seen, generator, corrupt=True)
        logits = guesses(model, inputs, chosen, vocabulary.pad) @ embedding[seen].T + bias[seen]
        loss = functional.cross_entropy(logits, position[tokens[chosen]])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        log_norm += 0.02 * (float(logits.detach().logsumexp(dim=1).mean()) - log_norm)
        with torch.no_grad():
            # Genes never seen in training share the mass of one token of the corpus, whatever the
            # state.
            bias[:] = torch.where(
                position >= 0,
                bias,
                log_norm - math.log(frequency.sum() * (len(vocabulary) - len(seen))),
            )
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            held = evaluate(model, data.evaluation, vocabulary.pad)
            history.append(
                {
                    "step": step + 1,
                    "train_loss": round(loss.item(), 4),
                    "held_out_loss": round(held, 4),
                }
            )
            if args.so_far:
                save(copy.deepcopy(model), args.so_far)
            print(
                f"step {step + 1}: train {loss.item():.3f}, held out {held:.3f},"
                f" {time.perf_counter() - started:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return history


def save(model: BertForMaskedLM, folder: Path) -> BertForMaskedLM:
    """Write the weights in half precision; the model as it is read back."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    saved = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", saved | {"dtype": "float32"})
    return BertForMaskedLM.from_pretrained(folder, dtype=torch.float32)


def train(cohort: Cohort, vocabulary: Vocabulary, args: argparse.Namespace, name: str) -> Data:
    """Train a model on a cohort and write it with its metrics into ``args.out``."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    data = prepare(cohort, vocabulary, args)
    baseline = unigram_loss(data.train, data.targets, len(vocabulary))
    print(
        f"{len(data.train)} cells to train on, {len(data.test)} held out, {len(data.seen)} genes"
        f" seen; unigram loss {baseline:.3f}",
        file=sys.stderr,
    )
    model, started = new_model(data, args), time.perf_counter()
    history = fit(model, data, args)
    seconds = time.perf_counter() - started
    model = save(model, args.out)
    write_json(
        args.out / "metrics.json",
        {
            "mlm_loss": evaluate(model, data.evaluation, vocabulary.pad),
            "unigram_loss": baseline,
            "unit": "nats per masked gene",
            "masked_genes": len(data.targets),
            "mask_share": 0.15,
            "seconds": round(seconds, 1),
            "history": history,
            "cells_file": args.cells.name,
            "cells_sha256": sha256_file(args.cells),
            "cells_train": len(data.train),
            "held_out": [b for b, h in zip(cohort.barcodes, data.out, strict=True) if h],
            "genes_seen": len(data.seen),
            "vocabulary": vocabulary.name,
            "seed": args.seed,
            "threads": args.threads,
            "command": " ".join([f"python examples/{name}", *sys.argv[1:]]),
            "options": {k: v for k, v in vars(args).items() if k not in ("cells", "out", "so_far")},
            "torch": torch.__version__,
        },
    )
    print(f"saved {args.out} after {seconds:.0f} s", file=sys.stderr)
    return data


def main() -> None:
    args = options(sys.argv[1:])
    # symbols as they are written in the file: the model's gene_names.json says so
    vocabulary = replace(geneformer_v2(), follow=False)
    cohort = load_cohort(
        CellsConfig(cells=args.cells, where=tuple(args.where), n_cells=0, mixed=args.mixed),
        vocabulary,
        args.positions,
    )
    print(printed(cohort.report), file=sys.stderr)
    train(cohort, vocabulary, args, "train_demo_model.py")
    (args.out / "gene_names.json").write_text('{"follow_old_symbols": 0}\n')


if __name__ == "__main__":
    main()
