"""GPT-NeoX and Gemma-2 against the library's own forward pass, small and in the real shapes, and
what is refused.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.models import load_model
from scircuit.tracing.models.attention import Sight, attention_lse, plain_attention_lse
from scircuit.tracing.models.self_check import self_check
from tests.support.tiny_decoders import (
    KINDS,
    decoder_cells,
    gemma_config,
    neox_config,
    random_weights,
    tiny_decoder,
)

SAME = 1e-4  # of the largest state: float32 through all layers, summed in another order


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_equals_the_library(kind):
    adapter = tiny_decoder(kind)
    for cell in decoder_cells(3):
        ours, whole = adapter.clean_states(cell), adapter.whole_forward(cell)
        for a, b in zip(ours, whole.layers, strict=True):
            assert float((a - b).abs().max()) < SAME * float(b.abs().max())
        torch.testing.assert_close(adapter.logits(ours[-1]), whole.logits, atol=SAME, rtol=SAME)


@pytest.mark.parametrize("kind", KINDS)
def test_self_check_passes(kind):
    failed = [str(line) for line in self_check(tiny_decoder(kind)) if not line.ok]
    assert not failed


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_an_edit_changes_no_earlier_position(kind):
    adapter = tiny_decoder(kind)
    states = adapter.clean_states(decoder_cells(1)[0])
    edited = states[1].clone()
    edited[17] += 1.0
    change = (adapter.layer(2, edited[None])[0] - adapter.layer(2, states[1][None])[0]).abs()
    assert float(change[:17].max()) == 0
    assert float(change[17].min()) > 0
    assert float(change[18:].max()) > 0


@torch.inference_mode()
def test_a_window_hides_what_is_further_back():
    adapter = tiny_decoder("gemma")
    assert [adapter.sight(layer).window for layer in range(4)] == [7, None, 7, None]
    states = adapter.clean_states(decoder_cells(1)[0])
    edited = states[1].clone()
    edited[10] += 1.0
    change = (adapter.layer(2, edited[None])[0] - adapter.layer(2, states[1][None])[0]).abs()
    assert float(change[16].max()) > 0
    assert float(change[17:].max()) == 0


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_mlp_input_and_output_are_those_of_the_library(kind):
    """What the library's feed-forward takes, and what the layer adds beside attention."""
    adapter, cell = tiny_decoder(kind), decoder_cells(1)[0]
    caught = []
    handles = [
        block.mlp.register_forward_hook(lambda _m, i, o: caught.append((i[0][0], o[0])))
        for block in adapter.blocks
    ]
    adapter.whole_forward(cell)
    for handle in handles:
        handle.remove()
    before = [adapter.embed(cell), *adapter.clean_states(cell)]
    for layer, (taken, given) in enumerate(caught):
        ours = adapter.mlp_inputs(layer, before[layer][None])[0]
        torch.testing.assert_close(ours, taken, atol=SAME, rtol=SAME)
        norm = adapter.layers[layer].norm_fed
        added = given if norm is None else norm(given)
        torch.testing.assert_close(adapter.fed(layer, ours), added, atol=10 * SAME, rtol=10 * SAME)


SHAPES = {
    # Pythia 410m and Gemma-2 2B: layer counts of the checkpoints are 24 and 26; two are built
    "410m": lambda: neox_config(
        layers=2,
        vocab_size=512,
        hidden_size=1024,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=2048,
    ),
    "2B": lambda: gemma_config(
        layers=2,
        vocab_size=512,
        hidden_size=2304,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        intermediate_size=9216,
        max_position_embeddings=8192,
        sliding_window=4096,
        query_pre_attn_scalar=256,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_real_shapes_load_and_equal_the_library(shape, tmp_path):
    from transformers import Gemma2ForCausalLM, GPTNeoXForCausalLM

    kind = {"410m": GPTNeoXForCausalLM, "2B": Gemma2ForCausalLM}[shape]
    torch.manual_seed(3)
    kind(SHAPES[shape]()).save_pretrained(tmp_path / "C2S Model")
    adapter = load_model(tmp_path / "C2S Model", "cpu")
    cell = np.random.default_rng(0).integers(0, 512, 90)
    ours, whole = adapter.clean_states(cell), adapter.whole_forward(cell)
    for a, b in zip(ours, whole.layers, strict=True):
        assert float((a - b).abs().max()) < SAME * max(1.0, float(b.abs().max()))
    error = (adapter.logits(ours[-1]) - whole.logits).abs().max()
    assert float(error) < SAME * max(1.0, float(whole.logits.abs().max()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
            "rotary positions of type 'linear'",
        ),
        ({"hidden_act": None}, "hidden_act"),
        ({"hidden_act": "gelu_of_tomorrow"}, "hidden_act"),
        ({"num_hidden_layers": 3}, "weights"),
        ({"num_hidden_layers": 5}, "lacks"),
        ({"model_type": "gpt_neox_japanese"}, "gpt_neox_japanese"),
        ({"use_parallel_residual": "absent"}, "lacks use_parallel_residual"),
    ],
)
def test_unsupported_decoders_are_refused_by_name(tmp_path, change, said):
    from transformers import GPTNeoXForCausalLM

    random_weights(GPTNeoXForCausalLM(neox_config()), 0).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text()) | change
    file.write_text(json.dumps({k: v for k, v in config.items() if v != "absent"}))
    with pytest.raises(UserError, match=said):
        load_model(tmp_path, "cpu")


def test_bidirectional_gemma_is_refused(tmp_path):
    from transformers import Gemma2ForCausalLM

    config = gemma_config(use_bidirectional_attention=True)
    random_weights(Gemma2ForCausalLM(config), 0).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="use_bidirectional_attention"):
        load_model(tmp_path, "cpu")


def test_an_encoder_s_fields_in_a_decoder_are_still_refused_for_encoders(tmp_path):
    """Key groups and windows have not become possible for families that do not say so."""
    from scircuit.tracing.models.geneformer import Geneformer
    from tests.support.tiny_models import tiny_model

    model = tiny_model(layers=2, seed=0)
    model.config.num_key_value_heads = 2
    with pytest.raises(UserError, match="shares keys between heads"):
        Geneformer(model, "x", "0" * 64)


@pytest.mark.parametrize("window", [None, 5])
def test_sight_by_a_loop(window):
    sight = Sight(True, window, 2.5)
    query, key = torch.tensor([0, 3, 9, 11]), torch.arange(12)
    mask = sight.mask(query, key, torch.float32)
    assert mask is not None
    for i, q in enumerate(query.tolist()):
        for k in range(12):
            sees = k <= q and (window is None or k > q - window)
            assert (float(mask[i, k]) == 0) is sees
    assert Sight().mask(query, key, torch.float32) is None


def test_bounded_attention_by_plain_arithmetic():
    """A row's result by its own numbers alone, to the last digit, whatever the batch."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (3 * torch.randn(3, 2, n, 8, generator=g) for n in (230, 50, 50))
    out, lse = attention_lse(q, k, v, None, 1.5)
    scores = (1.5 * torch.tanh(q.double() @ k.double().transpose(-1, -2) / 8**0.5 / 1.5)).double()
    torch.testing.assert_close(lse, scores.logsumexp(-1).float(), atol=1e-5, rtol=1e-5)
    wanted = (scores.softmax(-1) @ v.double()).float()
    torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-5)
    alone = torch.cat(
        [plain_attention_lse(*(x[i : i + 1] for x in (q, k, v)), None, 1.5)[0] for i in range(3)]
    )
    assert torch.equal(alone, out)
