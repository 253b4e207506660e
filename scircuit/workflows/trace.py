"""``scircuit trace``: the exhaustive ablation map of one layer, streamed into the graph while it is
computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, TraceConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import say, show_checks
from scircuit.core.run_files.run_locks import one_writer
from scircuit.core.study import Study
from scircuit.execution.active_run import ActiveRun, active_run
from scircuit.execution.load_inputs import load_inputs
from scircuit.execution.ray_workers import connected
from scircuit.execution.resume import begun_settings
from scircuit.execution.trace_run import map_run
from scircuit.workflows.database import connect

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.tracing.engine.settings import TraceSettings


# Where a file is, where it is computed and what is accepted do not change what a run computes.
_PATHS = ("model", "dictionaries", "cells")
_NOT_IDENTITY = (*_PATHS, "ray", "untrained")
_NEWER = ("gene_column", "genome")  # enter the id where they are used: older ids stay valid


@dataclass(frozen=True)
class TraceResult:
    """What a trace found and where it is."""

    run: str
    folder: Path
    findings: dict[str, Any]
    message: str
    new: bool
    preflight: tuple[Any, ...] = field(default=(), repr=False)

    def edges(self) -> pd.DataFrame:
        """All stored edges as a frame: source, target and statistics of the effect over cells."""
        from scircuit.ingest.shards.shard_store import ShardStore

        return ShardStore(self.folder).tables("Feature-AFFECTS-Feature").to_pandas()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "run": self.run,
            "folder": str(self.folder),
            "new": self.new,
            **self.findings,
            "message": self.message,
        }

    def __str__(self) -> str:
        f = self.findings
        return (
            f"run {self.run}{'' if self.new else ' (already complete)'}\n  {f['sources']:,} source"
            f" features of layers {', '.join(map(str, f['source_layers']))} x {f['cells']} cells ->"
            f" layers {', '.join(map(str, f['target_layers']))}\n  {f['live_tests']:,} live tests,"
            f" {f.get('callable_tests', f['live_tests']):,} of them callable; {f['edges']:,} edge"
            f" records stored\n{self._kinds()}  {f['edges_calibrated']:,} total effects that are"
            f" not zero (calibrated rule, q <= 0.05), {f['edges_legacy']:,} edges by the legacy"
            f" rule\n  zero edit: largest |effect| {f['zero_edit_max']:.3g}"
            f"{self._floor()}\n{self._audit()}  {self.message}"
        )

    def _floor(self) -> str:
        floor = self.findings.get("numeric_floor")
        return "" if floor is None else f"; effects up to {floor:.3g} count as none"

    def _kinds(self) -> str:
        """Lines about the edges of each kind, where random directions were drawn."""
        f = self.findings
        if not f.get("directions"):
            return ""
        pairs = "".join(
            f"  L{d['source_layer']:02d} → L{d['target_layer']:02d}: {d['computed']:,} computed"
            f" edges, {d['expected_false']:,.1f} expected from random directions;"
            f" {d['carried']:,} carried, {d['generic']:,} generic\n"
            for d in f["directions"]
        )
        return (
            f"  {f['edges_computed']:,} computed edges (q <= 0.05 against {f['null_draws']} random"
            f" directions), {f['expected_false']:,.1f} expected from random directions;"
            f" {f['edges_carried']:,} carried, {f['edges_generic']:,} generic\n"
            + (pairs if len(f["directions"]) > 1 else "")
        )

    def _audit(self) -> str:
        """One line for each layer pair of the run's own context against exact."""
        own = [
            a for a in self.findings.get("audit", ()) if a["context"] == self.findings["context"]
        ]

        def share(value: float | None) -> str:
            return "-" if value is None else f"{value:.3f}"

        return "".join(
            f"  audit L{a['source_layer']:02d} → L{a['target_layer']:02d}, {a['sources']} sources"
            f" also traced exactly: precision {share(a['precision'])}, recall {share(a['recall'])},"
            f" correlation of d {share(a['correlation'])}\n"
            for a in own
        )


def trace(
    config: TraceConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> TraceResult:
    """Ablate every active feature of one layer on real cells and measure every feature of the later
    layers.

    Parameters
    ----------
    config
        Options as one object; or give them by name (see `scircuit.core.config.TraceConfig`).
    study
        Folder of the study.
    database
        Stream the edges into the study's graph while tracing; otherwise shards are written only.

    Returns
    -------
    TraceResult
        Run id, counts, and ``edges()`` as a frame.

    Raises
    ------
    UserError
        If cells, model or dictionaries are refused; nothing is computed then.
    """
    from scircuit.tracing.hardware.out_of_memory import memory_suffices

    config = config or build(TraceConfig, options)
    with connected(config.ray), memory_suffices(config):
        return _trace(config, Study(Path(study)), database, quiet)


def _trace(config: TraceConfig, place: Study, database: bool, quiet: bool) -> TraceResult:
    from scircuit.tracing.evaluation.precision_check import require_equivalence

    config = replace(
        config,
        model_name=config.model_name or Path(config.model).resolve().name,
        dictionary_name=config.dictionary_name or Path(config.dictionaries).resolve().name,
    )
    inputs = load_inputs(config)
    settings = inputs.settings
    config = replace(config, target_layers=settings.target_layers, device=settings.device)
    report = inputs.report(strict=not config.legacy, untrained=config.untrained)
    sentences = inputs.adapter.vocabulary.sentences
    if not quiet:
        show_checks(report)
    measured = require_equivalence(inputs.adapter, inputs.dictionaries, inputs.cohort, settings)
    if measured and not quiet:
        say(f"  {measured}")
    with active_run(
        place,
        "trace",
        _stored_options(config, settings),
        inputs.hashes(),
        identity=identity_of(config, settings),
        beside=inputs.hashes_beside(),
        database=database,
        cohort={
            **inputs.cohort.manifest(),
            "report": [line[:4] for line in report],
            **({"template": sentences.template.record()} if sentences else {}),
        },
        record={
            "method": (
                config.context if not config.context.isdigit() else f"context {config.context}"
            ),
            "seed": config.seed,
            "device": config.device,
            "numerics": config.numerics,
        },
    ) as run:
        new = not run.finished
        if run.resumed:
            settings = begun_settings(settings, run.store.manifest)
        if new:
            map_run(
                run,
                inputs,
                settings,
                quiet,
                measured.record() if measured else None,
                _absolute(config) if config.ray else None,
            )
    message = _settle(place, run) if database else ""
    return TraceResult(run.id, run.folder, dict(run.store.manifest.findings), message, new, report)


def identity_of(config: TraceConfig, settings: TraceSettings) -> dict[str, object]:
    """The part of the options that the id of a run is made of.

    The sizes of batches belong to it, although they cannot be chosen: batches of other sizes are
    rounded in another way, and the ids of runs from when they were options stay valid.
    """
    given = {k: v for k, v in plain(config).items() if v or k not in _NEWER}
    chosen = {k: v for k, v in given.items() if k not in _NOT_IDENTITY}
    return {
        **chosen,
        "batch_pairs": settings.batch_pairs,
        "batch_rows": settings.batch_rows,
    }


def _stored_options(config: TraceConfig, settings: TraceSettings) -> dict[str, object]:
    """Options as the manifest keeps them, and the sizes in which the work is cut: a resumed run
    needs that of its work units.
    """
    sizes = ("unit_features", "batch_pairs", "batch_rows")
    return {
        **plain(config),
        **{name: getattr(settings, name) for name in sizes},
        **_absolute(config),
    }


def _absolute(config: TraceConfig) -> dict[str, str]:
    """Paths that stay valid from another folder."""
    return {k: str(Path(getattr(config, k)).resolve()) for k in _PATHS}


def _settle(study: Study, run: ActiveRun) -> str:
    """Load what is missing in the graph, and set q on edges that were streamed before q was known;
    a sentence about it.
    """
    from scircuit.ingest.graph.stream import apply_q, load_run

    try:
        with one_writer(study.root, run.id, "load"), connect(study.root) as connection:
            report = load_run(connection, run.folder)
            apply_q(connection, run.folder)
        return (
            " ".join(part for part in (run.load_message, report.message) if part)
            or "everything was in the graph already"
        )
    except UserError as error:
        return (
            f"{error.problem}; shards are kept, load them with:"
            f" scircuit load --study {quoted(study.root)}"
        )
