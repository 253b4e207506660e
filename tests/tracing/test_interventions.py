"""Joint ablation and steering, on models where the answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.interventions import ablate_pairs, steer
from scircuit.tracing.interventions.joint_ablation import contrast
from scircuit.tracing.interventions.steering import slopes
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.plain_engine import brute_force_p, clean_pass, hooked_states
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model

LAYERS = (1, 2, 4)


def parts(cells: int = 10, layers: int = 6):
    adapter = Geneformer(tiny_model(layers=layers), "tiny", "0" * 64)
    adapter.vocabulary = SimpleNamespace(
        gene_of_token=["", "", "", "", *(f"ENSG{t:02d}" for t in range(4, 60))],
        symbol=lambda g: "S" + g[4:],
    )
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in LAYERS}
    return adapter, dictionaries, tiny_cohort(tiny_cells(cells, seed=3))


def frequent(adapter, dictionaries, cohort, layer, n=3):
    counts = sum(
        (clean_pass(adapter.model, dictionaries, c, (layer,)).codes[layer] > 0).sum(0)
        for c in cohort.tokens
    )
    return [Address("tiny", "set", layer, int(i)) for i in counts.argsort(descending=True)[:n]]


def plain_effects(adapter, dictionaries, tokens, a, b, target):
    """A, B and both in one cell by whole forwards with hooks; B is removed from the changed stream
    where it lies later.
    """
    model = adapter.model
    clean = clean_pass(model, dictionaries, tokens, LAYERS)
    act = {f: clean.codes[f.layer][:, f.index] for f in (a, b)}
    where = ((act[a] > 0) | (act[b] > 0)).nonzero()[:, 0]
    if len(where) == 0:
        return None

    def change(f, strength):
        delta = torch.zeros_like(clean.states[0])
        delta[clean.genes] = -strength[:, None] * dictionaries[f.layer].w_dec[:, f.index]
        return delta

    def effect(states):
        return (
            (dictionaries[target].encode(states[target][0][clean.genes]) - clean.codes[target])[
                where
            ]
            .double()
            .mean(0)
            .numpy()
        )

    with torch.no_grad():
        one = hooked_states(model, clean.ids, a.layer, change(a, act[a])[None])
        two = hooked_states(model, clean.ids, b.layer, change(b, act[b])[None])
        if a.layer == b.layer:
            both = hooked_states(
                model, clean.ids, a.layer, (change(a, act[a]) + change(b, act[b]))[None]
            )
        else:
            now = torch.zeros(len(clean.genes))
            now[where] = dictionaries[b.layer].encode(one[b.layer][0][clean.genes])[where, b.index]
            wanted = one[b.layer][0] + change(b, now)
            states = wanted[None]
            for l in range(b.layer + 1, target + 1):  # noqa: E741
                states = model.bert.encoder.layer[l](states)
                states = states[0] if isinstance(states, tuple) else states
            both = {target: states.reshape(1, *wanted.shape)}
    return np.stack([effect(one), effect(two), effect(both)])


@pytest.mark.parametrize("second_layer", [1, 2])
def test_contrasts_equal_whole_forwards_with_hooks(second_layer):
    adapter, dictionaries, cohort = parts()
    a = frequent(adapter, dictionaries, cohort, 1)[0]
    b = frequent(adapter, dictionaries, cohort, second_layer)[1]
    a, b = sorted((a, b), key=lambda f: (f.layer, f.index))
    tables = ablate_pairs(adapter, dictionaries, cohort, [b, str(a)], run="r", q=1.0)
    cells = [
        e
        for c in cohort.tokens
        if (e := plain_effects(adapter, dictionaries, c, a, b, 4)) is not None
    ]
    x = np.stack(cells, 1)
    j = x[2] - x[0] - x[1]
    stored = tables["Intervention-SHIFTED-Feature"].to_pylist()
    assert len(stored) > 0
    for row in stored:
        t = int(row["target"][-4:])
        assert row["interaction"] == pytest.approx(j[:, t].mean(), abs=2e-5)
        assert row["effect"] == pytest.approx(x[2][:, t].mean(), abs=1e-5)
        half = 2.262157 * j[:, t].std(ddof=1) / np.sqrt(len(j)) if len(j) == 10 else None
        if half is not None:
            assert row["high"] - row["interaction"] == pytest.approx(half, rel=1e-2, abs=1e-5)
    node = tables["Intervention"].to_pylist()[0]
    assert node["id"] == f"r/ablate/L{a.layer:02d}F{a.index:04d}+L{b.layer:02d}F{b.index:04d}/L04"
    assert node["cells"] == len(cells) and node["significant"] == node["tested"] == int(
        (np.abs(j) > 1e-5).any(0).sum()
    )
    by_target = {int(r["target"][-4:]): r for r in stored}
    for t in range(48):
        p = (
            brute_force_p(np.where(np.abs(j[:, t]) > 1e-5, j[:, t], 0))
            if (np.abs(j[:, t]) > 1e-5).any()
            else 1.0
        )
        assert (p <= 0.1) == (t in by_target)
        if t in by_target:
            assert by_target[t]["p"] == p
    assert {
        (r["source"], r["role"]) for r in tables["Feature-PART_OF-Intervention"].to_pylist()
    } == {(str(a), "A"), (str(b), "B")}


def test_exactly_additive_effects_have_no_contrast_and_the_ratio_of_independent_ones_is_root_half():
    rng = np.random.default_rng(0)
    single = rng.normal(1.0, 1.0, (2, 100, 3000))
    c = contrast(
        np.concatenate([single, single.sum(0, keepdims=True)]).astype(np.float32), floor=1e-6
    )
    assert np.isnan(c.p).all() and not c.interaction.any()
    assert np.nanmedian(c.ratio) == pytest.approx(2**-0.5, abs=0.02)
    np.testing.assert_allclose(c.ratio, c.ratio_null, rtol=1e-4)


def test_additive_effects_with_noise_give_uniform_p():
    rng = np.random.default_rng(1)
    single = rng.normal(0.5, 1.0, (2, 30, 2000))
    both = single.sum(0) + 0.3 * rng.normal(size=(30, 2000))
    c = contrast(np.concatenate([single, both[None]]), floor=1e-6)
    for level in (0.01, 0.05, 0.5):
        assert (c.p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2000))


def test_planted_redundancy_is_found():
    rng = np.random.default_rng(2)
    single = np.abs(rng.normal(1.0, 0.2, (2, 20, 50)))
    c = contrast(np.concatenate([single, single.max(0, keepdims=True)]), floor=1e-6)
    assert (c.interaction < 0).all() and (c.high < 0).all() and (c.p <= 2.0**-18).all()


def test_feature_summaries_and_refusals():
    adapter, dictionaries, cohort = parts()
    features = frequent(adapter, dictionaries, cohort, 1)
    calls: list[tuple[int, int, int]] = []
    tables = ablate_pairs(
        adapter, dictionaries, cohort, features, run="r", progress=lambda *a: calls.append(a)
    )
    summaries = {r["id"]: r for r in tables["Feature"].to_pylist()}
    assert {r["ablation_partners"] for r in summaries.values()} == {2}
    assert sum(r["interactions"] for r in summaries.values()) == 2 * sum(
        r["significant"] for r in tables["Intervention"].to_pylist()
    )
    assert calls[-1][:2] == (3, 3) and tables["Intervention-FROM-Run"].num_rows == 3
    for bad, message in (
        (features[:1], "at least 2 needed"),
        ([*features, "tiny/set/L01/F0999"], "not in the dictionaries"),
        (["nonsense"], "parts"),
        ([*features, "other/set/L01/F0001"], "different models"),
        ([features[0], Address("tiny", "set", 4, 0)], "cannot read layers"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            ablate_pairs(adapter, dictionaries, cohort, bad, run="r")
        assert caught.value.fix


def test_steering_equals_whole_forwards_with_hooks():
    adapter, dictionaries, cohort = parts(cells=6)
    f = frequent(adapter, dictionaries, cohort, 1)[0]
    tables = steer(adapter, dictionaries, cohort, [f], (0.0, 1.0, 3.0), run="r")
    changes, readouts = {0.0: [], 3.0: []}, {0.0: [], 3.0: []}
    for tokens in cohort.tokens:
        clean = clean_pass(adapter.model, dictionaries, tokens, (1,))
        z = clean.codes[1][:, f.index]
        if not (z > 0).any():
            continue
        on = tokens[clean.genes.numpy()[(z > 0).numpy()]]
        off = np.setdiff1d(tokens[clean.genes.numpy()], on)
        for c in changes:
            delta = torch.zeros_like(clean.states[1])
            delta[clean.genes] = (c - 1) * z[:, None] * dictionaries[1].w_dec[:, f.index]
            with torch.no_grad():
                states = hooked_states(adapter.model, clean.ids, 1, delta[None])[-1][0]
                y = (
                    (adapter.model.cls(states) - adapter.model.cls(clean.states[-1]))[clean.genes]
                    .double()
                    .mean(0)
                    .numpy()
                )
            changes[c].append(y)
            readouts[c].append(y[on].mean() - y[off].mean())
    for node in tables["Intervention"].to_pylist():
        c = node["coefficient"]
        assert node["effect"] == pytest.approx(np.mean(readouts[c]), abs=1e-5)
        assert node["effect_low"] < node["effect"] < node["effect_high"] and node["cells"] == len(
            readouts[c]
        )
    for row in tables["Intervention-SHIFTED-Gene"].to_pylist():
        c, token = row["dose"] + 1, int(row["target"][4:])
        assert row["effect"] == pytest.approx(np.mean([y[token] for y in changes[c]]), abs=1e-5)
    seen = np.unique(np.concatenate(cohort.tokens))
    slope = np.mean(
        [(2 * y3 - y0) / 5 for y0, y3 in zip(changes[0.0], changes[3.0], strict=True)], axis=0
    )
    summary = tables["Feature"].to_pylist()[0]
    best = seen[seen > 3][slope[seen[seen > 3]].argmax()]
    assert summary["steering_gene"] == f"S{best:02d}" == summary["steering_top_genes"][0]
    wanted = np.mean([(2 * b - a) / 5 for a, b in zip(readouts[0.0], readouts[3.0], strict=True)])
    assert summary["steering_slope"] == pytest.approx(wanted, abs=1e-5)
    assert {g["id"] for g in tables["Gene"].to_pylist()} == {
        r["target"] for r in tables["Intervention-SHIFTED-Gene"].to_pylist()
    }


def test_a_linear_response_gives_its_slope():
    doses = np.array([-1.0, 1.0, 4.0])
    np.testing.assert_allclose(slopes(np.multiply.outer([0.5, -2.0], doses), doses), [0.5, -2.0])
    assert slopes(np.zeros((4, 3, 7)), doses).shape == (4, 7)


def test_steering_the_last_layer_and_refusals():
    adapter, dictionaries, cohort = parts(cells=4, layers=5)
    f = frequent(adapter, dictionaries, cohort, 4)[0]
    tables = steer(adapter, dictionaries, cohort, [str(f)], (2.0,), run="r", seed=3)
    assert tables["Intervention"].to_pylist()[0]["id"] == f"r/steer/L04F{f.index:04d}@2"
    again = steer(adapter, dictionaries, cohort, [f], (2.0,), run="r", seed=3)
    assert all(tables[k].equals(again[k]) for k in tables)
    other = steer(adapter, dictionaries, cohort, [f], (2.0,), run="r", seed=4)
    assert (
        other["Intervention"]["control"].to_pylist()
        != tables["Intervention"]["control"].to_pylist()
    )
    assert (
        other["Intervention"]["effect"].to_pylist() == tables["Intervention"]["effect"].to_pylist()
    )
    with pytest.raises(UserError, match="change nothing"):
        steer(adapter, dictionaries, cohort, [f], (1.0,), run="r")
    dead = Address(
        "tiny",
        "set",
        4,
        int(
            np.argmin(
                [
                    sum(
                        int(
                            (
                                clean_pass(adapter.model, dictionaries, c, (4,)).codes[4][:, i] > 0
                            ).sum()
                        )
                        for c in cohort.tokens
                    )
                    for i in range(48)
                ]
            )
        ),
    )
    with pytest.raises(UserError, match="fires in none"):
        steer(adapter, dictionaries, cohort, [dead], (2.0,), run="r")
