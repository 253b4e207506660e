r"""Readouts of steering: one number a cell and condition, the change against the clean pass.

With y and y' the logits of a cell, averaged over its gene positions, before and after, and e and e'
the mean last-layer state over its gene positions:

    own genes      mean (y' - y) over the genes the feature fires on, minus that of the cell's other
                   genes
    state shift    [cos(y', B) - cos(y', A)] - [cos(y, B) - cos(y, A)], A and B mean logits of early
                   and late cells, or of two states
    markers        mean (y' - y) of the genes up, minus that of the genes down
    pseudotime     w (e' - e) of a ridge probe
    fate           sigmoid(w e' + b) - sigmoid(w e + b) of a logistic probe
    type           p(type | e') - p(type | e) of the nearest centre
    own type       the same for the type to which the clean cell is nearest
    loss           change of the cross-entropy of masked genes, by passes of its own

At the last layer e' - e is the edit itself, ``mean_p s(p) W_dec``: all probes are then in closed
form (`Readout.fixed_at_last`). Pseudotime is ``mean_p s(p) (w . W_dec)``: its sign, like that of
the fate probe, is that of a product of weights in every cell. Nothing propagates there, so nothing
is tested over cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.tracing.interventions.steering.cross_validation import Quality

if TYPE_CHECKING:
    from scircuit.tracing.interventions.steering.linear_probes import Linear


class CellRead(NamedTuple):
    """One cell under all edits, float64: first row clean."""

    logits: np.ndarray  # [1 + edits, V] mean logits over gene positions
    state: np.ndarray  # [1 + edits, d] mean last-layer state
    genes: np.ndarray  # token ids of the cell's genes, ascending
    fired: np.ndarray  # token ids of the genes the feature fires on, ascending


@dataclass(frozen=True, kw_only=True)
class Readout:
    """What every readout has.

    Attributes
    ----------
    name, unit, kind, doc
        Name in records; unit of a change; own genes, state shift, markers, pseudotime, fate, type,
        or loss; definition in words.
    quality
        Of the probe behind it; None where there is none.
    """

    name: str
    unit: str
    kind: str
    doc: str
    quality: Quality | None = None

    @property
    def fixed_at_last(self) -> bool:
        """Whether it is in closed form when the last layer is steered."""
        return self.kind in ("pseudotime", "fate", "type")

    def changes(self, read: CellRead) -> np.ndarray:
        """Change of this readout at every edit, [edits]."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class OwnGenes(Readout):
    """Logits of the genes the feature fires on, against the cell's other genes."""

    name: str = "own_genes"
    unit: str = "logits"
    kind: str = "own genes"
    doc: str = (
        "mean logit change of the genes the feature fires on, minus that of the cell's other genes"
    )

    def changes(self, read: CellRead) -> np.ndarray:
        """NaN where the feature fires nowhere in the cell."""
        change = read.logits[1:] - read.logits[:1]
        if not len(read.fired):
            return np.full(len(change), np.nan)
        rest = np.setdiff1d(read.genes, read.fired)
        return change[:, read.fired].mean(1) - (change[:, rest].mean(1) if len(rest) else 0.0)


@dataclass(frozen=True, kw_only=True)
class StateShift(Readout):
    """Cosine with the signature of state B minus that of state A."""

    first: np.ndarray  # [V] mean logits of state A, or early cells
    second: np.ndarray

    def changes(self, read: CellRead) -> np.ndarray:
        """Change of the difference of the two cosines."""
        norm = np.linalg.norm(read.logits, axis=1)
        away, to = (
            (read.logits @ s) / (norm * np.linalg.norm(s)) for s in (self.first, self.second)
        )
        closer = to - away
        return closer[1:] - closer[0]


@dataclass(frozen=True, kw_only=True)
class Markers(Readout):
    """Mean logit change of marker genes."""

    up: np.ndarray  # token ids
    down: np.ndarray

    def changes(self, read: CellRead) -> np.ndarray:
        """Genes up minus genes down."""
        change = read.logits[1:] - read.logits[:1]
        return change[:, self.up].mean(1) - (
            change[:, self.down].mean(1) if len(self.down) else 0.0
        )


@dataclass(frozen=True, kw_only=True)
class Probe(Readout):
    """A linear probe of the mean last-layer state."""

    linear: Linear
    column: int = -1  # type probes: which class; -1: the one of the clean cell

    def changes(self, read: CellRead) -> np.ndarray:
        """Change of the probe's value."""
        from scipy.special import expit, softmax

        if self.kind == "pseudotime":
            return (read.state[1:] - read.state[0]) @ self.linear.weights[0]
        value = self.linear(read.state)
        if self.kind == "fate":
            value = expit(value[:, 0])
        else:
            own = int(value[0].argmax()) if self.column < 0 else self.column
            value = softmax(value, axis=1)[:, own]
        return value[1:] - value[0]


@dataclass(frozen=True, kw_only=True)
class MaskedLoss(Readout):
    """Cross-entropy of masked genes; read by passes of its own."""

    name: str = "loss"
    unit: str = "nats"
    kind: str = "loss"
    doc: str = (
        "change of the cross-entropy of masked genes; the feature is edited where it fires in the"
        " masked cell"
    )

    @property
    def fixed_at_last(self) -> bool:
        """At the last layer masked positions see no edit: the change is 0."""
        return True
