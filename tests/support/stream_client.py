"""A process that streams a synthetic run and may be killed anywhere:
``python -m tests.support.stream_client FOLDER URI USER PASSWORD UNITS DEGREE``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.stream import GraphWriter
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.synthetic import manifest, unit_names, write_base, write_end, write_unit

RUN, BLOCK, PER_LAYER = "trace-killed", 4, 200


def main() -> None:
    folder, uri, user, password, units, degree = sys.argv[1:]
    store = ShardStore(Path(folder), manifest(RUN))
    writer = GraphWriter(
        lambda: Connection.open(Target(uri, user, password)),
        store.folder,
        on_message=lambda text: print(text, flush=True),
    )
    print("started", flush=True)
    if "records" not in store.units():
        for entry in write_base(store, PER_LAYER):
            writer.submit(entry)
    for unit, name in enumerate(unit_names(int(units))):
        if name not in store.units():
            for entry in write_unit(
                store, unit, block=BLOCK, per_layer=PER_LAYER, degree=int(degree)
            ):
                writer.submit(entry)
            time.sleep(0.02)
    if "run-end" not in store.units():
        for entry in write_end(store, int(units) * BLOCK * int(degree)):
            writer.submit(entry)
    print("report", writer.finish(), flush=True)


if __name__ == "__main__":
    main()
