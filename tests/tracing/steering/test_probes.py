"""Probes against plain references, their cross-validation, and real trajectories."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.interventions.steering.cross_validation import auc, folds, quality, r2
from scircuit.tracing.interventions.steering.linear_probes import (
    _LAMBDAS,
    C,
    fit_logistic,
    fit_ridge,
)
from scircuit.tracing.interventions.steering.probe_readouts import (
    early_late,
    require_classes,
    require_pseudotime,
)


def data(n=40, d=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 5, d) + rng.normal(size=d)
    w = rng.normal(size=d) * (rng.random(d) < 0.1)
    return x, x @ w + rng.normal(size=n)


def standard(x):
    return (x - x.mean(0)) / x.std(0)


def plain_ridge(x, y, value):
    z = standard(x)
    w = np.linalg.solve(z.T @ z + value * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return z @ w + y.mean()


def test_ridge_equals_the_normal_equations_at_the_best_of_the_grid():
    x, y = data()
    found = fit_ridge(x, y)(x)[:, 0]
    near = [np.abs(plain_ridge(x, y, v) - found).max() for v in _LAMBDAS]
    assert min(near) < 1e-8 and sorted(near)[1] > 1e-3
    z, errors = standard(x), []
    for value in _LAMBDAS:  # leave-one-out by refitting, intercept included
        out = []
        for i in range(len(y)):
            k = np.arange(len(y)) != i
            centre, mean = z[k].mean(0), y[k].mean()
            a = z[k] - centre
            w = np.linalg.solve(a.T @ a + value * np.eye(a.shape[1]), a.T @ (y[k] - mean))
            out.append(y[i] - mean - (z[i] - centre) @ w)
        errors.append(np.mean(np.square(out)))
    assert np.argmin(near) == np.argmin(errors)


def test_weighted_ridge_is_that_of_weighted_least_squares(monkeypatch):
    monkeypatch.setattr("scircuit.tracing.interventions.steering.linear_probes._LAMBDAS", [0.5])
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 4)), np.where(rng.random(30) < 0.4, 1.0, -1.0)
    share = np.where(y > 0, 0.5 / (y > 0).sum(), 0.5 / (y < 0).sum())
    found = fit_ridge(x, y, share)
    centre = share @ x
    scale = np.sqrt(share @ (x - centre) ** 2)
    z = (x - centre) / scale
    plain = np.linalg.solve((z.T * share) @ z + 0.5 / 30 * np.eye(4), (z.T * share) @ y)
    np.testing.assert_allclose(found.weights[0], plain / scale, rtol=1e-9)
    assert found.bias[0] == pytest.approx(-centre @ found.weights[0])


def test_a_constant_dimension_has_no_weight():
    x, y = data()
    x[:, 3] = 7.0
    for fitted in (fit_ridge(x, y), fit_logistic(x, y > np.median(y))):
        assert fitted.weights[0, 3] == 0 and np.isfinite(fitted.weights).all()


def test_logistic_regression_is_at_the_minimum_of_its_loss():
    x, y = data(seed=2)
    y = y > np.quantile(y, 0.8)
    fitted, z, s = fit_logistic(x, y), standard(x), x.std(0)
    w = fitted.weights[0] * s
    odds = fitted(x)[:, 0]
    p = 1 / (1 + np.exp(-odds))
    weight = len(y) / 2 * np.where(y, 1 / y.sum(), 1 / (~y).sum())
    # the optimiser stops at a gradient of 1e-5 of a loss of about 20
    np.testing.assert_allclose(z.T @ (weight * (p - y)) + w / C, 0, atol=2e-2)
    assert abs((weight * (p - y)).sum()) < 2e-2
    assert np.abs(w).max() > 0.01


def test_the_area_under_the_curve_and_r2_are_what_they_say():
    rng = np.random.default_rng(0)
    y, score = rng.random(30) < 0.4, np.round(rng.normal(size=30), 1)
    pairs = [(a > b) + 0.5 * (a == b) for a in score[y] for b in score[~y]]
    whole = np.zeros(30, dtype=int)
    assert auc(y, score[:, None], whole) == pytest.approx(np.mean(pairs))
    assert auc(np.ones(30, bool), score[:, None], whole) is None
    fold = np.arange(30) % 3
    value = rng.normal(size=30)
    base = np.array([value[fold != k].mean() for k in fold])
    guess = value + 0.3
    wanted = 1 - 30 * 0.09 / ((value - base) ** 2).sum()
    assert r2(value, guess[:, None], fold) == pytest.approx(wanted)
    assert r2(np.ones(30), guess[:, None], fold) is None


def test_groups_are_held_out_whole():
    groups = np.repeat(["a", "b", "c", "d", "e", "f", "g"], 5)
    fold = folds(35, groups, 0)
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups)) and set(fold) == set(range(5))
    alone = folds(35, None, 0)
    assert sorted(np.bincount(alone)) == [7] * 5
    with pytest.raises(UserError, match="have 1 group \\(a\\)"):
        folds(5, np.array(["a"] * 5), 0)


def test_what_donors_share_is_no_accuracy_on_held_out_donors():
    """Each donor has its own state and its own label: cells of a donor give each other away."""
    rng = np.random.default_rng(1)
    donors = np.repeat(np.arange(24), 10)
    x = 3 * rng.normal(size=(24, 30))[donors] + rng.normal(size=(240, 30))
    y = (rng.permutation(24) < 12)[donors]
    cells = quality(fit_logistic, x, y, "AUC", None, 0, draws=5)
    held = quality(fit_logistic, x, y, "AUC", donors.astype(str), 0, draws=5)
    assert cells.value is not None and held.value is not None
    assert cells.value > 0.95 and held.value < 0.7 and (cells.groups, held.groups) == (0, 24)


def test_planted_signal_is_told_from_shuffled_labels_and_noise_is_not():
    found, false = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(60, 15))
        y = x[:, 0] + 0.5 * rng.normal(size=60)
        found += quality(fit_ridge, x, y, "R2", None, seed).p <= 0.05
        false += quality(fit_ridge, x, rng.normal(size=60), "R2", None, seed).p <= 0.05
    assert found >= 19  # power
    assert false <= 4  # 1 of 20 expected by chance; 5 or more have probability 0.003


def test_shuffled_baselines_of_several_classes():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 20)) + 3 * np.eye(3, 20)[y]
    from scircuit.tracing.interventions.steering.linear_probes import fit_centres

    made = quality(lambda a, b: fit_centres(a, b, 3), x, y, "balanced accuracy", None, 0)
    assert made.value > 0.9 and made.baseline == pytest.approx(1 / 3, abs=0.08)
    assert made.p == pytest.approx(1 / 21)


def test_probe_cells_that_do_not_suffice_are_refused_with_numbers():
    nan = np.full(15, np.nan)
    for pseudotime, message in (
        (np.r_[np.arange(15.0), nan], "15 probe cells have a pseudotime; expected 20"),
        (np.full(30, 2.5), "the pseudotime is 2.5 in all 30"),
        (np.r_[np.zeros(27), 1, 2, 3], "because of ties"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            require_pseudotime(pseudotime)
        assert caught.value.fix
    require_pseudotime(np.r_[np.arange(40.0), nan])
    early, late = early_late(np.r_[np.arange(30.0), nan])
    assert early.sum() == late.sum() == 10 and not early[30:].any() and not late[30:].any()
    labels = np.r_[np.zeros(18, int), np.ones(4, int), -np.ones(9, int)]
    with pytest.raises(UserError, match="by fate: A 18, B 4; expected"):
        require_classes(labels, ["A", "B"], "fate")
    with pytest.raises(UserError, match="by fate: A 18"):
        require_classes(labels[:18], ["A"], "fate")
    require_classes(np.r_[labels, 1, 1], ["A", "B"], "fate")


def test_real_marrow_trajectory(shared_data):
    """CD34+ marrow of Palantir: 12 imputed markers tell Monocle's pseudotime and state."""
    cells = anndata.read_h5ad(shared_data / "cells" / "palantir_cd34_markers_pseudotime.h5ad")
    rows = np.sort(np.random.default_rng(0).permutation(len(cells))[:400])
    x = np.asarray(cells.X[rows], dtype=np.float64)
    time = cells.obs["monocle2_pseudotime"].to_numpy(float)[rows]
    made = quality(fit_ridge, x, time, "R2", None, 0)
    assert made.value > 0.5 and abs(made.baseline) < 0.1 and made.p == pytest.approx(1 / 21)
    # MPO rises with pseudotime and CD34 falls
    early, late = early_late(time)
    rise = x[late].mean(0) - x[early].mean(0)
    genes = list(cells.var_names)
    assert rise[genes.index("MPO")] > 0 > rise[genes.index("CD34")]
    state = cells.obs["monocle2_state"].astype(str).to_numpy()[rows]
    chosen = np.isin(state, ["1", "7"])  # the latest and the earliest
    fate = quality(fit_logistic, x[chosen], state[chosen] == "1", "AUC", None, 0)
    assert fate.value > 0.9 and fate.baseline == pytest.approx(0.5, abs=0.08)


def test_simulated_myeloid_differentiation(shared_data):
    """krumsiek11: time is known by construction; states before and after branching differ."""
    lines = (shared_data / "cells" / "krumsiek11.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    values = []
    for row in rows:
        try:
            values.append([float(v) for v in row])
        except ValueError:
            continue
    table = np.array(values)
    time, x = table[:, 0], table[:, 1:]
    assert x.shape[1] == 11 and np.ptp(time) > 100
    made = quality(fit_ridge, x, time, "R2", None, 0)
    assert made.value > 0.3 and made.p == pytest.approx(1 / 21)
