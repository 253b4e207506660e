"""Steering, on models where the answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.interventions import steer
from scircuit.tracing.interventions.steering import slopes
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.plain_engine import clean_pass, hooked_states
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
