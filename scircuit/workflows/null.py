"""``scircuit null``: scrambled copies of a trace run, traced by the same settings; every headline
number beside its value there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build, build_stored, plain
from scircuit.core.config import DEFAULT_STUDY, AnalyseConfig, AnnotateConfig, NullConfig
from scircuit.core.progress import say
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import active_run
from scircuit.execution.find_runs import child_of, trace_run
from scircuit.execution.load_inputs import inputs_of_run
from scircuit.execution.scrambled.copies import (
    KINDS,
    Copy,
    copies_of,
    sampled_features,
    scramble,
    trace_config,
    training_config,
)
from scircuit.execution.scrambled.headline import Numbers, headline, table

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.core.config import TraceConfig
    from scircuit.execution.load_inputs import Inputs


@dataclass(frozen=True)
class NullResult:
    """Headline numbers of a run and of its scrambled copies."""

    run: str
    folder: Path
    findings: dict[str, Any]
    message: str
    new: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"run": self.run, "folder": str(self.folder), "new": self.new, **self.findings}

    def __str__(self) -> str:
        kinds = [k for k in KINDS if k in self.findings["kinds"]]
        rows = [["", "trained", *kinds]]
        for row in self.findings["table"]:
            cells = [_number(row["trained"]), *(_several(row[kind]) for kind in kinds)]
            rows.append([row["words"], *cells])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
                ]
            ).rstrip()
            for row in rows
        ]
        return "\n".join(
            [
                f"run {self.run}{'' if self.new else ' (already complete)'}",
                *(f"  {line}" for line in lines),
                *(f"  {sentence}" for sentence in self.findings["sentences"]),
            ]
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _several(values: list[float | None]) -> str:
    """Mean and range of the copies."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    mean = _number(sum(known) / len(known))
    return mean if len(known) == 1 else f"{mean} ({_number(min(known))} to {_number(max(known))})"


def null(
    config: NullConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: object,
) -> NullResult:
    """Trace scrambled copies of a run, and set its headline numbers beside theirs.

    Parameters
    ----------
    config
        Options as one object; or give them by name (see `scircuit.core.config.NullConfig`).
    study
        Folder of the study.
    database
        Bring the comparison into the study's graph; the copies themselves are kept on disk only.

    Returns
    -------
    NullResult
        A row for each headline number.

    Raises
    ------
    UserError
        If there is no complete trace run, its inputs have changed, or an option is wrong.
    """
    config = config or build(NullConfig, options)
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    identity = {k: v for k, v in plain(config).items() if k not in ("run", "device")}
    with active_run(
        place,
        "null",
        {**plain(config), "run": parent.run},
        {},
        identity=identity,
        parents=(parent.run,),
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            copies = copies_of(config, run.folder)
            traced, inputs = inputs_of_run(parent, device=config.device)
            features = sampled_features(config, inputs)
            found = {
                copy: _traced_copy(copy, traced, inputs, features, config, place, parent, quiet)
                for copy in copies
            }
            own = headline(place, parent)
            findings = _findings(config, own, found, parent)
            run.write("comparison", _records(run.id, parent, found))
            run.conclude(findings)
    return NullResult(run.id, run.folder, dict(run.store.manifest.findings), run.load_message, new)


def _traced_copy(
    copy: Copy,
    traced: TraceConfig,
    inputs: Inputs,
    features: tuple[int, ...],
    config: NullConfig,
    place: Study,
    parent: Manifest,
    quiet: bool,
) -> tuple[Manifest, Numbers]:
    """Scramble, train, trace, and where all sources are traced annotate and analyse one copy; steps
    that are complete are not repeated.
    """
    from scircuit.workflows.analyse import analyse
    from scircuit.workflows.annotate import annotate
    from scircuit.workflows.trace import trace
    from scircuit.workflows.train import train

    own = Study(copy.folder / "study")
    scramble(copy, traced, inputs)
    if copy.kind == "permuted":
        train(training_config(copy, traced, inputs, config.train_cells), quiet=True)
    result = trace(
        trace_config(copy, traced, features, config.device), own.root, database=False, quiet=True
    )
    manifest = own.manifest(result.run)
    if not config.sources:
        if done := child_of(place, "annotate", parent.run):
            chosen = build_stored(AnnotateConfig, {**done.config, "run": result.run})
            annotate(chosen, own.root, database=False, quiet=True)
        if done := child_of(place, "analyse", parent.run):
            chosen = build_stored(AnalyseConfig, {**done.config, "run": result.run})
            analyse(chosen, own.root, database=False)
    numbers = headline(own, manifest)
    if not quiet:
        f = result.findings
        say(
            f"  {copy.name}: {f['sources']} sources, {f['edges_computed']:,} computed,"
            f" {f['edges_carried']:,} carried, {f['edges_generic']:,} generic edges"
        )
    return manifest, numbers


def _findings(
    config: NullConfig,
    own: Numbers,
    found: dict[Copy, tuple[Manifest, Numbers]],
    parent: Manifest,
) -> dict[str, Any]:
    by_kind = {
        kind: [numbers for copy, (_, numbers) in found.items() if copy.kind == kind]
        for kind in config.kinds
    }
    shares = {
        kind: [
            (n["computed_per_source"] or 0.0) / own["computed_per_source"]
            for n in numbers
            if own["computed_per_source"]
        ]
        for kind, numbers in by_kind.items()
    }
    return {
        "run": parent.run,
        "kinds": list(config.kinds),
        "seeds": config.seeds,
        "sources": config.sources,
        "table": table(own, by_kind),
        "computed_share": {k: max(v) if v else None for k, v in shares.items()},
        "sentences": [_sentence(kind, own, by_kind[kind]) for kind in config.kinds],
    }


def _sentence(kind: str, own: Numbers, copies: list[Numbers]) -> str:
    trained = own["computed_per_source"] or 0.0
    others = [n["computed_per_source"] or 0.0 for n in copies]
    several = "1 copy" if len(copies) == 1 else f"{len(copies)} copies"
    compared = f"{trained:.3g} computed edges per source, against {max(others):.3g} at most"
    share = f" ({max(others) / trained:.0%})" if trained else ""
    text = f"{compared}{share} in {several} of {KINDS[kind]}"
    beyond = [_beyond(n) for n in (own, *copies)]
    if None not in beyond and any(n["continued_per_source"] for n in (own, *copies)):
        first, *rest = (n for n in beyond if n is not None)
        text += (
            f"; without those that continue a direct effect {first:.3g}, against {max(rest):.3g}"
        )
    return text


def _beyond(numbers: Numbers) -> float | None:
    """Computed edges per source that continue no direct effect."""
    continued = numbers["continued_per_source"]
    return None if continued is None else (numbers["computed_per_source"] or 0.0) - continued


def _records(
    run: str, parent: Manifest, found: dict[Copy, tuple[Manifest, Numbers]]
) -> dict[str, pa.Table]:
    """The comparison of each layer pair as ``Control`` records."""
    from scircuit.tracing.controls.control_records import control_row, control_tables

    own = {_pair(d): d for d in parent.findings.get("directions", ())}
    return control_tables(
        [
            control_row(run, copy.kind, *_pair(d), copy.name)
            | {name: d[name] for name in ("sources", "draws", "carried", "generic")}
            | {
                "edges": own.get(_pair(d), {}).get("computed"),
                "control_edges": d["computed"],
                "expected_false": d["expected_false"],
            }
            for copy, (manifest, _) in found.items()
            for d in manifest.findings.get("directions", ())
        ]
    )


def _pair(finding: dict[str, Any]) -> tuple[int, int]:
    return finding["source_layer"], finding["target_layer"]
