"""The strongest edges of one feature, in words and as a drawing: what it fires on, and what of
later layers it drives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.plot_style import BLUE, GREY, INK, ORANGE, axes_or_new, no_data
from scircuit.core.address import parse

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_GENES = 4  # of a feature, in names


class Target(NamedTuple):
    """One edge of the feature."""

    address: str
    layer: int
    genes: tuple[str, ...]
    effect: float  # negative: ablating the source lowers the target
    strength: float  # by which edges are ranked


@dataclass(frozen=True)
class FeatureCircuit:
    """A feature and its strongest edges.

    Parameters
    ----------
    address, genes, label
        The source, its top genes, and the term it is annotated with ("" for none).
    edges
        All edges that it has by the rule.
    rule
        Name of the rule.
    targets
        Its strongest edges, strongest first.
    """

    address: str
    genes: tuple[str, ...]
    label: str
    edges: int
    rule: str
    targets: tuple[Target, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What it fires on; what it drives."""
        name = f" ({self.label})" if self.label else ""
        first = f"{_short(self.address)} fires on {', '.join(self.genes)}{name}"
        if not self.targets:
            return (f"{first}; it has no {self.rule} edge",)
        told = [
            f"{'supports' if t.effect < 0 else 'suppresses'} {_short(t.address)}"
            f" ({', '.join(t.genes) or 'no genes'})"
            for t in self.targets[:3]
        ]
        return (first, f"it has {self.edges:,} {self.rule} edges, the strongest: {', '.join(told)}")

    @property
    def drawing(self) -> tuple[str, ...]:
        """The source and its strongest edges as lines of text: ``->`` supports, ``-|`` suppresses;
        empty without edges.
        """
        if not self.targets:
            return ()
        width = max(len(_short(t.address)) for t in self.targets)
        lines = [f"{_short(self.address)}  {', '.join(self.genes)}"]
        for t in self.targets:
            arrow = "->" if t.effect < 0 else "-|"
            lines.append(f"  {arrow} {_short(t.address):{width}}  {', '.join(t.genes)}".rstrip())
        return tuple(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the source on the left and its targets on the right, by layer."""
        ax = axes_or_new(ax)
        if not self.targets:
            return no_data(ax, f"{_short(self.address)} has no {self.rule} edge")
        ordered = sorted(self.targets, key=lambda t: (t.layer, -abs(t.strength)))
        heights = np.linspace(1, 0, len(ordered)) if len(ordered) > 1 else np.array([0.5])
        widest = max(abs(t.strength) for t in ordered)
        for t, y in zip(ordered, heights, strict=True):
            ax.annotate(
                "",
                (0.56, y),
                (0.3, 0.5),
                arrowprops={
                    "arrowstyle": "-|>" if t.effect < 0 else "-[, widthB=0.35, lengthB=0",
                    "color": BLUE if t.effect < 0 else ORANGE,
                    "lw": 0.8 + 2.2 * abs(t.strength) / widest,
                    "connectionstyle": "arc3,rad=0",
                    "shrinkA": 0,
                    "shrinkB": 2,
                },
            )
            ax.text(0.58, y, _short(t.address), va="center", fontsize=8.5, color=INK)
            ax.text(
                0.73, y, ", ".join(t.genes), va="center", fontsize=8.5, color=INK, style="italic"
            )
        ax.text(0.29, 0.535, _short(self.address), ha="right", va="bottom", fontsize=10, color=INK)
        ax.text(
            0.29,
            0.5,
            "\n".join(self.genes),
            ha="right",
            va="top",
            fontsize=9,
            style="italic",
            color=INK,
        )
        ax.plot([], [], color=BLUE, lw=2, label="supports (ablation lowers the target)")
        ax.plot([], [], color=ORANGE, lw=2, label="suppresses (ablation raises it)")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, fontsize=8.5)
        ax.set(xlim=(0.1, 1.1), ylim=(-0.08, 1.08))
        ax.set_axis_off()
        ax.axhline(-0.06, color=GREY, lw=0)
        return ax


def feature_circuit(
    address: str,
    edges: pd.DataFrame,
    genes: Mapping[str, Sequence[str]],
    label: str,
    rule: str,
    most: int = 10,
) -> FeatureCircuit:
    """Circuit of one feature.

    Parameters
    ----------
    address
        The source.
    edges
        Its edges by the rule: target, effect and strength.
    genes
        Address -> top genes.
    label
        Term it is annotated with.
    rule
        Name of the rule.
    most
        Edges that are kept.
    """
    order = np.argsort(-np.abs(edges["strength"].to_numpy(float)), kind="stable")[:most]
    targets = tuple(
        Target(
            str(row["target"]),
            parse(str(row["target"])).layer,
            tuple(genes.get(str(row["target"]), ()))[:_GENES],
            float(row["effect"]),
            float(row["strength"]),
        )
        for row in edges.iloc[order].to_dict("records")
    )
    own = tuple(genes.get(address, ()))[: _GENES + 2]
    return FeatureCircuit(address, own, label, len(edges), rule, targets)


def feature_of_genes(
    wanted: Sequence[str],
    genes: Mapping[str, Sequence[str]],
    degrees: Mapping[str, int],
    among: int = 6,
) -> str:
    """The source whose first top genes hold most of the wanted ones, of equal ones that with the
    most edges; without any, the source with the most edges. Empty where there is no source.

    Parameters
    ----------
    wanted
        Gene symbols.
    genes
        Address -> top genes.
    degrees
        Address of a source -> its edges.
    among
        Top genes of each source that are looked at.
    """
    names = set(wanted)

    def key(address: str) -> tuple[int, int, str]:
        return len(names & set(list(genes.get(address, ()))[:among])), degrees[address], address

    return max(degrees, key=key, default="")


def _short(address: str) -> str:
    return parse(address).short
