"""Loading a model folder, its refusals, and the adapter against the model's own forward."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.models import load_model
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.models.self_check import self_check
from tests.support.tiny_models import tiny_cells, tiny_model


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
    lines = self_check(load_model(folder, device="cpu"))
    assert all(line.ok for line in lines)
    assert [line.name for line in lines] == [
        "weights",
        "layers equal the whole forward",
        "logits equal the whole forward",
        "each layer called as a function",
        "chosen rows equal all rows",
        "zero edit changes nothing",
        "attention rows sum to one",
        "editing a layer changes the next",
    ]


def test_self_check_notices_a_wrong_layer(folder):
    adapter = load_model(folder, device="cpu")
    assert isinstance(adapter, Geneformer)
    adapter.layers[1] = adapter.layers[1]._replace(act=torch.nn.functional.silu)
    failed = {line.name for line in self_check(adapter) if not line.ok}
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
        torch.testing.assert_close(
            adapter.layer_edited(1, clean, states, (slot, position)), full, atol=1e-5, rtol=0
        )
        chosen = torch.tensor([0, 5, 3, 3, 11, 2])
        for slots in ([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2], [0, 0, 0, 2, 2, 2]):
            rows = (torch.tensor(slots), chosen)
            found = adapter.layer_rows(1, states, rows)
            torch.testing.assert_close(found, full[rows], atol=1e-5, rtol=0)


def test_both_return_shapes_of_a_layer_are_read():
    from scircuit.tracing.models.huggingface import first

    state = torch.randn(1, 2, 3)
    assert first(state) is state and first((state, None)) is state


def test_head_splits_into_a_row_part_and_a_linear_part(folder):
    adapter = load_model(folder, device="cpu")
    states = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mean_of_logits = adapter.logits(states).mean(0)
        torch.testing.assert_close(
            adapter.unembed(adapter.head_rows(states).mean(0)), mean_of_logits, atol=1e-5, rtol=0
        )


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
    save_file(
        {k: v for k, v in weights.items() if k != dropped},
        folder / "model.safetensors",
        {"format": "pt"},
    )
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


@pytest.mark.parametrize(
    "error",
    [
        ImportError("transformers needs accelerate"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_what_is_no_fault_of_the_files_is_not_blamed_on_them(folder, monkeypatch, error):
    import transformers

    def broken(*_arguments, **_options):
        raise error

    monkeypatch.setattr(transformers.BertForMaskedLM, "from_pretrained", broken)
    with pytest.raises(type(error)):
        load_model(folder, device="cpu")


def test_cells_that_do_not_fit_the_model(folder):
    adapter = load_model(folder, device="cpu")
    with pytest.raises(UserError, match="has 41 tokens"):
        adapter.clean_states(torch.full((41,), 5))
    with pytest.raises(UserError, match="token ids 5 to 60"):
        adapter.clean_states(torch.tensor([5, 60]))
    with pytest.raises(UserError, match="no tokens"):
        adapter.clean_states(torch.tensor([], dtype=torch.long))


def test_weights_that_are_no_numbers_are_refused(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.2.output.dense.weight"][0, :3] = torch.tensor(
        [float("nan"), float("inf"), 1.0]
    )
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError,
        match=r"2 values of bert\.encoder\.layer\.2\.output\.dense\.weight are NaN or infinite",
    ):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_half_precision_is_cast_and_said(folder, dtype, form):
    from safetensors.torch import load_file, save_file

    full = load_file(folder / "model.safetensors")
    half = {k: v.to(dtype) for k, v in full.items()}
    if form == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(half, folder / "pytorch_model.bin")
    else:
        save_file(half, folder / "model.safetensors", {"format": "pt"})
    adapter = load_model(folder, device="cpu")
    assert adapter.dtype == torch.float32 and all(
        p.dtype == torch.float32 for p in adapter.parameters()
    )
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(dict(adapter.model.named_parameters())[name], full[name].to(dtype).float())
    lines = {line.name: line for line in self_check(adapter)}
    assert (
        lines["weights"].found.startswith(
            f"stored as {str(dtype).removeprefix('torch.')}, computed in float32"
        )
        and lines["weights"].ok
    )
    assert all(line.ok for line in lines.values())


def test_a_model_of_another_vocabulary_is_refused_when_cells_are_to_be_read(folder):
    with pytest.raises(
        UserError,
        match="the model tiny-model has 60 tokens, the dictionary of geneformer-v2 has 20,275",
    ):
        _ = load_model(folder, device="cpu").vocabulary


def test_geneformer_v1_reads_its_own_dictionaries(tmp_path):
    """25,426 tokens of which only pad and mask are no genes, no cls and eos; the published pickles
    are not here, so ids are made up.
    """
    from scipy import sparse

    from scircuit.tracing.tokenisation.rank import tokenise_matrix
    from scircuit.tracing.tokenisation.vocabulary import geneformer_v2

    model = tiny_model(layers=2, vocabulary=25_426, seed=1)
    model.save_pretrained(tmp_path / "v1", safe_serialization=True)
    adapter = load_model(tmp_path / "v1", device="cpu")
    with pytest.raises(
        UserError, match=r"25,426 tokens \(Geneformer V1, whose dictionaries are not shipped here\)"
    ):
        _ = adapter.vocabulary
    known = geneformer_v2()
    genes = list({**known.symbol_to_ensembl, **known.outside}.values())[:25_424][::-1]
    token = {"<pad>": 0, "<mask>": 1, **{g: i + 2 for i, g in enumerate(genes)}}
    (tmp_path / "v1" / "token_dictionary.json").write_text(json.dumps(token))
    with pytest.raises(UserError, match=r"has no gene_median_dictionary\.json"):
        _ = load_model(tmp_path / "v1", device="cpu").vocabulary
    median = {g: 1.0 + i % 7 for i, g in enumerate(genes)}
    (tmp_path / "v1" / "gene_median_dictionary.json").write_text(json.dumps(median))
    adapter = load_model(tmp_path / "v1", device="cpu")
    vocabulary = adapter.vocabulary
    assert (len(vocabulary), vocabulary.cls, vocabulary.eos, vocabulary.framing) == (
        25_426,
        None,
        None,
        0,
    )
    some = [
        known.symbol_to_ensembl["GATA1"],
        known.symbol_to_ensembl["CDK1"],
        known.symbol_to_ensembl["MPO"],
    ]
    cell = tokenise_matrix(sparse.csr_matrix([[3.0, 0.0, 40.0]]), some, vocabulary, 40)[0]
    order = sorted((some[0], some[2]), key=lambda g: -{some[0]: 3.0, some[2]: 40.0}[g] / median[g])
    assert cell.tolist() == [token[g] for g in order]
    assert adapter.gene_positions(cell).tolist() == [0, 1] and adapter.gene_tokens(
        np.array([1, 5, 2])
    ).tolist() == [5, 2]
    assert all(line.ok for line in self_check(adapter))
    del median[genes[5]]
    (tmp_path / "v1" / "gene_median_dictionary.json").write_text(json.dumps(median))
    with pytest.raises(
        UserError, match=f"1 of 25,424 genes have no positive median, such as {genes[5]}"
    ):
        _ = load_model(tmp_path / "v1", device="cpu").vocabulary
