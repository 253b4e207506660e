"""What may lie in a model folder: every file damaged one at a time, adapters, quantised weights,
weights that are missing or too many, two checkpoints in one folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scircuit.core.errors import UserError
from scircuit.tracing.models import load_model
from scircuit.tracing.models.self_check import self_check
from tests.support.damaged_files import damages, outcome
from tests.support.tiny_models import scgpt_script, tiny_model, tiny_scgpt, tiny_scgpt_cell

CELL = torch.tensor([2, 9, 30, 40, 3])
SOME = (
    "bert.embeddings.word_embeddings.weight",
    "bert.encoder.layer.1.attention.self.key.bias",
    "bert.encoder.layer.0.output.dense.weight",
    "cls.predictions.transform.dense.weight",
)
SOME_SCGPT = (
    "encoder.embedding.weight",
    "value_encoder.linear1.weight",
    "transformer_encoder.layers.0.self_attn.Wqkv.weight",
    "transformer_encoder.layers.0.norm2.bias",
    "decoder.fc.0.weight",
)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_model(layers=2, width=16, seed=4).save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"mlm_loss": 2.0, "unigram_loss": 3.0}))
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="session")
def saved_scgpt(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = scgpt_script(examples)
    folder = tmp_path_factory.mktemp("scgpt") / "model"
    names = [*(f"GENE{i}" for i in range(5)), "<pad>", "<cls>", "<eoc>"]
    script.save_checkpoint(tiny_scgpt(script, 8, 8, 2, 8, 1), names, folder, 20)
    return folder


def states(folder: Path) -> Any:
    return torch.stack(load_model(folder, "cpu").clean_states(CELL.numpy())).numpy()


def states_scgpt(folder: Path) -> Any:
    return torch.stack(load_model(folder, "cpu").clean_states(tiny_scgpt_cell(5, 4))).numpy()


def swept(folder: Path, place: Path, tensors: tuple[str, ...], numbers: Any) -> dict[str, str]:
    """Outcome of every damage; all are tried before one that is wrong is reported."""
    expected, found = numbers(folder), {}
    for damage in damages(folder, tensors):
        try:
            found[str(damage)] = outcome(folder, place, damage, numbers, expected)
        except Exception as error:
            found[str(damage)] = f"ended with {type(error).__name__}: {error}"
    return found


@pytest.mark.parametrize("family", ["geneformer", "scgpt"])
def test_a_damaged_folder_gives_the_same_numbers_or_a_sentence(
    family, saved, saved_scgpt, tmp_path
):
    geneformer = family == "geneformer"
    found = (
        swept(saved, tmp_path / "x", SOME, states)
        if geneformer
        else swept(saved_scgpt, tmp_path / "x", SOME_SCGPT, states_scgpt)
    )
    wrong = {
        what: text
        for what, text in found.items()
        if text == "other numbers" or text.startswith("ended with")
    }
    assert not wrong, "\n".join(f"{what}: {text}" for what, text in wrong.items())
    refused = sum(text != "same" for text in found.values())
    assert refused > len(found) / 2
    weights = "model.safetensors" if geneformer else "best_model.pt"
    for whole in ("removed", "empty", "truncated", "zeros", "noise", "a directory"):
        assert found[f"{weights}: {whole}"] != "same"


ADAPTER = {
    "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight": torch.ones(4, 16),
    "base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight": torch.ones(16, 4),
}
PEFT = {"peft_type": "LORA", "base_model_name_or_path": "/nowhere/Geneformer", "r": 4}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(content))


def tensors(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)


@pytest.mark.parametrize(
    ("file", "write", "content"),
    [
        ("adapter_config.json", write_json, PEFT),
        ("adapter_model.safetensors", tensors, ADAPTER),
        ("adapter_model.bin", tensors, ADAPTER),
        ("pytorch_lora_weights.safetensors", tensors, ADAPTER),
        ("changes.safetensors", tensors, ADAPTER),
        ("changes.pt", tensors, ADAPTER),
        ("fine_tuned.json", write_json, PEFT),
        ("celltype/adapter_config.json", write_json, PEFT),
        ("celltype/adapter_model.safetensors", tensors, ADAPTER),
        ("adapters/celltype/adapter_config.json", write_json, PEFT),
        ("LoRA/step_9/weights.safetensors", tensors, {"a": torch.ones(2)}),
        ("adapter_model.npz", lambda p, _: p.write_bytes(b"PK"), None),
        ("run.ckpt", tensors, {"state_dict": ADAPTER, "epoch": 3}),
    ],
)
def test_an_adapter_beside_the_base_is_never_ignored(folder, file, write, content):
    write(folder / file, content)
    with pytest.raises(UserError, match="adapter") as error:
        load_model(folder, "cpu")
    assert "merge_and_unload()" in error.value.fix


def test_an_adapter_alone_is_refused_as_one(tmp_path):
    write_json(tmp_path / "only" / "adapter_config.json", PEFT)
    with pytest.raises(UserError, match="holds an adapter"):
        load_model(tmp_path / "only", "cpu")


def test_an_adapter_beside_scgpt_is_never_ignored(saved_scgpt, tmp_path):
    copy = Path(shutil.copytree(saved_scgpt, tmp_path / "m"))
    tensors(copy / "lora.pt", ADAPTER)
    with pytest.raises(UserError, match="adapter"):
        load_model(copy, "cpu")


def configured(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def rewritten(folder: Path, **changed: torch.Tensor | None) -> None:
    """Weights with some replaced, added or (None) removed."""
    held = load_file(folder / "model.safetensors") | {
        k: v for k, v in changed.items() if v is not None
    }
    save_file(
        {k: v for k, v in held.items() if changed.get(k, v) is not None},
        folder / "model.safetensors",
        {"format": "pt"},
    )


QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    "quantise",
    [
        lambda f: configured(f, quantization_config={"quant_method": "bitsandbytes"}),
        lambda f: configured(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        lambda f: configured(f, compression_config={"format": "pack-quantized"}),
        lambda f: write_json(f / "quantize_config.json", {"bits": 4}),
        lambda f: rewritten(
            f, **{f"{QUERY}.weight": None, f"{QUERY}.qweight": torch.ones(2, 16).int()}
        ),
        lambda f: rewritten(f, **{f"{QUERY}.SCB": torch.ones(16)}),
        lambda f: rewritten(f, **{f"{QUERY}.weight": torch.ones(16, 16).to(torch.int8)}),
        lambda f: rewritten(f, **{f"{QUERY}.weight": torch.ones(16, 16).to(torch.float8_e4m3fn)}),
    ],
)
def test_quantised_weights_are_refused_in_words(folder, quantise):
    quantise(folder)
    with pytest.raises(UserError, match="holds a quantised model") as error:
        load_model(folder, "cpu")
    assert "before quantisation" in error.value.fix


def test_weights_that_are_too_many_are_named(folder):
    rewritten(folder, **{"bert.encoder.layer.0.gate.weight": torch.ones(16, 16)})
    with pytest.raises(
        UserError, match=r"holds 1 weights .* such as bert\.encoder\.layer\.0\.gate"
    ):
        load_model(folder, "cpu")


def test_layers_that_the_configuration_does_not_have_are_not_left_out(folder):
    configured(folder, num_hidden_layers=1)
    with pytest.raises(UserError, match="num_hidden_layers=1; the weights have 2 layers"):
        load_model(folder, "cpu")


def test_heads_of_other_tasks_are_a_note(folder, saved):
    rewritten(folder, **{"bert.pooler.dense.weight": torch.ones(16, 16)})
    assert (states(folder) == states(saved)).all()
    (weights, *_) = self_check(load_model(folder, "cpu"))
    assert weights.ok and "not used: bert.pooler.dense.weight" in weights.found


def test_a_type_named_in_the_configuration_does_not_shorten_the_weights(folder, saved):
    configured(folder, dtype="float16", torch_dtype="float16")
    assert (states(folder) == states(saved)).all()


def other_weights(folder: Path) -> dict[str, torch.Tensor]:
    held = load_file(folder / "model.safetensors")
    return {name: tensor + 0.25 for name, tensor in held.items()}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "older.safetensors", "epoch_3.pt"])
def test_two_checkpoints_of_other_numbers_are_refused(folder, name):
    tensors(folder / name, other_weights(folder))
    with pytest.raises(UserError, match=f"two checkpoints, model.safetensors and {name}: .* other"):
        load_model(folder, "cpu")


@pytest.mark.parametrize(
    "packed",
    [
        lambda held: {"model_state_dict": held, "epoch": 3},
        lambda held: {f"module.{name}": t for name, t in held.items()},
        lambda held: {"state_dict": {f"_orig_mod.{name}": t for name, t in held.items()}},
    ],
)
def test_a_second_checkpoint_is_known_in_the_form_of_a_trainer(folder, packed):
    tensors(folder / "last.ckpt", packed(load_file(folder / "model.safetensors")))
    assert load_model(folder, "cpu").notes == ("last.ckpt holds the same numbers",)
    tensors(folder / "last.ckpt", packed(other_weights(folder)))
    with pytest.raises(UserError, match=r"two checkpoints, model\.safetensors and last\.ckpt"):
        load_model(folder, "cpu")


@pytest.mark.parametrize(
    "other",
    [
        {"cls.predictions.decoder.weight": torch.ones(60, 16)},
        {"cls.predictions.decoder.bias": torch.ones(60)},
    ],
)
def test_a_projection_that_is_tied_and_stored_with_other_values_is_refused(folder, saved, other):
    rewritten(folder, **other)
    with pytest.raises(UserError, match=f"holds {next(iter(other))} with other values"):
        load_model(folder, "cpu")
    held = load_file(saved / "model.safetensors")
    same = {
        "cls.predictions.decoder.weight": held["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": held["cls.predictions.bias"],
    }
    rewritten(folder, **same)
    assert (states(folder) == states(saved)).all()


def test_what_a_configuration_asks_of_the_output_changes_nothing(folder, saved):
    configured(folder, output_attentions=True, output_hidden_states=True, return_dict=False)
    assert all(line.ok for line in self_check(load_model(folder, "cpu")))
    assert (states(folder) == states(saved)).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [("hidden_act", "relu"), ("num_attention_heads", 2), ("layer_norm_eps", 1e-6)],
)
def test_the_arithmetic_of_a_configuration_has_a_hash_of_its_own(folder, saved, field, value):
    """The same weights compute something else; labels and names compute nothing."""
    configured(folder, num_labels=7, _name_or_path="elsewhere")
    first, again = load_model(saved, "cpu"), load_model(folder, "cpu")
    assert first.config_sha256 == again.config_sha256
    configured(folder, **{field: value})
    other = load_model(folder, "cpu")
    assert other.sha256 == first.sha256 and other.config_sha256 != first.config_sha256


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_same_numbers_in_a_second_file_are_a_note(folder, saved, dtype):
    held = load_file(folder / "model.safetensors")
    tensors(folder / "pytorch_model.bin", {name: t.to(dtype) for name, t in held.items()})
    adapter = load_model(folder, "cpu")
    assert adapter.notes == ("pytorch_model.bin holds the same numbers",)
    assert adapter.sha256 == load_model(saved, "cpu").sha256
    assert (states(folder) == states(saved)).all()


def split(folder: Path, change: float = 0.0) -> None:
    """The weights in two parts with an index."""
    held = {n: t + change for n, t in load_file(folder / "model.safetensors").items()}
    names = sorted(held)
    parts = {
        "model-00001-of-00002.safetensors": names[:9],
        "model-00002-of-00002.safetensors": names[9:],
    }
    for file, own in parts.items():
        save_file({n: held[n] for n in own}, folder / file, {"format": "pt"})
    place = {n: file for file, own in parts.items() for n in own}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": place})


def test_parts_with_an_index_are_one_checkpoint(folder, saved):
    split(folder)
    assert "hold" in load_model(folder, "cpu").notes[0]
    (folder / "model.safetensors").unlink()
    assert (states(folder) == states(saved)).all()
    split_files = [p.name for p in folder.glob("*-of-*")]
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(
        UserError, match=rf"2 parts of a checkpoint \({split_files[0][:5]}.* no index"
    ):
        load_model(folder, "cpu")


def test_an_index_beside_a_single_file_of_other_numbers_is_refused(folder):
    split(folder, change=0.5)
    with pytest.raises(UserError, match="two checkpoints"):
        load_model(folder, "cpu")


def test_an_index_names_files_that_are_there_and_inside(folder):
    split(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="names 1 of 2 files that are not there: model-00002"):
        load_model(folder, "cpu")
    write_json(
        folder / "model.safetensors.index.json", {"weight_map": {"a": "../model.safetensors"}}
    )
    with pytest.raises(UserError, match="names files outside the folder"):
        load_model(folder, "cpu")


def test_parts_hold_each_weight_of_the_index_once(folder):
    split(folder)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    more = listed["weight_map"] | {"bert.gone.weight": "model-00001-of-00002.safetensors"}
    write_json(index, {"weight_map": more})
    with pytest.raises(UserError, match=r"lists 1 weights .* such as bert\.gone\.weight"):
        load_model(folder, "cpu")
    write_json(index, listed)
    first, second = (folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    name, value = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: value + 1}, second, {"format": "pt"})
    with pytest.raises(UserError, match=f"both hold {name}, with other values"):
        load_model(folder, "cpu")


def test_one_weight_of_scgpt_under_two_names_is_refused(saved_scgpt, tmp_path):
    copy = Path(shutil.copytree(saved_scgpt, tmp_path / "m"))
    held = torch.load(copy / "best_model.pt")
    place = "transformer_encoder.layers.0.self_attn"
    held[f"{place}.in_proj_weight"] = held[f"{place}.Wqkv.weight"] + 1
    torch.save(held, copy / "best_model.pt")
    with pytest.raises(UserError, match=r"in_proj_weight twice, under two of its names"):
        load_model(copy, "cpu")


def test_whole_numbers_in_scgpt_are_refused(saved_scgpt, tmp_path):
    copy = Path(shutil.copytree(saved_scgpt, tmp_path / "m"))
    held = torch.load(copy / "best_model.pt")
    place = "transformer_encoder.layers.0.self_attn"
    held[f"{place}.in_proj_weight"] = (held.pop(f"{place}.Wqkv.weight") * 30).to(torch.int8)
    torch.save(held, copy / "best_model.pt")
    with pytest.raises(UserError, match=r"quantised model: .*in_proj_weight of int8"):
        load_model(copy, "cpu")


def test_checkpoints_below_the_folder_are_named_and_not_read(folder, saved):
    shutil.copytree(saved, folder / "checkpoint-500")
    assert load_model(folder, "cpu").notes == ("not read: checkpoint-500/",)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="1 checkpoints lie below it: checkpoint-500"):
        load_model(folder, "cpu")
    (folder / "config.json").unlink()
    with pytest.raises(UserError) as error:
        load_model(folder, "cpu")
    assert str(folder / "checkpoint-500") in error.value.fix
