"""Directions of responses: counts to changes as by hand, metrics as their definitions, a planted
screen is found and a shuffled one is not, and rules never see the knock-out that they foretell.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse

from scircuit.analysis.gene_predictions.screen_baselines import baseline_signs
from scircuit.analysis.gene_predictions.screen_changes import ScreenChanges, screen_changes
from scircuit.analysis.gene_predictions.screen_validation import require_overlap, validate
from scircuit.analysis.gene_predictions.sign_scores import balanced_accuracy, confusion, matthews
from scircuit.core.errors import UserError


def counts_of(seed=0, cells=240, genes=12):
    rng = np.random.default_rng(seed)
    labels = np.array(["NT", "G0", "g1", "few"])[rng.choice(4, cells, p=[0.5, 0.24, 0.24, 0.02])]
    rate = np.tile(np.linspace(0.4, 3, genes), (cells, 1))
    rate[labels == "G0", 5] *= 3
    rate[labels == "g1", 6] /= 4
    counts = rng.poisson(rate)
    names = [f"G{i}" for i in range(genes)]
    return sparse.csr_matrix(counts), counts.sum(axis=1) + 2, names, labels


def test_changes_are_those_of_the_definition():
    counts, totals, names, labels = counts_of()
    found = screen_changes(counts, totals, names, labels, "NT", pseudo_count=0.5)
    assert found.knocked == ("G0", "G1")
    x = counts.toarray() / totals[:, None] * 1e4
    for i, label in enumerate(("G0", "g1")):
        a, b = x[labels == label], x[labels == "NT"]
        change = np.log2(a.mean(0) + 0.5) - np.log2(b.mean(0) + 0.5)
        np.testing.assert_allclose(found.change[i], change)
        error = [
            np.hypot(*(v.std(ddof=1) / np.sqrt(len(v)) / (v.mean() + 0.5) for v in pair))
            for pair in zip(a.T, b.T, strict=True)
        ]
        np.testing.assert_allclose(found.error[i], np.array(error) / np.log(2))
        np.testing.assert_array_equal(np.isnan(found.q[i]), np.arange(12) == i)
        control = np.log1p(x[labels == "NT"])
        np.testing.assert_allclose(found.together[i], np.corrcoef(control.T)[i], atol=1e-9)
    assert found.responding(0.05)[0, 5] and found.responding(0.05)[1, 6]


def test_error_covers_the_true_change():
    """The 95 % interval holds the change of the true means in 95 % of screens (about 1 % allowed
    for the logarithm)."""
    inside = []
    for seed in range(60):
        rng = np.random.default_rng([seed, 9])
        labels = np.repeat(["NT", "G0"], [300, 80])
        counts = rng.poisson(np.where(labels[:, None] == "G0", 1.0, 0.5) * np.ones(30))
        found = screen_changes(
            sparse.csr_matrix(counts), np.full(380, 1e4), [f"X{i}" for i in range(30)], labels, "NT"
        )
        true = np.log2(2.0) - np.log2(1.5)
        inside.append(np.abs(found.change[0] - true) <= 1.96 * found.error[0])
    assert 0.93 <= np.mean(inside) <= 0.97  # 1,800 intervals: 0.95 +- 4 standard errors


@pytest.mark.parametrize(
    ("control", "least", "words"),
    [
        ("ctrl", 30, "labelled 'ctrl'.*NT"),
        ("NT", 500, "expected 500 control"),
        ("NT", 100, "no knock-out"),
    ],
)
def test_screens_that_cannot_be_read_are_refused(control, least, words):
    counts, totals, names, labels = counts_of()
    with pytest.raises(UserError, match=words):
        screen_changes(counts, totals, names, labels, control, min_cells=least)


def test_scores_are_those_of_their_definitions():
    """MCC is the correlation of two signs; balanced accuracy the mean of the two recalls."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        observed, predicted = rng.choice([-1, 1], (2, 1, 40))
        counts = confusion(predicted, observed, np.ones((1, 40), bool))[0]
        agree = (observed == predicted)[0]
        recalls = [agree[observed[0] == sign].mean() for sign in (1, -1)]
        assert balanced_accuracy(counts) == pytest.approx(np.mean(recalls))
        assert matthews(counts) == pytest.approx(np.corrcoef(observed[0], predicted[0])[0, 1])


def screen(seed, effect, knocked=12, genes=60, shuffled=False, common=0.0):
    """A screen whose changes follow a circuit: -effect times the score, plus a usual direction of
    every gene and noise."""
    rng = np.random.default_rng([seed, 3])
    scores = rng.normal(size=(knocked, genes))
    scores[rng.random(scores.shape) < 0.3] = np.nan
    drive = scores[rng.permutation(knocked)] if shuffled else scores
    usual = rng.normal(size=genes)
    change = -effect * np.nan_to_num(drive) + common * usual + rng.normal(size=scores.shape)
    q = np.where(np.abs(change) > 1.0, 0.01, 0.5)
    names = tuple(f"K{i}" for i in range(knocked))
    measured = tuple(f"T{i}" for i in range(genes))
    mean = np.exp(change)
    return scores, ScreenChanges(
        names, measured, np.full(knocked, 50), 200, change, np.ones_like(change), q,
        mean, np.ones(genes), np.full(change.shape, np.nan), 1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "common", "found", "better"),
    [
        (1.0, 0.5, (20, 20), (18, 20)),
        (0.3, 0.0, (19, 20), (14, 16)),
        (1.0, 1.0, (20, 20), (1, 4)),
        (1.0, 1.5, (20, 20), (0, 0)),
    ],
)
def test_what_is_found_of_a_planted_circuit(effect, common, found, better):
    """Of 20 screens those found at p <= 0.05, and those whose interval is above every simple rule;
    effects and usual directions of genes in units of the noise. Exchanged knock-outs find the
    circuit at any usual direction. That it is better than every rule shows with weak usual
    directions only: in 19 of 20 at half the noise, 15 without any but with effects of 0.3, 2 where
    they are as large as the effects, and none beyond.
    """
    runs = [validate(*screen(s, effect, common=common), draws=200, seed=s) for s in range(20)]
    assert all(f.judged for f in runs)
    assert found[0] <= sum(f.p <= 0.05 for f in runs) <= found[1]
    above = sum((f.frame["difference_low"][1:] > 0).all() for f in runs)
    assert better[0] <= above <= better[1], above


@pytest.mark.parametrize("common", [0.0, 1.5])
def test_a_shuffled_screen_is_found_at_the_nominal_rate(common):
    """Whatever genes have in common: 5 % of 100 screens, 1 to 12 (P outside < 0.01)."""
    hits = sum(
        validate(*screen(s, 0.7, shuffled=True, common=common), draws=99, seed=s).p <= 0.05
        for s in range(100)
    )
    assert 1 <= hits <= 12, hits


def test_a_circuit_that_only_knows_usual_directions_does_not_beat_them():
    _, changes = screen(1, 0.0, common=2.0)
    usual = -np.sign(changes.change.mean(axis=0))
    found = validate(np.tile(usual, (12, 1)), changes, draws=400)
    row = found.frame.set_index("rule").loc["target_direction"]
    assert found.frame["balanced_accuracy"][0] > 0.8
    # unlike the rule, this circuit was made from the held-out knock-out too
    assert row["difference_low"] <= 0.05 and found.p > 0.5


def test_rules_do_not_see_the_knock_out_that_they_foretell():
    _, changes = screen(4, 1.0)
    responding = changes.responding(0.05)
    before = baseline_signs(changes, responding)
    changes.change[3] *= -1
    changes.mean[3] = 7.0
    after = baseline_signs(changes, responding)
    for name in ("majority", "target_direction", "perturbed_mean"):
        np.testing.assert_array_equal(before[name][3], after[name][3])
    assert (before["target_direction"] != after["target_direction"]).any()


def test_majority_has_balanced_accuracy_one_half_of_all_pairs_of_one_sign():
    scores, changes = screen(2, 0.5)
    row = validate(scores, changes, draws=50).frame.set_index("rule").loc["majority"]
    assert row["balanced_accuracy"] == pytest.approx(0.5, abs=0.1)


def test_nothing_responds_or_one_sign_only():
    scores, changes = screen(3, 1.0)
    changes.q[:] = 0.9
    found = validate(scores, changes, draws=20)
    assert not found.judged and found.pairs == 0 and np.isnan(found.p)
    changes.q[:] = 0.01
    changes.change[:] = -np.abs(changes.change)
    found = validate(scores, changes, draws=20)
    assert not found.judged and np.isnan(found.p)


def test_too_few_knock_outs_among_the_genes_are_refused():
    _, changes = screen(3, 1.0)
    assert require_overlap({"K1", "K2", "K3"}, changes) == ("K1", "K2", "K3")
    with pytest.raises(UserError, match="2 of the 12 knocked-out genes"):
        require_overlap({"K1", "K2"}, changes)


def rare_rises(seed):
    """Three knock-outs of nine genes; a single target rises, and only the circuit of the first
    knock-out says something about it. That circuit says nothing that is right."""
    rng = np.random.default_rng([seed, 8])
    scores, changes = screen(seed, 0.0, knocked=3, genes=9)
    changes.change[:] = -np.abs(changes.change) - 0.1
    changes.change[0, 0] = 1.0
    changes.q[:] = 0.01
    scores[:] = rng.choice([-1.0, 1.0], scores.shape)
    scores[1:, 0] = np.nan
    return scores, changes


def test_draws_that_judge_one_direction_only_do_not_count():
    """Of three knock-outs the rise is judged in two of six orders, those that leave the first in
    place: p is over them. Counted as if they were below, it was a third of that."""
    scores, changes = rare_rises(0)
    found = validate(scores, changes, draws=600)
    assert 140 < found.draws < 260  # 200 +- 5 standard errors
    circuit, observed = -np.sign(np.nan_to_num(scores)), np.sign(changes.change)
    known = [order for order in itertools.permutations(range(3)) if order[0] == 0]

    def value(order):
        said = np.nan_to_num(scores)[list(order)] != 0
        return float(balanced_accuracy(confusion(circuit[list(order)], observed, said).sum(axis=0)))

    hits = [value(order) >= value((0, 1, 2)) - 1e-12 for order in known]
    assert found.p == pytest.approx(np.mean(hits), abs=0.15)
    assert found.p >= 0.3


def test_screens_with_rare_rises_have_no_small_p():
    """At most one of two orders is as good: p is not below 0.4, and 0.05 never."""
    assert min(validate(*rare_rises(s), draws=200, seed=s).p for s in range(20)) > 0.4
