"""The headline numbers of a trace run and of what was computed from it, for a run and for its
scrambled copies alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scircuit.execution.find_runs import child_of

if TYPE_CHECKING:
    from scircuit.core.study import Manifest, Study

Numbers = dict[str, float | None]

EDGES = ("computed", "carried", "generic", "calibrated", "legacy")

NAMES = {
    **{f"{rule}_per_source": f"{rule} edges per source" for rule in EDGES},
    "continued_per_source": "of the computed, those that continue a direct effect, per source",
    "expected_false_per_source": "of the computed, expected from random directions, per source",
    "mean_degree": "mean out-degree",
    "max_degree": "largest out-degree",
    "tail_alpha": "exponent of the tail",
    "degree_rate_spearman": "rank correlation of out-degree and firing rate",
    "annotation_rate": "share of features annotated",
    "null_annotation_rate": "share annotated of matched random gene lists",
    "hubs_without_annotation": "share of hubs without annotation",
    "trrust_decided": "edges between a transcription factor and its target in TRRUST",
    "trrust_share": "share of these with the sign of the regulation",
    "modules": "modules of at least three features, where there are more than degrees give",
    "modularity": "modularity of the edges",
    "null_modularity": "modularity of rewired edges",
}
"""What a number is, in words, in the order of tables."""


def headline(study: Study, trace: Manifest) -> Numbers:
    """Headline numbers of a trace run, and of its annotation and analysis where there are any."""
    found = trace.findings
    sources = max(int(found["sources"]), 1)
    numbers: Numbers = {
        f"{rule}_per_source": int(found.get(f"edges_{rule}") or 0) / sources for rule in EDGES
    }
    for name, key in (("continued", "edges_continued"), ("expected_false", "expected_false")):
        number = found.get(key)
        numbers[f"{name}_per_source"] = None if number is None else float(number) / sources
    for verb in ("analyse", "annotate"):
        if child := child_of(study, verb, trace.run):
            own = dict(child.findings)
            own |= {f"trrust_{name}": value for name, value in (own.get("trrust") or {}).items()}
            own |= _of_modules((own.get("further") or {}).get("modules") or {})
            for name in NAMES.keys() & own.keys():
                value = own[name]
                numbers[name] = None if value is None else float(value)
    return numbers


def _of_modules(found: Mapping[str, Any]) -> Numbers:
    """Numbers of the finding on modules; no modularity where there are no communities."""
    beside = found.get("modularity") or {}
    return {
        "modules": found.get("modules"),
        "modularity": beside.get("observed"),
        "null_modularity": beside.get("null_mean"),
    }


def table(own: Numbers, copies: Mapping[str, Sequence[Numbers]]) -> list[dict[str, object]]:
    """One row for each number: its name, its value in the run, and its values in the copies of each
    kind.
    """
    return [
        {
            "number": name,
            "words": words,
            "trained": own[name],
            **{kind: [n.get(name) for n in numbers] for kind, numbers in copies.items()},
        }
        for name, words in NAMES.items()
        if name in own and any(name in n for numbers in copies.values() for n in numbers)
    ]
