"""How fast a map of the published size gets into Neo4j: streamed over Bolt, and bulk-imported; one
JSON line.

    python bench/ingest.py --json [--edges N]

The graph has the out-degrees of the published exhaustive map (4,065 sources, 1,393,850 edges),
random but fixed targets, and every property that an own run gives ``AFFECTS``. Both ways read the
same shards and are timed as a whole, features and ledger included; counts and checksums of both
graphs are compared with the shards. Server and loader share this machine, so the ratio is what
carries over."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tests_package  # noqa: F401 - finds tests.support from any folder

from scircuit.core import schema
from scircuit.core.address import Address
from scircuit.core.study import Manifest, now
from scircuit.ingest import server
from scircuit.ingest.graph.bulk_import import bulk_import
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.loader import prepare
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.graph_checksum import EDGES, graph_checksums, shard_checksums
from tests.support.neo4j_driver import rust_codec_active

ROOT = Path(__file__).resolve().parent.parent

MODEL, DICTIONARY, SOURCE_LAYER, TARGET_LAYERS, WIDTH = (
    "geneformer-v2-316m",
    "k562-x4-k32",
    5,
    range(6, 18),
    4608,
)
RUN = "trace-0123456789"
UNIT_SOURCES = 32
FLOOR = 0.20


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument(
        "--edges",
        type=int,
        default=0,
        help="use the first sources up to this many edges (default: all)",
    )
    parser.add_argument("--profile", default=server.DEFAULT_PROFILE, help="server version")
    parser.add_argument(
        "--check", action="store_true", help=f"exit 1 when the ratio is below {FLOOR}"
    )
    options = parser.parse_args()
    result = measure(options.edges, options.profile)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:>20}: {value}" for name, value in result.items()))
    return int(options.check and result["ratio"] < FLOOR)


def measure(edges: int, profile: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="scircuit-bench-") as scratch:
        store = write_run(Path(scratch) / "runs" / RUN, degrees(edges))
        home = Path(scratch) / "neo4j"
        expected = shard_checksums(store.folder)
        count = sum(pair.count for pair in expected.values())
        say(f"{count:,} edges, {store.tables('Feature').num_rows:,} features on disk")
        try:
            with opened(home, profile) as connection:
                prepare(connection)
                began = time.perf_counter()
                report = load_run(connection, store.folder)
                streamed = time.perf_counter() - began
                verify("stream", expected, connection)
                version = connection.version
            say(f"streamed {report.loaded_rows:,} rows in {streamed:.1f} s")
            server.stop(home)
            bulk = bulk_import([store.folder], home)
            say(f"imported in {bulk.seconds:.1f} s")
            with opened(home, profile) as connection:
                verify("bulk", expected, connection)
        finally:
            server.stop(home)
    return {
        "edges": count,
        "properties": len(schema.properties_of(EDGES)),
        "stream_edges_per_s": round(count / streamed),
        "bulk_edges_per_s": round(count / bulk.seconds),
        "ratio": round(bulk.seconds / streamed, 3),
        "stream_seconds": round(streamed, 1),
        "bulk_seconds": round(bulk.seconds, 1),
        "counts_equal": True,
        "checksums_equal": True,
        "neo4j": version,
        "rust_codec": rust_codec_active(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def opened(home: Path, profile: str) -> Connection:
    info = server.start(home, profile=profile)
    return Connection.open(Target(info.uri, info.user, info.password))


def verify(way: str, expected: dict, connection: Connection) -> None:
    found = graph_checksums(connection, RUN)
    if found != expected:
        raise SystemExit(f"{way}: the graph differs from the shards: {found} instead of {expected}")


def degrees(edges: int) -> np.ndarray:
    """Published out-degrees in a fixed random order; the first ones whose sum reaches `edges`."""
    folder = Path(os.environ.get("SCIRCUIT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    path = folder / "published" / "degree_sequence.json"
    if not path.is_file():
        raise SystemExit(
            f"{path} is missing; set SCIRCUIT_SHARED_DATA to the folder with the published data"
        )
    found = np.random.default_rng(0).permutation(np.array(json.loads(path.read_text())["degrees"]))
    if edges:
        found = found[: int(np.searchsorted(np.cumsum(found), edges)) + 1]
    return found


def write_run(folder: Path, out_degrees: np.ndarray) -> ShardStore:
    """Write the features and all edges as a finished trace run, `UNIT_SOURCES` sources a shard."""
    rng = np.random.default_rng(1)
    store = ShardStore(folder, Manifest(RUN, "trace", {}, {}, "bench", started=now()))
    addresses = [
        Address(MODEL, DICTIONARY, layer, i) for layer in TARGET_LAYERS for i in range(WIDTH)
    ]
    sources = [Address(MODEL, DICTIONARY, SOURCE_LAYER, i) for i in range(len(out_degrees))]
    everyone = [*sources, *addresses]
    store.add(
        "records",
        {
            "Feature": pa.table(
                {
                    "id": [str(a) for a in everyone],
                    "name": [a.short for a in everyone],
                    "model": [MODEL] * len(everyone),
                    "dictionary": [f"{MODEL}/{DICTIONARY}/L{a.layer:02d}" for a in everyone],
                    "layer": [a.layer for a in everyone],
                    "index": [a.index for a in everyone],
                    "firing_rate": rng.random(len(everyone)),
                    "alive": [True] * len(everyone),
                }
            )
        },
    )
    targets = np.array([str(a) for a in addresses])
    for start in range(0, len(sources), UNIT_SOURCES):
        block = range(start, min(start + UNIT_SOURCES, len(sources)))
        picks = [rng.choice(len(targets), out_degrees[i], replace=False) for i in block]
        n = int(sum(map(len, picks)))
        mean, sd = rng.normal(size=n), rng.gamma(2.0, size=n)
        store.add(
            f"L{SOURCE_LAYER:02d}-{start:05d}",
            {
                EDGES: pa.table(
                    {
                        "source": np.repeat(
                            [str(sources[i]) for i in block], [len(p) for p in picks]
                        ),
                        "target": targets[np.concatenate(picks)],
                        "run": [RUN] * n,
                        "n": rng.integers(6, 21, n),
                        "n_pos": rng.integers(0, 11, n),
                        "n_neg": rng.integers(0, 11, n),
                        "mean": mean,
                        "sd": sd,
                        "d": mean / sd,
                        "p": rng.random(n),
                        "q": rng.random(n),
                        "direct": rng.normal(size=n),
                        "computed": rng.normal(size=n),
                        "computed_cells": rng.integers(0, 21, n),
                        "z_direct": rng.normal(size=n),
                        "z_computed": rng.normal(size=n),
                        "p_computed": rng.random(n),
                        "q_computed": rng.random(n),
                        "q_direct": rng.random(n),
                        "positions": rng.integers(6, 4000, n),
                        "halves": rng.integers(0, 3, n),
                    }
                )
            },
        )
    store.finish("complete", {})
    return store


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
