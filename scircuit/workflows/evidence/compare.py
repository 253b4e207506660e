"""``scircuit compare``: what the circuits of two or more runs agree on, beside random targets and
rewired edges; of runs with the same dictionaries also which edges replicate.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, CompareConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.files import sha256_file
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import active_run
from scircuit.execution.evidence_inputs.compared_runs import (
    Counterparts,
    chosen_runs,
    counterparts,
    read_run,
    same_dictionaries,
)
from scircuit.execution.find_runs import child_of, refuse_imported
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from scircuit.analysis.consensus.compared_run import ComparedRun
    from scircuit.analysis.finding import Finding
    from scircuit.analysis.genesets.regulons import Regulons

Degrees = dict[str, tuple[int, int]]
"""Address -> edges compared and edges replicated."""


def compare(
    config: CompareConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    **options: object,
) -> RunResult:
    """Compare the circuits of runs, two by two.

    Domain pairs that both have; edges whose counterparts (``scircuit match``) are edges in the
    other run; gene edges that both have, scored against regulons; and for runs with the same
    dictionaries which edges replicate, which belong to one cohort, and which terms have more edges
    in one of them. With more than two runs q is Benjamini-Hochberg over all pairs of runs.

    Returns
    -------
    RunResult
        ``table("Feature")`` has compared and replicated degrees; ``detail`` the findings by name,
        each with a frame and a plot.

    Raises
    ------
    UserError
        If there are no two runs with edges, dictionaries of the same name differ, an imported run
        lacks what counting needs, or runs of different models have neither labels nor counterparts.
    """
    config = config or build(CompareConfig, options)
    _check(config)
    place = Study(Path(study))
    manifests = chosen_runs(place, tuple(config.runs))
    runs = [read_run(place, m, config) for m in manifests]
    pairs = list(itertools.combinations(range(len(runs)), 2))
    links = {pair: _counterparts(place, manifests, runs, pair) for pair in pairs}
    regulons, hashes = _regulons(config.regulons)
    children = (child_of(place, "annotate", m.run) for m in manifests)
    others = [*(c.run for c in children if c), *(x.run for x in links.values() if x.run)]
    parents = tuple(dict.fromkeys([*(m.run for m in manifests), *others]))
    identity = {k: v for k, v in plain(config).items() if k not in ("runs", "regulons")}
    with active_run(
        place,
        "compare",
        {**plain(config), "runs": [m.run for m in manifests]},
        hashes,
        identity=identity,
        parents=parents,
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            degrees: Degrees = {}
            found = [
                _pair(runs[a], runs[b], links[a, b], regulons, config, degrees) for a, b in pairs
            ]
            result = _merged(found, [(runs[a].run, runs[b].run) for a, b in pairs])
            write_findings(run.folder, result.values())
            run.write("comparison", _records(run.id, degrees))
            run.conclude(
                {
                    "runs": [m.run for m in manifests],
                    "sentences": [f.sentence for f in result.values()],
                    "further": {f.name: dict(f.numbers) for f in result.values()},
                }
            )
    return run.result(new)


def _check(config: CompareConfig) -> None:
    """Refuse numbers outside their range."""
    for name, least in (("draws", 19), ("top_genes", 1), ("min_support", 1)):
        if (value := getattr(config, name)) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {value}, expected {least} or more",
                f"the default is {getattr(CompareConfig(), name)}",
            )
    if not 0 < config.q < 1:
        raise UserError(f"--q is {config.q:g}, expected a share between 0 and 1", "give --q 0.05")


def _regulons(path: Path | None) -> tuple[Regulons, dict[str, object]]:
    """The user's regulons with the hash of their file, or TRRUST.

    Raises
    ------
    UserError
        If the file is no table of regulators and targets.
    """
    from scircuit.analysis.genesets.readers import read_library
    from scircuit.analysis.genesets.regulons import Regulons
    from scircuit.analysis.genesets.trrust import shipped_trrust

    if path is None:
        return shipped_trrust(), {}
    if not path.is_file():
        raise UserError(f"the regulons {path} do not exist", "give an existing file")
    found = read_library(path)
    if not isinstance(found, Regulons):
        raise UserError(
            f"{path} is a gene-set library and no table of regulators and targets",
            "give a table with the columns TF, target and mode, or a header such as"
            " source,target,weight",
        )
    return found, {"regulons": sha256_file(path)}


def _counterparts(
    study: Study, manifests: Sequence[Manifest], runs: Sequence[ComparedRun], pair: tuple[int, int]
) -> Counterparts:
    """Counterparts of two runs, once it is known that they can be compared."""
    a, b = (runs[i] for i in pair)
    if same_dictionaries(a, b):
        for i in pair:
            if manifests[i].verb == "import":
                refuse_imported(
                    manifests[i], ("n", "all_edges"), "counting which of its edges replicate"
                )
    found = counterparts(study, a, b)
    bare = [run.run for run in (a, b) if not (run.labels != "").any()]
    if bare and not same_dictionaries(a, b) and not found.run:
        raise UserError(
            f"runs {a.run} and {b.run} are of different dictionaries, and"
            f" {' and '.join(bare)} without labels: nothing relates their features",
            f"run scircuit annotate --run RUN for each, or scircuit match, --study"
            f" {quoted(study.root)}",
        )
    return found


def _pair(
    a: ComparedRun,
    b: ComparedRun,
    links: Counterparts,
    regulons: Regulons,
    config: CompareConfig,
    degrees: Degrees,
) -> list[Finding]:
    """All findings about two runs; adds to the degrees of their features."""
    import numpy as np

    from scircuit.analysis.consensus.agreed_edges import agreed_edges
    from scircuit.analysis.consensus.common_pairs import common_pairs
    from scircuit.analysis.consensus.domain_pairs import consensus
    from scircuit.analysis.consensus.regulon_support import regulon_support
    from scircuit.analysis.consensus.replication import replication
    from scircuit.analysis.consensus.term_contrast import term_contrast

    chance = {"draws": config.draws, "seed": config.seed}
    found = []
    if same_dictionaries(a, b):
        finding, compared = replication(a, b, **chance)
        for run, c in zip((a, b), compared, strict=True):
            _count(degrees, run.inputs.nodes.id[c.source], c.same)
        found += [finding, term_contrast(a, b, seed=config.seed)]
    else:
        finding, agreements = agreed_edges(a, b, links.pairs, **chance)
        for one in agreements:
            run = a if one.run == a.run else b
            _count(degrees, run.inputs.nodes.id[one.edges.source], np.asarray(one.agreed))
        found.append(finding)
    pairs = consensus(a, b, **chance)
    found += [pairs.finding, common_pairs(pairs.pairs, pairs.finding.null)]
    found.append(regulon_support((a, b), regulons, top=config.top_genes, **chance))
    return found


def _count(degrees: Degrees, sources: np.ndarray, replicated: np.ndarray) -> None:
    for address, yes in zip(sources.tolist(), replicated.tolist(), strict=True):
        compared, found = degrees.get(address, (0, 0))
        degrees[address] = compared + 1, found + bool(yes)


def _merged(
    found: Sequence[Sequence[Finding]], names: Sequence[tuple[str, str]]
) -> dict[str, Finding]:
    """Findings by name; those of several pairs of runs in one."""
    from scircuit.analysis.consensus.many_runs import over_all_pairs

    by_name: dict[str, list[tuple[tuple[str, str], Finding]]] = {}
    for pair, findings in zip(names, found, strict=True):
        for finding in findings:
            by_name.setdefault(finding.name, []).append((pair, finding))
    return {
        name: over_all_pairs(parts) if len(parts) > 1 else parts[0][1]
        for name, parts in by_name.items()
    }


def _records(run: str, degrees: Mapping[str, tuple[int, int]]) -> dict[str, pa.Table]:
    """Compared and replicated degrees of every feature with compared edges."""
    from scircuit.core.schema import schema_table

    ids = sorted(degrees)
    columns = {
        "id": ids,
        "compare_run": [run] * len(ids),
        "compared_degree": [degrees[i][0] for i in ids],
        "replicated_degree": [degrees[i][1] for i in ids],
    }
    return {"Feature": schema_table("Feature", columns)}
