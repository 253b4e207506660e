"""Small transformers whose circuits are known, for they are written into random weights.

A token carries k features: its embedding is the sum of their unit directions d_f, each times a
strength, and as much noise. So source features fire at known positions of layer 0, and decoders are
the directions themselves. Into later layers are written, at several strengths s,

    feed-forward   a hidden unit that reads d_f and writes  s w  (w: the encoder of the target)
    late           the same one layer later: the stream carries d_f there first
    attention      a head that attends to all positions alike, whose values read d_f and whose
                   output writes  s w / share , share being that of the positions with f
    product        a hidden unit that opens only where f and a second feature g are both present

so that s is about the length written for each unit of length removed (a product: while it is open).
Nothing reads the others:

    carried        a target of every later layer has d_f itself as its encoder
    bystander      a feature of the cell, and no more
    noise          fires like a feature, but its decoder is a random vector that no cell holds: one
                   more draw of the direction null

Written directions and those of carried features are orthonormal, and every other encoder is
orthogonal to them. All other directions are random. What is true of each pair of features follows:
`tests.support.planted_truth`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scircuit.tracing.models.adapter import Adapter
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_models import TinyDictionary, tiny_model
from tests.support.toy_adapter import Toy

WRITTEN = ("feed-forward", "late", "attention", "product")
STATED = {"feed-forward": 0.5, "late": 1.0, "attention": 1.0, "product": 4.0}
"""Strength from which on every planted pair of the small model is found."""
UNREAD = ("carried", "bystander", "noise")
SPECIAL = 4  # token ids that are not genes; 2 begins and 3 ends a cell
NOISE = 0.25  # share of the square of an embedding that is no feature
LAYERS = {"feed-forward": 1, "late": 2, "attention": 2, "product": 1}  # written into


@dataclass(frozen=True)
class World:
    """Size of a planted model.

    Attributes
    ----------
    strengths
        Of the circuits of each kind in `WRITTEN`: length written for each unit of length removed.
    each
        Circuits of each kind and strength; a product has two sources.
    unread
        Sources of each kind in `UNREAD`.
    free
        Further targets in each layer, with random encoders.
    active
        Features that a token carries, k.
    cells, length
        Number of cells and of their gene tokens; the second features of products are absent from
        every third cell.
    """

    width: int = 96
    heads: int = 4
    layers: int = 3
    strengths: tuple[tuple[float, ...], ...] = (
        (0.25, 0.5, 1.0, 2.0),
        (0.5, 1.0, 2.0),
        (0.25, 0.5, 1.0, 2.0),
        (1.0, 2.0, 4.0),
    )
    each: tuple[int, ...] = (2, 1, 1, 1)
    unread: tuple[int, int, int] = (6, 8, 16)
    free: int = 40
    active: int = 5
    tokens: int = 160
    cells: int = 30
    length: int = 32
    seed: int = 0

    @property
    def strength(self) -> float:
        """Mean strength of a feature where a token carries it; states have length sqrt(d)."""
        return ((1 - NOISE) * self.width / self.active) ** 0.5


class Circuit(NamedTuple):
    """What is written for one source."""

    kind: str
    strength: float
    layer: int
    target: int  # index in the dictionary of every later layer
    partner: int = -1  # the other source of a product


class Plan(NamedTuple):
    """Which source has which circuit, and which directions there are."""

    circuits: dict[int, Circuit]
    kinds: np.ndarray  # [F] kind of each source
    directions: np.ndarray  # [F, d] d_f
    decoders: np.ndarray  # [F, d] the same, but for noise
    fixed: np.ndarray  # [M, d] encoders of targets: written, then carried

    @property
    def carried(self) -> dict[int, int]:
        """Source -> target with its own direction."""
        sources = np.flatnonzero(self.kinds == "carried").tolist()
        return {f: len(self.fixed) - len(sources) + i for i, f in enumerate(sources)}


def make_plan(world: World) -> Plan:
    """Draw directions and circuits."""
    rng = np.random.default_rng(world.seed)
    circuits, kinds, written = dict[int, Circuit](), [], 0
    for kind, strengths, each in zip(WRITTEN, world.strengths, world.each, strict=True):
        for strength in np.repeat(strengths, each).tolist():
            layer, f = LAYERS[kind], len(kinds)
            for i in range(2 if kind == "product" else 1):
                partner = f + 1 - i if kind == "product" else -1
                circuits[f + i] = Circuit(kind, strength, layer, written, partner)
                kinds.append(kind)
            written += 1
    kinds += np.repeat(UNREAD, world.unread).tolist()
    basis = np.linalg.qr(rng.normal(size=(world.width, world.width)))[0].T
    if written + world.unread[0] > world.width // 2:
        raise ValueError("too many written directions for this width; plant fewer circuits")
    fixed = basis[: written + world.unread[0]]
    directions = _unit(rng.normal(size=(len(kinds), world.width)))
    kind = np.array(kinds)
    directions[kind == "carried"] = fixed[written:]
    decoders = directions.copy()
    decoders[kind == "noise"] = _unit(rng.normal(size=(world.unread[2], world.width)))
    return Plan(circuits, kind, directions, decoders, fixed)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class Cells(NamedTuple):
    """Tokens, what they carry, and the cells."""

    carries: np.ndarray  # [tokens, F] strengths
    embeddings: np.ndarray  # [tokens, d], of length about sqrt(d)
    cells: list[np.ndarray]
    partners: np.ndarray  # [cells] whether second features of products are present


def make_cells(world: World, plan: Plan) -> Cells:
    """Give every token its features and every cell its tokens."""
    rng = np.random.default_rng(world.seed + 1)
    sources, tokens = len(plan.kinds), world.tokens
    # equally often: the features in random order again and again, so many to a token
    rounds = -(-tokens * world.active // sources)
    order = np.concatenate([rng.permutation(sources) for _ in range(rounds)])
    on = np.zeros((tokens, sources), bool)
    on[np.repeat(np.arange(tokens), world.active), order[: tokens * world.active]] = True
    firsts = [f for f, c in plan.circuits.items() if c.partner > f]
    together, alone = np.zeros(tokens, bool), np.zeros(tokens, bool)
    for f in firsts:
        at = np.flatnonzero(on[:, f] | on[:, f + 1])
        on[at, f], on[:, f + 1] = True, False
        on[at[::2], f + 1] = True
        together[at[::2]], alone[at[1::2]] = True, True
    carries = np.where(on, world.strength * rng.uniform(0.7, 1.3, on.shape), 0.0)
    noise = NOISE**0.5 * rng.normal(size=(tokens, world.width))
    partners = np.arange(world.cells) % 3 > 0
    cells = []
    for present in partners:
        allowed = np.flatnonzero(~(alone if present else together))
        genes = rng.choice(allowed, world.length, replace=False)
        cells.append(np.r_[2, SPECIAL + genes, 3].astype(np.int64))
    return Cells(carries, carries @ plan.directions + noise, cells, partners)


class Weights(NamedTuple):
    """Weights of one layer, to be written into."""

    qkv: Tensor  # [3d, d]
    out: Tensor  # [d, d]
    up: Tensor  # [ffn, d]
    bias: Tensor  # [ffn]
    down: Tensor  # [d, ffn]


class PreNorm(Toy):
    """``y = x + W_o attention(LN(x))``; ``h = y + W_2 act(W_1 LN(y) + b)``."""

    family = "pre-norm"

    def project(
        self, layer: int, states: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return super().project(layer, functional.layer_norm(states, (self.width,)), positions)

    def finish(self, layer: int, states: Tensor, context: Tensor) -> Tensor:
        w = self.weights[layer]
        y = states + context @ w["out"].T
        hidden = functional.layer_norm(y, (self.width,)) @ w["up"].T + w["bias"]
        return y + self.act(hidden) @ w["down"].T


def make_adapter(family: str, world: World, cells: Cells) -> tuple[Adapter, list[Weights]]:
    """A random model of a family, ``post-norm`` (BERT) or ``pre-norm``, that reads the tokens, and
    its weights layer by layer. Its blocks add about half of the length of a state.
    """
    table = torch.from_numpy(cells.embeddings).float()
    vocabulary, positions = SPECIAL + world.tokens, world.length + 2
    if family == "pre-norm":
        toy = PreNorm(world.layers, world.width, attention=0.8, feed=0.8, seed=world.seed)
        toy.n_heads, toy.max_length, toy.n_tokens = world.heads, positions, vocabulary
        toy.table = torch.nn.Parameter(torch.cat([toy.table[:SPECIAL], table]), requires_grad=False)
        names = ("qkv", "out", "up", "bias", "down")
        return toy, [Weights(*(w[name].data for name in names)) for w in toy.weights]
    model = tiny_model(
        world.layers,
        world.width,
        world.heads,
        vocabulary,
        positions,
        world.seed,
        spread=0.8 / world.width**0.5,
        ffn=2 * world.width,
    )
    model.bert.embeddings.word_embeddings.weight.data[SPECIAL:] = table
    adapter = Geneformer(model, "tiny", "0" * 64)
    return adapter, [
        Weights(
            own.qkv,
            module.attention.output.dense.weight.data,
            module.intermediate.dense.weight.data,
            module.intermediate.dense.bias.data,
            module.output.dense.weight.data,
        )
        for own, module in zip(adapter.layers, adapter.blocks, strict=True)
    ]


def plant(world: World, plan: Plan, weights: list[Weights]) -> None:
    """Write the circuits in the place of some hidden units and of the first head of a layer."""
    directions, fixed = (torch.from_numpy(x).float() for x in (plan.directions, plan.fixed))
    for quiet in (weights[0].out, weights[0].down):  # what tokens carry is to reach its output
        quiet *= 0.25
    share = world.active / len(plan.kinds) * world.length / (world.length + 2)
    strength = world.strength
    size, unit, slot = world.width // world.heads, 0, 0
    for f, circuit in plan.circuits.items():
        w, written = weights[circuit.layer], circuit.strength * fixed[circuit.target]
        if circuit.kind == "attention":
            if slot == 0:
                for start in (0, world.width):  # no queries, no keys: alike to all positions
                    w.qkv[start : start + size] = 0.0
            if slot == size:
                raise ValueError("one head cannot move so many features; plant fewer")
            w.qkv[2 * world.width + slot] = directions[f]
            w.out[:, slot] = written / share
            slot += 1
        elif circuit.kind == "product":
            if circuit.partner < f:
                continue  # written with the first
            gain = 5 / strength
            w.up[unit] = gain * (directions[f] + directions[circuit.partner])
            w.bias[unit] = -1.2 * gain * strength
            w.down[:, unit] = written / gain
            unit += 1
        else:
            gain = 2.5 / strength
            w.up[unit], w.bias[unit] = gain * directions[f], 0.0
            w.down[:, unit] = written / gain
            unit += 1


def make_dictionaries(world: World, plan: Plan, adapter: Adapter, cells: Cells) -> dict[int, Any]:
    """Source dictionary with the planted directions; targets with written, carried and free
    encoders, which subtract the mean state: otherwise some would never fire.
    """
    rng = np.random.default_rng(world.seed + 2)
    states = [adapter.clean_states(cell) for cell in cells.cells]
    source = TinyDictionary(0, world.width, len(plan.kinds), world.active, seed=0)
    source.w_enc = torch.from_numpy(plan.directions).float()
    source.w_dec = torch.from_numpy(plan.decoders.T.copy()).float()
    source.b_enc, source.mean = torch.zeros(len(plan.kinds)), torch.zeros(world.width)
    found: dict[int, Any] = {0: source}
    for layer in range(1, world.layers):
        free = rng.normal(size=(world.free, world.width))
        free = _unit(free - free @ plan.fixed.T @ plan.fixed)
        encoders = np.concatenate([plan.fixed, free])
        made = TinyDictionary(layer, world.width, len(encoders), len(encoders) // 3, seed=layer)
        made.w_enc = torch.from_numpy(encoders).float()
        made.mean = torch.cat([of_cell[layer] for of_cell in states]).mean(0)
        found[layer] = made
    return found
