"""Prompt templates: what they make of a sentence, and what is refused."""

from __future__ import annotations

import json

import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.sentences.prompt_templates import (
    CELL_TYPE,
    GENERATION,
    OF_CELL_TYPE,
    OF_GENERATION,
    Template,
    read_template,
)


def test_own_wordings():
    prompt = OF_CELL_TYPE.prompt("MALAT1 CD3E", 2)
    assert OF_CELL_TYPE.kind == CELL_TYPE and OF_CELL_TYPE.is_own
    assert prompt.text[prompt.start :].startswith("MALAT1 CD3E.\n") and prompt.text.endswith(":")
    assert "2 genes of one Homo sapiens cell" in prompt.text
    assert OF_CELL_TYPE.answered("MALAT1 CD3E", 2, "T cell") == prompt.text + " T cell."
    wanted = OF_GENERATION.prompt("MALAT1 CD3E", 2)
    assert OF_GENERATION.kind == GENERATION
    assert wanted.text[wanted.start :] == "MALAT1 CD3E." and wanted.text[wanted.start - 1] == " "
    with pytest.raises(ValueError, match="asks for no cell type"):
        OF_GENERATION.answered("MALAT1", 1, "T cell")


def test_braces_and_places_in_any_order():
    template = Template("t", "{{x}} {cell_sentence} {organism}{num_genes}{num_genes}", organism="M")
    prompt = template.prompt("A {b} C", 3)  # names are not read as places
    assert prompt == ("{x} A {b} C M33", 4)
    hidden = Template("t", "{{cell_sentence}} of {cell_sentence}:")
    assert hidden.prompt("A", 1) == ("{cell_sentence} of A:", 19)


@pytest.mark.parametrize(
    ("text", "response", "message"),
    [
        ("No place:", "{cell_type}.", "has {cell_sentence} 0 times, expected once"),
        ("{cell_sentence} {cell_sentence}:", "{cell_type}.", "{cell_sentence} 2 times"),
        ("{cell_sentence}:", "{cell_sentence}.", "{cell_sentence} 2 times"),
        ("{cell_sentence} {tissue}:", "{cell_type}.", "unknown places: {tissue}"),
        ("{cell_sentence} {cell_type}:", "{cell_type}.", "unknown places: {cell_type}"),
        ("{cell_sentence} {}:", "{cell_type}.", "unknown places: {}"),
        ("{cell_sentence.__class__}:", "{cell_type}.", "unknown places: {cell_sentence.__class__}"),
        ("{cell_sentence:>9}:", "{cell_type}.", "unknown places: {cell_sentence:>9}"),
        ("{cell_sentence!r}:", "{cell_type}.", "unknown places: {cell_sentence!r}"),
        ("{cell_sentence} {:", "{cell_type}.", "its braces cannot be read"),
        ("{cell_sentence}:", "none", "{cell_type} 0 times, expected once"),
        ("Genes:", "{cell_sentence} {cell_type}", "{cell_type} 1 times, expected not beside"),
        ("{cell_sentence}: ", "{cell_type}.", "ends in white space"),
    ],
)
def test_refused(text, response, message):
    with pytest.raises(UserError) as caught:
        Template("mine", text, response)
    assert message in caught.value.problem and "prompt template mine" in caught.value.problem
    assert "{cell_sentence} once" in caught.value.fix


def test_all_faults_in_one_message():
    with pytest.raises(UserError) as caught:
        Template("mine", "{tissue} ", top_n=0)
    for part in ("{tissue}", "0 times", "white space", "top_n is 0"):
        assert part in caught.value.problem


def test_read_from_a_folder(tmp_path):
    assert read_template(tmp_path) is OF_CELL_TYPE
    file = tmp_path / "prompt_template.json"
    file.write_text(json.dumps({"text": "G {cell_sentence}. T:", "top_n": 50}))
    found = read_template(tmp_path)
    assert (found.name, found.top_n, found.organism, found.is_own) == (
        f"{tmp_path.name}/prompt_template.json",
        50,
        "Homo sapiens",
        False,
    )
    file.write_text(json.dumps({**{k: v for k, v in found.record().items() if k in ("text",)}}))
    assert read_template(tmp_path).sha256 != found.sha256  # 200 genes again
    file.write_text(json.dumps({"name": "other", "text": found.text, "top_n": 50}))
    other = read_template(tmp_path)
    assert other.name == "other" and other.sha256 == found.sha256
    assert other.record()["sha256"] == other.sha256 and other.record()["kind"] == CELL_TYPE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON file"),
        ("[]", "not a JSON object with a text"),
        ('{"response": "x"}', "not a JSON object with a text"),
        ('{"text": 3}', "has 'text'; expected the texts"),
        ('{"text": "{cell_sentence}", "genes": 3}', "has 'genes'; expected the texts"),
        ('{"text": "{cell_sentence}", "top_n": true}', "has 'top_n'; expected"),
        ('{"text": "nothing"}', "0 times, expected once"),
        ("\udcff".encode("utf-8", "surrogateescape"), "is not a JSON file"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    file = tmp_path / "prompt_template.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_template(tmp_path)
    assert message in caught.value.problem
