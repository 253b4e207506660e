r"""Linear probes of a cell's state: ridge regression, logistic regression, and a classifier by the
nearest centre. Each is fitted on standardised states,
``value(e) = W (e - centre) / scale + b``, and given as weights on the states themselves.

Ridge minimises ``||y - Xw - b||^2 + lambda ||w||^2`` with lambda by leave-one-out error over a
grid, cells weighted alike or by a given share; logistic regression minimises the cross-entropy with
both classes of equal total weight plus ``||w||^2 / (2 C)``, C = 0.05 as in the published panel; the
nearest centre has the log posterior of Gaussians with one diagonal covariance and equal priors.
Fits run in the basis of the states' singular vectors, which changes nothing but the cost: there are
fewer cells than dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

C = 0.05
_LAMBDAS = np.logspace(-2, 5, 22)
_RIDGE_SHARE = 0.1  # of the pooled variance, added to each dimension's own


class Linear(NamedTuple):
    """Weights on raw states: ``e @ weights.T + bias``."""

    weights: np.ndarray  # [outputs, d]
    bias: np.ndarray  # [outputs]

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """Outputs [n, outputs] of states [n, d]."""
        return states @ self.weights.T + self.bias


def _standardised(
    x: np.ndarray, share: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre = x.mean(0) if share is None else share @ x
    scale = x.std(0) if share is None else np.sqrt(share @ (x - centre) ** 2)
    scale = np.where(scale > 1e-12 * max(1.0, float(np.abs(centre).max(initial=0))), scale, np.inf)
    return (x - centre) / scale, centre, scale


def _raw(weights: np.ndarray, bias: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> Linear:
    scaled = weights / scale
    return Linear(scaled, bias - scaled @ centre)


def fit_ridge(x: np.ndarray, y: np.ndarray, share: np.ndarray | None = None) -> Linear:
    """Ridge regression of y [n] on states x [n, d], lambda by leave-one-out error.

    Parameters
    ----------
    x, y
        States and values.
    share
        Weight of each cell, [n], of sum 1; without it all are weighted alike.
    """
    z, centre, scale = _standardised(x, share)
    share = np.full(len(y), 1 / len(y)) if share is None else share
    root = np.sqrt(share * len(y))  # 1 where all are weighted alike
    u, s, vt = np.linalg.svd(root[:, None] * z, full_matrices=False)
    mean = share @ y
    wanted = root * (y - mean)
    along = u.T @ wanted
    shrink = s[:, None] ** 2 / (s[:, None] ** 2 + _LAMBDAS)  # [components, lambdas]
    residual = wanted[:, None] - u @ (shrink * along[:, None])
    leverage = u**2 @ shrink + share[:, None]  # the intercept is fitted too
    error = ((residual / np.maximum(1 - leverage, 1e-9)) ** 2).mean(0)
    chosen = _LAMBDAS[int(np.argmin(error))]
    weights = vt.T @ (s / (s**2 + chosen) * along)
    return _raw(weights[None], np.array([mean]), centre, scale)


def fit_logistic(x: np.ndarray, y: np.ndarray, c: float = C) -> Linear:
    """Logistic regression of y [n] bool on states x [n, d]; the value is the log odds."""
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    z, centre, scale = _standardised(x)
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    design, sign = u * s, np.where(y, 1.0, -1.0)
    weight = np.where(y, 0.5 / max(y.sum(), 1), 0.5 / max((~y).sum(), 1)) * len(y)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ w[:-1] + w[-1])
        pull = -weight * sign * expit(-margin)
        value = -(weight * log_expit(margin)).sum() + (w[:-1] ** 2).sum() / (2 * c)
        return float(value), np.append(design.T @ pull + w[:-1] / c, pull.sum())

    found = minimize(loss, np.zeros(design.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return _raw((vt.T @ found[:-1])[None], found[-1:], centre, scale)


def fit_centres(x: np.ndarray, y: np.ndarray, classes: int) -> Linear:
    """Nearest centre of y [n] (class numbers) on states x [n, d]; the values are log posteriors up
    to a constant of the cell.
    """
    centre = np.stack([x[y == k].mean(0) for k in range(classes)])
    variance = ((x - centre[y]) ** 2).mean(0)
    variance = variance + _RIDGE_SHARE * max(float(variance.mean()), 1e-12)
    weights = centre / variance
    return Linear(weights, -0.5 * (centre * weights).sum(1))
