"""Runs of a comparison from their shards: features, edges by the rule, labels, terms and genes; and
which of their features are counterparts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.errors import UserError, quoted
from scircuit.core.study import Manifest, Study
from scircuit.execution.evidence_inputs.annotation_terms import terms_of as read_terms
from scircuit.execution.feature_table import features_of
from scircuit.execution.find_runs import child_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from scipy import sparse

    from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays
    from scircuit.analysis.consensus.compared_run import ComparedRun
    from scircuit.core.config import CompareConfig

EDGES = "Feature-AFFECTS-Feature"


def chosen_runs(study: Study, names: tuple[str, ...]) -> list[Manifest]:
    """The named runs, in their order; without names the newest two complete trace runs.

    Raises
    ------
    UserError
        If there are fewer than two, one is named twice, is not complete, or has no edges.
    """
    fix = f"list them: scircuit runs --study {quoted(study.root)}"
    if not names:
        found = [m for m in study.manifests() if m.verb == "trace" and m.complete][-2:]
        if len(found) < 2:
            study.require("there are no runs to compare")
            raise UserError(
                f"study {study.root} has {len(found)} complete trace runs, expected two or more",
                "trace other cells or another model, or name runs: scircuit compare RUN RUN",
            )
        return found
    if len(set(names)) < max(2, len(names)):
        raise UserError(
            f"{len(names)} runs are named, {len(set(names))} of them different; expected two or"
            " more, each once",
            fix,
        )
    found = [study.manifest(name) for name in names]
    for m in found:
        if not m.complete:
            raise UserError(f"run {m.run} is {m.status}", "finish it first")
        if m.verb not in ("trace", "import") or not any(s.kind == EDGES for s in m.shards):
            raise UserError(
                f"run {m.run} ({m.verb}) has no edges between features, expected trace runs or"
                " imported edges",
                fix,
            )
    return found


def read_run(study: Study, manifest: Manifest, config: CompareConfig) -> ComparedRun:
    """One run of a comparison.

    Raises
    ------
    UserError
        If the rule needs what the run does not have.
    """
    from scircuit.analysis.circuit_inputs import (
        CircuitInputs,
        annotation_frame,
        annotation_of,
        genes_of,
        terms_of,
    )
    from scircuit.analysis.circuits.degree import edges_by, read_edges, read_features, rule_for
    from scircuit.analysis.consensus.compared_run import ComparedRun
    from scircuit.core.edge_rules import LEGACY
    from scircuit.ingest.shards.shard_store import ShardStore

    table = ShardStore(study.run_folder(manifest.run)).tables(EDGES)
    features = features_of(study, manifest)
    if manifest.verb == "import":
        nodes, edges, called = _imported(features, table)
        rule = LEGACY
    else:
        nodes = read_features(features)
        edges = read_edges(table, nodes)
        rule = rule_for(edges, config.rule)
        called = edges_by(edges, rule, config.q, config.min_support, config.min_effect)
    annotation = child_of(study, "annotate", manifest.run)
    named = features_of(study, annotation) if annotation else None
    if named is None and manifest.verb == "import":
        named = _published(study, set(nodes.id.tolist()))
    inputs = CircuitInputs(
        manifest.run,
        nodes,
        edges,
        called,
        rule,
        annotation_frame(annotation_of(named, nodes), nodes),
        terms_of(read_terms(study, annotation) if annotation else None, nodes),
        {f: [str(g).upper() for g in genes] for f, genes in genes_of(named).items()},
    )
    return ComparedRun(
        inputs,
        _dictionaries(manifest, nodes.id),
        len(manifest.cohort["row_ids"]) if "row_ids" in manifest.cohort else None,
        frozenset(
            f"{manifest.cohort.get('sha256')}:{row}" for row in manifest.cohort.get("row_ids", ())
        ),
        "all_edges" in manifest.findings.get("lacks", ()),
    )


def _imported(features: pa.Table, table: pa.Table) -> tuple[FeatureArrays, EdgeArrays, np.ndarray]:
    """Features and edges of a source that may lack most columns; edges by the published rule."""
    import numpy as np

    from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays
    from scircuit.core.address import parse
    from scircuit.core.edge_rules import published_edges

    frame, e = features.to_pandas().set_index("id"), table.to_pandas()
    ids = sorted({*frame.index, *e["source"], *e["target"]})
    frame = frame.reindex(ids)
    position = {address: i for i, address in enumerate(ids)}
    source, target = (e[end].map(position).to_numpy(np.int64) for end in ("source", "target"))

    def column(of: pd.DataFrame, name: str) -> np.ndarray:
        return of[name].to_numpy(float) if name in of else np.full(len(of), np.nan)

    traced = np.zeros(len(ids), bool)
    traced[source] = True
    nodes = FeatureArrays(
        np.array(ids, dtype=object),
        np.array([parse(address).layer for address in ids], dtype=np.int64),
        column(frame, "firing_rate"),
        traced,
        np.nan_to_num(column(frame, "mean_activation")),
    )
    given = {name: column(e, name) for name in EdgeArrays._fields[2:-1]}
    given["mean"] = np.where(np.isnan(given["mean"]), given["d"], given["mean"])
    edges = EdgeArrays(source, target, **given, scale=nodes.scale[target])
    stated = column(e, "consistency")
    called = published_edges(edges.d, stated, edges.n, edges.n_pos)
    return nodes, edges, np.asarray(called, bool)


def _published(study: Study, ids: set[str]) -> pa.Table | None:
    """What another run of the study says of these features: the newest annotation of any of them,
    or an imported atlas with its published labels.
    """
    import pyarrow as pa

    for manifest in study.manifests()[::-1]:
        if manifest.verb not in ("annotate", "import") or not manifest.complete:
            continue
        frame = features_of(study, manifest).to_pandas()
        label = next((c for c in ("label", "published_label") if c in frame), None)
        if label is None or not ids & set(frame["id"]):
            continue
        frame = frame[frame["id"].isin(ids)]
        known = frame[label].fillna("")
        columns = {"id": frame["id"].tolist(), "label": known.tolist()}
        columns["annotated"] = (known != "").tolist()
        if "top_genes" in frame:
            columns["top_genes"] = [
                [] if genes is None else list(genes) for genes in frame["top_genes"]
            ]
        return pa.table(columns)
    return None


def _dictionaries(manifest: Manifest, ids: np.ndarray) -> dict[str, str]:
    """Dictionary of every feature -> hash of its file, where the run knows it."""
    stated = manifest.inputs.get("dictionaries")
    by_layer = stated if isinstance(stated, dict) else {}
    names = sorted({address.rpartition("/")[0] for address in ids})
    return {n: str(by_layer.get(str(int(n.rpartition("/L")[2])), "")) for n in names}


def same_dictionaries(a: ComparedRun, b: ComparedRun) -> bool:
    """Whether two runs speak of the same features.

    Raises
    ------
    UserError
        If dictionaries of the same name are different files.
    """
    both = sorted(a.dictionaries.keys() & b.dictionaries.keys())
    for name in both:
        one, other = a.dictionaries[name], b.dictionaries[name]
        if one and other and one != other:
            raise UserError(
                f"dictionary {name} of run {a.run} and of run {b.run} are different files"
                f" ({one[:12]} and {other[:12]}): their features of the same number have nothing in"
                " common",
                "compare runs with the same dictionaries, or trace one again with another"
                " --dictionary-name and link them by scircuit match",
            )
    return bool(both)


class Counterparts(NamedTuple):
    """Features of two runs that fire on the same genes, (features of the first, of the second), and
    the match run that says so ("": none).
    """

    pairs: sparse.csr_matrix
    run: str


def counterparts(study: Study, a: ComparedRun, b: ComparedRun) -> Counterparts:
    """Counterparts by the newest match run that has some between the two runs."""
    import numpy as np
    from scipy import sparse

    from scircuit.ingest.shards.shard_store import ShardStore

    at = [{address: i for i, address in enumerate(r.inputs.nodes.id)} for r in (a, b)]
    shape = (len(at[0]), len(at[1]))
    for manifest in study.manifests()[::-1]:
        if manifest.verb != "match" or not manifest.complete:
            continue
        table = ShardStore(study.run_folder(manifest.run)).tables("Feature-SAME_GENES-Feature")
        ends = [table.column(end).to_pylist() for end in ("source", "target")]
        pairs = [
            (at[0][x], at[1][y])
            for first, second in zip(*ends, strict=True)
            for x, y in ((first, second), (second, first))
            if x in at[0] and y in at[1]
        ]
        if pairs:
            row, column = np.array(pairs, np.int64).T
            found = sparse.csr_matrix((np.ones(row.size, np.int32), (row, column)), shape=shape)
            found.data[:] = 1
            return Counterparts(found, manifest.run)
    return Counterparts(sparse.csr_matrix(shape, dtype=np.int32), "")
