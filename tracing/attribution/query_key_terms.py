r"""Why a head looked where it looked: one attention score as a sum over pairs of what the two
positions hold.

The score before the softmax, and before any bound of it, is bilinear in the two normalised states,

    score_h(t, s) = (R_t (W_Q N_1(h(t)) + b_Q)) . (R_s (W_K N_1(h(s)) + b_K)) / sqrt(e) ,

R the rotation by position. With sigma of the norm held fixed on both sides each factor is a sum
over what the stream at its position holds,

    h(t) = embedding + sum over lower layers of features, error, decoder bias, skip and attention ,

and over beta_1 and b_Q or b_K, so the score is the sum of all products of a part of the query and a
part of the key. That is exact up to what is held fixed: sigma, which the parts change together. The
parts of attention are one for each layer; what they are made of is asked by `head_paths`. Patterns
are not scores: the softmax over all keys stands between.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.models.decoders.prenorm import Affine


class Held(NamedTuple):
    """One part of what a position holds at a layer's input."""

    kind: str  # embedding, feature, error, decoder bias, skip, attention, norm bias, own bias
    layer: int  # that wrote it; -1 of the embedding
    index: int  # feature; -1 of the others


class ScoreTerms(NamedTuple):
    """One score of one head, before its bound."""

    layer: int
    head: int
    query: int  # position that looks
    key: int  # position looked at
    query_parts: list[Held]
    key_parts: list[Held]
    terms: np.ndarray  # [query parts, key parts] float64; they add up to the score
    score: float  # in the clean pass
    weight: float  # attention that came of it

    @property
    def relative(self) -> float:
        """Difference of the sum of all terms and the score, over the sum of absolute terms."""
        return abs(float(self.terms.sum()) - self.score) / max(
            float(np.abs(self.terms).sum()), 1e-300
        )

    def strongest(self, count: int = 10) -> list[tuple[Held, Held, float]]:
        """The largest terms by absolute value: part of the query, part of the key, term."""
        flat = np.argsort(-np.abs(self.terms), axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(flat, self.terms.shape)
        return [
            (self.query_parts[i], self.key_parts[j], float(self.terms[i, j]))
            for i, j in zip(rows, columns, strict=True)
        ]


@torch.no_grad()
def held_parts(cell: FrozenCell, layer: int, position: int) -> tuple[list[Held], Tensor]:
    """What the input of a layer holds at a position: names, and vectors [n, d] that add up to it.

    Codes of 0 are left out.
    """
    at = slice(position, position + 1)
    names, vectors = [Held("embedding", -1, -1)], [cell.states(0)[at]]
    for l in range(layer):  # noqa: E741
        frozen, weights = cell.layers[l], cell.transcoders.get(l)
        after = cell.states(l + 1)[at]
        names.append(Held("error", l, -1))
        vectors.append(frozen.error[at])
        fed = frozen.error[at]
        if weights is not None:
            active = frozen.values[position] > 0
            indices = frozen.indices[position][active]
            rows = weights.decoder[indices] * frozen.values[position][active][:, None]
            names += [Held("feature", l, f) for f in indices.tolist()]
            names.append(Held("decoder bias", l, -1))
            vectors += [rows, weights.offset[None]]
            fed = fed + rows.sum(0, keepdim=True) + weights.offset
            if weights.skip is not None:
                names.append(Held("skip", l, -1))
                vectors.append(weights.skipped(cell.mlp_input(l, at)))
                fed = fed + vectors[-1]
        names.append(Held("attention", l, -1))
        vectors.append(after - frozen.states[at] - fed)
    return names, torch.cat(vectors)


def score_terms(cell: FrozenCell, layer: int, head: int, query: int, key: int) -> ScoreTerms:
    """Split one score into pairs of parts.

    Parameters
    ----------
    cell
        The cell.
    layer, head
        Which head.
    query, key
        The position that looks, and one that it sees.

    Raises
    ------
    UserError
        If there is no such head or position, or the query does not see the key.
    """
    model = cell.adapter
    places = torch.tensor([query, key])
    inside = 0 <= layer < cell.n_layers and 0 <= head < model.n_heads
    if not inside or not all(0 <= p < cell.length for p in (query, key)):
        raise UserError(
            f"no score of layer {layer}, head {head} from position {query} to {key}: there are"
            f" {cell.n_layers} layers, {model.n_heads} heads and {cell.length} positions",
            "all count from 0",
        )
    seen = model.sight(layer).visible(places[:1], places[1:])
    if seen is not None and not bool(seen.all()):
        raise UserError(
            f"position {query} does not see position {key} in layer {layer}",
            "give a key at or before the query, inside the window where the layer has one",
        )
    with torch.no_grad():
        return _score_terms(cell, layer, head, query, key)


def _score_terms(cell: FrozenCell, layer: int, head: int, query: int, key: int) -> ScoreTerms:
    model, w = cell.adapter, cell.adapter.layers[layer]
    shared = w.query.weight.shape[0] // w.key.weight.shape[0]
    asks, asked = _side(cell, layer, w.query, head, query)
    holds, held = _side(cell, layer, w.key, head // shared, key)
    terms = asked @ held.T * model.head_size**-0.5
    states = cell.states(layer)
    device = states.device
    q = model.project_query(layer, states[query][None], torch.tensor([query], device=device))
    k, _ = model.project_key_value(layer, states[key][None], torch.tensor([key], device=device))
    size = model.head_size
    first = q[0].unflatten(0, (-1, size))[head].cpu().double()
    second = k[0].unflatten(0, (-1, size))[head // shared].cpu().double()
    row = cell.pattern_rows(layer, torch.tensor([query], device=device))
    return ScoreTerms(
        layer,
        head,
        query,
        key,
        asks,
        holds,
        terms.cpu().double().numpy(),
        float(first @ second) * size**-0.5,
        float(row[0, head, key]),
    )


def _side(
    cell: FrozenCell, layer: int, projection: Affine, head: int, position: int
) -> tuple[list[Held], Tensor]:
    """Parts of one side, and what each gives of the head's query or key, rotated: [n, e]."""
    model, norm = cell.adapter, cell.adapter.layers[layer].norm_1
    names, vectors = held_parts(cell, layer, position)
    if norm.centred:
        vectors = vectors - vectors.mean(-1, keepdim=True)
    parts = vectors * norm.weight / cell.layers[layer].sigma_1[position]
    if norm.bias is not None:
        names = [*names, Held("norm bias", layer, -1)]
        parts = torch.cat([parts, norm.bias[None]])
    rows = slice(head * model.head_size, (head + 1) * model.head_size)
    found = parts @ projection.weight[rows].T
    if projection.bias is not None:
        names = [*names, Held("own bias", layer, -1)]
        found = torch.cat([found, projection.bias[rows][None]])
    places = torch.full((len(found),), position, device=found.device)
    return names, model.rotate(found, places)
