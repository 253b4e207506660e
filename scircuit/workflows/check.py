"""``scircuit check``: everything that could invalidate a study, line by line, before any compute.

Paths name model, dictionaries and cells by their number: ``check CELLS``, ``check MODEL CELLS``,
``check MODEL DICTIONARIES CELLS``; ``--cells``, ``--model`` and ``--dictionaries`` do the same. An
input that is refused is a failed line, and what can still be checked is.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY, CheckConfig
from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine
from scircuit.core.progress import say, styled
from scircuit.core.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scircuit.tracing.cells.cohort import Cohort
    from scircuit.tracing.dictionaries import Dictionary
    from scircuit.tracing.models.adapter import Adapter

    Dictionaries = Mapping[int, Dictionary]

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Section:
    """The lines about one kind of input."""

    title: str
    lines: tuple[CheckLine, ...]


@dataclass(frozen=True)
class CheckResult:
    """All lines of the check."""

    sections: tuple[Section, ...]

    @property
    def lines(self) -> tuple[CheckLine, ...]:
        """Lines of all sections."""
        return tuple(line for section in self.sections for line in section.lines)

    @property
    def failed(self) -> bool:
        """Whether any line failed."""
        return any(not line.ok for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        lines = [
            {"section": s.title, **line._asdict(), "ok": bool(line.ok)}
            for s in self.sections
            for line in s.lines
        ]
        return {"passed": not self.failed, "lines": lines}

    def __str__(self) -> str:
        name = max(len(line.name) for line in self.lines)
        width = max(shutil.get_terminal_size((140, 24)).columns, name + 40)
        text = []
        for section in self.sections:
            text.append(styled(section.title, "bold"))
            text += [_printed(line, name, width) for line in section.lines]
        return "\n".join([*text, self._verdict()])

    def _verdict(self) -> str:
        open_lines = sum(_open(line) for line in self.lines)
        unknown = (
            f"; {open_lines} {'line was' if open_lines == 1 else 'lines were'} not measured"
            if open_lines
            else ""
        )
        failed = sum(not line.ok for line in self.lines)
        if failed:
            return styled(f"failed: {failed} of {len(self.lines)} lines", "red", "bold") + unknown
        return styled("passed", "green", "bold") + ": these inputs can be traced" + unknown


def _open(line: CheckLine) -> bool:
    from scircuit.tracing.evaluation.fidelity import NOT_MEASURED

    return line.ok and line.found.startswith(NOT_MEASURED)


def _warns(line: CheckLine) -> bool:
    from scircuit.tracing.evaluation.loss_on_cells import WARNING

    return line.ok and WARNING in line.found


def _printed(line: CheckLine, name: int, width: int) -> str:
    mark = (
        styled("FAIL", "red", "bold")
        if not line.ok
        else styled(" -  ", "yellow")
        if _open(line)
        else styled("warn", "yellow", "bold")
        if _warns(line)
        else styled(" ok ", "green")
    )
    indent = " " * (name + 7)
    line = CheckLine(line.name, line.ok, *map(one_line, (line.found, line.expected, line.fix)))
    parts = (
        [line.found.removeprefix("warning: ")]
        if line.ok
        else [line.found, f"expected: {line.expected}", *([f"fix: {line.fix}"] if line.fix else [])]
    )
    wrapped = "\n".join(
        textwrap.fill(part, width, initial_indent=indent, subsequent_indent=indent)
        for part in parts
    )
    return f"{mark} {line.name.ljust(name)}  {wrapped.lstrip()}"


def check(
    config: CheckConfig | None = None,
    study: Path | str = DEFAULT_STUDY,  # noqa: ARG001 - every verb takes it
    *,
    quiet: bool = False,
    **options: Any,
) -> CheckResult:
    """Check the cells and, if given, the model and its dictionaries on these cells.

    Cells: identifiers, species, scale, tokens, cohort. Model: the adapter computes what the model
    computes; on these cells it is better than guessing. Dictionaries: they fit the model and were
    trained on it; variance explained and loss recovered on these cells; firing rates as in
    training; a zero edit changes nothing. Transcoders: they fit the MLP of their layer.

    Raises
    ------
    UserError
        If an option is unknown, the cells are missing, or dictionaries come without a model.
        An input that is refused is a failed line, not an error.
    """
    config = config or build(CheckConfig, options)
    if config.dictionaries and not config.model:
        raise UserError(
            f"dictionaries without a model: {config.dictionaries} cannot be checked alone",
            "give the model too: scircuit check MODEL DICTIONARIES CELLS",
        )
    sections: list[Section] = []

    def section(
        what: str, load: Callable[[], Loaded], then: Callable[[Loaded], Iterable[CheckLine]]
    ) -> Loaded | None:
        """Load an input and add its lines; an input that cannot be loaded is one failed line."""
        if not quiet:
            say(f"checking the {what} ...")
        try:
            loaded = load()
            sections.append(Section(what, tuple(then(loaded))))
        except UserError as error:
            sections.append(
                Section(
                    what,
                    (CheckLine(what, False, error.problem, f"{what} that can be used", error.fix),),
                )
            )
            return None
        return loaded

    adapter = section("model", lambda: _model(config), _self_check) if config.model else None
    cohort = section(
        "cells", lambda: _cells(config, adapter), lambda found: (*found.report, _enough(found))
    )
    if adapter is not None and cohort is not None:
        section("model on these cells", lambda: _loss(adapter, cohort, config), lambda line: [line])
    if config.dictionaries and adapter is not None:
        section(
            "dictionaries",
            lambda: _dictionaries(config, adapter),
            lambda found: _fidelity(adapter, found, cohort, config),
        )
    return CheckResult(tuple(sections))


def _model(config: CheckConfig) -> Adapter:
    from scircuit.execution.load_inputs import require_folder
    from scircuit.tracing.models import load_model

    return load_model(require_folder(config.model, "model"), config.device)


def _self_check(adapter: Adapter) -> list[CheckLine]:
    from scircuit.tracing.models.self_check import self_check

    return self_check(adapter)


def _loss(adapter: Adapter, cohort: Cohort, config: CheckConfig) -> CheckLine:
    from scircuit.tracing.evaluation.loss_on_cells import loss_line, loss_on_cells

    return loss_line(
        adapter, loss_on_cells(adapter, cohort.tokens, config.seed, config.seconds / 4)
    )


def _cells(config: CheckConfig, adapter: Adapter | None) -> Cohort:
    from scircuit.tracing.cells.cohort import load_cohort
    from scircuit.tracing.tokenisation.vocabulary import geneformer_v2

    if adapter is None:
        return load_cohort(config, geneformer_v2(), config.max_length or 4096)
    return load_cohort(config, adapter.vocabulary, adapter.max_length)


def _dictionaries(config: CheckConfig, adapter: Adapter) -> Dictionaries:
    from scircuit.execution.load_inputs import require_folder
    from scircuit.tracing.dictionaries import load_dictionaries
    from scircuit.tracing.dictionaries.mlp_site import require_site, with_gain

    found = load_dictionaries(require_folder(config.dictionaries, "dictionaries"))
    require_site(adapter, found)
    # of another width, they are a failed line
    fits = all(dictionary.width == adapter.width for dictionary in found.values())
    return with_gain(adapter, found) if fits else found


def _enough(cohort: Cohort) -> CheckLine:
    from scircuit.core.edge_rules import MIN_SUPPORT

    cells = len(cohort.tokens)
    return CheckLine(
        "enough cells",
        cells >= MIN_SUPPORT,
        f"{cells:,}",
        f"at least {MIN_SUPPORT}: with fewer, no edge can be distinguished from chance",
        "use more cells, or wider filters",
    )


def _fidelity(
    adapter: Adapter, dictionaries: Dictionaries, cohort: Cohort | None, config: CheckConfig
) -> list[CheckLine]:
    """Lines about the dictionaries; those that need cells only where the cells were accepted."""
    from scircuit.tracing.dictionaries.mlp_site import site_of
    from scircuit.tracing.evaluation.fidelity import (
        cells_for_quality,
        fidelity_lines,
        identity_lines,
    )
    from scircuit.tracing.evaluation.transcoder_fit import transcoder_lines

    lines = identity_lines(adapter, dictionaries, cohort)
    if lines[0].ok and cohort is not None:
        cells, which = cells_for_quality(dictionaries, cohort)
        measure = fidelity_lines if site_of(dictionaries) == "output" else transcoder_lines
        lines += [which, *measure(adapter, dictionaries, cells, config.seconds, config.seed)]
    return lines
