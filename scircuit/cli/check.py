"""``scircuit check``: everything that could invalidate a study, line by line, before any compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scircuit.cli.command import verb_command
from scircuit.cli.options import build
from scircuit.settings import DEFAULT_STUDY, CheckConfig

if TYPE_CHECKING:
    from tracing.cells import Cohort
    from tracing.checks import CheckLine

# Below this a dictionary describes something else than these states; good ones explain two thirds and more.
LEAST_EXPLAINED = 0.3


@dataclass(frozen=True)
class CheckResult:
    """All lines of the check."""

    lines: tuple[CheckLine, ...]

    @property
    def failed(self) -> bool:
        """Whether any line failed."""
        return any(not line.ok for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"passed": not self.failed, "lines": [line._asdict() for line in self.lines]}

    def __str__(self) -> str:
        width = max(len(line.name) for line in self.lines)
        text = []
        for line in self.lines:
            mark = click.style("ok  ", fg="green") if line.ok else click.style("FAIL", fg="red", bold=True)
            text.append(f"{mark} {line.name.ljust(width)}  {line.found}")
            if not line.ok:
                text.append(f"     {' ' * width}  expected {line.expected}; fix: {line.fix}")
        text.append(click.style("failed", fg="red", bold=True) if self.failed else "passed: these inputs can be traced")
        return "\n".join(text)


def check(config: CheckConfig | None = None, study: Path | str = DEFAULT_STUDY, **options: Any) -> CheckResult:  # noqa: ARG001
    """Check cells, and where given the model and its dictionaries on these very cells.

    Raises
    ------
    UserError
        If an input is refused outright; the message says what was found, what was expected and what to do.
    """
    from scircuit.cli.models import input_length, load_dictionaries_for, require_folder
    from tracing.cells import load_cohort

    config = config or build(CheckConfig, options)
    if not config.model:
        from tracing.vocabulary import geneformer_v2

        return CheckResult(load_cohort(config, geneformer_v2(), config.max_length or 4096).report)
    from tracing.models import load_model
    from tracing.split import check_unseen

    adapter = load_model(require_folder(config.model, "model"))
    cohort = load_cohort(config, adapter.vocabulary, input_length(config, adapter))
    lines = [*cohort.report, *adapter.self_check()]
    if config.dictionaries:
        dictionaries = load_dictionaries_for(adapter, config.dictionaries)
        lines.append(check_unseen(next(iter(dictionaries.values())).provenance, cohort))
        lines += reconstruction(adapter, dictionaries, cohort)
    return CheckResult(tuple(lines))


def reconstruction(adapter: Any, dictionaries: Any, cohort: Cohort, cells: int = 20) -> list[CheckLine]:
    """Variance that each dictionary explains on these very cells, `cells` of them, evenly spaced."""
    from tracing.checks import CheckLine
    from tracing.trainer import evaluate

    sample = cohort.tokens[:: max(1, len(cohort.tokens) // cells)][:cells]
    return [
        CheckLine(
            f"dictionary layer {layer}", found["variance_explained"] > LEAST_EXPLAINED,
            f"explains {found['variance_explained']:.1%} of the variance on {len(sample)} of these cells, {found['dead_share']:.0%} of its latents are silent there",
            f"more than {LEAST_EXPLAINED:.0%}", "use dictionaries trained on this model and on cells like these",
        )
        for layer, found in sorted(evaluate(adapter, dictionaries, sample).items())
    ]  # fmt: skip


command = verb_command("check", CheckConfig, check, database=False)
