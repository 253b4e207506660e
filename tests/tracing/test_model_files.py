"""Files of one model that could be read as another: weights of other types or under other names,
adapters in folders below, and fields of a configuration that say nothing of the numbers.
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
from scircuit.tracing.evaluation.fidelity import model_line
from scircuit.tracing.models import load_model
from scircuit.tracing.models.self_check import self_check
from scircuit.tracing.models.weight_names import module_in, name_in
from tests.support.tiny_models import tiny_model

CELL = torch.tensor([2, 9, 30, 40, 3])
QUERY = "bert.encoder.layer.0.attention.self.query"
NORM = "bert.encoder.layer.1.output.LayerNorm"
LORA = {
    f"base_model.model.{QUERY}.lora_A.weight": torch.ones(4, 16),
    f"base_model.model.{QUERY}.lora_B.weight": torch.ones(16, 4),
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "model"
    tiny_model(layers=2, width=16, seed=4).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def states(folder: Path) -> Any:
    return torch.stack(load_model(folder, "cpu").clean_states(CELL.numpy())).numpy()


def held(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.suffix == ".safetensors":
        save_file({n: t.contiguous() for n, t in content.items()}, path, {"format": "pt"})
    else:
        torch.save(content, path)


def configured(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refused(folder: Path, match: str) -> UserError:
    with pytest.raises(UserError, match=match) as error:
        load_model(folder, "cpu")
    return error.value


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn])
@pytest.mark.parametrize("names", [("gamma", "beta"), ("weight", "bias")])
def test_a_weight_of_no_floating_point_is_refused_under_any_name(folder, saved, names, kind):
    content = held(folder)
    for old, name in zip(("weight", "bias"), names, strict=True):
        content[f"{NORM}.{name}"] = content.pop(f"{NORM}.{old}")
    write(folder / "model.safetensors", content)
    assert (states(folder) == states(saved)).all()
    content[f"{NORM}.{names[0]}"] = (content[f"{NORM}.{names[0]}"] * 10).to(kind)
    write(folder / "model.safetensors", content)
    refused(folder, f"quantised model: .*{NORM}.{names[0]}")


def test_a_buffer_of_whole_numbers_is_none_of_them(folder, saved):
    content = held(folder) | {"bert.embeddings.position_ids": torch.arange(40)[None]}
    write(folder / "model.safetensors", content)
    assert (states(folder) == states(saved)).all()


@pytest.mark.parametrize(
    "place", ["finetuned/weights.safetensors", "a/b/step.safetensors", "runs/last.pt"]
)
def test_an_adapter_of_any_name_below_the_folder_is_refused(folder, saved, place):
    """Another model below it is named and does no harm."""
    write(folder / place, held(saved))
    assert load_model(folder, "cpu").notes == (f"not read: {place.split('/')[0]}/",)
    write(folder / place, LORA)
    assert "merge_and_unload()" in refused(folder, "holds 2 weights of an adapter").fix


@pytest.mark.parametrize("other", ["encoder alone", "gamma"])
def test_one_weight_under_two_names(folder, saved, other):
    content, plain = held(folder), held(saved)
    if other == "gamma":
        twice = {f"{NORM}.gamma": content[f"{NORM}.weight"].clone()}
    else:
        twice = {n.removeprefix("bert."): t for n, t in plain.items() if n.startswith("bert.")}
    write(folder / "model.safetensors", content | twice)
    adapter = load_model(folder, "cpu")
    assert (states(folder) == states(saved)).all()
    assert f"{len(twice)} weights of model.safetensors are there under two" in adapter.notes[0]
    changed = {n: t * 1.1 + 0.1 for n, t in twice.items()}
    write(folder / "model.safetensors", content | changed)
    refused(folder, "holds one weight under two names")


FORMS = {
    "encoder alone": lambda w: {
        n.removeprefix("bert."): t for n, t in w.items() if n.startswith("bert.")
    },
    "a wrapper": lambda w: {f"student.net.{n}": t for n, t in w.items()},
    "a few layers": lambda w: {n.removeprefix("bert."): t for n, t in w.items() if "layer.1" in n},
    "another word": lambda w: {"ema": w, "decay": 0.999},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_second_set_of_the_weights_is_compared_under_its_own_names(folder, saved, form):
    name = "second.pt" if form == "another word" else "second.safetensors"
    write(folder / name, FORMS[form](held(saved)))
    assert load_model(folder, "cpu").notes == (f"{name} holds the same numbers",)
    write(folder / name, FORMS[form]({n: t + 0.01 for n, t in held(saved).items()}))
    refused(folder, rf"two checkpoints, model\.safetensors and {name}: \d+ of \d+ weights")


@pytest.mark.parametrize("name", ["weight_delta", "diff", "svd.left"])
def test_changes_of_the_weights_are_refused_and_other_tensors_are_not(folder, saved, name):
    write(folder / "more.safetensors", {f"{QUERY}.{name}": torch.ones(16, 16)})
    refused(folder, "tensors for parts of the model under other names")
    write(folder / "more.safetensors", {"gene_embedding": torch.ones(9), "a.b.c.d": torch.ones(2)})
    assert load_model(folder, "cpu").notes == ("not read: more.safetensors",)
    assert (states(folder) == states(saved)).all()


def test_names_of_weights():
    names = {"encoder.layer.0.attention.self.query.weight", "embeddings.LayerNorm.bias"}
    assert name_in("x.y.encoder.layer.0.attention.self.query.weight", names)
    assert not name_in("encoder.layer.0.weight", names) and not name_in("LayerNorm.bias", names)
    assert module_in("x.encoder.layer.0.attention.self.query.d.e", names)
    assert not module_in("encoder.layer.0.attention.self.key.d", names)


ASIDE = {
    "chunk_size_feed_forward": (2, 64, "x", None),
    "torch_dtype": ("banana", "float16", 3),
    "use_return_dict": (False,),
    "quantization_config": (None, {}),
    "pruned_heads": (None, {}),
    "problem_type": ("regression", 5),
    "num_labels": (-1, "x"),
    "id2label": ([], "x", {"a": "b"}),
    "use_cache": ("x", None),
    "torchscript": (True, "x"),
    "output_attentions": (True, "x"),
    "_attn_implementation": ("flash_attention_2", "x"),
    "gradient_checkpointing": (True,),
    "initializer_range": (-1, "x"),
}


@pytest.mark.parametrize("field", ASIDE)
def test_a_field_of_memory_output_or_another_task_changes_nothing(folder, saved, field):
    for value in ASIDE[field]:
        configured(folder, **{field: value})
        assert (states(folder) == states(saved)).all()
    assert all(line.ok for line in self_check(load_model(folder, "cpu")))


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("pruned_heads", {"0": [1]}, "pruned_heads=.* every layer with all its heads"),
        ("tie_word_embeddings", None, "tie_word_embeddings=None; expected true or false"),
        ("tie_word_embeddings", "false", "expected true or false"),
        ("hidden_act", "geluu", "hidden_act='geluu'; expected an activation"),
        ("is_causal", 0, "is_causal=0"),
    ],
)
def test_a_field_that_decides_and_cannot_be_followed_is_refused(folder, field, value, match):
    configured(folder, **{field: value})
    refused(folder, match)


def test_why_weights_are_missing_is_said(folder):
    content = held(folder)
    (folder / "model.safetensors").unlink()
    write(folder / "pytorch_model.bin", {f"module.{n}": t for n, t in content.items()})
    error = refused(folder, r"such as module\.bert\S+ where a BertForMaskedLM has bert\.")
    assert error.fix.startswith("'module.' comes from a wrapper")
    renamed = {n.replace("bert.", "roberta.", 1): t for n, t in content.items()}
    write(folder / "pytorch_model.bin", renamed)
    refused(folder, r"such as roberta\.embeddings\S+ where a BertForMaskedLM has bert\.")
    own = content | {"cls.predictions.decoder.weight": torch.ones(60, 16)}
    write(folder / "pytorch_model.bin", own)
    configured(folder, tie_word_embeddings=False)
    refused(folder, r"decoder\.bias: config.json has tie_word_embeddings: false")
    (folder / "pytorch_model.bin").unlink()
    rest = {n: t for n, t in content.items() if not n.startswith("cls.")}
    write(folder / "model.safetensors", rest)
    configured(folder, tie_word_embeddings=True)
    assert "not a fine-tuned classifier" in refused(folder, "lacks").fix


def test_an_index_without_metadata_is_refused_in_words(folder, saved):
    content = held(folder)
    (folder / "model.safetensors").unlink()
    write(folder / "model-00001-of-00001.safetensors", content)
    stated: dict[str, object] = {
        "weight_map": dict.fromkeys(content, "model-00001-of-00001.safetensors")
    }
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps(stated))
    refused(folder, 'has no object "metadata"')
    index.write_text(json.dumps(stated | {"metadata": {}}))
    assert (states(folder) == states(saved)).all()


class _Stated:
    def __init__(self, **provenance: str) -> None:
        self.provenance = provenance


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_attention_heads", 8), ("hidden_act", "gelu"), ("layer_norm_eps", 1e-5)],
)
def test_dictionaries_of_the_same_weights_and_another_configuration_fail(
    folder, saved, field, value
):
    first = load_model(saved, "cpu")
    named = {"model_sha256": first.sha256, "model_config_sha256": first.config_sha256}
    dictionaries: Any = {0: _Stated(**named)}
    assert model_line(first, dictionaries).ok
    old = json.loads((folder / "config.json").read_text())
    configured(folder, **{field: value if old[field] != value else "relu"})
    other = load_model(folder, "cpu")
    line = model_line(other, dictionaries)
    assert not line.ok and "layers 0 were trained with another config.json" in line.found
    del named["model_config_sha256"]  # those of earlier versions name none
    assert model_line(other, {0: _Stated(**named)}).ok  # pyright: ignore[reportArgumentType]


def test_a_default_that_is_written_or_not_is_one_configuration(folder, saved):
    configured(folder, position_embedding_type="absolute")
    same = load_model(folder, "cpu").config_sha256
    file = folder / "config.json"
    file.write_text(
        json.dumps({k: v for k, v in json.loads(file.read_text()).items() if "tie" not in k})
    )
    assert load_model(folder, "cpu").config_sha256 == same == load_model(saved, "cpu").config_sha256
