"""Plots of findings: each draws on the given matplotlib Axes, or on new ones, and returns them.

>>> import scircuit as sc
>>> analysed = sc.analyse(study="my-study")  # doctest: +SKIP
>>> sc.pl.hubs(analysed.detail.hub_fit)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scircuit.analysis.circuits.circuit_plots import plot_attenuation as attenuation
    from scircuit.analysis.circuits.circuit_plots import plot_bias as annotation_bias
    from scircuit.analysis.circuits.circuit_plots import plot_hubs as hubs
    from scircuit.analysis.circuits.circuit_plots import plot_signs as signs
    from scircuit.analysis.circuits.circuit_plots import plot_tail as tail
    from scircuit.analysis.enrichment.rate_plot import plot_rates as annotation_rates

__all__ = ["annotation_bias", "annotation_rates", "attenuation", "hubs", "signs", "tail"]

_CIRCUITS = "scircuit.analysis.circuits.circuit_plots"
_FUNCTION = {
    "annotation_bias": (_CIRCUITS, "plot_bias"),
    "annotation_rates": ("scircuit.analysis.enrichment.rate_plot", "plot_rates"),
    "attenuation": (_CIRCUITS, "plot_attenuation"),
    "hubs": (_CIRCUITS, "plot_hubs"),
    "signs": (_CIRCUITS, "plot_signs"),
    "tail": (_CIRCUITS, "plot_tail"),
}


def __getattr__(name: str) -> Any:
    if name in _FUNCTION:
        module, function = _FUNCTION[name]
        return getattr(importlib.import_module(module), function)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FUNCTION])
