"""Train a TopK sparse autoencoder at each layer, on streamed activations, and measure it on held-out cells.

With rows x centred by the training mean m and scaled to unit mean square,

    loss = |x - x^|^2 / |x|^2  +  1/32 |e - e^|^2 / |e|^2

where x^ uses the k largest latents and e^ reconstructs the residual e = x - x^ from the largest of the latents that have not fired
lately (Gao et al., Scaling and evaluating sparse autoencoders, 2024), which keeps latents from dying. Decoder columns have unit norm
throughout; the encoder starts as their transpose, and the columns start at training rows. Quality is measured on cells the
training never saw: variance explained beside a PCA with as many active numbers a row, dead share, and L0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scircuit.run import write_json
from scircuit.settings import TrainConfig, UserError
from tracing.activations import Moments, cell_rows, stream
from tracing.dictionaries import Dictionary, save_dictionary
from tracing.split import held_out

_AUXILIARY = 1 / 32
_WARMUP, _DECAY = 0.05, 0.3  # shares of the steps at the start and at the end


@dataclass(frozen=True)
class TrainReport:
    """How good one layer's dictionary is on held-out cells.

    Attributes
    ----------
    layer, path
        0-based layer; folder it was written to.
    variance_explained
        1 - |x - x^|^2 / |x - mean|^2 over held-out rows.
    pca_variance_explained
        The same for a PCA of the training rows with k components.
    dead_share
        Share of latents that never fire on held-out rows.
    l0
        Mean number of active latents a row.
    rows, rows_held_out
        Gene positions trained on in one epoch, and evaluated.
    """

    layer: int
    path: Path
    variance_explained: float
    pca_variance_explained: float
    dead_share: float
    l0: float
    rows: int
    rows_held_out: int


class _Learner:
    """One layer's autoencoder in training."""

    def __init__(self, layer: int, moments: Moments, rows: Tensor, config: TrainConfig, device: torch.device) -> None:
        self.layer, self.k = layer, config.k
        width = rows.shape[1]
        self.mean = moments.mean.float().to(device)
        self.unit = float(moments.covariance.trace() / width) ** 0.5
        columns = (rows - self.mean) / self.unit
        columns = columns + 0.05 * columns.std() * torch.randn(columns.shape, generator=torch.Generator().manual_seed(config.seed)).to(device)
        self.decoder = functional.normalize(columns, dim=1).requires_grad_(True)
        self.encoder = self.decoder.detach().clone().requires_grad_(True)
        self.encoder_bias = torch.zeros(len(rows), device=device, requires_grad=True)
        self.decoder_bias = torch.zeros(width, device=device, requires_grad=True)
        self.optimiser = torch.optim.Adam(
            [self.encoder, self.decoder, self.encoder_bias, self.decoder_bias], lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8
        )
        self.silent = torch.zeros(len(rows), dtype=torch.long, device=device)  # rows since a latent last fired
        self._fit_encoder_length((rows - self.mean) / self.unit)

    @torch.no_grad()
    def _fit_encoder_length(self, x: Tensor) -> None:
        """Scale the encoder so that the first reconstruction is as long as it should be: columns that overlap would overshoot."""
        values, indices = functional.linear(x, self.encoder).topk(self.k, dim=1)
        guess = self._decode(values.relu(), indices)
        self.encoder *= (x * guess).sum() / guess.pow(2).sum()

    def step(self, rows: Tensor, rate: float, patience: int) -> None:
        x = (rows - self.mean) / self.unit
        a = functional.linear(x, self.encoder, self.encoder_bias)
        values, indices = a.topk(self.k, dim=1)
        values = values.relu()
        residual = x - self._decode(values, indices)
        loss = residual.pow(2).sum() / x.pow(2).sum()
        with torch.no_grad():
            self.silent += len(rows)
            self.silent[indices[values > 0]] = 0
            dead = self.silent > patience
        number = min(int(dead.sum()), max(self.k, x.shape[1] // 2))
        if number:
            spare, which = a.masked_fill(~dead, float("-inf")).topk(number, dim=1)
            error = residual.detach()
            loss = loss + _AUXILIARY * (error - self._decode(spare.relu(), which, bias=False)).pow(2).sum() / error.pow(2).sum()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        with torch.no_grad():
            # Only the part of the gradient that turns a column is of use: its length is fixed.
            grad = self.decoder.grad
            if grad is not None:
                grad -= (grad * self.decoder).sum(1, keepdim=True) * self.decoder
            self.optimiser.step()
            self.decoder.copy_(functional.normalize(self.decoder, dim=1))

    def _decode(self, values: Tensor, indices: Tensor, bias: bool = True) -> Tensor:
        dense = torch.zeros(len(values), len(self.decoder), device=values.device).scatter(1, indices, values)
        return dense @ self.decoder + (self.decoder_bias if bias else 0.0)

    def dictionary(self, provenance: dict[str, Any]) -> Dictionary:
        """The result in the units of the activations; columns keep unit norm, so biases carry the scale."""
        return Dictionary(
            self.layer, self.encoder, self.encoder_bias * self.unit, self.decoder, self.decoder_bias * self.unit, self.mean,
            rule="topk", k=self.k, provenance=provenance,
        ).to("cpu")  # fmt: skip


def train_dictionaries(
    adapter: Any, cohort: Any, config: TrainConfig, progress: Callable[..., None] | None = None
) -> list[TrainReport]:
    """Train, evaluate and write one dictionary per layer.

    Parameters
    ----------
    adapter
        Model (`tracing.models`).
    cohort
        Cells (`tracing.cells.Cohort`); a share is held out by barcode (`tracing.split`).
    config
        Layers, expansion, k, epochs, rows per step, learning rate, held-out share, seed, folder.
    progress
        Called with (steps done, steps, note).

    Returns
    -------
    One report per layer. ``config.out`` gets ``layerLL/`` folders and ``metrics.json``.

    Raises
    ------
    UserError
        If a layer does not exist, k exceeds the number of latents, or there are too few cells or rows.
    """
    layers = tuple(config.layers) or tuple(range(adapter.n_layers))
    outside = [layer for layer in layers if not 0 <= layer < adapter.n_layers]
    if outside:
        raise UserError(f"layers {outside} do not exist: the model has layers 0 to {adapter.n_layers - 1}", "choose existing layers")
    latents = config.expansion * adapter.width
    if not 0 < config.k <= latents:
        raise UserError(f"k = {config.k} of {latents} latents", "choose k between 1 and expansion x width")
    started = time.perf_counter()
    test = held_out(cohort.barcodes, config.held_out, config.seed)
    train_cells = [t for t, h in zip(cohort.tokens, test, strict=True) if not h]
    test_cells = [t for t, h in zip(cohort.tokens, test, strict=True) if h]
    generator = torch.Generator().manual_seed(config.seed)

    moments = {layer: Moments(adapter.width) for layer in layers}
    first: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for tokens in train_cells:
        for layer, rows in cell_rows(adapter, tokens, layers).items():
            moments[layer].add(rows)
            share = torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.seed))[: -(-2 * latents // len(train_cells))]
            first[layer].append(rows[share.to(rows.device)])
    total_rows = moments[layers[0]].rows
    if total_rows < latents:
        raise UserError(f"{total_rows:,} gene positions in {len(train_cells)} cells for {latents:,} latents", "give more cells or a smaller expansion")

    learners = []
    for layer in layers:
        pool = torch.cat(first[layer])
        chosen = torch.randperm(len(pool), generator=torch.Generator().manual_seed(config.seed + layer))
        chosen = chosen.repeat(-(-latents // len(pool)))[:latents]
        learners.append(_Learner(layer, moments[layer], pool[chosen.to(pool.device)].clone(), config, adapter.device))

    steps = config.epochs * -(-total_rows // config.batch_rows)
    done = 0
    with torch.enable_grad():
        for _ in range(config.epochs):
            for batch in stream(adapter, train_cells, layers, config.batch_rows, generator):
                rate = config.learning_rate * min(1.0, (done + 1) / (_WARMUP * steps), max(0.0, steps - done) / (_DECAY * steps))
                for learner in learners:
                    learner.step(batch[learner.layer].clone(), rate, patience=min(total_rows, 100 * config.batch_rows))
                done += 1
                if progress is not None:
                    progress(done, steps, f"layers {layers[0]}..{layers[-1]}")

    provenance = {
        "cells_file": cohort.file.name, "cells_sha256": cohort.sha256, "filters": list(cohort.filters), "cells": len(train_cells),
        "held_out": [b for b, h in zip(cohort.barcodes, test, strict=True) if h], "rows": total_rows, "model": adapter.name,
        "model_sha256": adapter.sha256, "seed": config.seed, "epochs": config.epochs, "batch_rows": config.batch_rows,
        "learning_rate": config.learning_rate,
        "trained_on": f"{len(train_cells)} cells of {cohort.file.name}, {total_rows} positions, {config.epochs} epochs, seed {config.seed}",
    }  # fmt: skip
    dictionaries = {learner.layer: learner.dictionary(provenance) for learner in learners}
    quality = evaluate(adapter, dictionaries, test_cells, {layer: _components(moments[layer], config.k) for layer in layers})
    reports = []
    for layer, dictionary in dictionaries.items():
        dictionary.provenance |= quality[layer]
        path = save_dictionary(dictionary, config.out)
        measured = {k: quality[layer][k] for k in ("variance_explained", "pca_variance_explained", "dead_share", "l0", "rows_held_out")}
        reports.append(TrainReport(layer, path, rows=total_rows, **measured))
    write_json(Path(config.out) / "metrics.json", {
        "layers": [{k: v for k, v in asdict(r).items() if k != "path"} for r in reports], "seconds": round(time.perf_counter() - started, 1),
        "expansion": config.expansion, "k": config.k, **{k: v for k, v in provenance.items() if k != "held_out"}, "held_out": provenance["held_out"],
        "torch": torch.__version__,
    })  # fmt: skip
    return reports


def _components(moments: Moments, k: int) -> tuple[Tensor, Tensor]:
    """Training mean and the k leading directions of variance, [k, d]."""
    _, vectors = torch.linalg.eigh(moments.covariance)
    return moments.mean.float(), vectors[:, -k:].T.float()


@torch.inference_mode()
def evaluate(
    adapter: Any, dictionaries: dict[int, Dictionary], cells: Sequence[np.ndarray], components: dict[int, tuple[Tensor, Tensor]] | None = None
) -> dict[int, dict[str, Any]]:
    """Quality of dictionaries on cells: variance explained, dead share, L0 and, given components, that of the PCA."""
    layers = tuple(dictionaries)
    moments = {layer: Moments(adapter.width) for layer in layers}
    error, pca_error, active = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0)
    fired = {layer: torch.zeros(d.n_features, dtype=torch.bool) for layer, d in dictionaries.items()}
    for tokens in cells:
        for layer, on_device in cell_rows(adapter, tokens, layers).items():
            x = on_device.cpu()
            moments[layer].add(x)
            values, indices = dictionaries[layer].encode_topk(x)
            error[layer] += float((x - dictionaries[layer].decode_topk(values, indices)).pow(2).sum())
            active[layer] += int((values > 0).sum())
            fired[layer][indices[values > 0]] = True
            if components is not None:
                mean, directions = components[layer]
                centred = x - mean
                pca_error[layer] += float((centred - centred @ directions.T @ directions).pow(2).sum())
    result = {}
    for layer in layers:
        rows = moments[layer].rows
        total = float(moments[layer].covariance.trace()) * rows
        result[layer] = {
            "variance_explained": 1 - error[layer] / total, "dead_share": 1 - float(fired[layer].float().mean()),
            "l0": active[layer] / rows, "rows_held_out": rows,
        }  # fmt: skip
        if components is not None:
            result[layer]["pca_variance_explained"] = 1 - pca_error[layer] / total
    return result
