"""Loading a model folder, its refusals, and the adapter against the model's own forward."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from reference import tiny_cells, tiny_model

from scircuit.settings import UserError
from tracing.models import load_model
from tracing.models.geneformer import Geneformer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tiny_model(layers=3, seed=4)
    model.save_pretrained(tmp_path / "Tiny Model", safe_serialization=True)
    return tmp_path / "Tiny Model"


def test_loaded_model_equals_the_saved_one_layer_by_layer(folder):
    adapter = load_model(folder, device="cpu")
    saved = tiny_model(layers=3, seed=4)
    for tokens in tiny_cells(3):
        ids = torch.as_tensor(tokens)
        with torch.no_grad():
            whole = saved(input_ids=ids[None], output_hidden_states=True)
        ours = adapter.clean_states(ids)
        for a, b in zip(ours, whole.hidden_states[1:], strict=True):
            torch.testing.assert_close(a, b[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(adapter.logits(ours[-1]), whole.logits[0], atol=1e-5, rtol=0)


def test_self_check_passes_and_names_what_it_checked(folder):
    lines = load_model(folder, device="cpu").self_check()
    assert all(line.ok for line in lines)
    assert [line.name for line in lines] == [
        "weights", "layers equal the whole forward", "logits equal the whole forward", "each layer called as a function",
        "chosen rows equal all rows", "zero edit changes nothing", "attention rows sum to one", "editing a layer changes the next",
    ]  # fmt: skip


def test_self_check_notices_a_wrong_layer(folder):
    adapter = load_model(folder, device="cpu")
    assert isinstance(adapter, Geneformer)
    adapter.layers[1] = adapter.layers[1]._replace(act=torch.nn.functional.silu)
    failed = {line.name for line in adapter.self_check() if not line.ok}
    assert "layers equal the whole forward" in failed and "attention rows sum to one" not in failed


def test_edited_and_chosen_rows_equal_the_full_layer(folder):
    adapter = load_model(folder, device="cpu")
    g = torch.Generator().manual_seed(0)
    clean = torch.randn(12, 32, generator=g)
    states = clean.expand(3, -1, -1).clone()
    slot, position = torch.tensor([0, 0, 2]), torch.tensor([3, 7, 11])
    states[slot, position] += torch.randn(3, 32, generator=g)
    with torch.inference_mode():
        full = adapter.layer(1, states)
        torch.testing.assert_close(adapter.layer_edited(1, clean, states, (slot, position)), full, atol=1e-5, rtol=0)
        rows = torch.tensor([[0, 5], [3, 3], [11, 2]])
        wanted = full[torch.arange(3)[:, None], rows]
        torch.testing.assert_close(adapter.layer_rows(1, states, rows), wanted, atol=1e-5, rtol=0)


def test_both_return_shapes_of_a_layer_are_read():
    from tracing.models.huggingface import first

    state = torch.randn(1, 2, 3)
    assert first(state) is state and first((state, None)) is state


def test_head_splits_into_a_row_part_and_a_linear_part(folder):
    adapter = load_model(folder, device="cpu")
    states = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mean_of_logits = adapter.logits(states).mean(0)
        torch.testing.assert_close(adapter.unembed(adapter.head_rows(states).mean(0)), mean_of_logits, atol=1e-5, rtol=0)


def test_gene_positions_are_those_of_genes(folder):
    adapter = load_model(folder, device="cpu")
    assert adapter.gene_positions(torch.tensor([2, 9, 1, 30, 0, 3])).tolist() == [1, 3]


def test_record_and_name(folder):
    adapter = load_model(folder, device="cpu")
    row = adapter.record().to_pylist()[0]
    assert (row["id"], row["layers"], row["width"], row["positions"]) == ("tiny-model", 3, 32, 40)
    assert len(row["sha256"]) == 64
    assert load_model(folder, device="cpu", name="Other Name").name == "other-name"


def test_fused_weights_are_shared_with_the_module(folder):
    adapter = load_model(folder, device="cpu")
    assert isinstance(adapter, Geneformer)
    own = adapter.model.bert.encoder.layer[0].attention.self.key.weight
    assert own.data_ptr() == adapter.layers[0].qkv[32:].data_ptr()


def test_missing_folder_config_weights_and_foreign_models(folder, tmp_path):
    with pytest.raises(UserError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no config\.json"):
        load_model(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="not a JSON object"):
        load_model(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(UserError, match="'gpt2'"):
        load_model(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        load_model(tmp_path / "empty")
    with pytest.raises(UserError, match="not available"):
        load_model(folder, device="abacus")


def test_incomplete_weights_are_refused(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    dropped = "bert.encoder.layer.1.output.dense.weight"
    save_file({k: v for k, v in weights.items() if k != dropped}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 weights"):
        load_model(folder, device="cpu")


def test_pickles_load_only_when_they_are_tensors(folder):
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    before = tiny_model(layers=3, seed=4)
    after = load_model(folder, device="cpu")
    ids = torch.as_tensor(tiny_cells(1)[0])
    with torch.no_grad():
        wanted = before(input_ids=ids[None], output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(after.clean_states(ids)[-1], wanted, atol=1e-5, rtol=0)
    torch.save({**weights, "harm": Path}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="could run code"):
        load_model(folder, device="cpu")


def test_cells_that_do_not_fit_the_model(folder):
    adapter = load_model(folder, device="cpu")
    with pytest.raises(UserError, match="has 41 tokens"):
        adapter.clean_states(torch.full((41,), 5))
    with pytest.raises(UserError, match="token ids 5 to 60"):
        adapter.clean_states(torch.tensor([5, 60]))
    with pytest.raises(UserError, match="no tokens"):
        adapter.clean_states(torch.tensor([], dtype=torch.long))
