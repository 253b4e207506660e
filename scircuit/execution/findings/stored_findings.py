"""The runs that build on a trace run, and their findings, as the report shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scircuit.core.study import Manifest, Study, parents_first
from scircuit.execution.findings.finding_files import read_findings

if TYPE_CHECKING:
    from scircuit.analysis.report_page import StoredFinding

_ANALYSES = (
    *("analyse", "ablate", "steer", "importance", "circuit", "attribute", "compare", "predict"),
)
_QUESTIONS = ("ablate", "steer", "importance", "circuit", "attribute", "compare", "predict")
_ALL = 8  # newest runs of such a verb that the page has room for


def shown_runs(study: Study, trace: Manifest) -> list[Manifest]:
    """Runs with findings that were computed from a trace run, directly or through others, in the
    order of `_ANALYSES`, of each verb the oldest first.

    The newest run of each verb; of verbs whose runs answer different questions every run, at most
    the newest eight.
    """
    below = {trace.run}
    by_verb: dict[str, list[Manifest]] = {}
    for manifest in parents_first(m for m in study.manifests() if m.complete):
        if below.intersection(manifest.parents) and manifest.verb != "trace":
            below.add(manifest.run)
            by_verb.setdefault(manifest.verb, []).append(manifest)
    order = {verb: i for i, verb in enumerate(_ANALYSES)}
    return [
        manifest
        for verb in sorted(by_verb, key=lambda v: (order.get(v, len(order)), v))
        for manifest in by_verb[verb][-_ALL if verb in _QUESTIONS else -1 :]
    ]


def stored_findings(study: Study, runs: Iterable[Manifest]) -> list[StoredFinding]:
    """Findings of the runs. Names are those of verb and finding; one that several runs have is
    numbered.
    """
    from scircuit.analysis.report_page import StoredFinding

    found: list[StoredFinding] = []
    taken: Counter[str] = Counter()
    for manifest in runs:
        for finding in read_findings(study.run_folder(manifest.run)):
            name = f"{manifest.verb}_{finding.name}"
            taken[name] += 1
            name += f"_{taken[name]}" * (taken[name] > 1)
            found.append(StoredFinding(name, finding, manifest.run, manifest.verb))
    return found
