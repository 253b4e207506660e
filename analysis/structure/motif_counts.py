r"""Counts of small patterns of edges.

=============  ==========================================================================
convergence    A -> C <- B: pairs of sources of one target, ``sum_C k_in (k_in - 1) / 2``
divergence     A <- C -> B: pairs of targets of one source, ``sum_C k_out (k_out - 1) / 2``
feed-forward   A -> B -> C with A -> C; coherent where sign(A -> B) sign(B -> C) is that of
               A -> C, with +1 for support
bi-fan         A and B both have the targets C and D
=============  ==========================================================================

The loops run over paths of two edges; the patterns are never listed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.core.machine_code import machine_code


class Motifs(NamedTuple):
    """Numbers of patterns; `coherent` are those of `feed_forward` whose signs multiply."""

    feed_forward: int
    coherent: int
    bi_fan: int


def feed_forward_loop(
    start: np.ndarray, target: np.ndarray, sign: np.ndarray, mark: np.ndarray, found: np.ndarray
) -> None:
    """Count feed-forward loops, and coherent ones.

    Parameters
    ----------
    start
        First edge of every feature as a source, and the number of edges, int64 (features + 1,).
    target
        Targets, those of one source together, int64 (edges,).
    sign
        -1 where an edge suppresses, 1 where it supports, int64 (edges,).
    mark
        Scratch of zeros, int64 (features,); zeros again afterwards.
    found
        Receives both numbers, int64 (2,).
    """
    for a in range(start.size - 1):
        for i in range(start[a], start[a + 1]):
            mark[target[i]] = sign[i]
        for i in range(start[a], start[a + 1]):
            b = target[i]
            for j in range(start[b], start[b + 1]):
                if mark[target[j]] != 0:
                    found[0] += 1
                    if mark[target[j]] == sign[i] * sign[j]:
                        found[1] += 1
        for i in range(start[a], start[a + 1]):
            mark[target[i]] = 0


def bi_fan_loop(
    start: np.ndarray,
    target: np.ndarray,
    into: np.ndarray,
    origin: np.ndarray,
    shared: np.ndarray,
    touched: np.ndarray,
    found: np.ndarray,
) -> None:
    """Count pairs of shared targets over all pairs of sources.

    Parameters
    ----------
    start, target
        As for `feed_forward_loop`.
    into, origin
        The same with edges turned round: the sources of every target, ascending.
    shared, touched
        Scratch, int64 (features,); `shared` zeros, and zeros again afterwards.
    found
        Receives the number, int64 (1,).
    """
    for a in range(start.size - 1):
        many = 0
        for i in range(start[a], start[a + 1]):
            c = target[i]
            for j in range(into[c], into[c + 1]):
                b = origin[j]
                if b >= a:
                    break
                if shared[b] == 0:
                    touched[many] = b
                    many += 1
                shared[b] += 1
        for i in range(many):
            b = touched[i]
            found[0] += shared[b] * (shared[b] - 1) // 2
            shared[b] = 0


def count_motifs(source: np.ndarray, target: np.ndarray, sign: np.ndarray, features: int) -> Motifs:
    """Count feed-forward loops and bi-fans.

    Parameters
    ----------
    source, target
        Positions of the features, without repetition, (edges,).
    sign
        -1 for every edge that suppresses, 1 for every one that supports, (edges,).
    features
        Number of features.
    """
    order = np.argsort(source, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=features))])
    ahead, signs = np.ascontiguousarray(target[order]), sign[order].astype(np.int64)
    both, fans = np.zeros(2, np.int64), np.zeros(1, np.int64)
    scratch = np.zeros(features, np.int64)
    machine_code(feed_forward_loop, "void(i8[::1], i8[::1], i8[::1], i8[::1], i8[::1])")(
        start, ahead, signs, scratch, both
    )
    back = np.argsort(ahead, kind="stable")
    into = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=features))])
    machine_code(
        bi_fan_loop, "void(i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1])"
    )(start, ahead, into, source[order][back], scratch, np.zeros(features, np.int64), fans)
    return Motifs(int(both[0]), int(both[1]), int(fans[0]))


def pairs_of(degree: np.ndarray) -> np.ndarray:
    """Pairs of edges that meet, ``sum k (k - 1) / 2``, of degrees (..., features)."""
    degree = degree.astype(np.int64)
    return (degree * (degree - 1) // 2).sum(-1)
