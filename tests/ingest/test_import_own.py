"""What a run of one's own wrote is never replaced by an import, whatever came first, and by
streaming as by building anew.
"""

from __future__ import annotations

from itertools import combinations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scircuit.core import schema
from scircuit.ingest.graph import bulk_import
from scircuit.ingest.graph.graph_runs import delete_run
from scircuit.ingest.graph.loader import prepare
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.synthetic import address, manifest

ONE, TWO, ALONE = address(1, 0), address(1, 1), address(1, 9)
SHORT = ONE.split("/", 2)[2]
DICTIONARY = "toy/k4/L01"

# Runs as (id, kind -> rows). Own ones: a trace, two annotations, an analysis; and two published
# sources.
TRACE = (
    "trace-a",
    {
        "Feature": [
            {
                "id": ONE,
                "name": SHORT,
                "firing_rate": 0.03,
                "cells_active": 7,
                "traced": True,
                "context": "exact",
            },
            {"id": TWO, "name": TWO.split("/", 2)[2], "firing_rate": float("nan")},
            {
                "id": TWO,
                "cells_active": 0,
                "context": "",
            },  # a second row of one table adds to the first
        ],
        "Dictionary": [{"id": DICTIONARY, "features": 512, "trained_on": "", "k": 32}],
    },
)
OLD = (
    "annotate-a",
    {
        "Feature": [
            {
                "id": ONE,
                "name": f"{SHORT} Ribosome",
                "label": "Ribosome",
                "label_q": 0.01,
                "top_genes": ["RPL3"],
            },
            {"id": TWO, "top_genes": ["KLF1"]},
        ]
    },
)
NEW = (
    "annotate-b",
    {
        "Feature": [
            {
                "id": ONE,
                "name": SHORT,
                "annotation_run": "annotate-b",
                "label": "",
                "annotated": False,
            }
        ]
    },
)
DEGREES = (
    "analyse-a",
    {"Feature": [{"id": ONE, "out_degree": 5, "out_degree_legacy": 178, "cells_active": 8}]},
)
ATLAS = (
    "import-a",
    {
        "Feature": [
            {
                "id": ONE,
                "name": f"{SHORT} DNA repair",
                "published_label": "DNA repair",
                "firing_rate": 0.5,
                "top_genes": ["BRCA1"],
                "alive": True,
                "label_library": "GO",
            },
            {
                "id": TWO,
                "name": f"{TWO.split('/', 2)[2]} Mitosis",
                "published_label": "Mitosis",
                "firing_rate": 0.6,
                "top_genes": ["CDK1"],
                "alive": True,
            },
            {
                "id": ALONE,
                "name": "L01/F0009",
                "firing_rate": 0.9,
                "published_label": "Translation",
            },
        ],
        "Dictionary": [{"id": DICTIONARY, "features": 512, "trained_on": "many cells", "k": 64}],
    },
)
EDGES = (
    "import-b",
    {
        "Feature": [
            {
                "id": ONE,
                "name": SHORT,
                "firing_rate": 0.7,
                "cells_active": 1999,
                "out_degree_legacy": 1,
                "fire_count": 4,
            },
            {"id": ALONE, "firing_rate": 0.8, "published_label": ""},
        ]
    },
)


def stores(folder, runs):
    made = []
    for run, kinds in runs:
        at = [one for one, _ in (*OWN, *IMPORTED)].index(run)
        started = f"2026-01-01T00:{at:02d}:00+00:00"
        store = ShardStore(folder / run, manifest(run, verb=run.split("-")[0], started=started))
        tables = {}
        for kind, rows in kinds.items():
            names = dict.fromkeys(n for row in rows for n in row)
            tables[kind] = pa.Table.from_pylist(rows, schema=schema.arrow_schema(kind, set(names)))
        store.add("all", tables)
        store.finish("complete", {}, seconds=1.0)
        made.append(store)
    return made


def interleavings(own, imported):
    """Every order that keeps the own runs, and the imports, in the order they were made."""
    size = len(own) + len(imported)
    for places in combinations(range(size), len(own)):
        mine, other = iter(own), iter(imported)
        yield [next(mine) if at in places else next(other) for at in range(size)]


def plain(own, imported):
    """Values by the rule as it is said: the imports in order, and over them all that the own runs
    wrote; names of features are looked at apart.
    """
    found: dict[str, dict[str, dict]] = {"Feature": {}, "Dictionary": {}}
    for _, kinds in (*imported, *own):
        for kind, rows in kinds.items():
            for row in rows:
                known = found[kind].setdefault(row["id"], {})
                for p in schema.ANNOTATION_PROPERTIES if "annotation_run" in row else ():
                    known.pop(p.name, None)
                if "traced" in row:  # the clean pass of a trace run is one block as well
                    for name in schema.FINDING_BLOCKS["activation_run"]:
                        known.pop(name, None)
                    known["activation_run"] = "trace-a"
                if kind == "Feature":  # what its address says
                    layer, index = int(row["id"][-8:-6]), int(row["id"][-4:])
                    known |= {"model": "toy", "dictionary": f"toy/k4/L{layer:02d}"}
                    known |= {"layer": layer, "index": index}
                else:
                    known |= {"model": "toy", "set": "k4", "layer": 1}
                known.update({k: v for k, v in row.items() if k != "name"})
    # An empty value of an own run is none: it takes away what own runs wrote and leaves what only
    # imports say.
    found["Dictionary"][DICTIONARY]["trained_on"] = "many cells"
    return found


def written(folder, tmp):
    """What the import tool is given: kind -> id -> values."""
    files, _ = bulk_import._write(folder, tmp)
    found = {}
    for kind in ("Feature", "Dictionary"):
        rows = [
            {k.split(":")[0]: v for k, v in row.items() if v not in (None, "")}
            for row in pq.read_table(files[kind][0]).to_pylist()
        ]
        found[kind] = {row["id"]: row for row in rows}
    return found


OWN, IMPORTED = (TRACE, OLD, DEGREES, NEW), (ATLAS, EDGES)


def test_building_anew_gives_one_graph_in_every_order(tmp_path):
    found = []
    for number, order in enumerate(interleavings(OWN, IMPORTED)):
        made = stores(tmp_path / str(number), order)
        scratch = tmp_path / f"scratch-{number}"
        scratch.mkdir()
        found.append(written([store.folder for store in made], scratch))
    assert len(found) == 15
    assert all(repr(one) == repr(found[0]) for one in found[1:])
    expected = plain(OWN, IMPORTED)
    for kind, nodes in found[0].items():
        for key, row in nodes.items():
            values = {k: v for k, v in row.items() if k not in ("name", "_own")}
            said = {
                k: ";".join(v) if isinstance(v, list) else v
                for k, v in expected[kind][key].items()
                if v not in ("", [])
            }
            assert repr(sorted(values.items())) == repr(sorted(said.items())), (kind, key)
    one, two = found[0]["Feature"][ONE], found[0]["Feature"][TWO]
    assert (
        one["firing_rate"],
        one["cells_active"],
        one["out_degree_legacy"],
        one["fire_count"],
    ) == (0.03, 8, 178, 4)
    assert one["name"] == SHORT and two["name"].endswith(" Mitosis"), (
        "a caption without a label is no value"
    )
    assert "top_genes" not in one, "the newest annotation said that there are none"


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 3, 4, 5), (4, 5, 0, 1, 2, 3), (0, 4, 1, 5, 2, 3), (4, 0, 1, 2, 5, 3)]
)
def test_streaming_in_another_order_gives_what_building_anew_gives(connection, tmp_path, order):
    prepare(connection)
    runs = (*OWN, *IMPORTED)
    made = stores(tmp_path / "runs", [runs[i] for i in order])
    for store in made:
        load_run(connection, store.folder)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    expected = written([store.folder for store in stores(tmp_path / "in-order", runs)], scratch)
    for kind, nodes in expected.items():
        got = {
            row["p"]["id"]: row["p"]
            for row in connection.run(f"MATCH (n:{kind}) RETURN properties(n) AS p")
        }
        assert set(got) == set(nodes)
        for key, row in nodes.items():
            values = {k: ";".join(v) if isinstance(v, list) else v for k, v in got[key].items()}
            assert repr(sorted(values.items())) == repr(sorted(row.items())), (kind, key)


def test_deleting_the_import_leaves_own_values_as_they_were(connection, tmp_path):
    prepare(connection)
    trace, edges = stores(tmp_path, (TRACE, EDGES))
    read = (
        "MATCH (f:Feature {id: $id}) RETURN f.firing_rate AS rate, f.cells_active AS cells,"
        " f.context AS context"
    )
    load_run(connection, trace.folder)
    before = connection.run(read, id=ONE)
    load_run(connection, edges.folder)
    assert connection.run(read, id=ONE) == before
    delete_run(connection, "import-b")
    assert connection.run(read, id=ONE) == before
