"""What the report is made of: plain dicts and frames. A part that is empty gives a section that
says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.circuits.circuit_analysis import Analysis


class Check(NamedTuple):
    """One line of the preflight."""

    name: str
    ok: bool
    found: str
    expected: str = ""


class SampleQuery(NamedTuple):
    """A question for the graph: what it asks, and its Cypher."""

    title: str
    cypher: str


def _frame() -> Any:
    import pandas as pd

    return pd.DataFrame()


@dataclass(frozen=True)
class ReportInput:
    """Everything the report shows; nothing else is read.

    Parameters
    ----------
    title
        Heading of the page.
    trace
        Findings of the trace run: sources, cells, source_layers, controls, target_layers,
        live_tests, edges, edges_calibrated, edges_legacy, zero_edit_max, p_at_q05.
    cohort
        Properties of the ``Cohort`` node: file, sha256, cells, filters, composition, scale,
        mapped_share, tokens_median, species.
    model
        Properties of the ``Model`` node and its losses: name, family, layers, width, positions,
        sha256, mlm_loss, unigram_loss.
    dictionaries
        One row a layer: layer, features, k, rule, variance_explained, dead_share, and
        pca_variance_explained where known.
    checks
        Preflight lines.
    analysis
        `scircuit.analysis.circuits.circuit_analysis.Analysis` of the trace run, or None.
    annotate
        Findings of the annotate run (`Annotation.findings`), or empty.
    atlases
        Findings of the annotate runs that were computed from imported atlases, each with the
        ``name`` of its atlas.
    features
        ``Feature`` properties of all runs joined on ``id``.
    controls
        ``Control`` nodes, one row each.
    interventions
        ``Intervention`` nodes of ablate and steer runs, one row each.
    members
        ``Feature-PART_OF-Intervention``: source (feature), target (intervention), role,
        coefficient.
    readout
        What ``Intervention.effect`` of a steering run measures.
    runs
        One dict a run: run, verb, started, seconds, version, device, seed, config, inputs.
    browser
        Address of the Neo4j Browser ("" when no server runs). No user or password belongs here.
    queries
        Sample questions.
    generated
        UTC time of writing, ISO 8601.
    version
        Version of scircuit.
    """

    title: str
    trace: Mapping[str, Any]
    cohort: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    dictionaries: pd.DataFrame = field(default_factory=_frame)
    checks: Sequence[Check] = ()
    analysis: Analysis | None = None
    annotate: Mapping[str, Any] = field(default_factory=dict)
    atlases: Sequence[Mapping[str, Any]] = ()
    features: pd.DataFrame = field(default_factory=_frame)
    controls: pd.DataFrame = field(default_factory=_frame)
    interventions: pd.DataFrame = field(default_factory=_frame)
    members: pd.DataFrame = field(default_factory=_frame)
    readout: str = "mean change of the readout"
    runs: Sequence[Mapping[str, Any]] = ()
    browser: str = ""
    queries: Sequence[SampleQuery] = ()
    generated: str = ""
    version: str = ""
