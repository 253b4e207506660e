"""One layer's TopK autoencoder in training: its loss, its step, and its whole state.

With rows x centred by the training mean m and scaled to unit mean square,

    loss = |x - x^|^2 / |x|^2  +  1/32 |e - e^|^2 / |e|^2

where x^ uses the k largest latents and e^ reconstructs the residual e = x - x^ from the largest of
the latents that have not fired lately (Gao et al., Scaling and evaluating sparse autoencoders,
2024), which keeps latents from dying. Decoder columns have unit norm throughout; the encoder starts
as their transpose, and the columns start at training rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from scircuit.core.config import TrainConfig
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.activations import Moments
from scircuit.tracing.dictionaries import Dictionary
from scircuit.tracing.interfaces import JsonObject

AUXILIARY = 1 / 32


class TopKTrainer:
    """One layer's autoencoder in training.

    Parameters
    ----------
    layer
        0-based layer.
    moments
        Mean and covariance of the training rows.
    rows
        [F, d] training rows at which the columns start.
    config
        k, learning rate, seed.
    """

    parameters: tuple[str, ...] = ("encoder", "decoder", "encoder_bias", "decoder_bias")
    counters: tuple[str, ...] = ("silent",)  # what else later steps depend on

    def __init__(self, layer: int, moments: Moments, rows: Tensor, config: TrainConfig) -> None:
        self.layer, self.k = layer, config.k
        width, device = rows.shape[1], rows.device
        self.mean = moments.mean.float().to(device)
        self.unit = float(moments.covariance.trace() / width) ** 0.5
        columns = (rows - self.mean) / self.unit
        columns = columns + 0.05 * columns.std() * torch.randn(
            columns.shape, generator=torch.Generator().manual_seed(config.seed)
        ).to(device)
        self.decoder = functional.normalize(columns, dim=1).requires_grad_(True)
        self.encoder = self.decoder.detach().clone().requires_grad_(True)
        self.encoder_bias = torch.zeros(len(rows), device=device, requires_grad=True)
        self.decoder_bias = torch.zeros(width, device=device, requires_grad=True)
        self.optimiser = self._optimiser(config)
        # rows since each latent last fired
        self.silent = torch.zeros(len(rows), dtype=torch.long, device=device)
        self._fit_encoder_length((rows - self.mean) / self.unit)

    def _optimiser(self, config: TrainConfig) -> torch.optim.Optimizer:
        parameters = [getattr(self, name) for name in self.parameters]
        return torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8)

    @torch.no_grad()
    def _fit_encoder_length(self, x: Tensor) -> None:
        """Scale the encoder so that the first reconstruction is as long as it should be: columns
        that overlap would overshoot.
        """
        values, indices = functional.linear(x, self.encoder).topk(self.k, dim=1)
        guess = self._decode(values.relu(), indices)
        self.encoder *= (x * guess).sum() / guess.pow(2).sum()

    def step(self, rows: Tensor, rate: float, patience: int) -> None:
        """One step on rows [N, d] at a learning rate; latents silent for more than `patience` rows
        learn from the residual.
        """
        x = (rows - self.mean) / self.unit
        a = functional.linear(x, self.encoder, self.encoder_bias)
        values, indices = a.topk(self.k, dim=1)
        values = values.relu()
        residual = x - self._decode(values, indices)
        loss = residual.pow(2).sum() / x.pow(2).sum()
        dead = self._count(indices[values > 0], len(rows), patience)
        self._descend(loss + self._revive(a, residual, dead), rate)

    @torch.no_grad()
    def _count(self, fired: Tensor, rows: int, patience: int) -> Tensor:
        """Count the rows since each latent last fired; which are silent for more than `patience`,
        [F].
        """
        self.silent += rows
        self.silent[fired] = 0
        return self.silent > patience

    def _revive(self, a: Tensor, residual: Tensor, dead: Tensor) -> Tensor | float:
        """Loss of the dead latents that are largest in pre-activations a [N, F], as a
        reconstruction of the residual [N, d].
        """
        number = min(int(dead.sum()), max(self.k, residual.shape[1] // 2))
        if not number:
            return 0.0
        spare, which = a.masked_fill(~dead, float("-inf")).topk(number, dim=1)
        error = residual.detach()
        return (
            AUXILIARY
            * (error - self._decode(spare.relu(), which, bias=False)).pow(2).sum()
            / error.pow(2).sum()
        )

    def _descend(self, loss: Tensor, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        with torch.no_grad():
            # Only the part of the gradient that rotates a column counts: its length is fixed.
            grad = self.decoder.grad
            if grad is not None:
                grad -= (grad * self.decoder).sum(1, keepdim=True) * self.decoder
            self.optimiser.step()
            self.decoder.copy_(functional.normalize(self.decoder, dim=1))

    def _decode(self, values: Tensor, indices: Tensor, bias: bool = True) -> Tensor:
        dense = torch.zeros(len(values), len(self.decoder), device=values.device).scatter(
            1, indices, values
        )
        return dense @ self.decoder + (self.decoder_bias if bias else 0.0)

    def dictionary(self, provenance: JsonObject) -> Dictionary:
        """The result in the units of the activations; columns keep unit norm, so biases carry the
        scale.
        """
        return Dictionary(
            self.layer,
            self.encoder,
            self.encoder_bias * self.unit,
            self.decoder,
            self.decoder_bias * self.unit,
            self.mean,
            rule="topk",
            k=self.k,
            provenance=provenance,
        )

    def state(self) -> dict[str, Tensor]:
        """Everything that later steps depend on, by names that begin with the layer.

        Raises
        ------
        UserError
            If the training has diverged: such a state is not saved.
        """
        found = {name: getattr(self, name).detach() for name in self.parameters}
        if not all(bool(t.isfinite().all()) for t in found.values()):
            raise UserError(
                f"training of layer {self.layer} diverged: weights are NaN or infinite",
                "train with a smaller --learning-rate",
            )
        for name in self.parameters:
            for key, value in self.optimiser.state[getattr(self, name)].items():
                found[f"{name}.{key}"] = value
        found |= {name: getattr(self, name) for name in self.counters}
        return {f"{self.layer}.{name}": t for name, t in found.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        for name in self.counters:
            getattr(self, name).copy_(tensors[f"{self.layer}.{name}"])
        for name in self.parameters:
            parameter, prefix = getattr(self, name), f"{self.layer}.{name}."
            parameter.copy_(tensors[prefix[:-1]])
            kept = {
                key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)
            }
            if kept:
                # Adam keeps its step count on the CPU, and its averages beside the parameter.
                self.optimiser.state[parameter] = {
                    key: t.clone() if key == "step" else t.to(parameter.device, copy=True)
                    for key, t in kept.items()
                }
