"""Joint ablation of a BERT as a plain loop: one whole pass for each condition of each set, nothing
shared, dense codes, contrasts written out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from scircuit.core.address import Address
from tests.support.plain_engine import Clean, clean_pass, layer_norm


class PlainEffects(NamedTuple):
    """Effects of all conditions, by the members' places: on activations, and on pre-activations in
    total and by the residual stream alone.
    """

    effects: dict[tuple[int, ...], np.ndarray]
    total: dict[tuple[int, ...], np.ndarray]
    direct: dict[tuple[int, ...], np.ndarray]
    passes: int  # layers computed


def conditions(k: int) -> list[tuple[int, ...]]:
    """All subsets of k members that are not empty, by their places."""
    return [c for n in range(1, k + 1) for c in itertools.combinations(range(k), n)]


def contrast(effects: Mapping[tuple[int, ...], np.ndarray], subset: Sequence[int]) -> np.ndarray:
    """Inclusion and exclusion over the conditions inside a subset."""
    return sum(
        (-1) ** (len(subset) - len(c)) * e for c, e in effects.items() if set(c) <= set(subset)
    )


@torch.no_grad()
def plain_effects(
    model: Any,
    dictionaries: Mapping[int, Any],
    tokens: np.ndarray,
    members: Sequence[Address],
    target: int,
    frozen: bool = False,
) -> PlainEffects | None:
    """Effects of every condition of a set in one cell; None where no member is active."""
    layers = sorted({*(f.layer for f in members), target})
    clean = clean_pass(model, dictionaries, tokens, layers)
    on = torch.stack([clean.codes[f.layer][:, f.index] > 0 for f in members]).any(0)
    if not on.any():
        return None
    where = clean.genes[on]
    found = PlainEffects({}, {}, {}, 0)
    passes = 0
    for c in conditions(len(members)):
        chosen = [members[i] for i in c]
        states, direct = _run(model, dictionaries, clean, chosen, target, where if frozen else None)
        passes += target - min(f.layer for f in chosen)
        dictionary = dictionaries[target]
        changed = dictionary.encode(states[clean.genes])[on] - clean.codes[target][on]
        found.effects[c] = changed.double().mean(0).numpy()
        for kind, moved in ((found.total, states), (found.direct, direct)):
            rows = (moved - clean.states[target])[where].double()
            kind[c] = (rows @ dictionary.encoder.double().T).mean(0).numpy()
    return found._replace(passes=passes)


def _run(
    model: Any,
    dictionaries: Mapping[int, Any],
    clean: Clean,
    members: Sequence[Address],
    target: int,
    frozen: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """States [S, d] of the target layer, and by the residual stream alone for the same removals."""
    first = min(f.layer for f in members)
    rows = clean.genes if frozen is None else frozen
    states, direct = clean.states[first].clone(), clean.states[first].clone()
    for l in range(first, target + 1):  # noqa: E741
        if l > first:
            states = model.bert.encoder.layer[l](states[None])
            states = (states[0] if isinstance(states, tuple) else states)[0]
            if frozen is not None:
                kept = clean.states[l].clone()
                kept[frozen] = states[frozen]
                states = kept
            layer, (attended, fed) = model.bert.encoder.layer[l], clean.blocks[l]
            direct = layer_norm(
                fed + layer_norm(attended + direct, layer.attention.output.LayerNorm),
                layer.output.LayerNorm,
            )
        codes = {
            f: dictionaries[l].encode(states[rows])[:, f.index] for f in members if f.layer == l
        }
        for f, z in codes.items():
            removed = z[:, None] * dictionaries[l].columns(torch.tensor([f.index]))[0]
            states[rows] -= removed
            direct[rows] -= removed
    return states, direct
