"""Dictionaries of another model, of another layer, or of a rule that the published code does not
know are refused before anything is computed.
"""

from __future__ import annotations

import itertools
import json
import shutil

import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries, save_dictionary
from scircuit.tracing.evaluation.layer_match import (
    layer_match_line,
    off_by_one_lines,
    require_layer_match,
)
from tests.support.study_runs import demo, trace

WEIGHTS = ("encoder", "encoder_bias", "decoder", "decoder_bias", "mean")


@pytest.fixture
def folder(examples, tmp_path):
    return shutil.copytree(examples / "dictionaries", tmp_path / "dictionaries")


def other_model(folder, layer):
    path = folder / f"layer{layer:02d}" / "config.json"
    config = json.loads(path.read_text())
    config["provenance"]["model_sha256"] = "f" * 64
    path.write_text(json.dumps(config))


def traced(root, folder, tmp_path, **more):
    return trace(
        study=tmp_path / "study",
        database=False,
        quiet=True,
        **demo(root, dictionaries=str(folder), **more),
    )


@pytest.mark.parametrize("layer", [3, 4, 5])
def test_a_stated_model_is_the_model_at_sources_and_targets(root, folder, tmp_path, layer):
    other_model(folder, layer)
    with pytest.raises(
        UserError,
        match=(
            f"layers {layer} were trained on a model with hash ffffffffffff; expected model with"
            " hash "
        ),
    ):
        traced(root, folder, tmp_path)
    assert not (tmp_path / "study").exists()


def test_a_dictionary_that_is_not_used_may_be_of_another_model(root, folder, tmp_path):
    other_model(folder, 1)
    assert traced(root, folder, tmp_path, features=(3,)).findings["sources"] == 1


def swap(folder, a, b):
    (folder / f"layer{a:02d}").rename(folder / "other")
    (folder / f"layer{b:02d}").rename(folder / f"layer{a:02d}")
    (folder / "other").rename(folder / f"layer{b:02d}")
    for layer in (a, b):
        path = folder / f"layer{layer:02d}" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"layer": layer, "sha256": None}))


def test_layers_in_each_others_places_are_refused(root, folder, tmp_path):
    swap(folder, 4, 5)
    with pytest.raises(
        UserError,
        match=(
            r"dictionaries of layers 4, 5 appear to be swapped between layers: as given they"
            r" explain .*%, .*% of these layers, in another"
        ),
    ):
        traced(root, folder, tmp_path)
    assert not (tmp_path / "study").exists()


def test_all_in_their_places_is_a_line_of_the_report(root, folder, tmp_path):
    found = {line.name: line for line in traced(root, folder, tmp_path, features=(3,)).preflight}
    assert (
        found["layer match"].ok
        and found["layer match"].found == "no layer is explained better by another's dictionary"
    )


def explaining(layer, share):
    """Explains, of states along the axes, those of its own layer and a share of all others."""
    axes = torch.eye(8)
    strength = torch.full((8,), share)
    strength[2 * layer : 2 * layer + 2] += 0.2
    both = torch.cat([axes, -axes])
    return Dictionary(
        layer,
        both,
        torch.zeros(16),
        both * strength.repeat(2)[:, None],
        torch.zeros(8),
        torch.zeros(8),
        rule="relu",
    )


def rows_of(layer):
    rows = torch.zeros(40, 8)
    rows[:, 2 * layer : 2 * layer + 2] = torch.randn(
        40, 2, generator=torch.Generator().manual_seed(layer)
    )
    return rows


def test_every_order_but_the_right_one_is_refused():
    right = {layer: explaining(layer, 0.5) for layer in range(3)}
    rows = {layer: rows_of(layer) for layer in range(3)}
    require_layer_match(right, rows)
    for order in itertools.permutations(range(3)):
        if order == (0, 1, 2):
            continue
        moved = ", ".join(str(i) for i in range(3) if order[i] != i).replace("0, 1, 2", r"0\.\.2")
        with pytest.raises(
            UserError, match=f"of layers {moved} appear to be swapped between layers"
        ):
            require_layer_match({i: right[j] for i, j in enumerate(order)}, rows)


def test_a_better_dictionary_of_another_layer_is_no_reason_to_refuse():
    """It explains every layer better than that layer's own dictionary, and yet is no swap."""
    uneven = {0: explaining(0, 0.3), 1: explaining(1, 0.7)}
    rows = {layer: rows_of(layer) for layer in range(2)}
    require_layer_match(uneven, rows)
    assert not layer_match_line(uneven, rows).ok


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_single_dictionary_that_fits_the_layer_beside_its_own_is_said(number):
    """One number off, where no other dictionary is there to compare with."""
    lines = off_by_one_lines({number: explaining(1, 0.3)}, {i: rows_of(i) for i in range(3)})
    if number == 1:
        assert not lines
    else:
        (line,) = lines
        assert line.ok and line.found.startswith("warning: ")
        assert f"that of layer {number} explains" in line.found
        assert line.found.endswith("of layer 1")


def test_what_explains_nothing_is_in_no_ones_place():
    noise = {
        layer: Dictionary(
            layer,
            *(
                torch.randn(*s, generator=torch.Generator().manual_seed(layer)) * 9
                for s in ((16, 8), (16,), (16, 8), (8,), (8,))
            ),
            k=4,
        )
        for layer in range(3)
    }
    require_layer_match(noise, {layer: rows_of(layer) for layer in range(3)})


@pytest.mark.parametrize("rule", ["relu", "batchtopk", "jumprelu"])
def test_legacy_needs_the_k_of_the_published_rule(root, examples, tmp_path, rule):
    for layer, dictionary in load_dictionaries(examples / "dictionaries").items():
        other = rule if layer == 4 else "topk"
        made = Dictionary(
            layer,
            *(dictionary.tensors[name] for name in WEIGHTS),
            rule=other,
            k=16,
            threshold=None if other in ("topk", "relu") else torch.full((1,), 0.1),
        )
        save_dictionary(made, tmp_path / "dictionaries")
    with pytest.raises(
        UserError, match=f"--legacy with the dictionary of layer 4, which is {rule}"
    ):
        traced(root, tmp_path / "dictionaries", tmp_path, legacy=True)
    assert not (tmp_path / "study").exists()
