"""What exact transcoder attribution costs beside circuit-tracer's algorithm, on one random GPT-NeoX
with random transcoders and the same targets; one JSON line.

    python bench/attribution.py                            a table
    python bench/attribution.py --json                     one line
    python bench/attribution.py --shape 410m --layers 4    width and length of Pythia-410m
    python bench/attribution.py --late                     targets that save the least
    python bench/attribution.py --only ours                one side alone

circuit-tracer is restated (`Restated`, after its `AttributionContext`): one forward pass
of the input repeated for every target of a batch, with attention patterns and norm scales detached
and MLP outputs as leaves; for each batch one backward pass by autograd from the gradient injected
at the targets' residual positions; contractions of the gradient at each layer's output with all
active decoder rows, errors and tokens; all rows kept in one dense matrix of targets by nodes. In
its favour, MLP outputs come from the clean pass and are not computed for every copy.

Each side runs in its own process, on the threads given, and a third process compares every edge of
one with those of the other: exit code 1 if a target's edges differ by more than 1e-4 of its
largest. Seconds are processor time, which other programs change little. The dense rows are part of
the memory of circuit-tracer's side, as there; the sweeps check each part into its sums and let it
go, as runs over cells do.

seconds_a_root, seconds_a_root_tracer, seconds_ratio
    time of all batches over the number of targets, what is made once for a cell included (codes
    and errors; circuit-tracer's forward pass)
seconds_alone, seconds_alone_tracer, alone_ratio
    one target in the highest layer at the last position, in a batch of its own, the quickest of
    three; circuit-tracer's from a graph of one copy; without what is made once
sweeps, sweeps_tracer, sweeps_ratio
    the same without what is made once
peak_gb, peak_gb_tracer, memory_ratio
    peak resident memory of each process
added_gb, added_gb_tracer, added_ratio
    of that, what was added after the libraries, the model and the transcoders were in memory
completeness
    largest difference of the sum of a target's contributions and its value, over the sum of
    absolute contributions
largest_difference
    largest difference of an edge, over the largest edge of the same target
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tests_package  # noqa: F401 - makes `tests` importable
import torch
from torch import Tensor

from scircuit.tracing.attribution.backward_rows import (
    EMBEDDING,
    TARGETS,
    LayerPart,
    backward_rows,
    target_batches,
)
from scircuit.tracing.attribution.completeness import Completeness
from scircuit.tracing.attribution.frozen_cell import FrozenCell, freeze
from scircuit.tracing.attribution.targets import Target, feature_target
from scircuit.tracing.models.decoders.gpt_neox import GPTNeoX
from scircuit.tracing.models.decoders.prenorm import Norm
from tests.support.tiny_decoders import neox_config, random_weights, tiny_transcoder

DEMO = {"layers": 4, "width": 128, "heads": 4, "tokens": 300, "features": 512, "k": 16}
SHAPES = {
    "demo": DEMO,
    "410m": {
        "layers": 24, "width": 1024, "heads": 16, "tokens": 800, "features": 4096, "k": 32,
    },
}  # fmt: skip
SAME = 1e-4
"""Largest difference of an edge, over the target's largest: float32, other orders of sums."""

_SIDES = ("ours", "tracer", "compare")


def main() -> None:
    given = _options()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    if given.only:
        found = globals()[given.only](given)
    else:
        found = together(given)
    if given.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:24} {value}")
    if found.get("largest_difference", 0.0) > SAME:
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--shape", choices=SHAPES, default="demo", help="what is not given")
    for name, value in DEMO.items():
        parser.add_argument(f"--{name}", type=int, help=f"{value} in the shape of the demo")
    parser.add_argument("--targets", type=int, default=2 * TARGETS, help="features to explain")
    parser.add_argument(
        "--late", action="store_true", help="all in the highest layer, at the last positions"
    )
    parser.add_argument("--batch", type=int, default=TARGETS, help="targets of a batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=_SIDES, help="one side, in this process")
    parser.add_argument("--rows", type=Path, help="file of circuit-tracer's rows, for --only")
    given = parser.parse_args()
    for name, value in SHAPES[given.shape].items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    if given.only == "compare" and given.rows is None:
        parser.error("--only compare needs --rows, as --only tracer --rows FILE writes them")
    return given


def together(given: argparse.Namespace) -> dict[str, Any]:
    """Both sides and their comparison, each in a process of its own."""
    options = [f"--{n}={getattr(given, n)}" for n in (*DEMO, "targets", "batch", "threads")]
    options += ["--late"] * given.late
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.npy"
        sides = {}
        for side in _SIDES:
            command = [sys.executable, __file__, "--json", "--only", side, "--rows", rows, *options]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if not run.stdout:
                sys.exit(f"--only {side} ended with {run.returncode} and printed nothing")
            sides[side] = json.loads(run.stdout)
    ours, tracer = sides["ours"], sides["tracer"]
    found = {name: getattr(given, name) for name in (*DEMO, "targets", "late", "batch", "threads")}
    found["nodes"] = tracer["nodes"]
    for name, ratio in (
        ("seconds_a_root", "seconds_ratio"),
        ("sweeps", "sweeps_ratio"),
        ("seconds_alone", "alone_ratio"),
        ("peak_gb", "memory_ratio"),
        ("added_gb", "added_ratio"),
    ):
        found |= {name: ours[name], f"{name}_tracer": tracer[name]}
        found[ratio] = round(tracer[name] / ours[name], 2)
    return found | {"completeness": ours["completeness"]} | sides["compare"]


class World:
    """Model, transcoders and tokens, the same in every process."""

    def __init__(self, given: argparse.Namespace) -> None:
        from transformers import GPTNeoXForCausalLM

        config = neox_config(
            layers=given.layers,
            vocab_size=2000,
            hidden_size=given.width,
            num_attention_heads=given.heads,
            intermediate_size=4 * given.width,
            max_position_embeddings=given.tokens,
        )
        model = random_weights(GPTNeoXForCausalLM(config), 0)
        model.requires_grad_(False)
        self.adapter = GPTNeoX(model, "random-neox", "0" * 64)
        shape = given.width, given.features, given.k
        self.transcoders = {m: tiny_transcoder(m, *shape) for m in range(given.layers)}
        self.tokens = np.random.default_rng(1).integers(0, 2000, given.tokens)
        self.before = peak_gb()

    def targets(self, cell: FrozenCell, count: int, late: bool) -> list[Target]:
        """Firing features at positions and layers drawn evenly, from layer 1 on; or where both
        sides compute most: in the highest layer, at the last tenth of the positions.
        """
        rng = np.random.default_rng(2)
        found = []
        for _ in range(count):
            layer = cell.n_layers - 1 if late else int(rng.integers(1, cell.n_layers))
            position, place = (int(rng.integers(n)) for n in cell.layers[layer].indices.shape)
            if late:
                position = cell.length - 1 - position // 10
            found.append(_feature_at(cell, layer, position, place))
        return found

    def peak(self) -> dict[str, float]:
        """Peak memory so far, and what of it came after the model."""
        peak = peak_gb()
        return {"peak_gb": round(peak, 3), "added_gb": round(peak - self.before, 3)}


def _feature_at(cell: FrozenCell, layer: int, position: int, place: int) -> Target:
    return feature_target(cell, layer, int(cell.layers[layer].indices[position, place]), position)


def peak_gb() -> float:
    """Peak resident memory of this process, GiB."""
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def ours(given: argparse.Namespace) -> dict[str, Any]:
    """Sweeps as an attribution run makes them, each part checked into its sum and let go."""
    world = World(given)
    start = time.process_time()
    cell = freeze(world.adapter, world.tokens, world.transcoders)
    once = time.process_time() - start
    targets = world.targets(cell, given.targets, given.late)
    start, worst = time.process_time(), 0.0
    for chosen in target_batches(cell, targets, given.batch):
        worst = max(worst, _swept(cell, [targets[i] for i in chosen]))
    sweeps, memory = time.process_time() - start, world.peak()
    one = _feature_at(cell, cell.n_layers - 1, cell.length - 1, 0)
    alone = _quickest(lambda: _swept(cell, [one]))
    worst = max(worst, _swept(cell, [one]))
    return _timed(given, once, sweeps, alone, memory) | {"completeness": worst}


def _swept(cell: FrozenCell, targets: Sequence[Target]) -> float:
    complete = Completeness(targets)
    for part in backward_rows(cell, targets):
        complete.add(part)
    return float(complete.relative.max())


def _quickest(work: Callable[[], Any]) -> float:
    """Seconds of the quickest of three."""
    found = []
    for _ in range(3):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def _timed(
    given: argparse.Namespace, once: float, sweeps: float, alone: float, memory: dict[str, float]
) -> dict[str, Any]:
    return {
        "seconds_a_root": round((once + sweeps) / given.targets, 6),
        "sweeps": round(sweeps / given.targets, 6),
        "seconds_alone": round(alone, 6),
    } | memory


def tracer(given: argparse.Namespace) -> dict[str, Any]:
    """The restated algorithm; its rows go to ``--rows``."""
    world = World(given)
    start = time.process_time()
    cell = freeze(world.adapter, world.tokens, world.transcoders, keep=0)
    context = Restated(cell, min(given.batch, given.targets))
    once = time.process_time() - start
    targets = world.targets(cell, given.targets, given.late)
    rows = torch.zeros(len(targets), context.nodes)
    start = time.process_time()
    for first in range(0, len(targets), given.batch):
        some = targets[first : first + given.batch]
        rows[first : first + len(some)] = context.rows(some)
    sweeps, memory = time.process_time() - start, world.peak()
    if given.rows is not None:
        np.save(given.rows, rows.numpy())
    del context, rows
    single = Restated(cell, 1)
    one = _feature_at(cell, cell.n_layers - 1, cell.length - 1, 0)
    alone = _quickest(lambda: single.rows([one]))
    return _timed(given, once, sweeps, alone, memory) | {"nodes": single.nodes}


class Restated:
    """circuit-tracer's algorithm for one cell.

    Parameters
    ----------
    cell
        Codes, errors and sigmas; no attention pattern is taken from it.
    batch
        Copies of the input in the graph.

    Attributes
    ----------
    nodes
        Active features layer by layer and position by position, errors, tokens.
    """

    def __init__(self, cell: FrozenCell, batch: int) -> None:
        self.cell, self.batch, self.length = cell, batch, cell.length
        self.decoders, self.places, self.spans = [], [], [0]
        for m, layer in enumerate(cell.layers):
            at = torch.arange(cell.length).repeat_interleave(layer.indices.shape[1])
            rows = cell.transcoders[m].decoder[layer.indices.flatten()]
            self.decoders.append(rows * layer.values.flatten()[:, None])
            self.places.append(at)
            self.spans.append(self.spans[-1] + len(at))
        self.nodes = self.spans[-1] + (cell.n_layers + 1) * cell.length
        self._buffer = torch.zeros(0)
        self._forward()

    @torch.enable_grad()
    def _forward(self) -> None:
        """The graph: what every layer reads, [batch, S, d], each behind a hook that contracts."""
        cell = self.cell
        h = cell.states(0).expand(self.batch, -1, -1).clone().requires_grad_()
        self.states = [self._watched(h, EMBEDDING, cell.states(0))]
        for m, layer in enumerate(cell.layers):
            w, h = cell.adapter.layers[m], self.states[m]
            pattern = self._pattern(m, h.detach())
            value = cell.adapter.heads(w.value(_frozen(w.norm_1, h)))
            attended = w.out((pattern @ value).transpose(1, 2).flatten(2))
            mlp = layer.error + cell.transcoders[m].decode(
                layer.values, layer.indices, layer.stream
            )
            self.states.append(self._watched(h + attended + mlp, m, layer.error))

    @torch.no_grad()
    def _pattern(self, layer: int, h: Tensor) -> Tensor:
        """[batch, H, S, S] of every copy."""
        adapter, places = self.cell.adapter, torch.arange(self.length)
        query, key, _ = adapter.project(layer, h, places)
        scores = adapter.heads(query) @ adapter.heads(key).transpose(-1, -2)
        scores *= adapter.head_size**-0.5
        mask = adapter.sight(layer).mask(places, places, h.dtype)
        if mask is not None:
            scores += mask
        return scores.softmax(-1)

    def _watched(self, h: Tensor, layer: int, single: Tensor) -> Tensor:
        """The same, behind a hook that writes contractions of the gradient into the buffer: with
        the features of the layer, and with its errors or the tokens.
        """
        start = self.spans[-1] + (layer % (self.cell.n_layers + 1)) * self.length

        def contract(g: Tensor) -> None:
            if layer != EMBEDDING:
                self._buffer[self.spans[layer] : self.spans[layer + 1]] = torch.einsum(
                    "bpd,pd->pb", g[:, self.places[layer]], self.decoders[layer]
                )
            self._buffer[start : start + self.length] = torch.einsum("bpd,pd->pb", g, single)

        h.register_hook(contract)
        return h.view_as(h)

    def rows(self, targets: Sequence[Target]) -> Tensor:
        """Rows [B, nodes] of at most `batch` targets, by one backward pass."""
        self._buffer = torch.zeros(self.nodes, self.batch)
        handles = []
        layers = {t.layer for t in targets}
        for layer in layers:
            own = [b for b, t in enumerate(targets) if t.layer == layer]
            at = torch.tensor(own), torch.tensor([targets[b].position for b in own])
            vectors = torch.stack([targets[b].vector for b in own])

            def inject(g: Tensor, at: Any = at, vectors: Tensor = vectors) -> Tensor:
                return g.clone().index_put_(at, vectors)

            handles.append(self.states[layer].register_hook(inject))
        top = self.states[max(layers)]
        top.backward(torch.zeros_like(top), retain_graph=True)
        for handle in handles:
            handle.remove()
        return self._buffer.T[: len(targets)]


def _frozen(norm: Norm, x: Tensor) -> Tensor:
    """A norm through which no gradient of its sigma flows."""
    sigma = norm.sigma(x.detach())
    found = (x - x.mean(-1, keepdim=True)) / sigma * norm.weight
    return found if norm.bias is None else found + norm.bias


def compare(given: argparse.Namespace) -> dict[str, Any]:
    """Every edge of the sweeps against circuit-tracer's rows in ``--rows``."""
    world = World(given)
    cell = freeze(world.adapter, world.tokens, world.transcoders)
    targets = world.targets(cell, given.targets, given.late)
    rows = np.load(given.rows, mmap_mode="r")
    largest = np.abs(rows).max(1)
    worst = np.zeros(len(targets))
    for chosen in target_batches(cell, targets, given.batch):
        theirs = _by_layer(cell, np.array(rows[chosen]))
        seen = set()
        for part in backward_rows(cell, [targets[i] for i in chosen]):
            seen.add(part.layer)
            for mine, other in zip(_edges(part), theirs[part.layer], strict=True):
                extent = mine.shape[1]
                gap = np.abs(other[:, :extent] - mine).max((1, 2))
                unseen = np.abs(other[:, extent:]).max((1, 2), initial=0)
                worst[chosen] = np.maximum(worst[chosen], np.maximum(gap, unseen))
        for layer, parts in theirs.items():  # above the targets nothing may contribute
            if layer not in seen:
                for other in parts:
                    worst[chosen] = np.maximum(worst[chosen], np.abs(other).max((1, 2)))
    return {"largest_difference": float((worst / largest).max())}


def _edges(part: LayerPart) -> tuple[np.ndarray, ...]:
    """Features [B, E, k] and errors or tokens [B, E, 1]; of the embedding only the second."""
    single = part.errors[..., None].numpy()
    return (single,) if part.layer == EMBEDDING else (part.features.numpy(), single)


def _by_layer(cell: FrozenCell, rows: np.ndarray) -> dict[int, tuple[np.ndarray, ...]]:
    """Dense rows [B, nodes] as `_edges` gives parts, over all positions."""
    found, start = {}, 0
    shape = len(rows), cell.length, -1
    sizes = [layer.indices.numel() for layer in cell.layers]
    singles = np.split(rows[:, sum(sizes) :], cell.n_layers + 1, axis=1)
    for m, size in enumerate(sizes):
        features = rows[:, start : start + size].reshape(shape)
        found[m] = features, singles[m].reshape(shape)
        start += size
    return found | {EMBEDDING: (singles[-1].reshape(shape),)}


if __name__ == "__main__":
    main()
