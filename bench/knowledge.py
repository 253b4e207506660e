"""How fast the published atlases get into Neo4j: read, written as shards, bulk-imported and
streamed; one JSON line.

    python bench/knowledge.py --json [--atlas geneformer --atlas scgpt]

Everything at hand of the atlases goes into one study and from there into two graphs. Both are
compared record by record (`tests.support.graph_digest`), and each atlas is imported a second
time, which must change nothing. Server and loader share this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tests_package  # noqa: F401 - finds tests.support from any folder

from scircuit.core import schema
from scircuit.core.study import Study
from scircuit.ingest import server
from scircuit.ingest.graph.bulk_import import bulk_import
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.loader import prepare
from scircuit.ingest.graph.stream import load_run
from scircuit.workflows.importing import import_
from tests.support.graph_digest import graph_digest
from tests.support.neo4j_driver import rust_codec_active

ROOT = Path(__file__).resolve().parent.parent

MOST_BULK_S, MOST_STREAM_S = 90.0, 300.0
ATLASES = ("geneformer", "scgpt")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument(
        "--atlas",
        action="append",
        choices=ATLASES,
        help="import this one only; repeat for several (default: all)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help=(
            f"exit 1 above {MOST_BULK_S:g} s (bulk) or {MOST_STREAM_S:g} s (streaming), or when the"
            " graphs differ"
        ),
    )
    options = parser.parse_args()
    result = measure(tuple(options.atlas or ATLASES))
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:>20}: {value}" for name, value in result.items()))
    good = result["checksums_equal"] and result["repeat_changes_nothing"]
    return int(
        options.check
        and not (
            good
            and result["bulk_seconds"] < MOST_BULK_S
            and result["stream_seconds"] < MOST_STREAM_S
        )
    )


def measure(atlases: tuple[str, ...]) -> dict[str, Any]:
    data = Path(os.environ.get("SCIRCUIT_SHARED_DATA", ROOT.parent / "shared" / "data")) / "atlas"
    missing = [a for a in atlases if not (data / a).is_dir()]
    if missing:
        raise SystemExit(
            f"{data / missing[0]} is missing; set SCIRCUIT_SHARED_DATA to the folder with the"
            " published data"
        )
    with tempfile.TemporaryDirectory(prefix="scircuit-bench-") as scratch:
        study = Study(Path(scratch) / "study")
        began = time.perf_counter()
        for atlas in atlases:
            import_("atlas", path=data / atlas, study=study.root, database=False, quiet=True)
        read = time.perf_counter() - began
        say(f"read and written as shards in {read:.1f} s")
        folders = [study.run_folder(m.run) for m in study.manifests()]

        homes = {way: Path(scratch) / way for way in ("bulk", "stream")}
        try:
            server.start(homes["bulk"])
            server.stop(homes["bulk"])
            bulk = bulk_import(folders, homes["bulk"])
            say(
                f"imported {bulk.nodes:,} nodes and {bulk.relationships:,} relationships in"
                f" {bulk.seconds:.1f} s"
            )
            began = time.perf_counter()
            with opened(homes["bulk"]) as connection:
                prepare(connection)
                ready = time.perf_counter() - began
                imported = graph_digest(connection)
                untouched = all(load_run(connection, folder).loaded_rows == 0 for folder in folders)
            server.stop(homes["bulk"])

            with opened(homes["stream"]) as connection:
                prepare(connection)
                began = time.perf_counter()
                rows = sum(load_run(connection, folder).loaded_rows for folder in folders)
                streamed = time.perf_counter() - began
                say(f"streamed {rows:,} rows in {streamed:.1f} s")
                found = graph_digest(connection)
            before = {m.run: m for m in study.manifests()}
            for atlas in atlases:
                import_("atlas", path=data / atlas, study=study.root, database=False, quiet=True)
            untouched &= before == {m.run: m for m in study.manifests()}
        finally:
            for home in homes.values():
                server.stop(home)
    nodes = sum(one.count for kind, one in found.items() if kind in schema.NODES)
    relationships = sum(one.count for kind, one in found.items() if kind in schema.RELATIONSHIPS)
    for kind in sorted({*found, *imported}):
        if found.get(kind) != imported.get(kind):
            say(f"{kind} differs: streamed {found.get(kind)}, imported {imported.get(kind)}")
    return {
        "nodes": nodes,
        "relationships": relationships,
        "read_seconds": round(read, 1),
        "bulk_seconds": round(bulk.seconds, 1),
        "start_and_index_seconds": round(ready, 1),
        "stream_seconds": round(streamed, 1),
        "stream_rows_per_s": round(rows / streamed),
        "checksums_equal": found == imported,
        "repeat_changes_nothing": untouched,
        "kinds": {k: d.count for k, d in sorted(found.items())},
        "rust_codec": rust_codec_active(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def opened(home: Path) -> Connection:
    info = server.start(home)
    return Connection.open(Target(info.uri, info.user, info.password))


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
