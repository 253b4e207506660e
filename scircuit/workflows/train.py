"""``scircuit train``: TopK SAEs, or transcoders, on the activations of the user's model and
cells.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY, TrainConfig
from scircuit.core.errors import Terminated, UserError
from scircuit.core.progress import Progress, show_checks


@dataclass(frozen=True)
class TrainResult:
    """One report per layer, and where the dictionaries are."""

    out: Path
    k: int
    reports: tuple[Any, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "out": str(self.out),
            "layers": [
                {k: v for k, v in vars(r).items() if isinstance(v, (int, float, str))}
                for r in self.reports
            ],
        }

    def __str__(self) -> str:
        if self.reports and hasattr(self.reports[0], "fvu"):
            return self._of_transcoders()
        lines = [
            f"dictionaries in {self.out}, measured on held-out cells",
            "  layer  variance explained  by a PCA  dead  L0",
        ]
        lines += [
            f"  {r.layer:5d}  {r.variance_explained:18.1%}  {r.pca_variance_explained:8.1%} "
            f" {r.dead_share:4.0%}  {r.l0:.1f}"
            for r in self.reports
        ]
        return "\n".join(
            [
                *lines,
                (
                    f"  the PCA has {self.k} components: as many active numbers a row as a"
                    f" dictionary with k = {self.k}"
                ),
            ]
        )

    def _of_transcoders(self) -> str:
        def share(value: float | None) -> str:
            return "-" if value is None else f"{value:.1%}"

        lines = [
            f"transcoders in {self.out}, measured on held-out cells",
            "  layer    FVU  of a linear map  dead    L0"
            "  loss recovered: of zero  of mean ablation",
        ]
        lines += [
            f"  {r.layer:5d}  {r.fvu:.3f}  {1 - r.linear_variance_explained:15.3f} "
            f" {r.dead_share:4.0%}  {r.l0:4.1f}  {share(r.recovered(r.loss_zero)):>23s} "
            f" {share(r.recovered(r.loss_mean)):>16s}"
            for r in self.reports
        ]
        return "\n".join(
            [
                *lines,
                (
                    "  FVU: share of the variance of the MLP output that is not explained; the"
                    f" linear map of the MLP input has rank {self.k}"
                ),
            ]
        )


def train(
    config: TrainConfig | None = None,
    study: Path | str = DEFAULT_STUDY,  # noqa: ARG001 - every verb takes it
    *,
    quiet: bool = False,
    **options: Any,
) -> TrainResult:
    """Train a TopK SAE, or with ``site="mlp"`` a transcoder, at each chosen layer and write it with
    its provenance; the same call goes on where it was interrupted.

    Raises
    ------
    UserError
        If model or cells are refused, a layer does not exist, or the model has no MLP site.
    """
    from scircuit.execution.load_inputs import require_folder
    from scircuit.tracing.cells.cohort import load_cohort
    from scircuit.tracing.models import load_model
    from scircuit.tracing.training.site_options import check_site_options, require_trainable
    from scircuit.tracing.training.trainer import train_dictionaries

    config = config or build(TrainConfig, options)
    check_site_options(config)
    adapter = load_model(require_folder(config.model, "model"), config.device)
    require_trainable(adapter, config)
    wrong = [layer for layer in config.layers if not 0 <= layer < adapter.n_layers]
    if wrong:
        raise UserError(
            f"layer {wrong[0]} does not exist: the model has layers 0..{adapter.n_layers - 1}",
            "choose existing layers",
        )
    cohort = load_cohort(config, adapter.vocabulary, adapter.max_length)
    if not quiet:
        show_checks(cohort.report)
    progress = Progress("training", 1.0, "", quiet=quiet)
    try:
        reports = train_dictionaries(
            adapter,
            cohort,
            config,
            progress=lambda done, total, note="": progress.update(done / max(total, 1), note),
        )
    except KeyboardInterrupt as stop:
        if stop.args == (signal.SIGTERM,):
            raise Terminated from stop
        raise
    return TrainResult(config.out, config.k, tuple(reports))
