r"""State signatures, probes and marker sets from cells that are not steered.

Early and late cells are the lower and upper third of pseudotime (33.3 and 66.7 percentiles, as
published). All probes are fitted on the mean last-layer state over a cell's gene positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.interventions.steering.cross_validation import quality
from scircuit.tracing.interventions.steering.linear_probes import (
    fit_centres,
    fit_logistic,
    fit_ridge,
)
from scircuit.tracing.interventions.steering.steering_readouts import (
    Markers,
    Probe,
    Readout,
    StateShift,
)

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

FEWEST_CELLS = 20  # of a probe
FEWEST_OF_CLASS = 5
TERTILES = (33.3, 66.7)


class ProbeStates(NamedTuple):
    """Clean passes of cells that are not steered, float64."""

    states: np.ndarray  # [n, d] mean last-layer state over gene positions
    logits: np.ndarray  # [n, V] mean logits over gene positions
    activation: Mapping[int, np.ndarray]  # layer -> [n, F] mean activation over gene positions


def read_probe_cells(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    progress: Callable[[int], None] | None = None,
) -> ProbeStates:
    """Clean passes of the probe cells, with the activations at the layers of `dictionaries`."""
    last = adapter.n_layers - 1
    used = {t: d.to(adapter.device) for t, d in dictionaries.items()}

    def one(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
        cell = clean_cell(adapter, used, tokens, [last])
        rows = cell.states[last][cell.genes]
        logits = adapter.mean_logits(rows[None])[0]
        active = {}
        for t, firing in cell.firing.items():
            size = np.diff(firing.start)
            total = np.bincount(
                np.repeat(np.arange(len(size)), size),
                weights=firing.values.double().cpu().numpy(),
                minlength=len(size),
            )
            active[t] = (total / max(len(cell.genes), 1)).astype(np.float32)
        return rows.double().mean(0).cpu().numpy(), logits.double().cpu().numpy(), active

    found = []
    for one_cell in run_jobs([partial(one, tokens) for tokens in cells], adapter.device):
        found.append(one_cell)
        if progress:
            progress(len(found))
    return ProbeStates(
        np.stack([f[0] for f in found]),
        np.stack([f[1] for f in found]),
        {t: np.stack([f[2][t] for f in found]) for t in used},
    )


def require_pseudotime(pseudotime: np.ndarray) -> None:
    """Refuse pseudotime from which nothing can be learned.

    Raises
    ------
    UserError
        If too few cells have one, it is constant, or ties leave no early or late cells.
    """
    known = pseudotime[np.isfinite(pseudotime)]
    if len(known) < FEWEST_CELLS:
        raise UserError(
            f"{len(known)} probe cells have a pseudotime; expected {FEWEST_CELLS} or more",
            "give more --probe-cells, or another --pseudotime column",
        )
    if np.ptp(known) == 0:
        raise UserError(
            f"the pseudotime is {known[0]:g} in all {len(known)} probe cells; expected values that"
            " differ",
            "give another --pseudotime column",
        )
    early, late = early_late(pseudotime)
    if min(early.sum(), late.sum()) < FEWEST_OF_CLASS or (early & late).any():
        raise UserError(
            f"pseudotime gives {int((early & ~late).sum())} early and {int((late & ~early).sum())}"
            f" late probe cells because of ties; expected {FEWEST_OF_CLASS} or more of each",
            "give a --pseudotime column with more distinct values",
        )


def early_late(pseudotime: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the cells in the lower and in the upper third of pseudotime."""
    low, high = np.nanpercentile(pseudotime, TERTILES)
    with np.errstate(invalid="ignore"):
        return pseudotime <= low, pseudotime >= high


def require_classes(labels: np.ndarray, names: Sequence[str], column: str) -> None:
    """Refuse classes with too few cells: `labels` [n] are class numbers, -1 for none.

    Raises
    ------
    UserError
        If there are fewer than two classes, or one has too few cells.
    """
    counts = {name: int((labels == k).sum()) for k, name in enumerate(names)}
    told = ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"
    if (
        len(names) < 2
        or min(counts.values()) < FEWEST_OF_CLASS
        or sum(counts.values()) < FEWEST_CELLS
    ):
        raise UserError(
            f"probe cells by {column}: {told}; expected 2 classes or more with {FEWEST_OF_CLASS}"
            f" cells each, and {FEWEST_CELLS} cells together",
            "give more --probe-cells, or other values of the column",
        )


def signature(
    name: str, logits: np.ndarray, first: np.ndarray, second: np.ndarray, doc: str
) -> Readout:
    """State shift between the mean logits of two sets of probe cells (masks [n])."""
    return StateShift(
        name=name,
        unit="cosine",
        kind="state shift",
        doc=doc,
        first=logits[first].mean(0),
        second=logits[second].mean(0),
    )


def pseudotime_readouts(
    probe: ProbeStates, pseudotime: np.ndarray, groups: np.ndarray | None, seed: int
) -> list[Readout]:
    """State shift from early to late cells, and the ridge probe."""
    early, late = early_late(pseudotime)
    known = np.isfinite(pseudotime)
    x, y = probe.states[known], pseudotime[known]
    fitted = quality(fit_ridge, x, y, "R2", None if groups is None else groups[known], seed)
    return [
        signature(
            "state_shift", probe.logits, early, late, "shift from early towards late probe cells"
        ),
        Probe(
            name="pseudotime",
            unit="pseudotime",
            kind="pseudotime",
            doc="ridge probe of pseudotime on the mean last-layer state",
            quality=fitted,
            linear=fit_ridge(x, y),
        ),
    ]


def fate_readouts(
    probe: ProbeStates,
    labels: np.ndarray,
    names: tuple[str, str],
    column: str,
    groups: np.ndarray | None,
    seed: int,
) -> list[Readout]:
    """State shift from the first to the second state, and the logistic probe of the second."""
    known = labels >= 0
    x, y = probe.states[known], labels[known] == 1
    fitted = quality(fit_logistic, x, y, "AUC", None if groups is None else groups[known], seed)
    told = f"{column}: {names[0]} to {names[1]}"
    return [
        signature(
            f"state_shift:{column}", probe.logits, labels == 0, labels == 1, f"shift of {told}"
        ),
        Probe(
            name=f"fate:{names[1]}",
            unit="probability",
            kind="fate",
            doc=f"logistic probe of {told}",
            quality=fitted,
            linear=fit_logistic(x, y),
        ),
    ]


def type_readouts(
    probe: ProbeStates,
    labels: np.ndarray,
    names: Sequence[str],
    column: str,
    groups: np.ndarray | None,
    seed: int,
) -> list[Readout]:
    """Probability of every type and of the cell's own, by the nearest centre."""
    known = labels >= 0
    x, y = probe.states[known], labels[known]

    def fit(a: np.ndarray, b: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return fit_centres(a, b, len(names))

    held = None if groups is None else groups[known]
    fitted = quality(fit, x, y, "balanced accuracy", held, seed)
    linear = fit_centres(x, y, len(names))
    doc = f"nearest centre of {len(names)} values of {column}: probability of "
    called = [("own_type", "the clean cell's own", -1)]
    called += [(f"type:{name}", name, k) for k, name in enumerate(names)]
    return [
        Probe(
            name=name,
            unit="probability",
            kind="type",
            doc=f"{doc}{which}",
            quality=fitted,
            linear=linear,
            column=k,
        )
        for name, which, k in called
    ]


def marker_readout(adapter: Adapter, up: Sequence[str], down: Sequence[str]) -> Readout:
    """Marker score of symbols or Ensembl ids.

    Raises
    ------
    UserError
        If none of a set is in the model's vocabulary, or a gene is in both sets.
    """
    token = {}
    vocabulary = adapter.vocabulary
    for t, gene in enumerate(vocabulary.gene_of_token):
        if gene and t not in adapter.special:
            token.setdefault(str(gene).upper(), t)
            token.setdefault(vocabulary.symbol(str(gene)).upper(), t)
    ids = []
    for what, given in (("up", up), ("down", down)):
        known = sorted({token[g.upper()] for g in given if g.upper() in token})
        if given and not known:
            raise UserError(
                f"none of the {len(given)} marker genes {what} is in the vocabulary of"
                f" {adapter.name}: {', '.join(given[:5])}",
                "give symbols or Ensembl ids of the model's genes",
            )
        ids.append(np.array(known, dtype=np.int64))
    both = np.intersect1d(*ids)
    if len(both) or not len(ids[0]):
        raise UserError(
            f"{len(ids[0])} marker genes up, {len(ids[1])} down, {len(both)} of them in both;"
            " expected at least 1 up, and none in both",
            "correct the marker sets",
        )
    doc = (
        f"mean logit change of {len(ids[0])} of {len(set(up))} marker genes up, minus that of"
        f" {len(ids[1])} of {len(set(down))} down"
    )
    return Markers(name="markers", unit="logits", kind="markers", doc=doc, up=ids[0], down=ids[1])
