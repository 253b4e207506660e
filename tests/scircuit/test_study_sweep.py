"""Files of a study that are cut, empty, random or somebody else's: a run that cannot be read is
named with the reason and the fix, all others go on working, and nothing ends as a defect.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import tarfile

import pytest

import scircuit as sci
from scircuit.core import schema
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import active_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.conftest import ROOT
from tests.support.cli_process import scircuit

STUDIES = ROOT / "tests" / "fixtures" / "studies"
ARCHIVES = sorted(STUDIES.glob("*.tar.xz"))
EDGES = "Feature-AFFECTS-Feature"


def unpack(archive, folder):
    """A stored study; its trace run and its analysis."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    study = Study(folder)
    (trace,) = study.runs.glob("trace-*")
    (analysis,) = study.runs.glob("analyse-*")
    return study, trace, analysis


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A study of this version, to be copied."""
    study, *folders = unpack(ARCHIVES[-1], tmp_path_factory.mktemp("sealed"))
    for folder in folders:
        Manifest.load(folder).with_(schema=schema.SCHEMA_VERSION).save(folder)
    return study.root


@pytest.fixture
def study(sealed, tmp_path, monkeypatch):
    """Study, folder of its trace run, folder of its analysis; no server is to be had."""
    for name, value in (("URI", "bolt://127.0.0.1:1"), ("USERNAME", "a"), ("PASSWORD", "b")):
        monkeypatch.setenv(f"NEO4J_{name}", value)
    shutil.copytree(sealed, tmp_path / "study")
    place = Study(tmp_path / "study")
    (trace,) = place.runs.glob("trace-*")
    (analysis,) = place.runs.glob("analyse-*")
    return place, trace, analysis


VERBS = {
    "report": ("report",),
    "analyse": ("analyse", "--no-database", "--bootstrap", "2", "--hubs", "3"),
    "export": ("export", "--q", "1", "--out", "OUT"),
    "load": ("load", "--run", "RUN"),
    "ablate": ("ablate", "--no-database"),
    "match": ("match", "--no-database"),
    "show": ("runs", "show", "RUN"),
    "compare": ("runs", "compare", "RUN", "RUN"),
}


def call(verb, study, trace):
    out = study.root.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    names = {"OUT": out, "RUN": trace.name}
    return scircuit(*(names.get(a, a) for a in VERBS[verb]), "--study", study.root)


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.split(".")[0])
def test_a_study_of_every_earlier_schema_opens(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("NEO4J_URI", "")
    study, trace, analysis = unpack(archive, tmp_path / "study")
    assert [m.schema for m in study.manifests()] == [0, 0]
    frame = sci.runs(study.root)
    assert list(frame["status"]) == ["complete"] * 2 and frame["records"].min() > 10
    store = ShardStore(trace)
    assert store.verify() == [] and store.tables(EDGES).num_rows > 100
    assert all(store.tables(s.kind).num_rows for s in store.manifest.shards)
    page = sci.report(study.root)
    assert page.path.stat().st_size > 50_000 and len(page.sentences) >= 3
    again = sci.analyse(study=study.root, database=False, min_support=3)
    assert again.new and again.findings["sources"] == 4
    exported = sci.export(study=study.root, format="networkx", q=1)
    assert exported.number_of_edges() >= store.tables(EDGES).num_rows
    # a finished run is not made newer by being read
    assert "schema" not in json.loads((analysis / "manifest.json").read_text())


def test_the_fixtures_are_of_every_schema(tmp_path):
    import pyarrow.parquet as pq

    found = set()
    for archive in ARCHIVES:
        _, trace, _ = unpack(archive, tmp_path / archive.stem)
        stored = {pq.read_schema(p).metadata[b"scircuit.schema"] for p in trace.glob("*.parquet")}
        found |= {int(v) for v in stored}
    assert found >= set(range(1, min(schema.SCHEMA_VERSION, 4) + 1))


def damaged_files(whole):
    """Contents of a file that cannot be right, and makers of what is no file."""
    noise = random.Random(1).randbytes(300)
    text = whole.decode()
    return {
        "empty": b"",
        "zeros": bytes(len(whole)),
        "noise": noise,
        "utf-16": text.encode("utf-16"),
        "a third": whole[: len(whole) // 3],
        "all but one byte": whole.rstrip()[:-1],
        "twice": whole + whole,
        "a list": b"[]",
        "a text": b'"manifest"',
        "null": b"null",
        "deep": b"[" * 100_000,
        "a long number": b"1" * 10_000,
    }


def put(path, content):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
    elif content == "loop":
        path.symlink_to(path.name)
    elif content == "pipe":
        os.mkfifo(path)
    elif content != "gone":
        path.write_bytes(content)


def changed(data):
    """Manifests of which one field is wrong."""
    hostile = (None, -1, 1e300, 10**40, True, "", "\x1b[31m\n", "../../etc", [], [1], {}, {"a": 1})
    for field, value in itertools.product([f for f in data if f != "packages"], hostile):
        known = data[field]
        may_be = (field == "schema" and value == 10**40) or (field == "seconds" and value == 0)
        free_text = isinstance(known, str) and field in ("version", "started")
        if value == known or may_be or (free_text and isinstance(value, str)):
            continue
        if field == "verb" and isinstance(value, str):
            continue
        yield f"{field} is {value!r:.12}", {**data, field: value}
    for field in ("run", "verb", "config", "inputs", "version", "schema", "seal"):
        if field != "schema":  # without one it is a manifest of an earlier version
            yield f"{field} gone", {k: v for k, v in data.items() if k != field}
    yield "status exploded", {**data, "status": "exploded"}
    yield "a finding changed", {**data, "findings": {**data["findings"], "edges": 7}}
    yield "a setting changed", {**data, "config": {**data["config"], "seed": 7}}
    first, *others = data["shards"]
    names = ("../x.parquet", "/etc/passwd", "a/b.parquet", "", "..", ".x", "x\n", "\0", None, 7)
    for name in names:
        yield f"shard called {name!r}", {**data, "shards": [{**first, "name": name}, *others]}
    for kind in ("Password", "Feature-AFFECTS", "", None, [], {}):
        yield f"shard of {kind!r}", {**data, "shards": [{**first, "kind": kind}, *others]}
    for rows in (-1, 1.5, True, None, "3", 10**30):
        yield f"shard of {rows!r} rows", {**data, "shards": [{**first, "rows": rows}, *others]}
    yield "a shard twice", {**data, "shards": [*data["shards"], first]}
    yield "a shard less", {**data, "shards": others}
    yield "a shard with more", {**data, "shards": [{**first, "more": 1}, *others]}


def test_a_damaged_manifest_is_named_and_the_other_runs_go_on(study):
    place, trace, analysis = study
    path = trace / "manifest.json"
    whole = path.read_bytes()
    contents = [
        *damaged_files(whole).items(),
        *((w, w) for w in ("folder", "loop", "pipe", "gone")),
    ]
    contents += [(name, json.dumps(m).encode()) for name, m in changed(json.loads(whole))]
    contents += [
        (word, whole.replace(b'"seconds":', b'"seconds": %s, "was":' % word.encode()))
        for word in ("NaN", "Infinity", "1e999")
    ]
    others = itertools.cycle(VERBS)
    for name, content in contents:
        put(path, content)
        frame = sci.runs(place.root)
        status = dict(zip(frame["run"], frame["status"], strict=True))
        assert status == {trace.name: "damaged", analysis.name: "complete"}, name
        for verb in ("report", next(others)):
            ended = call(verb, place, trace)
            assert ended.code == 2, (name, verb, ended)
            assert "imports only" not in ended.err and "has no runs" not in ended.err
            if verb != "match":  # asks for runs of other verbs
                assert trace.name in ended.err and "\x1b[31m" not in ended.err, (name, ended.err)
    assert len(contents) > 120
    put(path, whole)
    assert call("report", place, trace).code == 0


def test_a_newer_manifest_says_so(study):
    place, trace, _ = study
    path = trace / "manifest.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "schema": 99, "version": "9.1", "status": "sealed"}))
    frame = sci.runs(place.root).set_index("run")
    assert frame.loc[trace.name, "status"] == "newer"
    for verb in VERBS:
        ended = call(verb, place, trace)
        assert ended.code == 2, (verb, ended)
    said = call("report", place, trace).err
    assert f"run {trace.name} was written by a newer scircuit (9.1)" in said
    assert "install scircuit 9.1 or newer" in said


def test_what_another_version_added_is_kept(study):
    _, trace, _ = study
    path = trace / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": [1, 2]}))
    ShardStore(trace).finish("complete")
    assert json.loads(path.read_text())["colour"] == [1, 2]
    assert Manifest.load(trace).schema == schema.SCHEMA_VERSION


def test_a_run_without_its_manifest_is_resumed_from_its_units(tmp_path):
    """Markers that are damaged count for nothing, and whatever is not whole is computed again."""
    import pyarrow as pa

    place, tables = Study(tmp_path / "study"), {}
    for unit in ("a", "b", "c"):
        tables[unit] = {"Gene": pa.table({"id": [f"{unit}{i}" for i in range(5)]})}

    def run(units):
        with active_run(place, "trace", {"x": 1}, {}, database=False) as found:
            before = found.done - {"run-start"}
            for unit in units:
                found.write(unit, tables[unit])
            if len(units) == 3:
                found.conclude({})
            return found, before

    with pytest.raises(RuntimeError, match="without a conclusion"):
        run("ab")
    (folder,) = place.runs.iterdir()
    marker, whole = folder / "units" / "b.json", (folder / "units" / "b.json").read_bytes()
    manifest = (folder / "manifest.json").read_bytes()
    listed = json.loads(whole)["shards"]
    wrong = [{**listed[0], "name": "../b.Gene.parquet"}], [{**listed[0], "sha256": "0"}], [listed]
    contents = [*damaged_files(whole).values(), "folder", "loop", "pipe"]
    contents += [json.dumps({"shards": s}).encode() for s in wrong]
    for content in contents:
        put(marker, content)
        # the manifest lists what the unit wrote: nothing is lost
        (folder / "manifest.json").write_bytes(manifest)
        assert "b" in ShardStore(folder).units()
        (folder / "manifest.json").unlink()
        store = ShardStore(folder, Manifest(folder.name, "trace", {"x": 1}, {}, "0"))
        assert store.units() == {"a", "run-start"}, content
        assert store.tables("Gene").num_rows == 5 and store.verify() == []
    put(marker, b"noise")
    found, before = run("abc")
    assert before == {"a"} and found.store.tables("Gene").num_rows == 15
    assert Study(place.root).manifest(folder.name).complete


def test_a_damaged_study_file_is_one_sentence_for_every_verb(study):
    place, trace, _ = study
    path = place.root / "study.toml"
    whole = b'[report]\nrun = "x"\n'
    contents = [
        c for n, c in damaged_files(whole).items() if n not in ("empty", "all but one byte")
    ]
    contents += [b'report = 5\nanalyse = "x"\nload = []\nexport = 1', b"\xff\xfe", "folder", "loop"]
    contents.append(b"[report]\nrun = " + b"1" * 5000)  # more digits than Python reads
    for content, verb in zip(contents, itertools.cycle(("report", "analyse", "export", "load"))):
        put(path, content)
        ended = call(verb, place, trace)
        assert ended.code == 2 and "study.toml" in ended.err, (content, verb, ended)
        assert ended.err.count("\n") <= 3 and path.is_symlink() == (content == "loop")


def test_remembered_options_of_a_wrong_type_are_refused_by_name(study):
    place, trace, _ = study
    path = place.root / "study.toml"
    wrong = (
        "hubs = {}",
        "hubs = [1]",
        'hubs = "many"',
        "q = [nan]",
        'seed = "\\u001b"',
        "hubs = 1.5",
        "min_support = true\nrule = 7",
        "hubs = 99999999999999999999999999",
        "q = -inf",
        "q = nan",
    )
    for text in wrong:
        path.write_text(f"[analyse]\n{text}\n")
        ended = call("analyse", place, trace)
        assert ended.code in (0, 2), (text, ended)
        assert "\x1b" not in ended.err + ended.out
