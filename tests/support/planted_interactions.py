"""A network in which three features A, B and C act on targets in known ways.

A cell is one gene, whose state holds strengths a, b, c of the features, one context number for each
target and order, and nothing else. The last layer writes into target t

    additive   w (a + b + c)
    or2, or3   the same, and g where any of A and B (A, B and C) is there
    and2, and3 the same, and g where all of these are

and to every target noise: ``e u_t (ab + ac + bc) + e v_t abc`` with u and v standard normal over
cells and targets. So J of a pair has noise of size e sqrt(2), and +g for and2 (A and B only) and
and3, -g for or2; J of all three has noise of size e, and -g for or3 and and3. Strengths have mean 1
and standard deviation 0.2, without correlation in these very cells, so additive effects have
R_k = 1 / sqrt(k) but for the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from scircuit.core.address import Address
from tests.support.tiny_models import TinyDictionary, tiny_cohort
from tests.support.toy_adapter import Toy

KINDS = ("additive", "or2", "and2", "or3", "and3")
SIGNS = {  # of J, by kind and members; what is not here is zero
    "or2": {(0, 1): -1},
    "and2": {(0, 1): 1},
    "or3": {(0, 1, 2): -1},
    "and3": {(0, 1): 1, (0, 2): 1, (1, 2): 1, (0, 1, 2): -1},
}
WEIGHT, SPREAD, NOISE, PRESENT = 1.0, 0.2, 0.01, 0.25
LAST = 3


class PlantedWorld(NamedTuple):
    """What joint ablation needs, and the kind of each target."""

    adapter: Any
    dictionaries: dict[int, TinyDictionary]
    cohort: Any
    kinds: np.ndarray

    def members(self, layers: Sequence[int]) -> tuple[Address, ...]:
        """A, B and C at the given layers."""
        return tuple(Address("toy", "set", t, i) for i, t in enumerate(layers))

    def true(self, members: Sequence[int]) -> np.ndarray:
        """Sign of J of some members for every target; 0: none."""
        return np.array([SIGNS.get(kind, {}).get(tuple(members), 0) for kind in self.kinds])


class PlantedLogic(Toy):
    """Layers that carry the state on; the last one computes the targets."""

    def __init__(self, table: np.ndarray, kinds: np.ndarray, gain: float) -> None:
        super().__init__(LAST + 1, width=table.shape[1], attention=0.0, feed=0.0)
        self.kinds, self.gain = kinds, gain
        self.n_tokens = len(table)
        self.table = torch.nn.Parameter(torch.from_numpy(table).float(), requires_grad=False)

    def project(self, layer, states, positions):
        nothing = torch.zeros_like(states)
        return nothing, nothing, nothing

    def blocks(self, layer, states, context):
        added = torch.zeros_like(states)
        if layer == LAST:
            n = len(self.kinds)
            a, b, c = (states[..., i, None] for i in range(3))
            u, v = states[..., 3 : 3 + n], states[..., 3 + n : 3 + 2 * n]
            added[..., 3 + 2 * n : 3 + 3 * n] = (
                WEIGHT * (a + b + c)
                + NOISE * (u * (a * b + a * c + b * c) + v * a * b * c)
                + self.gain * self._logic(torch.cat([a, b, c], -1) > PRESENT)
            )
        return torch.zeros_like(context), added

    def _logic(self, there: torch.Tensor) -> torch.Tensor:
        """1 where the logic of each target holds, [..., targets]."""
        found = {
            "additive": torch.zeros_like(there[..., 0]),
            "or2": there[..., :2].any(-1),
            "and2": there[..., :2].all(-1),
            "or3": there.any(-1),
            "and3": there.all(-1),
        }
        return torch.stack([found[k] for k in self.kinds], -1).to(self.dtype)


def planted_world(
    cells: int, each: dict[str, int], effect: float = 2.0, seed: int = 0
) -> PlantedWorld:
    """A world with so many targets of each kind.

    Parameters
    ----------
    cells
        Number of cells.
    each
        Targets of each kind in `KINDS`.
    effect
        Size g of a planted J over the size e of the noise.
    """
    rng = np.random.default_rng(seed)
    kinds = np.repeat(list(each), list(each.values()))
    n = len(kinds)
    free = rng.normal(size=(cells, 3))
    apart = np.linalg.qr(free - free.mean(0))[0]
    width = -(-(3 + 3 * n) // 4) * 4
    table = np.zeros((4 + cells, width))
    table[4:, :3] = 1 + SPREAD * np.sqrt(cells - 1) * apart
    if table[4:, :3].min() <= PRESENT:
        raise ValueError("a strength is below what counts as present; choose another seed")
    table[4:, 3 : 3 + 2 * n] = rng.normal(size=(cells, 2 * n))
    adapter = PlantedLogic(table, kinds, effect * NOISE)
    dictionaries = {t: TinyDictionary(t, width, 3, 3, seed=0) for t in range(LAST)}
    for d in dictionaries.values():
        d.w_enc, d.w_dec = torch.eye(3, width), torch.eye(width, 3)
        d.b_enc, d.mean = torch.zeros(3), torch.zeros(width)
    last = TinyDictionary(LAST, width, n, n, seed=0)
    last.w_enc = torch.zeros(n, width)
    last.w_enc[torch.arange(n), 3 + 2 * n + torch.arange(n)] = 1.0
    last.b_enc, last.mean = torch.full((n,), 1.0), torch.zeros(width)
    dictionaries[LAST] = last
    tokens = [np.array([2, 4 + i, 3]) for i in range(cells)]
    return PlantedWorld(adapter, dictionaries, tiny_cohort(tokens), kinds)


class Recovery(NamedTuple):
    """How well contrasts of one order were found."""

    power: float  # share of the planted contrasts that are called, with their sign
    false: float  # share of false ones among those called
    called: int


def recovery(world: PlantedWorld, tables: dict[str, Any], order: int, part: str = "") -> Recovery:
    """Compare what was called at q <= 0.05 with what was planted; `part` is ``_computed`` or
    nothing.
    """
    places = {"A": 0, "B": 1, "C": 2}
    roles: dict[str, list[int]] = {}
    for r in tables["Feature-PART_OF-Intervention"].to_pylist():
        roles.setdefault(r["target"], []).append(places[r["role"]])
    planted = right = called = 0
    shifted = tables["Intervention-SHIFTED-Feature"].to_pylist()
    for node in tables["Intervention"].to_pylist():
        if node["order"] != order:
            continue
        truth = world.true(sorted(roles[node["id"]]))
        found = np.zeros(len(truth), int)
        for r in shifted:
            q = r[f"q{part}"]
            if r["source"] == node["id"] and q is not None and q <= 0.05:
                value = r["computed" if part else "interaction"]
                found[int(r["target"][-4:])] = np.sign(value)
        planted += int((truth != 0).sum())
        called += int((found != 0).sum())
        right += int(((truth != 0) & (found == truth)).sum())
    return Recovery(right / max(planted, 1), (called - right) / max(called, 1), called)
