"""What the report is made of: findings of the runs, node properties and frames.

A part that is empty gives a section that says so. The typed dictionaries list what the page reads
of the findings in a manifest; all of it may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from scircuit.analysis.report_page.number_text import as_float, count, known, number

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.circuits.circuit_analysis import Analysis
    from scircuit.analysis.finding import Finding


BASELINES = {
    "unigram_loss": "unigrams",
    "gene_gene_loss": "a regression on the cell's other genes",
    "gene_gene_neighbours_loss": "one that also sees the two genes beside the masked one",
}
"""Losses that stand beside that of the model, as named in its ``metrics.json``."""


class LossOnCells(TypedDict, total=False):
    """The model's loss on masked genes of the run's own cells, in nats, and its baselines."""

    loss: float
    unigram: float | None
    uniform: float
    cells: int
    genes: int
    what: str


def loss_on_cells(found: LossOnCells) -> tuple[str, str]:
    """The loss on the run's own cells and its baselines, in words; empty where it was not measured.

    A loss at or above a baseline says so.
    """
    if not known(found.get("loss")):
        return "", ""
    loss, unigram, uniform = (found.get(k) for k in ("loss", "unigram", "uniform"))
    verdict = ""
    if not as_float(loss) < as_float(uniform):
        verdict = ", no better than guessing"
    elif known(unigram) and as_float(loss) >= as_float(unigram):
        verdict = ", no better than unigrams"
    claim = (
        f"the model's loss on {count(found.get('genes'))} {found.get('what', 'masked genes')} of"
        f" {count(found.get('cells'))} of these cells is {number(loss)} nats{verdict}"
    )
    baselines = [f"{number(unigram)} for unigrams of the other cells"] * known(unigram)
    return claim, ", ".join([*baselines, f"{number(uniform)} for uniform guessing"])


def baseline_losses(model: Mapping[str, object]) -> str:
    """Those that are known, in words; empty where none is."""
    values = ((model.get(name), words) for name, words in BASELINES.items())
    return ", ".join(f"{number(value)} for {words}" for value, words in values if known(value))


class Check(NamedTuple):
    """One line of the preflight."""

    name: str
    ok: bool
    found: str
    expected: str = ""


class StoredFinding(NamedTuple):
    """A finding that a run has stored: the name of its figure and files, the run, and its verb."""

    name: str
    finding: Finding
    run: str
    verb: str


class SampleQuery(NamedTuple):
    """A question for the graph: what it asks, and its Cypher."""

    title: str
    cypher: str


class SampledControls(TypedDict, total=False):
    """Controls of the sampled sources, all layers together."""

    sources: int
    half_chance: float
    half_found: int
    half_agreement: float
    half_degree_rho: float
    half_residual_rho: float
    half_even_effects: int
    half_odd_effects: int


class TraceFindings(TypedDict, total=False):
    """Findings of a trace run."""

    sources: int
    cells: int
    source_layers: list[int]
    live_tests: int
    callable_tests: int
    callable_pairs: int
    edges: int
    edges_computed: int
    edges_continued: int | None
    edges_carried: int
    edges_generic: int
    edges_calibrated: int
    expected_false: float
    null_draws: int
    p_computed_at_q05: float
    loss: LossOnCells
    zero_edit_max: float
    numeric_floor: float
    controls: SampledControls
    directions: list[dict[str, object]]


class NullFindings(TypedDict, total=False):
    """Findings of a run of scrambled copies (`scircuit null`)."""

    kinds: list[str]
    seeds: int
    sources: int
    table: list[dict[str, object]]
    sentences: list[str]


class RateRow(TypedDict):
    """`scircuit.analysis.enrichment.matched_null.Rate` as a dictionary."""

    library: str
    rule: str
    lists: int
    annotated: int
    rate: float
    null_rate: float
    null_low: float
    null_high: float
    excess: float
    excess_low: float
    excess_high: float


class PublishedLayerRow(TypedDict):
    """One layer of an atlas: features, and shares or counts that each procedure annotates."""

    layer: int
    alive: int
    published: float
    random: float
    random_low: float
    random_high: float
    pooled: int
    calibrated: int


class PublishedFindings(TypedDict, total=False):
    """The published rate of an atlas beside the same procedure on random lists."""

    alive: int
    published: float
    random: float
    calibrated: RateRow
    layers: list[PublishedLayerRow]


class LibraryCoverage(TypedDict, total=False):
    """Coverage of a library; the page reads its name."""

    library: str


class AnnotateFindings(TypedDict, total=False):
    """Findings of an annotate run; ``name`` and ``published`` where it annotated an atlas."""

    name: str
    features: int
    features_tested: int
    features_annotated: int
    annotation_rate: float
    null_annotation_rate: float
    excess: list[float]
    terms: int
    background: int
    null_draws: int
    rates: list[RateRow]
    coverage: list[LibraryCoverage]
    libraries: list[dict[str, str]]
    published: PublishedFindings


def _frame() -> pd.DataFrame:
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
        Findings of the trace run; empty for a report of atlases alone.
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
    circuit
        Address of the feature whose circuit is drawn ("": the source with the most edges).
    annotate
        Findings of the annotate run, or empty.
    atlases
        Findings of the annotate runs that were computed from imported atlases, each with the
        ``name`` of its atlas.
    features
        ``Feature`` properties of all runs joined on ``id``; of several runs of a verb those of the
        newest that has the feature.
    run_features
        ``Feature`` properties of single ablate and steer runs, by run.
    controls
        ``Control`` nodes, one row each.
    interventions
        ``Intervention`` nodes of ablate and steer runs, one row each.
    null
        Findings of a null run: headline numbers of the run beside those of scrambled copies.
    shifts
        ``Intervention-SHIFTED-Feature`` of ablate runs: source (intervention), target, effect,
        interaction, q.
    readouts
        ``Readout`` nodes of steer runs: id, name, readout, unit, definition, measure, accuracy,
        baseline.
    readout_shifts
        ``Intervention-SHIFTED-Readout``: source (intervention), target (readout), dose, effect,
        low, high, control, control_sd, closed_form.
    stored
        Findings that the runs have stored, in the order of the page.
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
    trace: TraceFindings
    cohort: Mapping[str, object] = field(default_factory=dict)
    model: Mapping[str, object] = field(default_factory=dict)
    dictionaries: pd.DataFrame = field(default_factory=_frame)
    checks: Sequence[Check] = ()
    analysis: Analysis | None = None
    circuit: str = ""
    annotate: AnnotateFindings = field(default_factory=AnnotateFindings)
    atlases: Sequence[AnnotateFindings] = ()
    features: pd.DataFrame = field(default_factory=_frame)
    run_features: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    controls: pd.DataFrame = field(default_factory=_frame)
    null: NullFindings = field(default_factory=NullFindings)
    interventions: pd.DataFrame = field(default_factory=_frame)
    members: pd.DataFrame = field(default_factory=_frame)
    shifts: pd.DataFrame = field(default_factory=_frame)
    readouts: pd.DataFrame = field(default_factory=_frame)
    readout_shifts: pd.DataFrame = field(default_factory=_frame)
    stored: Sequence[StoredFinding] = ()
    readout: str = "mean change of the readout"
    runs: Sequence[Mapping[str, object]] = ()
    browser: str = ""
    queries: Sequence[SampleQuery] = ()
    generated: str = ""
    version: str = ""

    def stored_finding(self, name: str) -> Finding | None:
        """The stored finding of this name; None without one."""
        return next((s.finding for s in self.stored if s.finding.name == name), None)
