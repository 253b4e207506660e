"""Exhaustive tracing of a BERT as a plain loop, one cell and one feature at a time, to compare the
engine with.

Full ``BertForMaskedLM`` forward with a hook at the source layer, two dense decodes per edit, every
gene position encoded, Welford in float64, p by listing all sign patterns. Only what the engine must
agree on is shared with it: the smallest effect of each target that counts as nonzero."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

SPECIAL = (0, 1, 2, 3)


def brute_force_p(values: np.ndarray) -> float:
    """Two-sided sign-flip p by listing every pattern of signs."""
    x = np.asarray(values, np.float64)
    x = x[x != 0]
    observed, tolerance = abs(x.sum()), 1e-10 * np.abs(x).sum()
    patterns = itertools.product((-1.0, 1.0), repeat=len(x))
    return float(np.mean([abs(np.dot(s, x)) >= observed - tolerance for s in patterns]))


class _Welford:
    def __init__(self, size: int) -> None:
        self.n, self.mean, self.m2 = 0, np.zeros(size), np.zeros(size)

    def add(self, x: np.ndarray) -> None:
        self.n += 1
        step = x - self.mean
        self.mean += step / self.n
        self.m2 += step * (x - self.mean)


def hooked_states(
    model: Any, tokens: torch.Tensor, layer: int, delta: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """Outputs of all encoder layers of a whole forward (logits included), with `delta` added to one
    layer's output.
    """

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + delta, *output[1:])
        return output + delta

    handle = (
        model.bert.encoder.layer[layer].register_forward_hook(hook) if delta is not None else None
    )
    try:
        return model(input_ids=tokens[None], output_hidden_states=True).hidden_states[1:]
    finally:
        if handle is not None:
            handle.remove()


class Clean(NamedTuple):
    """Clean pass of one cell: token ids, gene positions, layer outputs, dense codes at gene
    positions.
    """

    ids: torch.Tensor
    genes: torch.Tensor
    states: tuple[torch.Tensor, ...]
    codes: dict[int, torch.Tensor]


@torch.no_grad()
def clean_pass(
    model: Any, dictionaries: Mapping[int, Any], tokens: np.ndarray, layers: Sequence[int]
) -> Clean:
    """One whole forward, and the dense codes of every gene position at `layers`."""
    ids = torch.as_tensor(tokens)
    genes = torch.tensor([p for p, t in enumerate(tokens) if t not in SPECIAL])
    states = tuple(h[0] for h in hooked_states(model, ids, 0, None))
    return Clean(ids, genes, states, {t: dictionaries[t].encode(states[t][genes]) for t in layers})


@torch.no_grad()
def cell_effects(
    model: Any,
    dictionaries: Mapping[int, Any],
    clean: Clean,
    source_layer: int,
    target_layers: Sequence[int],
    feature: int,
    through: bool = True,
) -> tuple[int, dict[int, np.ndarray], dict[int, np.ndarray]] | None:
    """Effect and pass-through of one ablation in one cell: (active positions, effects by layer,
    pass-through by layer).
    """
    source, z = dictionaries[source_layer], clean.codes[source_layer]
    active = (z[:, feature] > 0).nonzero()[:, 0]
    if len(active) == 0:
        return None
    without = z.clone()
    without[:, feature] = 0
    delta = torch.zeros_like(clean.states[source_layer])
    delta[clean.genes] = source.decode(without) - source.decode(z)
    edited = hooked_states(model, clean.ids, source_layer, delta[None])
    effects, passed = {}, {}
    for t in target_layers:
        after = dictionaries[t].encode(edited[t][0][clean.genes])
        effects[t] = (after - clean.codes[t])[active].double().mean(0).numpy()
        if through:
            echo = dictionaries[t].encode((clean.states[t] + delta)[clean.genes])
            passed[t] = (echo - clean.codes[t])[active].double().mean(0).numpy()
    return len(active), effects, passed


@torch.no_grad()
def reference_loop(
    model: Any,
    dictionaries: Mapping[int, Any],
    cells: Sequence[np.ndarray],
    source_layer: int,
    target_layers: Sequence[int],
    features: Sequence[int],
    floors: Mapping[int, float],
    with_p: bool = True,
) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """All statistics of every (feature, target layer), each an array over the targets of that
    layer.
    """
    result: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    clean = [
        clean_pass(model, dictionaries, tokens, (source_layer, *target_layers)) for tokens in cells
    ]
    for feature in features:
        rows: dict[int, list[np.ndarray]] = {t: [] for t in target_layers}
        welford = {t: _Welford(dictionaries[t].n_features) for t in target_layers}
        through = {t: _Welford(dictionaries[t].n_features) for t in target_layers}
        where, positions = [], 0
        for c, cell in enumerate(clean):
            found = cell_effects(model, dictionaries, cell, source_layer, target_layers, feature)
            if found is None:
                continue
            where.append(c)
            positions += found[0]
            for t in target_layers:
                x = np.where(np.abs(found[1][t]) <= floors[t], 0.0, found[1][t])
                rows[t].append(x)
                welford[t].add(x)
                through[t].add(found[2][t])
        for t in target_layers:
            w = welford[t]
            if w.n < 2:
                continue
            x = np.stack(rows[t])
            sd = np.sqrt(w.m2 / (w.n - 1))
            stats = {
                "n": np.full(x.shape[1], w.n),
                "n_pos": (x > 0).sum(0),
                "n_neg": (x < 0).sum(0),
                "mean": w.mean,
                "sd": sd,
                "d": w.mean / np.maximum(sd, 1e-10),
                "passthrough": through[t].mean,
                "positions": np.full(x.shape[1], positions),
            }
            if with_p:
                live = (x != 0).any(0)
                stats["p"] = np.array(
                    [
                        brute_force_p(col) if ok else np.nan
                        for col, ok in zip(x.T, live, strict=True)
                    ]
                )
                halves = np.zeros(x.shape[1])
                for h in (0, 1):
                    part = x[[i for i, c in enumerate(where) if c % 2 == h]]
                    for j in np.flatnonzero(live):
                        total = part[:, j].sum() if len(part) else 0.0
                        same = total * w.mean[j] > 0
                        halves[j] += bool(same and brute_force_p(part[:, j]) <= 0.05)
                        if (part[:, j] != 0).sum() < 6:
                            halves[j] = np.nan  # not testable: for good
                stats["halves"] = halves
            result[feature, t] = stats
    return result
