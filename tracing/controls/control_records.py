"""``Control`` records: how they are named, and their tables with the run that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scircuit.core.schema import conform

if TYPE_CHECKING:
    import pyarrow as pa


def control_row(run: str, kind: str, source: int, target: int, of: str = "") -> dict[str, object]:
    """What every control of one pair of layers has: id, name, kind, layers and run.

    Parameters
    ----------
    run
        Id of the run.
    kind
        What the control is.
    source, target
        0-based layers.
    of
        Its name among those of its kind, where there are several of one pair of layers.
    """
    pair = f"L{source:02d}-L{target:02d}"
    return {
        "id": f"{run}/control/{of or kind}/{pair}",
        "name": f"{(of or kind).replace('/', ' ')} {pair}",
        "control": kind,
        "source_layer": source,
        "target_layer": target,
        "run": run,
    }


def control_tables(rows: Sequence[Mapping[str, object]]) -> dict[str, pa.Table]:
    """Tables of some controls and of their provenance; none without controls.

    Parameters
    ----------
    rows
        Records made from `control_row`; what a record lacks is null.
    """
    import pyarrow as pa

    if not rows:
        return {}
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    link = {"source": columns["id"], "target": columns["run"]}
    return {
        "Control": conform("Control", pa.table(columns)),
        "Control-FROM-Run": conform("Control-FROM-Run", pa.table(link)),
    }
