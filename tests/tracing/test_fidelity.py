"""Dictionaries that do not describe the model on these cells are told apart; loss recovered equals
a plain computation.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.config import CellsConfig
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries
from scircuit.tracing.evaluation.fidelity import (
    NOT_MEASURED,
    cells_for_quality,
    fidelity_lines,
    identity_lines,
    loss_lines,
    model_line,
    rank_correlation,
    zero_edit_line,
)
from scircuit.tracing.evaluation.layer_match import layer_match_line, sample_rows
from scircuit.tracing.evaluation.loss_recovered import Recovered, loss_recovered, mask_genes
from scircuit.tracing.evaluation.rotated_null import RotatedDictionary
from scircuit.tracing.models import load_model

WEIGHTS = ("encoder", "encoder_bias", "decoder", "decoder_bias", "mean")


@pytest.fixture(scope="module")
def model(examples):
    return load_model(examples / "model", "cpu")


@pytest.fixture(scope="module")
def cohort(examples, model):
    return load_cohort(
        CellsConfig(cells=examples / "cells" / "celltypist_sample_559cells.h5ad", n_cells=16),
        model.vocabulary,
        model.max_length,
    )


@pytest.fixture(scope="module")
def dictionaries(examples):
    return load_dictionaries(examples / "dictionaries")


@pytest.fixture(scope="module")
def lines(model, dictionaries, cohort):
    return {
        line.name: line
        for line in fidelity_lines(
            model, {layer: dictionaries[layer] for layer in (1, 4)}, cohort.tokens, 600
        )
    }


def moved(dictionary, layer):
    return Dictionary(
        layer,
        *(dictionary.tensors[name] for name in WEIGHTS),
        k=dictionary.k,
        catalogue=lambda _n: dictionary.catalogue,
        provenance=dictionary.provenance,
    )


def perfect(width, layer):
    """x - 0 = ReLU(x) - ReLU(-x): every state exactly."""
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    return Dictionary(
        layer,
        both,
        torch.zeros(2 * width),
        both,
        torch.zeros(width),
        torch.zeros(width),
        rule="relu",
    )


def empty(mean, layer):
    """No feature ever fires: the mean state for every row."""
    width = len(mean)
    none = torch.zeros(4, width)
    return Dictionary(
        layer,
        none,
        torch.full((4,), -1.0),
        none,
        torch.as_tensor(mean).float(),
        torch.zeros(width),
        rule="relu",
    )


def test_the_demo_dictionaries_pass_and_every_measure_is_there(lines):
    assert all(line.ok for line in lines.values()), [
        str(line) for line in lines.values() if not line.ok
    ]
    measures = {name.split(" ", 2)[2] for name in lines if name[6:7].isdigit()}
    assert measures == {"reconstruction", "firing rates", "loss recovered"} and {
        "layer match",
        "zero edit",
    } <= set(lines)
    assert not any(line.found.startswith(NOT_MEASURED) for line in lines.values())


@pytest.mark.parametrize("pair", [(0, 1), (2, 3), (0, 5)])
def test_shuffled_layers_are_noticed(model, dictionaries, cohort, pair):
    a, b = pair
    wrong = dict(dictionaries) | {a: moved(dictionaries[b], a), b: moved(dictionaries[a], b)}
    rows = sample_rows(model, tuple(dictionaries), cohort.tokens)
    line = layer_match_line(wrong, rows)
    assert not line.ok and any(f"; layer {layer}: " in line.found for layer in pair)
    assert layer_match_line(dictionaries, rows).ok


def test_dictionaries_of_another_model_fail(model, dictionaries, cohort):
    other = {}
    for layer in (1, 4):
        t = dictionaries[layer].tensors
        turn = torch.linalg.qr(
            torch.randn(model.width, model.width, generator=torch.Generator().manual_seed(layer))
        )[0]
        weights = (
            t["encoder"] @ turn,
            t["encoder_bias"],
            t["decoder"] @ turn,
            t["decoder_bias"] @ turn,
            t["mean"] @ turn,
        )
        provenance = {**dictionaries[layer].provenance, "model_sha256": "f" * 64}
        other[layer] = Dictionary(
            layer,
            *weights,
            k=16,
            provenance=provenance,
            catalogue=lambda _n, d=dictionaries[layer]: d.catalogue,
        )
    lines = {
        line.name: line
        for line in [
            *identity_lines(model, other, cohort),
            *fidelity_lines(model, other, cohort.tokens, 600),
        ]
    }
    for layer in (1, 4):
        assert (
            not lines[f"layer {layer} reconstruction"].ok
            and not lines[f"layer {layer} firing rates"].ok
        )
        # Random directions recover 70 % in so small a model: the line may not tell, but it says
        # nothing for them.
        loss = lines[f"layer {layer} loss recovered"]
        assert not loss.ok or loss.found.startswith(NOT_MEASURED)
    assert (
        not lines["model of the dictionaries"].ok
        and "hash ffffffffffff" in lines["model of the dictionaries"].found
    )
    assert lines["zero edit"].ok  # it tests the tracer, not the dictionary


def test_a_model_hash_that_is_not_named_is_said(model, dictionaries):
    silent = Dictionary(1, *(dictionaries[1].tensors[name] for name in WEIGHTS), k=16)
    line = model_line(model, {1: silent, 2: dictionaries[2]})
    assert (
        line.ok and line.found == "not measured: the dictionaries of layers 1 do not name its hash"
    )


def test_layers_and_width_that_do_not_fit(model, dictionaries, cohort):
    line = identity_lines(model, {9: moved(dictionaries[1], 9)}, cohort)[0]
    assert not line.ok and "layers 9;" in line.found and "0..5" in line.expected


def test_quality_is_measured_on_cells_that_were_not_seen(cohort, dictionaries):
    tokens = [np.array([2, i, 3]) for i in range(60)]
    many = SimpleNamespace(
        sha256="1" * 64, barcodes=tuple(f"cell{i}" for i in range(60)), tokens=tokens
    )

    def of(*trained):
        return {
            layer: SimpleNamespace(
                provenance={"cells_sha256": "1" * 64, "trained_cells": [f"cell{i}" for i in seen]}
            )
            for layer, seen in enumerate(trained)
        }

    cells, line = cells_for_quality(of(range(30), range(20, 40)), many)
    assert [int(c[1]) for c in cells] == list(
        range(40, 60)
    ) and line.found == "drawn from 20 cells that no dictionary was trained on"
    cells, line = cells_for_quality(of(range(30), range(20, 41)), many)
    assert (
        len(cells) == 60
        and line.found
        == "drawn from all 60, seen in training or not: only 19 are known to be unseen"
    )
    cells, line = cells_for_quality(dictionaries, many)
    assert len(cells) == 60 and "none is known to be unseen" in line.found


def test_time_that_is_over_is_said(model, dictionaries, cohort):
    lines = list(fidelity_lines(model, dictionaries, cohort.tokens, 0.0))
    assert "on 1 of these cells" in lines[0].found
    left = next(line for line in lines if line.name == "loss recovered")
    assert left.found == "not measured for layers 0..4: the time limit was reached"
    measured = next(
        line for line in lines if line.name.endswith("loss recovered") and line is not left
    )
    assert measured.name == "layer 5 loss recovered"


@pytest.mark.parametrize("first", range(0, 16, 2))
def test_one_cell_condemns_no_good_dictionary(model, dictionaries, cohort, first):
    # One cell is all that a busy machine leaves time for; its few masked genes may say nothing,
    # never no.
    nulls = {
        layer: RotatedDictionary(d, d.tensors["mean"].numpy(), 0)
        for layer, d in dictionaries.items()
    }
    lines = list(loss_lines(model, nulls, cohort.tokens[first : first + 1], 600, 0))
    assert len(lines) == len(dictionaries) and all(line.ok for line in lines), [
        str(line) for line in lines if not line.ok
    ]


def test_the_margin_of_a_loss_is_that_of_the_share(model, dictionaries, cohort):
    r = loss_recovered(
        model,
        {3: RotatedDictionary(dictionaries[3], dictionaries[3].tensors["mean"].numpy(), 5)},
        cohort.tokens[:4],
        seed=5,
    )[3]
    for least in (0.1, 0.25, 0.9):
        needed = r.null_share + least * (1 - r.null_share)
        assert r.margin(least)[0] == pytest.approx(
            (r.share - needed) * (r.ablated - r.clean), rel=1e-9
        )
    cells = (
        (0.75 * r.losses[2] + 0.25 * r.losses[0] - r.losses[1]).numpy().reshape(4, -1).mean(1)
    )  # each cell has 38 masked genes
    assert r.margin(0.25)[1] == pytest.approx(cells.std(ddof=1) / 2)


def test_a_dictionary_that_recovers_nothing_fails(model, dictionaries, cohort):
    mean = dictionaries[3].tensors["mean"].numpy()
    [line] = loss_lines(
        model, {3: RotatedDictionary(empty(mean, 3), mean, 0)}, cohort.tokens[:8], 600, 0
    )
    assert not line.ok, str(line)


def test_loss_recovered_equals_a_plain_computation(model, dictionaries, cohort):
    null = RotatedDictionary(dictionaries[3], np.linspace(-1, 1, model.width), 5)
    found = loss_recovered(model, {3: null}, cohort.tokens[:2], seed=5)[3]
    bert, head = model.model.bert, model.model.cls
    sums, tokens = np.zeros(4), 0
    for cell in cohort.tokens[:2]:
        masked, chosen = mask_genes(model, cell, 5)
        assert (masked[chosen] == 1).all() and (masked != cell).sum() == len(chosen) == round(
            0.15 * 256
        )
        genes = np.arange(1, len(cell) - 1)
        for slot in range(4):
            with torch.inference_mode():
                state = bert.embeddings(torch.from_numpy(masked)[None])
                for i, layer in enumerate(bert.encoder.layer):
                    out = layer(state)
                    state = (out[0] if isinstance(out, tuple) else out).reshape(1, len(cell), -1)
                    if i == 3 and slot == 1:
                        for p in genes:
                            state[0, p] = dictionaries[3].decode(
                                dictionaries[3].encode(state[0, p][None])
                            )[0]
                    if i == 3 and slot == 2:
                        state[0, genes] = turned_weights(dictionaries[3], null).decode(
                            turned_weights(dictionaries[3], null).encode(state[0, genes])
                        )
                    if i == 3 and slot == 3:
                        state[0, genes] = null.centre
                scores = torch.log_softmax(head(state)[0], dim=-1)
            sums[slot] -= sum(float(scores[p, cell[p]]) for p in chosen)
        tokens += len(chosen)
    assert found.tokens == tokens and found.cells == 2
    np.testing.assert_allclose(found.losses.sum(1).numpy(), sums, rtol=1e-5)
    assert found.share == pytest.approx((sums[3] - sums[1]) / (sums[3] - sums[0]), rel=1e-4)
    assert found.null_share == pytest.approx((sums[3] - sums[2]) / (sums[3] - sums[0]), rel=1e-3)


def turned_weights(dictionary, null):
    """The null written out as a dictionary: all its vectors rotated about the centre."""
    t, turn, c = dictionary.tensors, null.rotation, null.centre
    mean, offset = c + turn @ (t["mean"] - c), turn @ t["decoder_bias"]
    return Dictionary(
        3,
        t["encoder"] @ turn.T,
        t["encoder_bias"],
        t["decoder"] @ turn.T,
        offset,
        mean,
        k=dictionary.k,
    )


def test_loss_recovered_is_one_for_a_perfect_dictionary_and_zero_for_none(model, cohort):
    mean = np.full(model.width, 0.1)
    cells = cohort.tokens[:4]
    whole = loss_recovered(model, {2: RotatedDictionary(perfect(model.width, 2), mean, 0)}, cells)[
        2
    ]
    assert (
        whole.share == pytest.approx(1, abs=1e-4) == whole.null_share
    )  # what loses nothing loses nothing when turned
    none = loss_recovered(model, {2: RotatedDictionary(empty(mean, 2), mean, 0)}, cells)[2]
    assert none.share == pytest.approx(0, abs=1e-6) and none.measurable
    # A model that does not mind the mean state cannot say anything about dictionaries.
    flat = Recovered()
    noise = torch.randn(2, 100, generator=torch.Generator().manual_seed(0)).double()
    flat.add(torch.stack([noise[0], noise[0], noise[0], noise[1]]))
    assert not flat.measurable


def test_the_same_cell_is_masked_the_same_way(model, cohort):
    (a, at), (b, again) = (mask_genes(model, cohort.tokens[0], 0) for _ in range(2))
    assert np.array_equal(a, b) and np.array_equal(at, again)
    assert not np.array_equal(at, mask_genes(model, cohort.tokens[1], 0)[1])


def test_zero_edit_needs_a_later_layer(model, dictionaries, cohort):
    assert zero_edit_line(model, {3: dictionaries[3]}, cohort.tokens[:1]).found.startswith(
        NOT_MEASURED
    )


def test_zero_edit_of_dictionaries_that_never_fire_is_a_line(model, dictionaries, cohort):
    silent = {
        layer: Dictionary(
            layer,
            *(
                dictionaries[layer].tensors[n]
                for n in ("encoder", "encoder_bias", "decoder", "decoder_bias", "mean")
            ),
            rule="jumprelu",
            threshold=torch.tensor([1e6]),
        )
        for layer in (0, 1)
    }
    assert zero_edit_line(model, silent, cohort.tokens[:1]).ok


def test_firing_rates_of_few_positions_are_noise_and_not_judged(model, dictionaries, cohort):
    line = next(
        line
        for line in fidelity_lines(model, {1: dictionaries[1]}, cohort.tokens[:2], 600)
        if line.name == "layer 1 firing rates"
    )
    assert (
        line.ok
        and line.found == "not measured: 16 firings a feature on these cells, fewer than 100"
    )


def test_rank_correlation():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 80).astype(float), rng.integers(0, 6, 80) + np.arange(80) / 40
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)
    assert rank_correlation(a, np.ones(80)) == 0
