"""Shards and manifest: nothing is counted half, whatever fails."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scircuit.core.errors import UserError
from scircuit.core.files import sha256_file
from scircuit.core.schema import SCHEMA_VERSION
from scircuit.core.study import Manifest
from scircuit.ingest.shards.content_hash import (
    LATE_COLUMNS,
    content_hash,
    late_columns_hash,
)
from scircuit.ingest.shards.shard_store import ShardStore, shard_key
from tests.support.synthetic import (
    EDGES,
    edge_table,
    fill_q,
    manifest,
    q_of,
    write_base,
    write_run,
    write_unit,
)


@pytest.fixture
def store(tmp_path):
    return write_run(tmp_path / "run", "trace-a")


def edges(store):
    return [e for e in store.manifest.shards if e.kind == EDGES]


def test_what_is_written_is_read_again(store):
    again = ShardStore(store.folder)
    assert again.manifest == store.manifest == Manifest.load(store.folder)
    assert again.units() == {"run-start", "records", "run-end", *(f"L01-{u:03d}" for u in range(6))}
    assert again.verify() == []
    assert again.tables(EDGES).num_rows == 6 * 4 * 50
    assert again.tables("Term").num_rows == 0
    assert again.read(edges(again)[2]).equals(edge_table("trace-a", range(8, 12), 60, 50, 0))
    assert [p.name for p in store.folder.glob(".*")] == []


def test_a_unit_without_records_is_done_all_the_same(store):
    assert store.add("L01-none", {EDGES: edge_table("trace-a", range(0), 60, 0, 0)}) == []
    assert "L01-none" in ShardStore(store.folder).units()


def test_adding_a_unit_again(store):
    before = store.manifest
    same = write_unit(store, 2, block=4, per_layer=60, degree=50)
    assert same == [edges(store)[2]]
    assert store.manifest == before
    with pytest.raises(
        UserError, match="L01-002 of run trace-a is already done, with other content"
    ):
        write_unit(store, 2, block=4, per_layer=60, degree=50, seed=9)
    assert ShardStore(store.folder).manifest == before


def test_the_run_is_filled_in_and_a_foreign_one_refused(store):
    bare = edge_table("x", range(1), 60, 5, 0).drop_columns(["run"])
    [entry] = store.add("bare", {EDGES: bare})
    assert set(store.read(entry).column("run").to_pylist()) == {"trace-a"}
    with pytest.raises(
        ValueError, match="has records of run trace-b, but is written into run trace-a"
    ):
        store.add("foreign", {EDGES: edge_table("trace-b", range(1), 60, 5, 0)})


def test_another_run_in_the_folder_is_refused(store):
    with pytest.raises(UserError, match="contains run trace-a, not trace-b"):
        ShardStore(store.folder, manifest("trace-b"))
    with pytest.raises(ValueError, match="not usable as a file name"):
        store.add("../evil", {})


def test_a_damaged_shard_is_named_and_refused(store):
    entry = edges(store)[1]
    path = store.folder / entry.name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (store.folder / edges(store)[3].name).unlink()
    problems = store.verify()
    assert len(problems) == 2
    assert "damaged" in problems[0]
    assert "missing" in problems[1]
    with pytest.raises(UserError, match=rf"{entry.name}: it is damaged"):
        store.tables(EDGES)


def test_killed_between_marker_and_manifest(store):
    # The marker makes a unit final; a manifest from before it is completed at the next opening.
    old = store.manifest
    [entry] = write_unit(store, 8, block=4, per_layer=60, degree=50)
    old.save(store.folder)
    again = ShardStore(store.folder)
    assert again.manifest.shards[-1] == entry
    assert "L01-008" in again.units()


def test_killed_between_shard_and_marker(store):
    write_unit(store, 8, block=4, per_layer=60, degree=50)
    (store.folder / "units" / "L01-008.json").unlink()
    old = Manifest.load(store.folder)
    old.with_(shards=old.shards[:-1]).save(store.folder)
    again = ShardStore(store.folder)
    assert "L01-008" not in again.units()
    write_unit(again, 8, block=4, per_layer=60, degree=50)
    assert again.verify() == []
    assert len(edges(again)) == 7


def test_filling_in_q(store):
    before = edges(store)
    fill_q(store)
    again = ShardStore(store.folder)
    assert [shard_key(e.name) for e in edges(again)] == [e.name for e in before]
    assert {e.sha256 for e in edges(again)}.isdisjoint({e.sha256 for e in before})
    assert again.verify() == []
    assert again.tables(EDGES).column("q_direct").null_count == 0
    # Entries from before still lead to the shard, and the old files are gone.
    assert again.read(before[0]).column("q_direct").null_count == 0
    assert not (store.folder / before[0].name).exists()
    fill_q(again)
    assert ShardStore(store.folder).verify() == []
    assert len(list(store.folder.glob(f"*{EDGES}*.parquet"))) == 6


def test_only_q_may_change(store):
    entry = edges(store)[0]
    table = store.read(entry)
    changed = q_of(table).set_column(
        table.column_names.index("d"), "d", pa.array([0.0] * table.num_rows)
    )
    for other in (
        changed,
        q_of(table).slice(1),
        q_of(table).take(list(range(table.num_rows))[::-1]),
    ):
        with pytest.raises(ValueError, match="only q, q_computed, q_direct may change in shard"):
            store.replace(entry, other)
    assert store.verify() == []


def test_content_hash_sees_values_only():
    table = edge_table("r", range(3), 60, 30, 0)
    split = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    nulls = table.append_column("q", pa.nulls(90, pa.float64()))
    nulls = nulls.append_column("q_direct", pa.nulls(90, pa.float64()))
    assert (
        content_hash(table)
        == content_hash(split)
        == content_hash(nulls)
        == content_hash(q_of(table))
    )
    assert content_hash(table.slice(5, 20)) == content_hash(table.take(list(range(5, 25))))
    assert content_hash(table) != content_hash(table.slice(1))
    assert late_columns_hash(table) == late_columns_hash(nulls) == ""
    assert late_columns_hash(q_of(table)) not in (
        "",
        late_columns_hash(edge_table("r", range(3), 60, 30, 0, q=True)),
    )
    # of three late columns any one can be the only one, and each counts
    late = {n: late_columns_hash(q_of(table).select([n])) for n in LATE_COLUMNS}
    assert len({*late.values(), "", late_columns_hash(q_of(table))}) == len(late) + 2
    one, two = (
        pa.table({"a": pa.array(v, pa.list_(pa.string()))})
        for v in ([["x", "y"], ["z"]], [["x"], ["y", "z"]])
    )
    assert content_hash(one) != content_hash(two)


def test_a_shard_of_an_earlier_schema_is_read_without_what_has_gone(store):
    entry = edges(store)[0]
    path, table = store.folder / entry.name, store.read(entry)
    old = table.append_column("passthrough", pa.array([0.5] * len(table)))

    def written_by(version: int) -> ShardStore:
        marked = {b"scircuit.schema": str(version).encode()}
        pq.write_table(old.replace_schema_metadata({**table.schema.metadata, **marked}), path)
        changed = replace(entry, sha256=sha256_file(path))
        found = Manifest.load(store.folder)
        shards = tuple(changed if e.name == entry.name else e for e in found.shards)
        found.with_(shards=shards).save(store.folder)
        return ShardStore(store.folder)

    assert written_by(SCHEMA_VERSION - 1).read(entry).equals(table)
    with pytest.raises(UserError, match="no property passthrough"):
        written_by(SCHEMA_VERSION).read(entry)


def test_disk_full_while_writing(tmp_path, root):
    # A limit on the size of files makes the write itself fail, as a full disk does, half-way
    # through a shard.
    folder = tmp_path / "run"
    store = ShardStore(folder, manifest("trace-a"))
    write_base(store, 60)
    before = store.manifest
    script = textwrap.dedent(f"""
        from pathlib import Path
        from tests.support.synthetic import write_unit
        from scircuit.ingest.shards.shard_store import ShardStore
        from scircuit.core.errors import UserError
        store = ShardStore(Path({str(folder)!r}))
        try:
            write_unit(store, 0, block=40, per_layer=60, degree=100)
        except UserError as error:
            assert "L01-000" not in store.units()
            print(error)
    """)

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        cwd=root,
        check=False,
    )
    assert "the disk is full" in done.stdout, done.stderr
    assert "the run resumes" in done.stdout
    assert list(folder.glob(".*")) == []
    assert list(folder.glob("L01-000*")) == []
    again = ShardStore(folder)
    assert again.manifest == before
    write_unit(again, 0, block=40, per_layer=60, degree=100)
    assert again.verify() == []


def test_finish(store):
    store.finish("failed", {"error": "x"}, seconds=3)
    found = json.loads((store.folder / "manifest.json").read_text())
    assert (found["status"], found["findings"], found["seconds"]) == ("failed", {"error": "x"}, 3.0)
    with pytest.raises(ValueError, match="expected one of"):
        store.finish("done")
    assert sha256_file(store.folder / edges(store)[0].name) == edges(store)[0].sha256


def test_a_unit_whose_marker_is_gone_is_written_once_more_and_listed_once(store):
    (store.folder / "units" / "L01-002.json").unlink()
    again = ShardStore(store.folder)
    assert "L01-002" not in again.units()
    write_unit(again, 2, block=4, per_layer=60, degree=50)
    assert ShardStore(store.folder).units() == store.units()
    assert len(edges(again)) == 6 and again.verify() == []
    assert again.tables(EDGES).num_rows == 6 * 4 * 50


def test_a_marker_that_is_a_folder_is_replaced_if_nothing_is_in_it(store):
    units = store.folder / "units"
    (units / "unit-7.json").mkdir()
    (units / "unit-8.json" / "mine").mkdir(parents=True)
    again = ShardStore(store.folder)
    assert again.units() == store.units()
    again.add("unit-7", {})
    assert (units / "unit-7.json").is_file() and "unit-7" in ShardStore(store.folder).units()
    with pytest.raises(UserError, match=r"unit-8\.json is a folder") as caught:
        again.add("unit-8", {})
    assert "rm -r" in caught.value.fix and (units / "unit-8.json" / "mine").is_dir()


def test_what_is_no_file_is_no_shard(store):
    entry = edges(store)[0]
    path = store.folder / entry.name
    path.unlink()
    for make in (os.mkfifo, os.mkdir):  # neither waits for a writer nor is a defect
        make(path)
        with pytest.raises(UserError, match="it is no file"):
            store.read(entry)
        path.rmdir() if path.is_dir() else path.unlink()
