"""Transcoders where they meet a model: sites that do not fit, the gain of a norm, and how well they
stand for its MLP, against the library's own forward pass.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.execution.load_inputs import load_dictionaries_for
from scircuit.tracing.dictionaries import Dictionary, save_dictionary
from scircuit.tracing.dictionaries.mlp_site import require_site, site_of, with_gain
from scircuit.tracing.evaluation.mlp_loss import MlpLoss, mlp_losses
from scircuit.tracing.evaluation.quality import evaluate
from scircuit.tracing.evaluation.transcoder_fit import fit_lines, transcoder_lines
from scircuit.workflows.check import _dictionaries as dictionaries_of_check
from tests.support.planted_mlp import PlantedMlp, hooked_loss, hooked_mlp
from tests.support.tiny_decoders import decoder_cells, tiny_decoder, tiny_transcoder

KINDS = ("parallel", "sequential", "gemma")


@pytest.fixture(scope="module", params=KINDS)
def decoder(request):
    adapter = tiny_decoder(request.param, layers=3)
    # of the library itself, so that what is measured here does not rest on the adapter's own
    adapter.clean_mlp = lambda cell: hooked_mlp(adapter, cell)
    return adapter


def test_the_clean_mlp_of_an_adapter_is_that_of_the_library(decoder):
    """float32 through three layers, in another order of sums."""
    for cell in decoder_cells(2):
        found = type(decoder).clean_mlp(decoder, cell)
        for ours, theirs in zip(found, hooked_mlp(decoder, cell), strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


def dictionary(layer=0, site="mlp", width=16, **more):
    g = torch.Generator().manual_seed(layer)
    shapes = ((40, width), (40,), (40, width), (width,), (width,))
    return Dictionary(
        layer, *(torch.randn(*s, generator=g) for s in shapes), rule="relu", site=site, **more
    )


def test_a_family_without_the_site_is_refused():
    encoder = SimpleNamespace(name="gf", family="geneformer", has_mlp_site=False, n_layers=2)
    outputs = {0: dictionary(site="output"), 1: dictionary(1, "output")}
    require_site(encoder, outputs)
    assert site_of(outputs) == "output"
    with pytest.raises(
        UserError, match=r"these are transcoders \(layers 1\), and gf \(geneformer\)"
    ):
        require_site(encoder, {1: dictionary(1)})
    with pytest.raises(UserError, match="does not say where its MLP reads and writes"):
        require_site(SimpleNamespace(name="old", family="old"), {1: dictionary(1)})


def test_a_folder_that_mixes_sites_is_refused():
    model = SimpleNamespace(name="m", family="f", has_mlp_site=True, n_layers=3)
    mixed = {0: dictionary(), 1: dictionary(1, "output"), 2: dictionary(2)}
    with pytest.raises(UserError) as error:
        require_site(model, mixed)
    assert "transcoders (layers 0, 2) and dictionaries of layer outputs (layers 1)" in (
        error.value.problem
    )
    require_site(model, {0: dictionary()})
    assert site_of({0: dictionary()}) == "mlp" and site_of({}) == "output"


def test_the_output_before_a_last_norm_is_refused_where_there_is_one(decoder):
    for writes in ("mlp", "mlp.hook_out", "hook_mlp_out", "post_feedforward_layernorm"):
        found = {1: dictionary(1, width=32, provenance={"writes": writes})}
        if decoder.family != "gemma-2" or writes not in ("mlp", "mlp.hook_out"):
            require_site(decoder, found)
            continue
        with pytest.raises(UserError, match=f"writes '{writes}', and in .* a norm follows the MLP"):
            require_site(decoder, found)


def test_what_is_loaded_for_a_model_fits_its_site(decoder, tmp_path):
    """By a trace and by a check: the gain is folded in, and what does not fit is refused."""
    plain = dictionary(1, width=32, gain=False)
    save_dictionary(plain, tmp_path / "set")
    options = SimpleNamespace(dictionaries=str(tmp_path / "set"))
    expected = with_gain(decoder, {1: plain})[1].sha256
    for load in (
        lambda model: load_dictionaries_for(model, tmp_path / "set"),
        lambda model: dictionaries_of_check(options, model),
    ):
        assert load(decoder)[1].sha256 == expected != plain.sha256
        encoder = SimpleNamespace(
            name="gf", family="geneformer", has_mlp_site=False, n_layers=3, width=32
        )
        with pytest.raises(UserError, match="does not say where its MLP reads and writes"):
            load(encoder)
    save_dictionary(dictionary(0, "output", width=32), tmp_path / "set")
    with pytest.raises(UserError, match="the folder mixes transcoders"):
        load_dictionaries_for(decoder, tmp_path / "set")


@pytest.mark.parametrize("skip", [False, True])
def test_the_gain_of_the_norm_is_folded_in(decoder, skip):
    """The transcoder of the norm's input to its weight, on that, is the folded one on the MLP
    input. The reference divides by the weight and adds the bias entry by entry; the bound is that
    of float32 where a weight near 0 makes entries large.
    """
    layer = 1
    matrix = torch.randn(32, 32, generator=torch.Generator().manual_seed(5)) if skip else None
    plain = dictionary(layer, width=32, gain=False, skip=matrix)
    other = tiny_transcoder(0)
    folded = with_gain(decoder, {0: other, layer: plain})
    assert folded[0] is other and folded[layer].gain and folded[layer].sha256 != plain.sha256
    norm = decoder.layers[layer].norm_2
    for cell in decoder_cells(2):
        x = hooked_mlp(decoder, cell)[layer][0]
        bare = torch.stack(
            [
                torch.stack(
                    [
                        (row[i] - (0 if norm.bias is None else norm.bias[i])) / norm.weight[i]
                        for i in range(32)
                    ]
                )
                for row in x
            ]
        )
        expected = plain.decode(plain.encode(bare), bare)
        found = folded[layer].decode(folded[layer].encode(x), x)
        scale = float(expected.abs().max())
        np.testing.assert_allclose(found, expected, atol=1e-4 * scale)


def test_a_gain_that_is_not_known_or_zero_is_refused():
    plain = dictionary(gain=False)
    bare = SimpleNamespace(name="m", family="f", has_mlp_site=True, n_layers=1)
    with pytest.raises(UserError, match="does not say what these are"):
        with_gain(bare, {0: plain})
    norm = SimpleNamespace(weight=torch.ones(16).index_fill(0, torch.tensor([2]), 0), bias=None)
    bare.layers = [SimpleNamespace(norm_2=norm)]
    with pytest.raises(UserError, match="which is 0 for 1 of 16 entries"):
        with_gain(bare, {0: plain})


def test_quality_is_that_of_the_mlp_output(decoder):
    """Sums in float64, row by row; float32 inside: 1e-5."""
    cells = decoder_cells(3)
    transcoders = {layer: tiny_transcoder(layer, skip=layer == 1) for layer in (0, 1, 2)}
    found = evaluate(decoder, transcoders, cells)
    for layer, transcoder in transcoders.items():
        pairs = [hooked_mlp(decoder, cell)[layer] for cell in cells]
        x, y = (torch.cat([pair[i] for pair in pairs]).double() for i in (0, 1))
        t = {name: part.double() for name, part in transcoder.tensors.items()}
        error, active, fired = 0.0, 0, set()
        for row, target in zip(x, y, strict=True):
            a = t["encoder"] @ row + t["encoder_bias"]
            best = a.argsort(descending=True)[: transcoder.k]
            made = t["decoder_bias"] + sum(a[f].clamp(min=0) * t["decoder"][f] for f in best)
            made = made + (t["skip"] @ row if layer == 1 else 0)
            error += float((target - made).pow(2).sum())
            on = [int(f) for f in best if a[f] > 0]
            active, fired = active + len(on), fired | set(on)
        fvu = error / float((y - y.mean(0)).pow(2).sum())
        assert 1 - found[layer]["variance_explained"] == pytest.approx(fvu, rel=1e-5)
        assert found[layer]["l0"] == pytest.approx(active / len(x))
        assert found[layer]["dead_share"] == pytest.approx(1 - len(fired) / 48)
        assert found[layer]["rows_held_out"] == len(x)
        np.testing.assert_allclose(found[layer]["mean"], y.mean(0), atol=1e-6)


def test_losses_are_those_of_the_library_with_its_mlp_replaced(decoder):
    """float32 through three layers: 1e-4 nats."""
    cells = decoder_cells(3)
    transcoders = {layer: tiny_transcoder(layer, skip=True) for layer in (0, 2)}
    pairs = [hooked_mlp(decoder, cell) for cell in cells]
    means = {layer: torch.cat([pair[layer][1] for pair in pairs]).mean(0) for layer in (0, 2)}
    found = mlp_losses(decoder, transcoders, cells, means)
    tokens = sum(len(cell) - 1 for cell in cells)
    for layer, transcoder in transcoders.items():

        def mean_loss(instead, layer=layer):
            total = sum(
                (len(cell) - 1) * float(hooked_loss(decoder, cell, layer, instead(*pair[layer])))
                for cell, pair in zip(cells, pairs, strict=True)
            )
            return total / tokens

        loss = found[layer]
        assert loss.tokens == tokens
        assert loss.clean == pytest.approx(mean_loss(lambda _x, y: y), abs=1e-4)
        made = lambda x, _y, t=transcoder: t.decode(t.encode(x), x)  # noqa: E731
        assert loss.rebuilt == pytest.approx(mean_loss(made), abs=1e-4)
        assert loss.zero == pytest.approx(mean_loss(lambda _x, y: 0 * y), abs=1e-4)
        of_mean = mean_loss(lambda _x, y, m=means[layer]: m.expand_as(y))
        assert loss.mean == pytest.approx(of_mean, abs=1e-4)
    assert len({round(loss.clean, 9) for loss in found.values()}) == 1


def test_the_loss_recovered_is_a_share_of_what_the_ablation_costs():
    loss = MlpLoss(clean=2.0, rebuilt=2.25, zero=3.0, mean=2.5, tokens=7)
    assert loss.recovered(loss.zero) == 0.75 and loss.recovered(loss.mean) == 0.5
    assert np.isnan(loss.recovered(2.0)), "an ablation that costs nothing"


def test_a_transcoder_of_another_place_is_a_failing_line(decoder):
    cells = decoder_cells(2)
    far = {layer: tiny_transcoder(layer) for layer in (0, 1)}
    far[0].tensors["decoder"] *= 30
    far[0].to("cpu")
    near = dictionary(2, width=32)
    near.tensors["encoder"] *= 0
    near.tensors["encoder_bias"] = -torch.ones(40)
    near.tensors["decoder_bias"] = torch.cat([hooked_mlp(decoder, c)[2][1] for c in cells]).mean(0)
    lines = fit_lines(decoder, far | {2: near.to("cpu")}, cells)
    assert [line.name for line in lines] == [
        f"transcoder fits the MLP of layer {layer}" for layer in range(3)
    ]
    assert not lines[0].ok and "FVU" in lines[0].found and "another norm" in lines[0].fix
    assert "at most 1.000" in lines[0].expected
    with pytest.raises(UserError, match=r"transcoders of layers 0.* leave .*its mean is nearer"):
        fit_lines(decoder, far, cells, strict=True)
    # as far as the mean itself, up to the last digits of the two sums
    assert "FVU 1.000" in lines[2].found and "0.0 active" in lines[2].found


def test_a_transcoder_that_is_less_good_than_it_says_fails():
    world, cells = PlantedMlp(), [np.arange(i, i + 20) for i in range(3)]
    right = planted_transcoder(world)
    for stated, ok in ((0.99, True), (None, True), (1.7, True), (1.8, False)):
        right.provenance["variance_explained"] = stated
        (line,) = fit_lines(world, {0: right}, cells)
        assert line.ok is ok, line  # it explains 0.867, and half of what it says is needed


def planted_transcoder(world):
    """The MLP of the first layer written as a transcoder, by least squares of its 32 causes."""
    inverse = torch.linalg.pinv(world.read.double())  # [d, causes]: not exact, 32 causes in 24
    return Dictionary(
        0,
        inverse.T.float(),
        -(inverse.T @ world.offset_in.double()).float(),
        4 * world.written,
        world.offset_out,
        torch.zeros(world.width),
        rule="jumprelu",
        threshold=torch.full((32,), 0.5),
        site="mlp",
    )


def test_lines_of_a_check(decoder):
    cells = decoder_cells(3)
    transcoders = {layer: tiny_transcoder(layer) for layer in (0, 2)}
    lines = list(transcoder_lines(decoder, transcoders, cells, 60.0))
    assert [line.name for line in lines] == [
        "transcoder fits the MLP of layer 0",
        "transcoder fits the MLP of layer 2",
        "layer 0 loss recovered",
        "layer 2 loss recovered",
    ]
    assert all("nan" not in line.found for line in lines)
    world = PlantedMlp()
    world.token_ids = lambda cell: torch.from_numpy(cell)
    *_, last = transcoder_lines(world, {0: planted_transcoder(world)}, [np.arange(20)], 9.0)
    assert last.name == "loss recovered" and last.found.startswith("not measured: planted")
