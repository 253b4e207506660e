"""The text around a cell sentence: what a language model is asked, and the form of its answer.

Two kinds. `CELL_TYPE` ends by asking for the cell's type, and the answer follows:

    text with {cell_sentence}  |  " " + "{cell_type}."

`GENERATION` asks for the sentence itself, so the sentence is the answer:

    text  |  " " + "{cell_sentence}."

A model knows the wording that it was trained with, and that of published models is not part of this
package: ``prompt_template.json`` in the model's folder gives it,

    {"text": "... {num_genes} ... {organism} ... {cell_sentence} ...", "response": "{cell_type}.",
     "organism": "Homo sapiens", "top_n": 200}

of which only ``text`` is needed. Without that file a wording of our own is used, and said.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Literal, NamedTuple

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.tracing.interfaces import JsonObject

FILE = "prompt_template.json"
CELL_TYPE, GENERATION = "cell type", "generation"
Kind = Literal["cell type", "generation"]
MOST = 100_000  # genes, more than there are
TOP_N = 200  # genes; what the smaller published models were trained with
_SENTENCE, _TYPE = "cell_sentence", "cell_type"
_FREE = ("num_genes", "organism")
_FIX = (
    f"name the places {{num_genes}}, {{organism}} and {{{_SENTENCE}}} only, {{{_SENTENCE}}} once,"
    f" in the text, or in the response of a model that writes sentences; write braces that are"
    " meant as such twice"
)


class Prompt(NamedTuple):
    """A text, and where the cell sentence begins in it, in characters."""

    text: str
    start: int


@dataclass(frozen=True)
class Template:
    """One wording.

    Attributes
    ----------
    name
        What messages call it.
    text
        What the model is given, with ``{cell_sentence}`` where the kind is `CELL_TYPE`.
    response
        The form of what follows it, after one space: ``{cell_type}.`` or ``{cell_sentence}.``.
    organism
        What stands for ``{organism}``.
    top_n
        Longest sentence, in genes.

    Raises
    ------
    UserError
        If a place is missing, repeated or unknown.
    """

    name: str
    text: str
    response: str = f"{{{_TYPE}}}."
    organism: str = "Homo sapiens"
    top_n: int = TOP_N

    def __post_init__(self) -> None:
        faults = [*_faults(self)]
        if faults:
            raise UserError(f"prompt template {self.name}: {'; '.join(faults)}", _FIX)

    @property
    def kind(self) -> Kind:
        """Whether the answer is the cell's type, or the sentence."""
        return CELL_TYPE if _SENTENCE in _places(self.text) else GENERATION

    @property
    def sha256(self) -> str:
        """Hash of all but the name."""
        told = {k: v for k, v in asdict(self).items() if k != "name"}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def is_own(self) -> bool:
        """Whether the wording is this package's, which no published model was trained with."""
        return any(self.text == t.text for t in (OF_CELL_TYPE, OF_GENERATION))

    def record(self) -> JsonObject:
        """What a run stores, as plain values."""
        return {**asdict(self), "kind": self.kind, "sha256": self.sha256}

    def prompt(self, sentence: str, genes: int) -> Prompt:
        """The text that holds a sentence of so many genes: the question, and for `GENERATION` the
        sentence in its response.
        """
        whole = self.text if self.kind == CELL_TYPE else f"{self.text} {self.response}"
        told = {"num_genes": str(genes), "organism": self.organism, _SENTENCE: sentence}
        return _filled(whole, told)

    def answered(self, sentence: str, genes: int, cell_type: str) -> str:
        """The question with its answer.

        Raises
        ------
        ValueError
            If the answer is not a cell type.
        """
        if self.kind != CELL_TYPE:
            raise ValueError(f"template {self.name} asks for no cell type")
        told = {"num_genes": str(genes), "organism": self.organism, _TYPE: cell_type}
        return f"{self.prompt(sentence, genes).text} {_filled(self.response, told).text}"


def _places(text: str) -> list[str]:
    return [field for _, field, _, _ in Formatter().parse(text) if field is not None]


def _filled(text: str, told: dict[str, str]) -> Prompt:
    """Not ``str.format``, which would read attributes, and does not tell where a part begins."""
    parts, start = [], 0
    for literal, field, _, _ in Formatter().parse(text):
        parts.append(literal)
        if field == _SENTENCE:
            start = sum(map(len, parts))
        if field is not None:
            parts.append(told[field])
    return Prompt("".join(parts), start)


def _faults(template: Template) -> list[str]:
    """What is wrong with a template, in words."""
    try:
        pieces = [
            (side, field, f"{':' * bool(spec)}{spec}{'!' * bool(how)}{how or ''}")
            for side in ("text", "response")
            for _, field, spec, how in Formatter().parse(getattr(template, side))
            if field is not None
        ]
    except ValueError as error:  # a single brace
        return [f"its braces cannot be read ({error})"]
    faults = []
    for side in ("text", "response", "organism"):
        if any("\ud800" <= letter <= "\udfff" for letter in getattr(template, side)):
            faults.append(f"its {side} has halves of letters, which are no text")
    known = {"text": (*_FREE, _SENTENCE), "response": (*_FREE, _SENTENCE, _TYPE)}
    unknown = [f"{{{f}{how}}}" for side, f, how in pieces if how or f not in known[side]]
    if unknown:
        faults.append(f"it has unknown places: {', '.join(unknown)}")
    sentences = sum(field == _SENTENCE for _, field, _ in pieces)
    if sentences != 1:
        faults.append(f"it has {{{_SENTENCE}}} {sentences} times, expected once")
    types = sum(field == _TYPE for _, field, _ in pieces)
    in_text = any(side == "text" and field == _SENTENCE for side, field, _ in pieces)
    if sentences == 1 and types != in_text:
        wanted = "once beside a text with the sentence" if in_text else "not beside the sentence"
        faults.append(f"its response has {{{_TYPE}}} {types} times, expected {wanted}")
    if template.text != template.text.rstrip():
        faults.append("its text ends in white space, which belongs to what follows")
    if not 1 <= template.top_n <= MOST:
        faults.append(f"its top_n is {template.top_n}, expected 1 to {MOST:,}")
    return faults


OF_CELL_TYPE = Template(
    "own cell type",
    "These are {num_genes} genes of one {organism} cell, the most expressed first.\n"
    "Genes: {cell_sentence}.\nType of this cell:",
)
OF_GENERATION = Template(
    "own generation",
    "Name {num_genes} genes of one {organism} cell, the most expressed first.\nGenes:",
    "{cell_sentence}.",
)


def read_template(folder: Path) -> Template:
    """The template that a model's folder gives, or `OF_CELL_TYPE` where it gives none.

    Raises
    ------
    UserError
        If the file is damaged, or a place is missing, repeated or unknown.
    """
    file = folder / FILE
    if not file.is_file():
        if file.exists() or file.is_symlink():
            raise UserError(f"{file} is no file that can be read", _example())
        return OF_CELL_TYPE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not a JSON file ({error})", _example()) from error
    kinds = {f.name: int if f.name == "top_n" else str for f in fields(Template)}
    if not isinstance(found, dict) or "text" not in found:
        raise UserError(f"{file} is not a JSON object with a text", _example())
    wrong = [k for k, v in found.items() if type(v) is not kinds.get(k)]
    if wrong:
        raise UserError(
            f"{file} has {', '.join(map(repr, wrong))}; expected the texts name, text, response and"
            " organism, and the whole number top_n",
            _example(),
        )
    return Template(**{"name": f"{folder.resolve().name}/{FILE}", **found})


def _example() -> str:
    text = json.dumps({"text": "... {cell_sentence} ...", "response": "{cell_type}."})
    return f"write it like {text}"
