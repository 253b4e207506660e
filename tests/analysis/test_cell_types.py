"""Cell types and tissues: both tests against plain ones, their behaviour under the null, and what
cannot be tested.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scircuit.analysis.annotation.cell_type_tests import one_sided
from scircuit.analysis.annotation.cell_types import (
    Activations,
    cell_type_tables,
    donor_column,
    mean_activations,
)
from scircuit.core.address import parse
from scircuit.core.errors import UserError
from scircuit.tracing.statistics.sign_flip import sign_flip_p


def address(layer, index):
    return f"m/s/L{layer:02d}/F{index:04d}"


def run(activations, obs, columns=("cell_type",), donor="", **options):
    given = {"CellType": list(columns)} if not isinstance(columns, dict) else columns
    return cell_type_tables(
        activations, obs, given, donor, address, run="r1", sign_flip=sign_flip_p, **options
    )


def dense(values):
    values = np.asarray(values, dtype=float)
    return Activations(
        sparse.csr_matrix(values), np.zeros(values.shape[1], np.int64), np.arange(values.shape[1])
    )


def small(seed=0, donors=7, features=12, cells=160):
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "cell_type": rng.choice(["T", "B", "NK"], cells),
            "donor": rng.choice([f"d{i}" for i in range(donors)], cells),
        }
    )
    values = rng.gamma(1.0, 1.0, (cells, features)) * (rng.random((cells, features)) < 0.6)
    return dense(np.round(values, 1)), obs


def flip_oracle(differences):
    """Share of all patterns of signs with a sum of at least the observed one."""
    differences = np.asarray(differences)
    sums = np.array(
        [
            np.dot(signs, differences)
            for signs in itertools.product([1, -1], repeat=len(differences))
        ]
    )
    return float((sums >= differences.sum() - 1e-12 * np.abs(differences).sum()).mean())


def donor_oracle(activations, obs, feature, kind):
    values = np.asarray(activations.mean.todense())[:, feature]
    differences = []
    for donor in sorted(obs["donor"].unique()):
        of = (obs["donor"] == donor).to_numpy()
        inside, outside = (
            of & (obs["cell_type"] == kind).to_numpy(),
            of & (obs["cell_type"] != kind).to_numpy(),
        )
        if inside.sum() >= 3 and outside.sum() >= 3:
            differences.append(values[inside].mean() - values[outside].mean())
    return np.array(differences)


def permuted_oracle(activations, obs, feature, kind, rng, draws=4000):
    """Share of permutations of the labels within the donors whose sum of differences is at least
    the observed one.
    """
    values = np.asarray(activations.mean.todense())[:, feature]
    observed, sums = 0.0, np.zeros(draws)
    for donor in sorted(obs["donor"].unique()):
        of = (obs["donor"] == donor).to_numpy()
        x, label = values[of], (obs["cell_type"][of] == kind).to_numpy()
        n, m = label.sum(), (~label).sum()
        if n < 3 or m < 3:
            continue
        observed += x[label].mean() - x[~label].mean()
        chosen = np.argsort(rng.random((draws, x.size)), axis=1)[:, :n]
        inside = x[chosen].sum(axis=1)
        sums += inside / n - (x.sum() - inside) / m
    return float((1 + (sums >= observed - 1e-9).sum()) / (1 + draws))


def test_donor_test_equals_all_sign_patterns_written_out():
    activations, obs = small()
    frame = run(activations, obs, donor="donor").frame
    assert len(frame) == 12 * 3
    falling = by_signs = 0
    rng = np.random.default_rng(5)
    for row in frame.itertuples():
        differences = donor_oracle(activations, obs, row.index, row.type)
        assert row.donors == len(differences)
        assert row.difference == pytest.approx(differences.mean(), abs=1e-12)
        if differences.sum() > 0:
            flipped = flip_oracle(differences)
            permuted = permuted_oracle(activations, obs, row.index, row.type, rng)
            if row.p == pytest.approx(flipped, rel=1e-12):
                assert permuted <= flipped + 0.03
                by_signs += 1
            else:
                assert row.p > flipped
                assert row.p == pytest.approx(permuted, abs=0.03)
        else:
            falling += 1
            assert row.p == 1
            assert flip_oracle(differences) >= 0.5
    assert 0 < falling < 36 and by_signs >= 5


def test_cell_test_equals_mann_whitney():
    activations, obs = small(1)
    obs.loc[5:9, "cell_type"] = None
    result = run(activations, obs)
    values = np.asarray(activations.mean.todense())
    for row in result.frame.itertuples():
        inside, named = (
            (obs["cell_type"] == row.type).to_numpy(),
            obs["cell_type"].notna().to_numpy(),
        )
        x, y = values[inside, row.index], values[named & ~inside, row.index]
        expected = stats.mannwhitneyu(
            x, y, alternative="greater", method="asymptotic", use_continuity=True
        )
        assert row.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert row.difference == pytest.approx(x.mean() - y.mean(), abs=1e-12)
    assert set(result.frame["donors"]) == {0}
    assert "not independent" in result.sentences[0]
    assert any("5 cells without a value" in n for n in result.notes)


def test_constant_features_have_p_one():
    _, obs = small()
    for donor in ("", "donor"):
        frame = run(dense(np.ones((len(obs), 3))), obs, donor=donor).frame
        assert (frame["p"] == 1).all()


def test_q_is_over_every_feature_and_type_of_all_columns():
    activations, obs = small(2)
    obs["tissue"] = np.where(np.arange(len(obs)) % 2, "blood", "liver")
    result = run(
        activations, obs, {"CellType": ["cell_type"], "Tissue": ["tissue"]}, donor="donor", q=0.9
    )
    assert len(result.frame) == 12 * 5
    np.testing.assert_allclose(
        result.frame["q"], stats.false_discovery_control(result.frame["p"]), rtol=1e-12
    )
    assert set(result.tables) == {
        "CellType",
        "Tissue",
        "Feature-ACTIVE_IN-CellType",
        "Feature-ACTIVE_IN-Tissue",
    }
    assert result.tables["Tissue"].column("id").to_pylist() == ["blood", "liver"]
    stored = sum(
        result.tables[k].num_rows
        for k in ("Feature-ACTIVE_IN-CellType", "Feature-ACTIVE_IN-Tissue")
    )
    assert stored == (result.frame["q"] <= 0.9).sum() == result.findings["found"] > 0
    assert (
        parse(result.tables["Feature-ACTIVE_IN-CellType"].column("source").to_pylist()[0]).layer
        == 0
    )


def donor_effects(rng, *, donors, cells_each, features, spread):
    """No type differs, but each donor's cells of a type lie together: nothing to find, yet cells
    are not independent.
    """
    codes = np.repeat(np.arange(donors), cells_each)
    kinds = rng.integers(0, 2, donors * cells_each)
    shift = rng.normal(0, spread, (donors, 2, features))
    values = rng.normal(0, 1, (donors * cells_each, features)) + shift[codes, kinds]
    obs = pd.DataFrame({"cell_type": np.array(["A", "B"])[kinds], "donor": codes.astype(str)})
    return dense(values), obs


def test_under_donor_effects_cells_as_units_mislead_and_donors_do_not():
    rng = np.random.default_rng(3)
    by_donor, by_cell = [], []
    for _ in range(10):
        activations, obs = donor_effects(rng, donors=8, cells_each=60, features=200, spread=0.5)
        for donor, rates in (("donor", by_donor), ("", by_cell)):
            frame = run(activations, obs, donor=donor).frame
            rates.append((frame.loc[frame["type"] == "A", "p"] <= 0.05).mean())
    n = 2000
    # 12 of the 256 patterns of signs of 8 donors give p <= 0.05: the exact rate is 12/256
    exact = 12 / 256
    assert abs(np.mean(by_donor) - exact) < 4 * np.sqrt(exact * (1 - exact) / n)
    assert np.mean(by_cell) > 0.25


@pytest.mark.parametrize(
    ("donors", "many", "few", "firing"),
    [
        (6, 300, 10, 0.01),
        (8, 300, 10, 0.01),
        (12, 300, 10, 0.003),
        (12, 200, 20, 0.01),
        (12, 300, 100, 0.003),
    ],
)
def test_a_feature_that_fires_rarely_is_not_found_in_the_type_that_most_cells_are_of(
    donors, many, few, firing
):
    """Independent cells without any difference; flipping signs alone gives p <= 0.05 in 15 to 63 %
    of such features.
    """
    rng = np.random.default_rng(donors)
    obs = pd.DataFrame(
        {
            "cell_type": (["A"] * many + ["B"] * few) * donors,
            "donor": np.repeat(np.arange(donors).astype(str), many + few),
        }
    )
    values = rng.gamma(2.0, 1.0, (len(obs), 300)) * (rng.random((len(obs), 300)) < firing)
    frame = run(dense(values), obs, donor="donor").frame
    common = frame.loc[frame["type"] == "A", "p"]
    assert (common <= 0.05).mean() <= 0.05 + 4 * np.sqrt(0.05 / 300)
    assert (frame["q"] <= 0.05).sum() <= 1


def test_few_firing_cells_are_counted_exactly():
    """A normal tail on nearly tied ranks gives p = 1e-74 to a single firing cell in a type of 3
    among 1,003, where chance is 3 in 1,003.
    """
    obs = pd.DataFrame({"cell_type": ["A"] * 3 + ["B"] * 1000})
    values = np.zeros((1003, 2))
    values[0, 0] = values[500, 1] = 1.0
    result = run(dense(values), obs, q=1.0)
    p = result.frame.set_index(["type", "index"])["p"]
    assert p["A", 0] == pytest.approx(3 / 1003) and p["B", 0] == 1.0
    assert p["B", 1] == pytest.approx(1000 / 1003)
    assert set(result.frame["test"]) == {"Fisher over firing cells, one-sided"}
    rng = np.random.default_rng(7)
    obs = pd.DataFrame({"cell_type": ["A"] * 970 + ["B"] * 30})
    for firing in (0.001, 0.003, 0.01):
        frame = run(
            dense(rng.gamma(2.0, 1.0, (1000, 600)) * (rng.random((1000, 600)) < firing)), obs
        ).frame
        assert (frame["p"] <= 0.001).mean() <= 0.001 + 4 * np.sqrt(0.001 / len(frame))
        assert (frame["q"] <= 0.05).sum() <= 1


def test_a_planted_type_is_found_and_nothing_else():
    rng = np.random.default_rng(4)
    activations, obs = donor_effects(rng, donors=12, cells_each=60, features=100, spread=0.2)
    values = np.asarray(activations.mean.todense())
    values[np.ix_((obs["cell_type"] == "B").to_numpy(), range(5))] += 2
    result = run(dense(values), obs, donor="donor")
    found = result.frame[result.frame["q"] <= 0.05]
    assert {(r.index, r.type) for r in found.itertuples()} >= {(f, "B") for f in range(5)}
    assert len(found) <= 6
    assert "donor as the unit" in result.sentences[0]
    assert "0.00024" in result.sentences[1]


def test_too_few_donors_are_never_called():
    rng = np.random.default_rng(5)
    activations, obs = donor_effects(rng, donors=4, cells_each=60, features=5, spread=0)
    values = np.asarray(activations.mean.todense())
    values[(obs["cell_type"] == "B").to_numpy()] += 100
    result = run(dense(values), obs, donor="donor")
    assert result.findings["found"] == 0
    assert len(result.frame) == 0
    assert "no cell type or tissue could be tested" in result.sentences[0]
    assert any("fewer than 5 donors" in n and "A (4)" in n for n in result.notes)
    assert result.tables["Feature-ACTIVE_IN-CellType"].num_rows == 0


def test_rare_types_cells_without_donor_and_one_name_in_two_columns():
    activations, obs = small(6)
    obs["cell_type"] = obs["cell_type"].astype(object)
    obs.loc[:1, "cell_type"] = "rare"
    obs.loc[10:12, "donor"] = None
    obs["other"] = obs["cell_type"]
    result = run(activations, obs, ("cell_type", "other"), donor="donor")
    assert any("3 of 160 cells have no donor" in n for n in result.notes)
    assert any("1 types with fewer than 3 cells" in n and "rare" in n for n in result.notes)
    ids = result.tables["CellType"].column("id").to_pylist()
    assert len(ids) == len(set(ids)) == 6
    assert "T (other)" in ids


def test_categories_and_numbers_serve_as_types():
    activations, obs = small(7)
    plain = run(activations, obs, donor="donor").frame
    obs["cell_type"], obs["donor"] = (
        obs["cell_type"].astype("category"),
        obs["donor"].astype("category"),
    )
    pd.testing.assert_frame_equal(run(activations, obs, donor="donor").frame, plain)
    obs["cluster"] = obs["cell_type"].cat.codes
    assert set(run(activations, obs, ("cluster",)).frame["type"]) == {"0", "1", "2"}


def test_activations_are_sums_over_gene_positions():
    found = mean_activations(
        np.array([0, 0, 1, 0]),
        np.array([1, 1, 0, 1]),
        np.array([7, 3, 7, 7]),
        np.array([2.0, 1.0, 6.0, 3.0]),
        np.array([10, 3, 4]),
    )
    assert list(zip(found.layer.tolist(), found.index.tolist(), strict=True)) == [
        (0, 7),
        (1, 3),
        (1, 7),
    ]
    np.testing.assert_allclose(found.mean.toarray(), [[0, 0.1, 0.5], [2, 0, 0], [0, 0, 0]])
    with pytest.raises(UserError, match="1 of 2 cells have no gene position"):
        mean_activations(
            np.array([0]), np.array([0]), np.array([0]), np.array([1.0]), np.array([3, 0])
        )
    with pytest.raises(UserError, match="not finite"):
        mean_activations(
            np.array([0]), np.array([0]), np.array([0]), np.array([np.nan]), np.array([3])
        )


def test_wrong_columns_and_cells_are_refused():
    activations, obs = small()
    with pytest.raises(UserError, match="no obs column tissue"):
        run(activations, obs, {"Tissue": ["tissue"]})
    with pytest.raises(UserError, match="obs table of 10"):
        run(activations, obs.iloc[:10])
    with pytest.raises(UserError, match="no obs column 'who'"):
        donor_column(["a"], "who")
    assert donor_column(["x", "patient", "donor"]) == "donor"
    assert donor_column(["x"]) == ""


def test_one_sided_is_half_of_the_two_sided_p_with_zeros_and_ties():
    rows = np.array(
        [
            [1, 1, 1, 1, 1],
            [0, 0, 1, 1, 1],
            [2, -1, 0, 1, 1],
            [-1, -1, -1, -1, -1],
            [1, -1, 0, 0, 0],
        ],
        dtype=float,
    )
    p = one_sided(rows, sign_flip_p)
    assert p[:3] == pytest.approx([flip_oracle(r) for r in rows[:3]])
    assert p[3:].tolist() == [1, 1]


def test_size_of_a_real_study():
    """5,000 features x 60 types x 3,000 cells of 15 donors, a twentieth of the activations
    non-zero.
    """
    rng = np.random.default_rng(8)
    values = sparse.random(3000, 5000, density=0.05, random_state=rng, format="csr")
    activations = Activations(values, np.zeros(5000, np.int64), np.arange(5000))
    obs = pd.DataFrame(
        {
            "cell_type": rng.integers(0, 60, 3000).astype(str),
            "donor": rng.integers(0, 15, 3000).astype(str),
        }
    )
    for donor in ("donor", ""):
        frame = run(activations, obs, donor=donor).frame
        assert len(frame) >= 250_000
        assert (frame["q"] <= 0.05).sum() <= 2  # there is nothing to find
