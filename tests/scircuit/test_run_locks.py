"""Two processes on one run: the second is told who works on it, and changes nothing."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

import scircuit
from scircuit.core.errors import UserError
from scircuit.core.remembered_options import recall, remember
from scircuit.core.run_files.run_locks import RunInUse, one_writer, owners, require_unused
from scircuit.core.study import Study
from scircuit.execution.active_run import active_run
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.workflows import database
from scircuit.workflows.runs import delete_run
from tests.support.patience import HANGS_S
from tests.support.synthetic import EDGES, fill_q, write_run

RUN = "trace-0123456789"


def wait_for(path: Path) -> None:
    """Until a file is there; a test that waits in vain ends by its process."""
    for _ in range(60_000):
        if path.exists():
            return
        time.sleep(0.002)
    raise TimeoutError(path)


def trace_slowly(study: Path, signals: Path) -> None:
    """A run that stops in its middle until it is told to go on."""
    with active_run(Study(study), "trace", {"a": 1}, {}, database=False) as run:
        (signals / run.id).touch()
        wait_for(signals / "go")
        run.conclude({"found": 1})
    (signals / "done").touch()


def hold(study: Path, run: str, verb: str, signals: Path) -> None:
    """Hold a run until told to go."""
    with one_writer(study, run, verb):
        (signals / "held").touch()
        wait_for(signals / "go")


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Start a function in a process of its own; it ends with the test."""
    monkeypatch.setenv("NEO4J_URI", "")
    signals = tmp_path / "signals"
    signals.mkdir()
    started = []

    def start(work, *arguments):
        process = multiprocessing.get_context("fork").Process(
            target=work, args=(*arguments, signals)
        )
        process.start()
        started.append(process)
        return process

    yield start
    (signals / "go").touch()
    for process in started:
        process.join(HANGS_S)
        if process.is_alive():
            process.kill()


@pytest.fixture
def signals(tmp_path):
    return tmp_path / "signals"


def everything(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_command_twice_at_once(tmp_path, signals, other):
    study = tmp_path / "study"
    first = other(
        trace_slowly,
        study,
    )
    wait = next(iter_until(lambda: list(signals.glob("trace-*"))))
    (name,) = (p.name for p in wait)
    before = everything(study)
    with (
        pytest.raises(RunInUse) as refused,
        active_run(Study(study), "trace", {"a": 1}, {}, database=False),
    ):
        pytest.fail("two processes on one run")
    assert f"run {name} is in use by another process (pid {first.pid}: scircuit trace, since " in (
        refused.value.problem
    )
    with pytest.raises(RunInUse):
        delete_run(name, study)
    with pytest.raises(RunInUse), one_writer(study, name, "load"):
        pytest.fail("loaded while it is written")
    assert everything(study) == before
    # another run of the study is free, and no writer of this one holds the server
    with active_run(Study(study), "trace", {"a": 2}, {}, database=False) as run:
        run.conclude({})
    require_unused(study, "the server cannot be stopped")
    (signals / "go").touch()
    first.join(HANGS_S)
    assert Study(study).manifest(name).findings == {"found": 1}
    with active_run(Study(study), "trace", {"a": 1}, {}, database=False) as run:
        assert run.finished
    assert owners(study) == [] and not list((study / ".locks").glob("*.json"))


def iter_until(found):
    """The first result of a function that is not empty."""
    for _ in range(60_000):
        if result := found():
            yield result
            return
        time.sleep(0.002)
    raise TimeoutError


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path, signals, other):
    study = tmp_path / "study"
    first = other(trace_slowly, study)
    (name,) = (p.name for p in next(iter_until(lambda: list(signals.glob("trace-*")))))
    os.kill(first.pid, signal.SIGKILL)
    first.join(HANGS_S)
    assert Study(study).manifest(name).status == "running"
    note = json.loads((study / ".locks" / f"{name}.json").read_text())
    assert note["pid"] == first.pid  # what it left says nothing any more
    with active_run(Study(study), "trace", {"a": 1}, {}, database=False) as run:
        assert run.resumed and owners_in_a_child(study) == [(name, os.getpid(), "trace")]
        run.conclude({"found": 2})
    assert Study(study).manifest(name).complete


def owners_in_a_child(study):
    """Who holds runs, as another process sees it."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return [(o.run, o.pid, o.verb) for o in pool.apply(owners, (study,))]


def test_what_needs_the_database_is_refused_while_a_run_is_loaded(tmp_path, signals, other):
    study = tmp_path / "study"
    write_run(study / "runs" / RUN, RUN)
    (study / "neo4j").mkdir()
    before = everything(study)
    first = other(hold, study, RUN, "load")
    wait_for(signals / "held")
    who = rf"run {RUN} is in use by another process \(pid {first.pid}: scircuit load, since "
    for act in (database.stop, database.check_store, lambda s: database.dump(tmp_path / "d", s)):
        with pytest.raises(UserError, match=rf"the server cannot be stopped: {who}"):
            act(study)
    with pytest.raises(UserError, match=who):
        delete_run(RUN, study)
    kept = {p: b for p, b in everything(study).items() if ".locks" not in p.parts}
    assert kept == before


@pytest.mark.parametrize("note", [b"", b"\0\0", b"[]", b'{"pid": "x"}', "{}".encode("utf-16")])
def test_a_damaged_note_costs_the_details_only(tmp_path, note, signals, other):
    study = tmp_path / "study"
    other(hold, study, RUN, "load")
    wait_for(signals / "held")
    (study / ".locks" / f"{RUN}.json").write_bytes(note)
    with (
        pytest.raises(RunInUse, match="in use by another process") as refused,
        one_writer(study, RUN, "trace"),
    ):
        pytest.fail("held twice")
    assert refused.value.problem == f"run {RUN} is in use by another process"


def test_a_reader_is_told_what_became_of_a_run(tmp_path, signals, other):
    study = Study(tmp_path / "study")
    store = write_run(study.run_folder(RUN), RUN)
    before = [entry for entry in store.manifest.shards if entry.kind == EDGES]
    reader = ShardStore(store.folder)
    fill_q(store)  # every shard has another name now
    assert reader.read(before[0]).column("q_direct").null_count == 0
    (store.folder / store.manifest.shards[-1].name).unlink()
    other(hold, study.root, RUN, "trace")
    wait_for(signals / "held")
    with pytest.raises(UserError, match=r"missing; another process \(pid \d+: scircuit trace") as e:
        ShardStore(store.folder).read(store.manifest.shards[-1])
    assert "delete" not in e.value.fix
    (signals / "go").touch()
    next(iter_until(lambda: not owners(study.root)))
    delete_run(RUN, study.root)
    with pytest.raises(UserError, match=f"run {RUN} was deleted while it was read"):
        reader.read(before[1])


def test_options_given_by_two_processes_are_both_remembered(tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    verbs = [f"verb{i}" for i in range(8)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(
            remember, [(study, verb, scircuit.core.config.AnalyseConfig()) for verb in verbs]
        )
    assert all(recall(study, verb)["hubs"] == 20 for verb in verbs)


def test_a_study_that_nobody_may_write_is_read_without_locks(tmp_path, monkeypatch):
    def no_room(*_arguments, **_named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", no_room)
    with one_writer(tmp_path / "study", RUN, "load"):
        assert owners(tmp_path / "study") == []
    assert not list(tmp_path.iterdir())


def test_no_run_is_begun_from_one_that_is_deleted(tmp_path, signals, other):
    study, child = Study(tmp_path / "study"), (Study(tmp_path / "study"), "annotate", {"a": 1}, {})
    write_run(study.run_folder(RUN), RUN)
    other(hold, study.root, RUN, "runs delete")
    wait_for(signals / "held")
    gone = pytest.raises(UserError, match=f"run {RUN}, from which .* was deleted meanwhile")
    with gone, active_run(*child, parents=(RUN,), database=False):
        pytest.fail("begun from a run that is being deleted")
    (signals / "go").touch()
    next(iter_until(lambda: not owners(study.root)))
    with active_run(*child, parents=(RUN,), database=False) as run:
        with pytest.raises(UserError, match=f"runs computed from {RUN}: {run.id}"):
            delete_run(RUN, study.root)
        run.conclude({})
    for each in (run.id, RUN):
        delete_run(each, study.root)
    with gone, active_run(*child, parents=(RUN,), database=False):
        pytest.fail("begun from a run that was deleted")
    assert study.manifests() == [] and not list(study.runs.iterdir())


def test_a_load_of_all_runs_goes_on_without_those_that_are_gone_or_refused(
    tmp_path, monkeypatch, capsys
):
    study = Study(tmp_path / "study")
    runs = [f"trace-000000000{i}" for i in range(4)]
    for run in runs:
        write_run(study.run_folder(run), run, units=1)
    seen = []

    def loaded(_connection, place, run, _quiet):
        seen.append(run)
        if run == runs[0]:
            shutil.rmtree(study.run_folder(runs[1]))
        place.manifest(run)
        if run == runs[2]:
            raise UserError("its shard is damaged", "restore it")
        return 5

    monkeypatch.setattr(database, "connect", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(database, "_loaded", loaded)
    with pytest.raises(
        UserError, match=f"1 of 4 runs .* {runs[2]}: its shard is damaged"
    ) as refused:
        database.load(study.root)
    assert seen == runs and refused.value.fix == "restore it"
    assert f"run {runs[1]} was deleted meanwhile: it is not loaded" in capsys.readouterr().err
    with pytest.raises(UserError, match="its shard is damaged"):
        database.load(study.root, runs[2])
