"""Which layers a run edits and measures, and whether model and dictionaries have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter


def later_layers(layers: Iterable[int], source: int) -> tuple[int, ...]:
    """Those of the layers that come after a source layer, ascending."""
    return tuple(sorted({t for t in layers if t > source}))


def check_layers(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    sources: Sequence[int],
    targets: Sequence[int] = (),
) -> tuple[int, ...]:
    """Measured layers of a run, ascending; all later ones with a dictionary when no `targets` are
    asked for.

    Raises
    ------
    UserError
        If a layer does not exist, has no dictionary or one of another width, or no target comes
        after a source.
    """
    have = ", ".join(str(t) for t in sorted(dictionaries)) or "none"
    for kind, layers in (("source", sources), ("target", targets)):
        for layer in layers:
            if layer not in dictionaries:
                raise UserError(
                    f"{kind} layer {layer} has no dictionary",
                    f"choose among {have}, or train one: scircuit train --layers {layer}",
                )
    found: set[int] = set()
    for source in sources:
        later = later_layers(targets or dictionaries, source)
        if not later:
            asked = ", ".join(map(str, targets))
            raise UserError(
                (
                    f"target layers {asked} do not come after source layer {source}"
                    if asked
                    else f"no layer after source layer {source} has a dictionary"
                ),
                f"choose later targets, or an earlier source; dictionaries: {have}",
            )
        found.update(later)
    early = sorted(set(targets) - found)
    if early:
        raise UserError(
            f"target layers {', '.join(map(str, early))} do not come after source layer"
            f" {max(sources)}",
            f"choose later targets; dictionaries: {have}",
        )
    for layer in sorted({*sources, *found}):
        if not 0 <= layer < adapter.n_layers:
            raise UserError(
                f"layer {layer} is not in the model, which has layers 0 to {adapter.n_layers - 1}",
                "use dictionaries trained on this model",
            )
        if dictionaries[layer].width != adapter.width:
            raise UserError(
                f"the dictionary of layer {layer} reads states of width"
                f" {dictionaries[layer].width}, the model has states of width {adapter.width}",
                "use dictionaries trained on this model",
            )
    return tuple(sorted(found))


def ranges(layers: Iterable[int]) -> str:
    """Layers as text: ``0..5, 11``."""
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
