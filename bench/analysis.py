"""Circuit analyses at the size of the published map: 4,065 sources, 1.39 million edges; one JSON
line.

    python bench/analysis.py --json
    python bench/analysis.py --json --degrees degree_sequence.json
    python bench/analysis.py --json --neo4j             also read the edges from a real Neo4j (slow)
    python bench/analysis.py --edges 20000 --parts modules,page_rank

The out-degrees are those of a published list, or drawn from a lognormal with its mean and spread;
targets are drawn in three later layers with heavy-tailed in-degrees. Every effect is an edge. Each
part is a process of its own that reads the shards of the run first, so that its peak of memory is
that of an analysis; `seconds` are those of the part alone, `cpu_seconds` the time of
processors in them: the fewer of these a second has, the more other work the machine did.

read_shards, read_neo4j
    the circuit as arrays, from Parquet files and over Bolt; the arrays are compared
degree_fit
    tail of the degrees: exact fit, 1,000 bootstraps, four alternatives
modules, page_rank, motifs, attenuation, sign_structure, degree_inequality, hub_stability
    the findings of `scircuit analyse`, nulls included
coherence, consensus
    with 1,000 draws of each null; consensus with a second circuit of the same size
networkx
    PageRank alone, once, by networkx and by ours (graph built from the arrays in both); `ratio` is
    networkx / ours
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scircuit.core.address import Address
from scircuit.core.config import AnalyseConfig
from scircuit.core.study import Manifest, now
from scircuit.ingest.shards.shard_store import ShardStore

RUN, EDGES = "trace-0123456789", "Feature-AFFECTS-Feature"
MODEL, DICTIONARY, SOURCE_LAYER, TARGET_LAYERS = "geneformer-v2-316m", "k562", 5, (6, 11, 17)
SOURCES, MEAN, SPREAD, TARGETS = 4065, 343.0, 0.85, 18_432
LABELS = 1126
COLUMNS = ("n", "n_pos", "n_neg", "mean", "sd", "d", "p", "q", "halves")
PARTS = (
    *("read_shards", "degree_fit", "modules", "page_rank", "motifs", "attenuation"),
    *("sign_structure", "degree_inequality", "hub_stability", "coherence", "consensus"),
    "networkx",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--degrees", type=Path, help='JSON file with a list "degrees"')
    parser.add_argument("--edges", type=int, default=0, help="about so many (default: all)")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas between")
    parser.add_argument("--neo4j", action="store_true", help="also read from a real Neo4j")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(part(given.part, given.study)))
        return 0
    unknown = sorted(set(given.parts.split(",")) - set(PARTS))
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="scircuit-bench-") as scratch:
        out = out_degrees(given.degrees, given.edges)
        edges = write_run(Path(scratch), out)
        found: dict[str, Any] = {"edges": edges, "sources": out.size, "cores": os.cpu_count()}
        for name in [*given.parts.split(","), *(["read_neo4j"] if given.neo4j else [])]:
            found[name] = in_a_process(name, Path(scratch))
            if not given.json:
                print(f"{name:20} {found[name]}", flush=True)
    timed = [v for k, v in found.items() if k in PARTS and k != "networkx"]
    found["slowest_seconds"] = max((v["seconds"] for v in timed), default=None)
    found["peak_gb"] = max((v["peak_gb"] for v in timed), default=None)
    found["load_average"] = round(os.getloadavg()[0], 1)
    print(json.dumps(found) if given.json else f"{'slowest':20} {found['slowest_seconds']} s")
    return 0


def in_a_process(name: str, study: Path) -> dict[str, Any]:
    """One part, so that its memory is its own."""
    command = [sys.executable, __file__, "--part", name, "--study", str(study)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def part(name: str, study: Path) -> dict[str, Any]:
    """Run one part; what it found, its seconds, and the peak of memory of this process."""
    prepare, work = _work(name, study)
    given = prepare()
    began, busy = time.perf_counter(), time.process_time()
    found = work(given)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - busy, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        **found,
    }


Part = tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]


def _work(name: str, study: Path) -> Part:
    """What is prepared, and what is timed."""
    if name == "read_shards":
        return (lambda: None), lambda _: {"edges": int(circuit(study).called.sum())}
    if name == "read_neo4j":
        return (lambda: study), from_neo4j
    if name == "degree_fit":
        return (lambda: circuit(study)), degree_fit
    if name == "consensus":
        return (lambda: (circuit(study), circuit(study, other=True))), both_circuits
    if name == "networkx":
        return (lambda: circuit(study)), beside_networkx
    return (lambda: circuit(study)), lambda inputs: finding(name, inputs)


def finding(name: str, inputs: Any) -> dict[str, Any]:
    """One of the findings of `scircuit analyse`, by its name."""
    from scircuit.analysis.circuit_findings import ANALYSERS

    by_name = {f.__name__: f for f in ANALYSERS}
    made = by_name["feature_order" if name == "page_rank" else name](inputs, AnalyseConfig())
    return {"draws": made.numbers.get("draws"), "sentence": made.sentence}


def degree_fit(inputs: Any) -> dict[str, Any]:
    from scircuit.analysis.circuits.heavy_tail import fit_tail

    out = np.bincount(inputs.circuit.source, minlength=inputs.nodes.id.size)
    found = fit_tail(out[inputs.nodes.sources], bootstrap=1000)
    return {"bootstraps": found.bootstrap, "p": found.p_gof, "sentence": found.sentence}


def both_circuits(both: Any) -> dict[str, Any]:
    from scircuit.analysis.consensus.compared_run import ComparedRun
    from scircuit.analysis.consensus.domain_pairs import consensus

    found = consensus(*(ComparedRun(inputs) for inputs in both)).finding
    return {"draws": found.numbers.get("draws"), "sentence": found.sentence}


def beside_networkx(inputs: Any) -> dict[str, Any]:
    """PageRank once, in both; the graph is built from arrays in both."""
    import networkx

    from scircuit.analysis.structure.layered_edges import circuit_edges
    from scircuit.analysis.structure.page_rank import page_rank

    began = time.perf_counter()
    edges = circuit_edges(inputs)
    own = page_rank(edges.source, edges.target, edges.features)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(edges.features))
    graph.add_edges_from(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    theirs = networkx.pagerank(graph, alpha=0.85, tol=1e-12)
    slow = time.perf_counter() - began
    other = np.array([theirs[i] for i in range(edges.features)])
    return {
        "ours_seconds": round(ours, 3),
        "networkx_seconds": round(slow, 3),
        "ratio": round(slow / ours, 1),
        "largest_difference": float(np.abs(own - other).max() / own.max()),
    }


def out_degrees(path: Path | None, edges: int) -> np.ndarray:
    """Out-degrees in a fixed random order; the first ones whose sum reaches `edges`."""
    rng = np.random.default_rng(0)
    if path is None:
        drawn = rng.lognormal(np.log(MEAN) - SPREAD**2 / 2, SPREAD, SOURCES)
        degrees = np.minimum(np.rint(drawn), 2200).astype(int)
    else:
        degrees = rng.permutation(np.array(json.loads(path.read_text())["degrees"]))
    return degrees[: int(np.searchsorted(np.cumsum(degrees), edges)) + 1] if edges else degrees


def write_run(study: Path, degrees: np.ndarray) -> int:
    """Write features and edges as a finished trace run, and return the number of edges."""
    rng = np.random.default_rng(1)
    layers = [SOURCE_LAYER] * degrees.size + [t for t in TARGET_LAYERS for _ in range(TARGETS)]
    index = [*range(degrees.size), *(list(range(TARGETS)) * len(TARGET_LAYERS))]
    addresses = [Address(MODEL, DICTIONARY, a, i) for a, i in zip(layers, index, strict=True)]
    ids = np.array([str(a) for a in addresses], dtype=object)
    store = ShardStore(study / RUN, Manifest(RUN, "trace", {}, {}, "bench", started=now()))
    features = {
        "id": ids.tolist(),
        "name": [a.short for a in addresses],
        "model": [MODEL] * ids.size,
        "dictionary": [f"{MODEL}/{DICTIONARY}/L{a.layer:02d}" for a in addresses],
        "layer": layers,
        "index": index,
        "firing_rate": rng.beta(0.5, 40, ids.size),
        "traced": [a.layer == SOURCE_LAYER for a in addresses],
    }
    store.add("features", {"Feature": pa.table(features)})
    weight = rng.lognormal(0, 1, ids.size - degrees.size)
    total = 0
    for number, first in enumerate(range(0, degrees.size, 256)):
        block = degrees[first : first + 256]
        source = first + np.repeat(np.arange(block.size), block)
        # the first to arrive, at rates of their weights: distinct targets of every source
        target = degrees.size + np.concatenate(
            [np.argsort(rng.exponential(size=weight.size) / weight)[:many] for many in block]
        )
        n = source.size
        total += n
        negative = rng.random(n) < 0.6
        mean, sd = np.where(negative, -1, 1) * rng.gamma(2.0, size=n), rng.gamma(2.0, size=n) + 0.1
        table = {
            "source": ids[source].tolist(),
            "target": ids[target].tolist(),
            "run": [RUN] * n,
            "n": np.full(n, 20),
            "n_pos": np.where(negative, 3, 17),
            "n_neg": np.where(negative, 17, 3),
            "mean": mean,
            "sd": sd,
            "d": mean / sd,
            "p": np.full(n, 1e-4),
            "q": np.full(n, 1e-3),
            "halves": rng.integers(0, 3, n),
        }
        store.add(f"L{SOURCE_LAYER:02d}-{number:05d}", {EDGES: pa.table(table)})
    store.finish("complete", {})
    return total


def circuit(study: Path, *, other: bool = False) -> Any:
    """The circuit from its shards; `other`: with targets turned by a few hundred features."""
    from scircuit.analysis.circuits.degree import read_features

    store = ShardStore(study / RUN)
    nodes = read_features(store.tables("Feature"))
    return _inputs(nodes, store.tables(EDGES), other)


def _inputs(nodes: Any, table: pa.Table, other: bool) -> Any:
    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.analysis.circuits.degree import edges_by, read_edges
    from scircuit.core.edge_rules import CALIBRATED

    edges = read_edges(table, nodes)
    if other:
        rng = np.random.default_rng(3)
        sources, far = nodes.sources.size, edges.target - nodes.sources.size
        moved = np.where(rng.random(far.size) < 0.5, (far + 331) % TARGETS, far % TARGETS)
        edges = edges._replace(target=sources + far // TARGETS * TARGETS + moved)
    rng = np.random.default_rng(2)
    size = nodes.id.size
    popular = 1 / np.arange(1, LABELS + 1)
    popular /= popular.sum()
    has = rng.random(size) < 0.5
    term = rng.choice(LABELS, (size, 3), p=popular)
    named = np.array([f"term {k:04d}" for k in range(LABELS)], dtype=object)
    annotation = pd.DataFrame(
        {
            "id": nodes.id,
            "annotated": has,
            "annotatable_genes": 10.0,
            "label": np.where(has, named[term[:, 0]], ""),
        }
    )
    at = np.repeat(np.flatnonzero(has), 3)
    names = named[term[has].ravel()]
    terms = pd.DataFrame(
        {"feature": at, "term": names, "name": names, "library": "GO", "q": 0.01}
    ).drop_duplicates(["feature", "term"], ignore_index=True)
    return CircuitInputs(
        f"{RUN}{'-other' if other else ''}", nodes, edges, edges_by(edges, CALIBRATED),
        CALIBRATED, annotation, terms,
    )  # fmt: skip


def from_neo4j(study: Path) -> dict[str, Any]:
    """Read the circuit from a server of its own, and compare it with that of the shards."""
    from scircuit.analysis.circuits.degree import read_edges
    from scircuit.ingest import server
    from scircuit.ingest.graph.bulk_import import bulk_import
    from scircuit.ingest.graph.connection import Connection, Target
    from scircuit.ingest.graph.loader import prepare

    home = study / "neo4j"
    try:
        server.start(home)  # makes the folders that the import writes into
        server.stop(home)
        bulk_import([study / RUN], home)
        info = server.start(home)
        with Connection.open(Target(info.uri, info.user, info.password)) as connection:
            prepare(connection)  # the index of Feature.id
            wanted = circuit(study)
            began = time.perf_counter()
            table = read_graph(connection, wanted.nodes.id[wanted.nodes.sources].tolist())
            arrays = read_edges(table, wanted.nodes)
            seconds = time.perf_counter() - began
    finally:
        server.stop(home)
    orders = [np.lexsort((e.target, e.source)) for e in (arrays, wanted.edges)]
    same = all(
        np.array_equal(getattr(arrays, c)[orders[0]], getattr(wanted.edges, c)[orders[1]])
        for c in ("source", "target", *COLUMNS)
    )
    return {"edges": table.num_rows, "read_seconds": round(seconds, 1), "equal": same}


def read_graph(connection: Any, sources: list[str]) -> pa.Table:
    """Edges of the run, one row of lists a source over the wire."""
    lists = ", ".join(f"collect(r.{c}) AS {c}" for c in COLUMNS)
    query = (
        "UNWIND $sources AS id MATCH (s:Feature {id: id})-[r:AFFECTS]->(t:Feature)"
        f" WHERE r.run = $run RETURN id AS source, collect(t.id) AS target, {lists}"
    )
    columns: dict[str, list[Any]] = {c: [] for c in ("source", "target", *COLUMNS)}
    parts = [sources[first : first + 128] for first in range(0, len(sources), 128)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a query has one thread in the server
        for rows in pool.map(lambda ids: connection.run(query, sources=ids, run=RUN), parts):
            for row in rows:
                columns["source"] += [row["source"]] * len(row["target"])
                for name in ("target", *COLUMNS):
                    columns[name] += row[name]
    return pa.table(columns)


if __name__ == "__main__":
    raise SystemExit(main())
