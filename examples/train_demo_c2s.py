"""Train the sentence demo's model: a small GPT-NeoX that reads cells as sentences of gene names, on
5,000 real cells of a CRISPR knock-out screen.

    python examples/train_demo_c2s.py           # made examples/c2s/model, 7 min on 1 busy core

A cell is the names of its expressed genes in the order of their expression, in a prompt that asks
which gene was knocked out, and the model learns to go on with each name and with the answer
(`scircuit.tracing.sentences`). What matters:

- the tokeniser is a byte-level BPE of 2,000 tokens learnt from the names of all human genes, those
  of the table more often: as in published models, most names are several tokens, and a token is
  part of many names;
- genes of equal count are in another random order each time a cell is seen, as when it is traced;
- the loss is on names and answer, not on the wording of the prompt;
- ``prompt_template.json`` beside the weights holds the wording, so that it is read as it was
  trained.

The table holds a panel of 299 genes: ranks are those among the panel, and tracing declares that
with ``--panel``. `metrics.json` holds the losses on held-out cells (chosen by barcode) beside their
baselines (`scircuit.tracing.sentences.sentence_loss`)."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from scircuit.core.config import CellsConfig
from scircuit.core.files import sha256_file, write_json
from scircuit.core.preflight import printed
from scircuit.tracing.cells.cohort import Cohort, load_cohort
from scircuit.tracing.cells.held_out import held_out
from scircuit.tracing.models import load_model
from scircuit.tracing.sentences.cell_sentence import falling
from scircuit.tracing.sentences.prompt_templates import FILE, Template
from scircuit.tracing.sentences.sentence_loss import answer_loss, sentence_loss
from scircuit.tracing.sentences.sentence_tokens import Sentences
from scircuit.tracing.sentences.sentence_vocabulary import sentence_vocabulary, written_names

HERE = Path(__file__).resolve().parent
END = "<|endoftext|>"  # also fills up shorter cells
TEMPLATE = Template(
    "screen",
    "Genes of one {organism} cell, the most expressed first: {cell_sentence}.\n"
    "Gene that was knocked out:",
)


def options(arguments: list[str]) -> argparse.Namespace:
    """The options of a training."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    cells = HERE / "thp1" / "cells" / "papalexi2021_thp1_crispr_20729cells.h5ad"
    parser.add_argument("--cells", type=Path, default=cells)
    parser.add_argument("--n-cells", type=int, default=5000, help="cells drawn; 0: all")
    parser.add_argument("--answer", default="target", help="column of obs that is asked for")
    parser.add_argument("--out", type=Path, default=HERE / "c2s" / "model")
    parser.add_argument("--tokens", type=int, default=2000, help="size of the tokeniser")
    parser.add_argument("--positions", type=int, default=512, help="longest input in tokens")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--batch", type=int, default=8, help="cells a step")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--held-out", type=float, default=0.1, help="share of cells for evaluation")
    parser.add_argument(
        "--evaluate", type=int, default=100, help="held-out cells that are measured"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def new_tokeniser(size: int, genes: list[str]) -> Tokenizer:
    """A byte-level BPE of the names of all genes, thirty times those of the table, and the words
    of the prompt.
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    table = " " + " ".join(genes).upper()
    corpus = [" " + " ".join(written_names()), *[table] * 30, *[TEMPLATE.text] * 1000]
    made.train_from_iterator(corpus, trainer)
    return made


def new_model(args: argparse.Namespace) -> GPTNeoXForCausalLM:
    """An untrained model."""
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=args.tokens,
            hidden_size=args.width,
            num_hidden_layers=args.layers,
            num_attention_heads=args.heads,
            intermediate_size=4 * args.width,
            max_position_embeddings=args.positions,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            use_cache=False,
        )
    )


def batches(
    cohort: Cohort,
    numbers: np.ndarray,
    sentences: Sentences,
    answers: list[str],
    rows: np.ndarray,
    args: argparse.Namespace,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens of cells with their answers, and the same with -100 where nothing is learnt, [cells,
    longest]; every cell once an epoch, with ties in a new order.
    """
    rng, epoch = np.random.default_rng(args.seed), 0
    while True:
        order = rng.permutation(rows)
        for start in range(0, len(order) - args.batch + 1, args.batch):
            read = []
            for i in order[start : start + args.batch].tolist():
                span = slice(cohort.counts.indptr[i], cohort.counts.indptr[i + 1])
                genes = numbers[cohort.counts.indices[span]]
                by_rank = genes[falling(cohort.counts.data[span], (args.seed + epoch, i))]
                cell, at = sentences.answered(by_rank[: sentences.top_n], answers[i])
                read.append((cell, at))
            longest = max(len(cell) for cell, _ in read) + 1
            tokens = torch.zeros(len(read), longest, dtype=torch.long)
            wanted = torch.full_like(tokens, -100)
            for row, (cell, at) in enumerate(read):
                tokens[row, : len(cell)] = torch.from_numpy(cell["token"].copy())
                first = int(np.argmax(cell["gene"] >= 0))
                learnt = [*range(first, int(np.flatnonzero(cell["gene"] >= 0)[-1]) + 1)]
                learnt += range(at, len(cell) + 1)
                wanted[row, learnt] = tokens[row, learnt]
            yield tokens, wanted
        epoch += 1


def fit(
    model: GPTNeoXForCausalLM,
    source: Iterator[tuple[torch.Tensor, torch.Tensor]],
    args: argparse.Namespace,
) -> list[dict[str, float]]:
    """AdamW with a warm-up and a cosine; the loss of every hundred steps."""
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=args.learning_rate, betas=(0.9, 0.95), weight_decay=0.05
    )
    warm = max(1, args.steps // 20)

    def rate(step: int) -> float:
        rest = (step - warm) / max(1, args.steps - warm)
        return (step + 1) / warm if step < warm else 0.05 + 0.475 * (1 + math.cos(math.pi * rest))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    history, recent, started = [], [], time.perf_counter()
    for step, (tokens, wanted) in zip(range(args.steps), source, strict=False):
        states = model.gpt_neox(input_ids=tokens[:, :-1])[0]
        learnt = wanted[:, 1:] >= 0
        loss = functional.cross_entropy(model.lm_head(states[learnt]), wanted[:, 1:][learnt])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            history.append({"step": step + 1, "loss": round(float(np.mean(recent)), 4)})
            recent, seconds = [], time.perf_counter() - started
            print(f"step {step + 1}: {history[-1]['loss']:.3f}, {seconds:.0f} s", file=sys.stderr)
    return history


def main() -> None:
    args = options(sys.argv[1:])
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    data = anndata.read_h5ad(args.cells, backed="r")
    obs, genes = data.obs, [str(name) for name in data.var_names]
    data.file.close()
    new_tokeniser(args.tokens, genes).save(str(args.out / "tokenizer.json"))
    write_json(args.out / FILE, {"name": TEMPLATE.name, "text": TEMPLATE.text})
    vocabulary = sentence_vocabulary(args.out, args.tokens)
    config = CellsConfig(cells=args.cells, n_cells=args.n_cells, panel=True, min_tokens=30)
    cohort = load_cohort(config, vocabulary, args.positions)
    print(printed(cohort.report), file=sys.stderr)
    answers = obs[args.answer].astype(str).to_numpy()[cohort.row_ids].tolist()
    out = held_out(cohort.barcodes, args.held_out, args.seed)
    train, test = np.flatnonzero(~out), np.flatnonzero(out)
    numbers = np.array([vocabulary.token[g] for g in cohort.genes])
    assert vocabulary.sentences is not None
    model = new_model(args)
    source = batches(cohort, numbers, vocabulary.sentences, answers, train, args)
    history = fit(model, source, args)
    seconds = time.perf_counter() - started

    model.half().save_pretrained(args.out)
    (args.out / "model.safetensors").chmod(0o644)
    (args.out / "generation_config.json").unlink(missing_ok=True)
    saved = json.loads((args.out / "config.json").read_text())
    write_json(args.out / "config.json", saved | {"dtype": "float32"})
    adapter = load_model(args.out, "cpu")
    test = np.random.default_rng(args.seed).permutation(test)[: args.evaluate]
    cells, seen = ([cohort.tokens[i] for i in which] for which in (test, train))
    names = sentence_loss(adapter, cells, seen, args.seed)
    found = answer_loss(adapter, cells, [answers[i] for i in test], [answers[i] for i in train])
    print(f"names {names}\nanswer {found}", file=sys.stderr)
    write_json(
        args.out / "metrics.json",
        {
            "names": names._asdict(),
            "answer": found._asdict(),
            "unit": "nats per token, per gene and per answer",
            "seconds": round(seconds, 1),
            "history": history,
            "template_sha256": TEMPLATE.sha256,
            "cells_file": args.cells.name,
            "cells_sha256": sha256_file(args.cells),
            "cells_train": len(train),
            "held_out": [b for b, h in zip(cohort.barcodes, out, strict=True) if h],
            "seed": args.seed,
            "threads": args.threads,
            "command": " ".join(["python examples/train_demo_c2s.py", *sys.argv[1:]]),
            "options": {k: v for k, v in vars(args).items() if k not in ("cells", "out")},
            "torch": torch.__version__,
        },
    )
    print(f"saved {args.out} after {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
