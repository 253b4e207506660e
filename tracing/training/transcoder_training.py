"""One layer's transcoder in training: from the MLP input x to the MLP output y.

With rows centred by their training means and scaled to unit mean square,

    loss = |y - y^|^2 / |y|^2  +  1/32 |e - e^|^2 / |e|^2  +  what the rule asks for

    topk       the k largest latents
    relu       + c sum_f z_f / sqrt(d), c raised while more than k latents are active and lowered
               while fewer are
    jumprelu   + (L0 / k - 1)^2, by the derivative of the step smoothed with a rectangle
               (Rajamanoharan et al., Jumping ahead, 2024)

with the residual e = y - y^ and its reconstruction from silent latents as in
`scircuit.tracing.training.topk_sae`. So k is the number of active latents a row with topk, and
their mean with the others. A latent starts at a training row: its encoder at x, its column at the y
beside it. With a skip, y^ has W_skip x in it, from zero (Paulo et al., Transcoders beat sparse
autoencoders, 2025).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scircuit.core.config import TrainConfig
from scircuit.tracing.clean_pass.activations import Moments
from scircuit.tracing.dictionaries import Dictionary
from scircuit.tracing.interfaces import JsonObject
from scircuit.tracing.training.topk_sae import TopKTrainer

_NOISE = 0.05
_BANDWIDTH = 0.2  # of the smoothed step, beside the threshold at the start
_TURN = 0.02  # by which the coefficient of relu is raised or lowered in a step, at most
_COEFFICIENT = 1e-3  # of relu at the start


class _Jump(torch.autograd.Function):
    """``a`` where above the threshold, else 0; to the threshold the smoothed derivative."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, threshold: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(a, threshold, width)
        return torch.where(a > threshold, a, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        a, threshold, width = ctx.saved_tensors
        (grad,) = grads
        near = ((a - threshold).abs() < width / 2).to(grad.dtype)
        return grad * (a > threshold), -(threshold / width * near * grad).sum(0), None


class _Step(torch.autograd.Function):
    """1 where ``a`` is above the threshold, else 0; to the threshold the smoothed derivative."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, threshold: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(a, threshold, width)
        return (a > threshold).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        a, threshold, width = ctx.saved_tensors
        (grad,) = grads
        near = ((a - threshold).abs() < width / 2).to(grad.dtype)
        return None, -(near / width * grad).sum(0), None


class TranscoderTrainer(TopKTrainer):
    """One layer's transcoder in training.

    Parameters
    ----------
    layer
        0-based layer.
    moments
        Mean and covariance of the training rows ``[x, y]``.
    rows
        [F, 2 d] training rows at which the latents start.
    config
        Rule, k, skip, learning rate, seed.
    """

    def __init__(self, layer: int, moments: Moments, rows: Tensor, config: TrainConfig) -> None:
        self.layer, self.k, self.rule = layer, config.k, config.rule
        half, device = rows.shape[1] // 2, rows.device
        mean, scale = moments.mean.float().to(device), moments.covariance.diagonal()
        self.mean_in, self.mean_out = mean[:half], mean[half:]
        self.unit_in, self.unit_out = (
            float(part.mean()) ** 0.5 or 1.0 for part in (scale[:half], scale[half:])
        )
        x, y = self._scaled(rows)
        noise = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(config.seed)).to(
            device
        )
        self.encoder, self.decoder = (
            functional.normalize(part + _NOISE * part.std() * own, dim=1).requires_grad_(True)
            for part, own in zip((x, y), noise, strict=True)
        )
        self.encoder_bias = torch.zeros(len(rows), device=device, requires_grad=True)
        self.decoder_bias = torch.zeros(half, device=device, requires_grad=True)
        if config.skip:
            self.skip = torch.zeros(half, half, device=device, requires_grad=True)
            self.parameters = (*self.parameters, "skip")
        self.silent = torch.zeros(len(rows), dtype=torch.long, device=device)
        self._start(x, y)
        self.optimiser = self._optimiser(config)

    def _scaled(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        half = len(self.mean_in)
        return (
            (rows[:, :half] - self.mean_in) / self.unit_in,
            (rows[:, half:] - self.mean_out) / self.unit_out,
        )

    @torch.no_grad()
    def _start(self, x: Tensor, y: Tensor) -> None:
        """Let about k latents be active a row, and their reconstruction be as long as it should
        be.
        """
        a = functional.linear(x, self.encoder)
        values, indices = a.topk(self.k, dim=1)
        edge = values[:, -1].relu().mean().clamp(min=1e-3)
        codes = values.relu() if self.rule != "relu" else (values - edge).relu()
        guess = self._decode(codes, indices)
        length = (y * guess).sum() / guess.pow(2).sum()
        # latents that point away from what they should say are no better shorter
        length = length if float(length) > 0 else torch.ones_like(length)
        self.encoder *= length
        if self.rule == "relu":
            self.encoder_bias -= edge * length
            self.coefficient = torch.full((), _COEFFICIENT, device=x.device)
            self.counters = (*self.counters, "coefficient")
        elif self.rule == "jumprelu":
            threshold = torch.full((len(x),), float((edge * length).log()), device=x.device)
            self.log_threshold = threshold.requires_grad_(True)
            self.bandwidth = (_BANDWIDTH * edge * length).clone()
            self.parameters = (*self.parameters, "log_threshold")
            self.counters = (*self.counters, "bandwidth")

    def step(self, rows: Tensor, rate: float, patience: int) -> None:
        """One step on rows [N, 2 d] at a learning rate; latents silent for more than `patience`
        rows learn from the residual.
        """
        x, y = self._scaled(rows)
        a = functional.linear(x, self.encoder, self.encoder_bias)
        if self.rule == "topk":
            values, indices = a.topk(self.k, dim=1)
            values = values.relu()
            made, fired, asked = self._decode(values, indices), indices[values > 0], 0.0
        else:
            z, asked = self._codes(a)
            made, fired = z @ self.decoder + self.decoder_bias, (z > 0).any(0).nonzero()[:, 0]
        if "skip" in self.parameters:
            made = made + functional.linear(x, self.skip)
        residual = y - made
        loss = residual.pow(2).sum() / y.pow(2).sum() + asked
        dead = self._count(fired, len(rows), patience)
        self._descend(loss + self._revive(a, residual, dead), rate)

    def _codes(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [N, F], and what the rule adds to the loss."""
        if self.rule == "jumprelu":
            threshold = self.log_threshold.exp()
            share = _Step.apply(a, threshold, self.bandwidth).sum(1).mean() / self.k
            return _Jump.apply(a, threshold, self.bandwidth), (share - 1).square()
        z = a.relu()
        with torch.no_grad():
            above = (z > 0).sum(1).float().mean() / self.k - 1
            self.coefficient *= (_TURN * above.clamp(-1, 1)).exp()
        return z, self.coefficient * z.sum(1).mean() / a.new_tensor(len(self.mean_in)).sqrt()

    def dictionary(self, provenance: JsonObject) -> Dictionary:
        """The result in the units of the activations; columns keep unit norm, so encoder and
        biases carry the scales.
        """
        ratio = self.unit_out / self.unit_in
        skip = self.skip.detach() * ratio if "skip" in self.parameters else None
        offset = self.decoder_bias.detach() * self.unit_out + self.mean_out
        return Dictionary(
            self.layer,
            self.encoder.detach() * ratio,
            self.encoder_bias * self.unit_out,
            self.decoder,
            offset if skip is None else offset - skip @ self.mean_in,
            self.mean_in,
            rule=self.rule,
            k=self.k if self.rule == "topk" else 0,
            threshold=(
                self.log_threshold.detach().exp() * self.unit_out
                if self.rule == "jumprelu"
                else None
            ),
            provenance=provenance,
            site="mlp",
            skip=skip,
        )
