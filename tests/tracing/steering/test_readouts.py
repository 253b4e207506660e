"""Every readout and every mode of steering equals whole forwards with hooks and plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import multivariate_normal

from scircuit.core.errors import UserError
from scircuit.tracing.evaluation.loss_recovered import mask_genes
from scircuit.tracing.interventions.steering import steer
from scircuit.tracing.interventions.steering.linear_probes import Linear, fit_centres
from scircuit.tracing.interventions.steering.probe_readouts import marker_readout, signature
from scircuit.tracing.interventions.steering.steering_readouts import MaskedLoss, Probe
from tests.support.plain_engine import clean_pass, hooked_states
from tests.tracing.test_interventions import frequent, parts

RNG = np.random.default_rng(5)
FIRST, SECOND = RNG.normal(size=(2, 1, 60))
RIDGE = Linear(RNG.normal(size=(1, 32)), np.array([0.3]))
FATE = Linear(RNG.normal(size=(1, 32)), np.array([-0.2]))
TYPES = Linear(RNG.normal(size=(3, 32)), RNG.normal(size=3))
UP, DOWN = [10, 20, 31], [11, 44]


def probe(name, kind, linear, column=-1):
    return Probe(name=name, unit="u", kind=kind, doc="d", linear=linear, column=column)


def every_readout(adapter):
    both = np.concatenate([FIRST, SECOND])
    return [
        signature("shift", both, np.array([True, False]), np.array([False, True]), "d"),
        marker_readout(adapter, [f"S{t}" for t in UP], [f"ENSG{t}" for t in DOWN]),
        probe("time", "pseudotime", RIDGE),
        probe("fate", "fate", FATE),
        probe("own_type", "type", TYPES),
        probe("type:1", "type", TYPES, 1),
        MaskedLoss(),
    ]


@pytest.fixture(scope="module")
def world():
    adapter, dictionaries, cohort = parts(cells=5)
    adapter.vocabulary.mask = 1
    return adapter, dictionaries, cohort, frequent(adapter, dictionaries, cohort, 1)[0]


def cosine(a, b):
    return (a @ b) / np.linalg.norm(a) / np.linalg.norm(b)


def strength(z, c, mode, mean_active):
    """s(p) of the docstring, at every gene position."""
    if mode == "amplify":
        return (c - 1) * z
    s = c * mean_active - z
    return s if mode == "clamp-all" else s * (z > 0)


def plain_changes(adapter, dictionaries, tokens, f, c, mode, mean_active):
    """All readouts of one cell and coefficient, in the order of `every_readout`; the last is the
    loss.
    """
    model, column = adapter.model, dictionaries[f.layer].w_dec[:, f.index]

    def run(ids, genes, z):
        delta = torch.zeros(len(ids), 32)
        delta[genes] = strength(z, c, mode, mean_active)[:, None] * column
        with torch.no_grad():
            return hooked_states(model, ids, f.layer, delta[None])[-1][0]

    clean = clean_pass(model, dictionaries, tokens, (f.layer,))
    z = clean.codes[f.layer][:, f.index]
    states = {"before": clean.states[-1], "after": run(clean.ids, clean.genes, z)}
    with torch.no_grad():
        y = {k: model.cls(s)[clean.genes].double().mean(0).numpy() for k, s in states.items()}
    e = {k: s[clean.genes].double().mean(0).numpy() for k, s in states.items()}
    a, b = FIRST[0], SECOND[0]
    shift = {k: cosine(v, b) - cosine(v, a) for k, v in y.items()}
    fate = {k: expit(FATE.weights[0] @ v + FATE.bias[0]) for k, v in e.items()}
    types = {k: softmax(TYPES.weights @ v + TYPES.bias) for k, v in e.items()}
    own = types["before"].argmax()
    move = y["after"] - y["before"]
    masked, chosen = mask_genes(adapter, tokens, 0)
    hidden = clean_pass(model, dictionaries, masked, (f.layer,))
    zm = hidden.codes[f.layer][:, f.index]
    loss = {
        k: torch.nn.functional.cross_entropy(
            model.cls(s)[chosen], torch.from_numpy(tokens[chosen])
        ).item()
        for k, s in (
            ("before", hidden.states[-1]),
            ("after", run(hidden.ids, hidden.genes, zm)),
        )
    }
    edited = len(zm) if mode == "clamp-all" else int((zm > 0).sum())
    return [
        shift["after"] - shift["before"],
        move[UP].mean() - move[DOWN].mean(),
        RIDGE.weights[0] @ (e["after"] - e["before"]),
        fate["after"] - fate["before"],
        types["after"][own] - types["before"][own],
        types["after"][1] - types["before"][1],
        loss["after"] - loss["before"] if edited else np.nan,
    ]


@pytest.mark.parametrize("mode", ["amplify", "clamp", "clamp-all"])
def test_all_readouts_equal_whole_forwards_with_hooks(world, mode):
    adapter, dictionaries, cohort, f = world
    readouts = every_readout(adapter)
    grid = (0.0, 1.0, 2.0)
    tables = steer(adapter, dictionaries, cohort, [f], grid, run="r", mode=mode, readouts=readouts)
    active = [
        clean_pass(adapter.model, dictionaries, t, (1,)).codes[1][:, f.index] for t in cohort.tokens
    ]
    mean_active = float(torch.cat(active)[torch.cat(active) > 0].double().mean())
    used = [
        t
        for t, z in zip(cohort.tokens, active, strict=True)
        if mode == "clamp-all" or (z > 0).any()
    ]
    stored = tables["Intervention-SHIFTED-Readout"].to_pandas()
    checked = 0
    for c in grid if mode != "amplify" else (0.0, 2.0):
        wanted = np.array(
            [plain_changes(adapter, dictionaries, t, f, c, mode, mean_active) for t in used]
        )
        tag = "" if mode == "amplify" else mode
        rows = stored.loc[stored["source"] == f"r/steer/L01F{f.index:04d}@{tag}{c:g}"]
        rows = rows.set_index(rows["target"].str.rpartition("/")[2])
        for k, readout in enumerate(readouts):
            values = wanted[:, k][np.isfinite(wanted[:, k])]
            row = rows.loc[readout.name]
            assert row["cells"] == len(values) > 1
            # float32 states of two routes; the largest values are near 1
            assert row["effect"] == pytest.approx(values.mean(), abs=2e-5)
            assert row["high"] > row["effect"] > row["low"]
            checked += abs(values.mean()) > 1e-3
    assert checked > 8  # most readouts move by far more than the tolerance
    node = tables["Intervention"].to_pandas()
    assert set(node["mode"]) == {mode} and not node["beyond_norm"].any()


def test_slopes_and_doses(world):
    adapter, dictionaries, cohort, f = world
    made = steer(
        adapter,
        dictionaries,
        cohort,
        [f],
        (0, 3),
        run="r",
        readouts=[probe("t", "pseudotime", RIDGE)],
    )
    shifted = made["Intervention-SHIFTED-Readout"].to_pandas()
    row = made["Feature-STEERS-Readout"].to_pandas().set_index("target").loc["r/readout/t"]
    effect = shifted.loc[shifted["target"] == "r/readout/t"].set_index("dose")["effect"]
    assert row["slope"] == pytest.approx((2 * effect[2.0] - effect[-1.0]) / 5, abs=1e-9)
    assert row["low"] < row["slope"] < row["high"] and not row["closed_form"]
    clamped = steer(adapter, dictionaries, cohort, [f], (0, 1, 2), run="r", mode="clamp")
    doses = clamped["Intervention-SHIFTED-Readout"].to_pandas()["dose"].to_numpy()
    # clamped to 0: minus the mean activation of the cells' own active positions
    assert np.allclose(np.diff(doses), 1) and doses[0] == pytest.approx(-1, abs=0.3)


def test_controls_are_directions_of_equal_norm_and_a_feature_that_fires_as_often(world):
    from scircuit.tracing.interventions.steering.clean_survey import survey
    from scircuit.tracing.interventions.steering.steered_states import directions

    adapter, dictionaries, cohort, f = world
    found = survey(adapter, dictionaries, cohort.tokens, [f], np.array([2.0]), "amplify")
    counts = sum(
        (clean_pass(adapter.model, dictionaries, t, (1,)).codes[1] > 0).sum(0)
        for t in cohort.tokens
    ).numpy()
    distance = np.abs(np.log(np.maximum(counts, 1e-9)) - np.log(counts[f.index]))
    distance[f.index] = np.inf
    assert found.matched[f] == distance.argmin()
    along = directions(dictionaries[1], f, found.matched[f], 4, seed=0)
    assert along.shape == (6, 32)
    assert torch.allclose(along.norm(dim=1), along[0].norm().expand(6), rtol=1e-5)
    # the first random direction does not depend on how many there are
    assert torch.equal(along[:2], directions(dictionaries[1], f, None, 1, seed=0))
    assert torch.linalg.matrix_rank(along) == 6


def test_the_last_layer_is_a_product_of_weights_and_is_not_tested():
    adapter, dictionaries, cohort = parts(cells=4, layers=5)
    features = frequent(adapter, dictionaries, cohort, 4, n=3)
    readouts = [probe("t", "pseudotime", RIDGE), probe("fate", "fate", FATE)]
    tables = steer(adapter, dictionaries, cohort, features, (0, 2, 5), run="r", readouts=readouts)
    steers = tables["Feature-STEERS-Readout"].to_pandas()
    shifted = tables["Intervention-SHIFTED-Readout"].to_pandas()
    for f in features:
        column = dictionaries[4].w_dec[:, f.index].double().numpy()
        product, means = RIDGE.weights[0] @ column, []
        for t in cohort.tokens:
            z = clean_pass(adapter.model, dictionaries, t, (4,)).codes[4][:, f.index]
            if (z > 0).any():
                means.append(z.double().mean().item())
        row = steers.loc[(steers["source"] == str(f)) & (steers["target"] == "r/readout/t")].iloc[0]
        # float32 states: sums of about 20 positions
        assert row["slope"] == pytest.approx(np.mean(means) * product, rel=1e-4)
        for c in (0, 2, 5):
            key = f"r/steer/L04F{f.index:04d}@{c}"
            of = shifted.loc[(shifted["source"] == key) & (shifted["target"] == "r/readout/t")]
            assert of["effect"].item() == pytest.approx(
                (c - 1) * np.mean(means) * product, rel=1e-4
            )
    probes = steers.loc[steers["target"] != "r/readout/own_genes"]
    assert probes["closed_form"].all() and probes["p"].isna().all() and probes["q"].isna().all()
    own = steers.loc[steers["target"] == "r/readout/own_genes"]
    assert not own["closed_form"].any() and own["p"].notna().all()
    assert shifted.loc[shifted["closed_form"], "p"].isna().all()


def test_norms_are_measured_marked_and_refused(world):
    adapter, dictionaries, cohort, f = world
    grid = (2.0, 500.0)
    tables = steer(adapter, dictionaries, cohort, [f], grid, run="r")
    alone = steer(adapter, dictionaries, cohort, [f], (2.0,), run="r")
    clean, edited = [], {c: [] for c in grid}
    for t in cohort.tokens:
        one = clean_pass(adapter.model, dictionaries, t, (1,))
        h, z = one.states[1][one.genes].double(), one.codes[1][:, f.index].double()
        clean += h.norm(dim=1).tolist()
        for c in grid:
            moved = h + (c - 1) * z[:, None] * dictionaries[1].w_dec[:, f.index].double()
            edited[c] += moved.norm(dim=1)[z > 0].tolist()
    limit = np.quantile(clean, 0.999)
    for node in tables["Intervention"].to_pylist():
        wanted = np.median(edited[node["coefficient"]]) / limit
        assert node["norm_ratio"] == pytest.approx(wanted, rel=1e-5)
        assert node["beyond_norm"] == (wanted > 2) == (node["coefficient"] == 500)
    # what is beyond takes no part in slopes
    slope = [t["Feature"]["steering_slope"][0].as_py() for t in (tables, alone)]
    assert slope[0] == pytest.approx(slope[1], rel=1e-6)
    with pytest.raises(UserError, match="every condition is beyond what the model tolerates") as no:
        steer(adapter, dictionaries, cohort, [f], (400.0, 500.0), run="r")
    assert "x 400" in str(no.value) and no.value.fix
    with pytest.raises(UserError, match="steering mode"):
        steer(adapter, dictionaries, cohort, [f], (2.0,), run="r", mode="push")


def test_without_random_directions_nothing_is_said_of_them(world):
    adapter, dictionaries, cohort, f = world
    tables = steer(adapter, dictionaries, cohort, [f], (2.0,), run="r", random_directions=0)
    row = tables["Feature-STEERS-Readout"].to_pylist()[0]
    assert row["p_random"] is None and row["control"] is None and row["matched"] is not None
    one = steer(adapter, dictionaries, cohort, [f], (2.0,), run="r", random_directions=1)
    node = one["Intervention"].to_pylist()[0]
    assert node["control"] is not None and node["control_sd"] is None


def test_marker_sets_that_do_not_fit_are_refused(world):
    adapter = world[0]
    for up, down, message in (
        (["NOSUCH"], [], "none of the 1 marker genes up"),
        (["S10"], ["ENSG10"], "1 of them in both"),
        ([], ["S10"], "0 marker genes up"),
    ):
        with pytest.raises(UserError, match=message):
            marker_readout(adapter, up, down)


def test_the_nearest_centre_is_a_gaussian_posterior():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 4)) + 2 * np.eye(3, 4)[y]
    centres = np.stack([x[y == k].mean(0) for k in range(3)])
    spread = ((x - centres[y]) ** 2).mean(0)
    spread = spread + 0.1 * spread.mean()
    density = np.stack([multivariate_normal(c, np.diag(spread)).logpdf(x) for c in centres], 1)
    np.testing.assert_allclose(
        softmax(fit_centres(x, y, 3)(x), 1), softmax(density, 1), rtol=1e-9, atol=1e-12
    )
