"""One finding of an analysis: its frame, a one-sentence reading, its null, and a plot.

Every analysis beyond the degrees of one run returns a `Finding`. Its frame and numbers are plain
data and all that its plot reads, so that it can be stored beside the run, drawn by the report
without being computed again, and exported as CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

NO_NULL = "no null was drawn"

Draw = Callable[["pd.DataFrame", Mapping[str, object], "Axes"], None]


@dataclass(frozen=True)
class Finding:
    """What one analysis found.

    Parameters
    ----------
    name
        Name of its files: lower case, underscores.
    title
        Heading, such as ``Coherence of edges``.
    sentence
        The reading in one sentence, the null's value in it. Where something could not be tested,
        the sentence says why, with numbers.
    null
        How the null was drawn and how often, in one sentence.
    frame
        Evidence: one row per unit compared, each observed value beside its null.
    numbers
        Values for the manifest: str, int, float, bool, None, or lists and dicts of them; never NaN.
    records
        Tables by kind, for the one ingest door; not part of the stored finding.
    draw
        Draws frame and numbers on given Axes; None where there is no plot.
    """

    name: str
    title: str
    sentence: str
    null: str
    frame: pd.DataFrame
    numbers: Mapping[str, object] = field(default_factory=dict)
    records: Mapping[str, pa.Table] = field(default_factory=dict)
    draw: Draw | None = None

    @property
    def drawn(self) -> bool:
        """Is there something to draw."""
        return self.draw is not None and len(self.frame) > 0

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the finding on `ax`, or on new Axes.

        Raises
        ------
        ValueError
            If there is nothing to draw: its frame is empty, since nothing could be tested.
        """
        if self.draw is None or not len(self.frame):
            raise ValueError(f"nothing to draw: {self.sentence}")
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure(layout="constrained").subplots()
        self.draw(self.frame, self.numbers, ax)
        return ax


def untested(
    name: str,
    title: str,
    why: str,
    null: str = NO_NULL,
    columns: Iterable[str] = (),
    **numbers: object,
) -> Finding:
    """A finding without evidence: one sentence says why, with numbers."""
    import pandas as pd

    return Finding(name, title, why, null, pd.DataFrame(columns=pd.Index(list(columns))), numbers)
