"""One scrambled copy of a trace run: its model and dictionaries, and the same trace of them, in a
folder of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.address import slug
from scircuit.core.build_config import build_stored
from scircuit.core.config import CellsConfig, TraceConfig, TrainConfig
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.core.config import NullConfig
    from scircuit.execution.load_inputs import Inputs
    from scircuit.tracing.dictionaries import Dictionary

KINDS = {
    "permuted": "the model with permuted weights",
    "rotated": "the trained model, dictionaries with rotated decoders",
}


class Copy(NamedTuple):
    """A scrambled copy: its kind, its seed, and its folder."""

    kind: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Kind and seed."""
        return f"{self.kind}-{self.seed}"


def copies_of(config: NullConfig, folder: Path) -> list[Copy]:
    """The copies that are asked for.

    Raises
    ------
    UserError
        If a kind is unknown, or fewer than one copy is asked for.
    """
    if wrong := [kind for kind in config.kinds if kind not in KINDS]:
        raise UserError(
            f"nothing is scrambled by {wrong[0]!r}", f"choose among {', '.join(KINDS)} (--kinds)"
        )
    if config.seeds < 1 or not config.kinds:
        raise UserError("no scrambled copy is asked for", "give --seeds 1 or more, and a kind")
    return [
        Copy(kind, seed, folder / f"{kind}-{seed}")
        for kind in config.kinds
        for seed in range(config.seed, config.seed + config.seeds)
    ]


def sampled_features(config: NullConfig, inputs: Inputs) -> tuple[int, ...]:
    """Features that are traced in every copy: those of the run itself, or a sample of as many."""
    own = inputs.settings.features
    if not config.sources:
        return own
    sizes = [inputs.dictionaries[layer].n_features for layer in inputs.settings.source_layers]
    pool = np.array(own) if own else np.arange(min(sizes))
    rng = np.random.default_rng([config.seed, 6])
    size = min(config.sources, len(pool))
    return tuple(np.sort(rng.choice(pool, size, replace=False)).tolist())


def trace_config(
    copy: Copy, traced: TraceConfig, features: tuple[int, ...], device: str
) -> TraceConfig:
    """The run's own options, with the copy's model and dictionaries."""
    model = copy.folder / "model" if copy.kind == "permuted" else Path(traced.model)
    return replace(
        traced,
        model=str(model),
        dictionaries=str(copy.folder / "dictionaries"),
        model_name=f"{slug(traced.model_name)}-{copy.name}",
        features=features,
        device=device,
        ray="",
        untrained=True,
    )


def training_config(copy: Copy, traced: TraceConfig, inputs: Inputs, most: int) -> TrainConfig:
    """The settings by which the run's own dictionaries were trained, on the copy's model.

    At most `most` cells where it is not 0. What the files do not state is taken from the shape of
    the dictionary and the defaults of `train`.
    """
    layer = inputs.settings.source_layers[0]
    own = inputs.dictionaries[layer]
    stated: Mapping[str, object] = own.provenance
    names = ("epochs", "batch_rows", "learning_rate", "seed")
    held_out = stated.get("held_out")
    trained_on = int(str(stated.get("cells", 0))) + (
        len(held_out) if isinstance(held_out, list) else 0
    )
    cells_of = [f.name for f in fields(CellsConfig) if f.name not in ("n_cells", "seed")]
    return build_stored(
        TrainConfig,
        {
            **{name: getattr(traced, name) for name in cells_of},
            **{name: stated[name] for name in names if name in stated},
            "model": str(copy.folder / "model"),
            "out": copy.folder / "dictionaries",
            "layers": inputs.settings.layers,
            "n_cells": most or trained_on,
            "expansion": max(1, own.n_features // own.width),
            "k": own.k if own.rule == "topk" else _mean_active(stated),
            **_as_transcoder(own),
            "device": traced.device,
        },
    )


def _mean_active(stated: Mapping[str, object]) -> int:
    """Active latents a row, where no k is fixed: as measured after training."""
    measured = stated.get("l0")
    if isinstance(measured, int | float) and measured > 0:
        return max(1, round(measured))
    return TrainConfig.k


def _as_transcoder(own: Dictionary) -> dict[str, object]:
    """Options by which transcoders differ from SAEs."""
    if own.site == "output":
        return {}
    rule = "jumprelu" if own.rule == "batchtopk" else own.rule  # both cut at a threshold
    return {"site": own.site, "rule": rule, "skip": "skip" in own.tensors}


def scramble(copy: Copy, traced: TraceConfig, inputs: Inputs) -> None:
    """Write what of the copy needs no training: the permuted model, or the rotated dictionaries."""
    from scircuit.tracing.evaluation.scrambled import permuted_model, rotated_dictionaries

    if copy.kind == "permuted":
        permuted_model(Path(traced.model), copy.folder / "model", copy.seed)
        return
    used = [inputs.dictionaries[layer] for layer in inputs.settings.layers]
    rotated_dictionaries(used, copy.folder / "dictionaries", copy.seed)
