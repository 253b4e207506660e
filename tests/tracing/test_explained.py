"""What dictionaries explain of the cells of a run decides where their place has no plain name."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries, save_dictionary
from scircuit.tracing.evaluation.fidelity import NOT_MEASURED, place_lines
from scircuit.tracing.evaluation.layer_match import (
    explained_lines,
    require_explained,
    stated_explained,
)
from tests.support.study_runs import demo, trace

D = 6
ROWS = torch.randn(200, D, generator=torch.Generator().manual_seed(0)) + 3


def scaled(layer: int, scale: float, **provenance: Any) -> Dictionary:
    """Reconstructs ``mean + scale (x - mean)``: explains ``1 - (1 - scale)^2`` of the variance."""
    axes = torch.eye(D)
    both, zero = torch.cat([axes, -axes]), torch.zeros(2 * D)
    return Dictionary(
        layer,
        both,
        zero,
        scale * both,
        torch.zeros(D),
        ROWS.mean(0),
        rule="relu",
        provenance=provenance,
    )


@pytest.mark.parametrize(
    ("scale", "stated", "ok", "refused"),
    [
        (0.5, None, True, False),  # 75 %
        (0.5, 0.8, True, False),
        (0.1, 0.8, False, False),  # 19 %, far below what it says
        (0.1, None, True, False),
        (2.5, None, False, True),  # below 0
        (2.5, 0.8, False, True),
        (0.5, float("nan"), True, False),
    ],
)
def test_explained_is_held_against_nothing_and_against_what_is_stated(scale, stated, ok, refused):
    own = {4: scaled(4, scale, **({} if stated is None else {"variance_explained": stated}))}
    (line,) = explained_lines(own, {4: ROWS})
    assert line.name == "layer 4 explained" and line.ok is ok
    assert f"{1 - (1 - scale) ** 2:.1%} of the variance" in line.found
    assert ("where it was trained" in line.found) is (stated_explained(own[4]) is not None)
    if refused:
        with pytest.raises(UserError, match=r"layers 4 explain -125\.0% .* mean state is nearer"):
            require_explained(own, {4: ROWS})
    else:
        require_explained(own, {4: ROWS})


@pytest.mark.parametrize(
    ("place", "post_norm", "said"),
    [
        ("blocks.4.hook_resid_post", True, True),
        ("blocks.4.hook_resid_post", False, False),
        ("blocks.4.hook_normalized_resid_post", True, False),
        ("bert.encoder.layer.4", True, False),
        ("", True, False),
    ],
)
def test_the_sum_before_the_last_norm_is_said_of_post_norm_models(place, post_norm, said):
    model: Any = SimpleNamespace(name="tiny", adds_to_stream=not post_norm)
    lines = place_lines(model, {4: scaled(4, 0.5, place=place)})
    assert len(lines) == said
    for line in lines:
        assert line.found.startswith(f"{NOT_MEASURED}: layers 4 read 'blocks.4.hook_resid_post'")


def test_trace_refuses_dictionaries_of_states_of_another_scale(root, tmp_path):
    folder = tmp_path / "dictionaries"
    shutil.copytree(root / "examples" / "dictionaries", folder)
    own = load_dictionaries(folder)[5]
    shutil.rmtree(folder / "layer05")
    t = own.tensors
    wide = Dictionary(
        5, t["encoder"], t["encoder_bias"], 4 * t["decoder"], t["decoder_bias"], t["mean"], k=own.k
    )
    save_dictionary(wide, folder)
    options = demo(root, dictionaries=str(folder), features=(3,))
    with pytest.raises(UserError, match=r"dictionaries of layers 5 explain -\d+\.\d%"):
        trace(study=tmp_path / "study", database=False, quiet=True, **options)
    assert not (tmp_path / "study").exists()
