"""Which options of a training go together, and with which models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scircuit.core.config import TrainConfig
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter


def check_site_options(config: TrainConfig) -> None:
    """Check what needs no model.

    Raises
    ------
    UserError
        If an option of transcoders is given for dictionaries of layer outputs.
    """
    if config.site == "output" and (config.skip or config.rule != "topk"):
        option = "--skip" if config.skip else f"--rule {config.rule}"
        raise UserError(
            f"{option} with --site output: it is an option of transcoders",
            "add --site mlp, or leave it out",
        )


def require_trainable(adapter: Adapter, config: TrainConfig) -> None:
    """Check that the model has the site.

    Raises
    ------
    UserError
        If it has no MLP site, which transcoders need.
    """
    if config.site == "mlp" and not getattr(adapter, "has_mlp_site", False):
        raise UserError(
            f"--site mlp with {adapter.name} ({adapter.family}), which does not say where its MLP"
            " reads and writes",
            "train dictionaries of layer outputs (--site output), or give a model whose layers have"
            " their norms before the blocks (GPT-NeoX, Gemma-2)",
        )
