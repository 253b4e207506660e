"""How good trained dictionaries and transcoders are on held-out cells, and ``metrics.json``.

Transcoders, with x the MLP input, y the MLP output and TC the transcoder, over held-out rows:

    FVU = sum |y - TC(x)|^2 / sum |y - mean y|^2          variance explained = 1 - FVU

Beside it stands the linear map of x with as many directions as a row has active latents
(reduced-rank regression on the training rows), and the loss of the model when y is TC(x), 0, or its
mean everywhere (`scircuit.tracing.evaluation.mlp_loss`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.files import write_json
from scircuit.tracing.evaluation.mlp_loss import mlp_losses
from scircuit.tracing.evaluation.quality import Quality, evaluate

if TYPE_CHECKING:
    from scircuit.tracing.clean_pass.activations import Moments
    from scircuit.tracing.dictionaries import Dictionary
    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.interfaces import JsonObject
    from scircuit.tracing.models.adapter import Adapter


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


@dataclass(frozen=True)
class TranscoderReport:
    """How good one layer's transcoder is on held-out cells.

    Attributes
    ----------
    layer, path
        0-based layer; folder it was written to.
    fvu, variance_explained
        Unexplained and explained share of the variance of the MLP output.
    linear_variance_explained
        The same as `variance_explained` for a linear map of the MLP input of rank k.
    dead_share
        Share of latents that never fire on held-out rows.
    l0
        Mean number of active latents a row.
    loss_clean, loss_rebuilt, loss_zero, loss_mean
        Loss of the model as it is, and with the MLP output of this layer replaced by the
        transcoder's, by 0, and by its mean; in nats a token, None where it predicts no tokens.
    rows, rows_held_out
        Positions trained on in one epoch, and evaluated.
    """

    layer: int
    path: Path
    fvu: float
    variance_explained: float
    linear_variance_explained: float
    dead_share: float
    l0: float
    loss_clean: float | None
    loss_rebuilt: float | None
    loss_zero: float | None
    loss_mean: float | None
    rows: int
    rows_held_out: int

    def recovered(self, ablated: float | None) -> float | None:
        """Loss recovered, ``(L_ablated - L_rebuilt) / (L_ablated - L_clean)``; None where it was
        not measured, or where the ablation costs nothing.
        """
        if ablated is None or self.loss_clean is None or self.loss_rebuilt is None:
            return None
        cost = ablated - self.loss_clean
        return (ablated - self.loss_rebuilt) / cost if cost > 0 else None


Report = TrainReport | TranscoderReport


def measured(site: Site) -> tuple[str, ...]:
    """Names of what is measured on held-out cells, which stands in the provenance too."""
    report = TrainReport if site == "output" else TranscoderReport
    return tuple(
        name for name in report.__dataclass_fields__ if name not in ("layer", "path", "rows")
    )


def report_of(site: Site, layer: int, path: Path, rows: int, values: Mapping) -> Report:
    """The report of a layer from what was measured."""
    found = {name: values[name] for name in measured(site)}
    kind = TrainReport if site == "output" else TranscoderReport
    return kind(layer=layer, path=path, rows=rows, **found)


def quality_of(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    moments: Mapping[int, Moments],
    k: int,
    cells: Sequence[np.ndarray],
    site: Site,
) -> dict[int, Quality]:
    """What is measured of each layer on held-out cells, and its firing rates there.

    Parameters
    ----------
    adapter, dictionaries, cells
        Model, dictionaries of one site by layer, and cells.
    moments
        Of the training rows, by layer.
    k
        Components of the linear map or PCA beside them.
    site
        The site.
    """
    if site == "output":
        components = {layer: m.components(k) for layer, m in moments.items()}
        return evaluate(adapter, dictionaries, cells, components)
    maps = {layer: m.linear_map(k) for layer, m in moments.items()}
    found = evaluate(adapter, dictionaries, cells, maps=maps)
    means = {layer: maps[layer][1] for layer in dictionaries}
    losses = mlp_losses(adapter, dictionaries, cells, means)
    for layer, quality in found.items():
        quality["fvu"] = 1 - quality["variance_explained"]
        loss = losses.get(layer)
        for name in ("clean", "rebuilt", "zero", "mean"):
            quality[f"loss_{name}"] = None if loss is None else getattr(loss, name)
    return found


def write_metrics(out: Path, reports: Sequence[Report], training: str, facts: JsonObject) -> None:
    """Write ``metrics.json``: the layers of this training and those the folder had before, and
    facts about this training.
    """
    here = {
        r.layer: {**{k: v for k, v in asdict(r).items() if k != "path"}, "training": training}
        for r in reports
    }
    layers = [entry for _, entry in sorted((_other_layers(out) | here).items())]
    write_json(out / "metrics.json", {"layers": layers, **facts})


def _other_layers(out: Path) -> dict[int, JsonObject]:
    """Entries of an earlier ``metrics.json`` for layers that still exist; none if unreadable."""
    try:
        entries = json.loads((out / "metrics.json").read_text())["layers"]
        return {
            entry["layer"]: entry
            for entry in entries
            if (out / f"layer{entry['layer']:02d}" / "config.json").exists()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
