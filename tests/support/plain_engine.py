"""Exhaustive tracing of a BERT as a plain loop, one cell and one feature at a time, to compare the
engine with.

Full ``BertForMaskedLM`` forward with a hook at the source layer, two dense decodes per edit, every
gene position encoded, Welford in float64, p by listing all sign patterns; the direct path from what
the library's own modules gave in the clean forward, with LayerNorm written out. Only what the
engine must agree on is shared with it: the smallest effect of each target that counts as nonzero.
"""

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
    positions; what attention and feed-forward of every layer add.
    """

    ids: torch.Tensor
    genes: torch.Tensor
    states: tuple[torch.Tensor, ...]
    codes: dict[int, torch.Tensor]
    blocks: list[tuple[torch.Tensor, torch.Tensor]]


class CellEffects(NamedTuple):
    """One ablation in one cell: active positions; by measured layer the effect on every activation,
    and the direct and computed effect on every pre-activation.
    """

    positions: int
    effects: dict[int, np.ndarray]
    direct: dict[int, np.ndarray]
    computed: dict[int, np.ndarray]


def block_outputs(modules: Sequence[torch.nn.Module], forward: Any) -> list[torch.Tensor]:
    """What some modules give [S, d] in one forward pass, in the order in which they are run."""
    caught: list[torch.Tensor] = []
    handles = [
        m.register_forward_hook(lambda _m, _i, output: caught.append(output[0])) for m in modules
    ]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return caught


def layer_norm(x: torch.Tensor, norm: Any) -> torch.Tensor:
    """LayerNorm of rows, written out."""
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    return centred / scale * norm.weight + norm.bias


def direct_states(
    model: Any, clean: Clean, edited: torch.Tensor, source: int, last: int
) -> dict[int, torch.Tensor]:
    """States [S, d] of the layers after the source, when only norms and sums react."""
    found, x = {}, edited
    for l in range(source + 1, last + 1):  # noqa: E741
        layer, (attended, fed) = model.bert.encoder.layer[l], clean.blocks[l]
        x = layer_norm(
            fed + layer_norm(attended + x, layer.attention.output.LayerNorm), layer.output.LayerNorm
        )
        found[l] = x
    return found


@torch.no_grad()
def clean_pass(
    model: Any, dictionaries: Mapping[int, Any], tokens: np.ndarray, layers: Sequence[int]
) -> Clean:
    """One whole forward, and the dense codes of every gene position at `layers`."""
    ids = torch.as_tensor(tokens)
    genes = torch.tensor([p for p, t in enumerate(tokens) if t not in SPECIAL])
    states = tuple(h[0] for h in hooked_states(model, ids, 0, None))
    dense = [
        module
        for layer in model.bert.encoder.layer
        for module in (layer.attention.output.dense, layer.output.dense)
    ]
    given = block_outputs(dense, lambda: model(input_ids=ids[None]))
    codes = {t: dictionaries[t].encode(states[t][genes]) for t in layers}
    return Clean(ids, genes, states, codes, list(zip(given[::2], given[1::2], strict=True)))


@torch.no_grad()
def cell_effects(
    model: Any,
    dictionaries: Mapping[int, Any],
    clean: Clean,
    source_layer: int,
    target_layers: Sequence[int],
    feature: int,
    split: bool = True,
) -> CellEffects | None:
    """Effects of one ablation in one cell, None where the feature is silent; those on
    pre-activations with `split` only.
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
    start = clean.states[source_layer] + delta
    passed = direct_states(model, clean, start, source_layer, max(target_layers)) if split else {}
    effects, direct, computed = {}, {}, {}
    for t in target_layers:
        after = dictionaries[t].encode(edited[t][0][clean.genes])
        effects[t] = (after - clean.codes[t])[active].double().mean(0).numpy()
        if split:
            encoder, at = dictionaries[t].encoder.double(), clean.genes[active]
            carried, whole = (
                ((x - clean.states[t])[at].double() @ encoder.T).mean(0).numpy()
                for x in (passed[t], edited[t][0])
            )
            direct[t], computed[t] = carried, whole - carried
    return CellEffects(len(active), effects, direct, computed)


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
        split: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {t: [] for t in target_layers}
        where, positions = [], 0
        for c, cell in enumerate(clean):
            found = cell_effects(model, dictionaries, cell, source_layer, target_layers, feature)
            if found is None:
                continue
            where.append(c)
            positions += found.positions
            for t in target_layers:
                x = np.where(np.abs(found.effects[t]) <= floors[t], 0.0, found.effects[t])
                rows[t].append(x)
                welford[t].add(x)
                split[t].append((found.direct[t], found.computed[t]))
        for t in target_layers:
            w = welford[t]
            if w.n < 2:
                continue
            x = np.stack(rows[t])
            sd = np.sqrt(w.m2 / (w.n - 1))
            direct, computed = (np.stack(part) for part in zip(*split[t], strict=True))
            stats = {
                "n": np.full(x.shape[1], w.n),
                "n_pos": (x > 0).sum(0),
                "n_neg": (x < 0).sum(0),
                "mean": w.mean,
                "sd": sd,
                "d": w.mean / np.maximum(sd, 1e-10),
                "direct": direct.mean(0),
                "computed": computed.mean(0),
                "computed_by_cell": computed,
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
