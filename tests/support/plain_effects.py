"""Effects by a plain loop for any model family: whole forwards with an edit at one layer, every
gene position encoded densely.

A test brings its own forward pass, ``states_of(cell, layer, delta)``: outputs of all layers,
`delta` [S, d] added to that of `layer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

StatesOf = Callable[[np.ndarray, int | None, torch.Tensor | None], Sequence[torch.Tensor]]


def hook_states(
    blocks: Sequence[torch.nn.Module],
    forward: Callable[[], Any],
    layer: int | None,
    delta: torch.Tensor | None,
) -> list[torch.Tensor]:
    """Outputs [S, d] of all `blocks` in one `forward`; `delta` is added to that of `layer`."""
    caught: list[torch.Tensor] = []

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        state = output[0] if isinstance(output, tuple) else output
        if len(caught) == layer and delta is not None:
            state = state + delta
        caught.append(state[0])
        return (state, *output[1:]) if isinstance(output, tuple) else state

    handles = [block.register_forward_hook(hook) for block in blocks]
    try:
        with torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return caught


@torch.no_grad()
def plain_effects(
    states_of: StatesOf,
    genes_of: Callable[[np.ndarray], np.ndarray],
    dictionaries: Mapping[int, Any],
    cells: Sequence[np.ndarray],
    source: int,
    targets: Sequence[int],
    features: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Effects [features, cells, targets of all layers side by side] and where a feature is active
    [features, cells].
    """
    effects = np.zeros(
        (len(features), len(cells), sum(dictionaries[t].n_features for t in targets))
    )
    active = np.zeros(effects.shape[:2], bool)
    for c, cell in enumerate(cells):
        clean, genes = states_of(cell, None, None), genes_of(cell)
        z = dictionaries[source].encode(clean[source][genes])
        before = {t: dictionaries[t].encode(clean[t][genes]) for t in targets}
        for m, feature in enumerate(features):
            fires = z[:, feature] > 0
            if not fires.any():
                continue
            active[m, c] = True
            delta = torch.zeros_like(clean[source])
            delta[genes] = -z[:, feature, None] * dictionaries[source].columns(
                torch.tensor([feature])
            )
            edited = states_of(cell, source, delta)
            parts = [
                (dictionaries[t].encode(edited[t][genes]) - before[t])[fires].double().mean(0)
                for t in targets
            ]
            effects[m, c] = torch.cat(parts).numpy()
    return effects, active


def edges_agree(
    tracer: Any,
    effects: np.ndarray,
    active: np.ndarray,
    features: Sequence[int],
    limit: float = 1e-5,
) -> int:
    """Compare n, counts of signs, mean and sd of every edge of these sources with the plain
    effects; returns the edges compared.
    """
    x = np.where(np.abs(effects) <= tracer.floors, 0.0, effects)
    names = [
        str(tracer.address(t, j))
        for t in tracer.targets
        for j in range(tracer.dictionaries[t].n_features)
    ]
    wanted = {}
    for m, feature in enumerate(features):
        mine = x[m, active[m]]
        for j in np.flatnonzero((mine != 0).any(0)):
            column = mine[:, j]
            wanted[str(tracer.address(tracer.layer, feature)), names[j]] = (
                len(column),
                (column > 0).sum(),
                (column < 0).sum(),
                column.mean(),
                column.std(ddof=1),
            )
    found = {
        (e["source"], e["target"]): e
        for unit in tracer.units
        for e in tracer.run_unit(unit).edges.to_pylist()
    }
    sources = {str(tracer.address(tracer.layer, f)) for f in features}
    assert {key for key in found if key[0] in sources} == set(wanted)
    for key, (n, n_pos, n_neg, mean, sd) in wanted.items():
        edge = found[key]
        assert (edge["n"], edge["n_pos"], edge["n_neg"]) == (n, n_pos, n_neg), key
        assert abs(edge["mean"] - mean) <= limit and abs(edge["sd"] - sd) <= limit, key
    return len(wanted)
