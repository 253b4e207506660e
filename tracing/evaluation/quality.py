"""How good dictionaries are on given cells: variance explained beside a PCA of equal size, silent
features, firing rates.

    variance explained = 1 - sum |x - x^|^2 / sum |x - mean|^2        L0 = active features a row

Of a transcoder, which reads x and writes y, it is that of y: ``1 - sum |y - TC(x)|^2 / sum |y -
mean|^2``, beside a linear map of x.

Cells stream one by one; only sums are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.clean_pass.activations import (
    cell_rows,
    halves,
    training_positions,
)
from scircuit.tracing.dictionaries import Dictionary
from scircuit.tracing.dictionaries.mlp_site import site_of

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

# numbers by name, and arrays over the features or the width
Quality = dict[str, Any]


@torch.no_grad()
def evaluate(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: Iterable[np.ndarray],
    components: Mapping[int, tuple[Tensor, Tensor]] | None = None,
    maps: Mapping[int, tuple[Tensor, Tensor, Tensor]] | None = None,
) -> dict[int, Quality]:
    """Quality of dictionaries on cells, cell by cell.

    Parameters
    ----------
    adapter, dictionaries, cells
        Model, its dictionaries of one site by layer (moved to its device), and cells, at least one.
    components
        Layer -> mean [d] and directions [k, d] of a PCA to compare with.
    maps
        Layer -> mean input [d], mean output [d] and map [d, d] to compare transcoders with.

    Returns
    -------
    By layer: variance_explained, dead_share (features that never fire), l0, rows_held_out (number
    of rows), activation_freq and mean_activation over all rows, [F], mean of the rows, [d] (of
    transcoders, of the rows written), with components pca_variance_explained, and with maps
    linear_variance_explained.
    """
    layers, site = tuple(sorted(dictionaries)), site_of(dictionaries)
    error, pca_error, square = (dict.fromkeys(layers, 0.0) for _ in range(3))
    rows = 0
    # Sums are kept in double precision, on the CPU because not every device has it.
    total = {layer: torch.zeros(adapter.width, dtype=torch.float64) for layer in layers}
    fired = {
        layer: torch.zeros(dictionaries[layer].n_features, dtype=torch.float64) for layer in layers
    }
    sums = {layer: torch.zeros_like(f) for layer, f in fired.items()}
    for dictionary in dictionaries.values():
        dictionary.to(adapter.device)
    for cell in cells:
        for layer, found in cell_rows(adapter, cell, layers, site).items():
            x, y = halves(found, site)
            values, indices = dictionaries[layer].encode_topk(x)
            error[layer] += float(
                (y - dictionaries[layer].decode_topk(values, indices, x)).pow(2).sum()
            )
            exact, z = y.cpu().double(), values.cpu().double().flatten()
            which = indices.cpu().flatten()
            total[layer] += exact.sum(0)
            square[layer] += float(exact.pow(2).sum())
            sums[layer].index_add_(0, which, z)
            fired[layer].index_add_(0, which, (z > 0).double())
            if components is not None:
                mean, directions = (t.to(x.device) for t in components[layer])
                centred = x - mean
                pca_error[layer] += float(
                    (centred - centred @ directions.T @ directions).pow(2).sum()
                )
            if maps is not None:
                mean_in, mean_out, linear = (t.to(x.device) for t in maps[layer])
                pca_error[layer] += float((y - mean_out - (x - mean_in) @ linear).pow(2).sum())
        rows += len(training_positions(adapter, cell, site))
    result = {}
    for layer in layers:
        variance = square[layer] - float(total[layer].pow(2).sum()) / rows
        result[layer] = {
            "variance_explained": 1 - error[layer] / variance,
            "dead_share": float((fired[layer] == 0).double().mean()),
            "l0": float(fired[layer].sum()) / rows,
            "rows_held_out": rows,
            "activation_freq": (fired[layer] / rows).numpy(),
            "mean_activation": (sums[layer] / rows).numpy(),
            "mean": (total[layer] / rows).numpy(),
        }
        if components is not None:
            result[layer]["pca_variance_explained"] = 1 - pca_error[layer] / variance
        if maps is not None:
            result[layer]["linear_variance_explained"] = 1 - pca_error[layer] / variance
    return result
