"""Which layers a run edits and measures, and whether model and dictionaries have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter


def targets_of(
    config: TraceConfig, dictionaries: Mapping[int, Any], source: int
) -> tuple[int, ...]:
    """Measured layers of a source layer: those asked for, or all that have a dictionary, where they
    lie after it.
    """
    return tuple(sorted({t for t in config.target_layers or dictionaries if t > source}))


def check_layers(
    adapter: Adapter, dictionaries: Mapping[int, Any], config: TraceConfig
) -> tuple[int, ...]:
    """Measured layers of a run, ascending, after a check that layers exist, lie in order, have
    dictionaries, and that those fit the model.

    Raises
    ------
    UserError
        If not, or if no source layer or no control is asked for.
    """
    have = ", ".join(str(t) for t in sorted(dictionaries)) or "none"
    if not config.source_layers:
        raise UserError("no source layer is given", "name one or more with --source-layers")
    if config.control_features < 1:
        raise UserError(
            f"control_features is {config.control_features}: no source would have a control, and"
            " edges without controls cannot be judged",
            "give --control-features 24, or fewer",
        )
    for kind, layers in (("source", config.source_layers), ("target", config.target_layers)):
        for layer in layers:
            if layer not in dictionaries:
                raise UserError(
                    f"{kind} layer {layer} has no dictionary",
                    f"choose among {have}, or train one: scircuit train --layers {layer}",
                )
    found: set[int] = set()
    for source in config.source_layers:
        targets = targets_of(config, dictionaries, source)
        if not targets:
            asked = ", ".join(map(str, config.target_layers))
            raise UserError(
                (
                    f"target layers {asked} do not lie after source layer {source}"
                    if asked
                    else f"no dictionary lies after source layer {source}"
                ),
                f"choose later targets, or an earlier source; dictionaries: {have}",
            )
        found.update(targets)
    early = sorted(set(config.target_layers) - found)
    if early:
        raise UserError(
            f"target layers {', '.join(map(str, early))} do not lie after source layer"
            f" {max(config.source_layers)}",
            f"choose later targets; dictionaries: {have}",
        )
    for layer in sorted({*config.source_layers, *found}):
        if not 0 <= layer < adapter.n_layers:
            raise UserError(
                f"layer {layer} is not in the model, which has layers 0 to {adapter.n_layers - 1}",
                "use dictionaries trained on this model",
            )
        if dictionaries[layer].width != adapter.width:
            raise UserError(
                f"the dictionary of layer {layer} reads states of width"
                f" {dictionaries[layer].width}, the model's are {adapter.width} wide",
                "use dictionaries trained on this model",
            )
    return tuple(sorted(found))


def ranges(layers: Iterable[int]) -> str:
    """Layers as a person writes them: ``0..5, 11``."""
    text: list[str] = []
    run: list[int] = []
    for layer in [*sorted(layers), None]:
        if run and layer != run[-1] + 1:
            text.append(
                str(run[0])
                if len(run) == 1
                else f"{run[0]}..{run[-1]}"
                if len(run) > 2
                else f"{run[0]}, {run[1]}"
            )
            run = []
        if layer is not None:
            run.append(layer)
    return ", ".join(text)
