"""A trace that is killed, interrupted or terminated is resumed by the same command, and the result
is that of an undisturbed run, bit by bit.
"""

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest
import scipy
import torch
import transformers

import scircuit
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.execution import active_run
from scircuit.execution.partial_results import pack, unpack
from scircuit.tracing.controls import audit, sampled_controls
from scircuit.tracing.controls.audit import Found
from scircuit.tracing.direction_null import null_audit, pooled_null
from scircuit.tracing.engine.tracer import Tracer
from tests.support.patience import HANGS_S
from tests.support.study_runs import (
    command,
    demo,
    edges,
    folder_of,
    outcome,
    parts_done,
    start,
    trace,
    units_done,
)

CONTEXTS = ("exact", "frozen", "16")


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    """Folders of runs in each context, one source a unit."""
    found = {}
    for context in CONTEXTS:
        study = tmp_path_factory.mktemp(f"undisturbed-{context}")
        assert start(demo(root, context=context, unit_features=1), study) == 0
        found[context] = folder_of(study)
    return found


@pytest.mark.parametrize("context", CONTEXTS)
def test_killed_again_and_again(root, undisturbed, tmp_path, context):
    chance = random.Random(context)
    options = demo(root, context=context, unit_features=1)
    endings = [
        {"at_rename": 1},  # nothing is there yet
        {"at_rename": 19},  # a part of the random directions, and no sign that it is whole
        {
            "at_rename": 28 + chance.randrange(4),
            "before": False,
        },  # the first units; each becomes final by four renames
        {"at_rename": chance.randint(3, 9)},
        {"at_rename": chance.randint(3, 9), "before": False},
        {"after_s": chance.uniform(0.3, 0.8)},  # wherever it is then: units, q, controls
    ]
    done = []
    for i, ending in enumerate(endings):
        code = start(options, tmp_path, threads=1 + i % 2, **ending)
        assert code == -signal.SIGKILL or (code == 0 and "after_s" in ending)
        done.append(units_done(tmp_path))
    assert done == sorted(done) and done[1] == 0 < done[2]
    # asked for other units now: those begun with stay
    assert start({**options, "unit_features": 7}, tmp_path, threads=2) == 0
    assert outcome(folder_of(tmp_path)) == outcome(undisturbed[context])


@pytest.mark.parametrize("context", CONTEXTS)
def test_killed_where_every_shard_gets_its_q(root, undisturbed, tmp_path, context):
    options = demo(root, context=context, unit_features=3)
    assert start(options, tmp_path, at_rename=44) == -signal.SIGKILL
    manifest = json.loads((folder_of(tmp_path) / "manifest.json").read_text())
    assert manifest["status"] == "running"
    assert any(".r1." in s["name"] for s in manifest["shards"])
    assert start(options, tmp_path) == 0
    # other work units, same run, same statistics: q, p, direct effects and all
    assert folder_of(tmp_path).name == undisturbed[context].name
    assert edges(folder_of(tmp_path)).equals(edges(undisturbed[context]))
    ours, theirs = (outcome(f)["findings"] for f in (folder_of(tmp_path), undisturbed[context]))
    assert ours == theirs and ours["edges"] > 300


@pytest.mark.parametrize("context", CONTEXTS)
def test_other_batches_agree_to_tolerance(root, undisturbed, tmp_path, context):
    assert start(demo(root, context=context, batch_pairs=5, batch_rows=60), tmp_path) == 0
    ours, theirs = (
        edges(f).to_pandas().set_index(["source", "target"])
        for f in (folder_of(tmp_path), undisturbed[context])
    )
    assert folder_of(tmp_path).name != undisturbed[context].name
    both = ours.join(theirs, how="inner", rsuffix="_2")
    assert len(both) >= 0.995 * max(len(ours), len(theirs)) > 300
    np.testing.assert_allclose(both["mean"], both["mean_2"], atol=2e-6)
    for name in ("direct", "computed"):
        np.testing.assert_allclose(both[name], both[f"{name}_2"], atol=2e-6)
    # an activation that moves in no cell has no p
    live = both[both["p"].notna()]
    assert (both["p"].isna() == both["p_2"].isna()).all() and len(live) > 300
    assert (live["p"] == live["p_2"]).mean() > 0.98


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_keeps_what_was_done(root, undisturbed, tmp_path, number, code, word):
    full = command(demo(root, unit_features=1), tmp_path)
    process = subprocess.Popen(
        full,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # begun in the background of a shell, the tests and their processes ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + HANGS_S
    while units_done(tmp_path) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    message = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == code, message
    assert (
        f"{word}: what was finished is kept; the same command resumes it" in message
        and "Traceback" not in message
    )
    manifest = json.loads((folder_of(tmp_path) / "manifest.json").read_text())
    assert manifest["status"] == "interrupted" and manifest["seconds"] > 0
    with pytest.raises(UserError, match="no complete 'trace' run"):
        Study(tmp_path).latest("trace")
    assert start(demo(root, unit_features=1), tmp_path) == 0
    assert outcome(folder_of(tmp_path)) == outcome(undisturbed["exact"])


@pytest.fixture(scope="module")
def in_parts(root):
    """Options of a run whose random directions, controls and audit are several parts in each of two
    layers.
    """
    return demo(
        root,
        source_layers=(2, 3),
        context="16",
        unit_features=7,
        features=tuple(range(10)),
        control_features=10,
        null_draws=32,
        batch_pairs=4,
        batch_rows=64,
    )


@pytest.fixture(scope="module")
def whole(in_parts, tmp_path_factory):
    """Its outcome, and all its jobs."""
    study = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        jobs = counted(patch)
        trace(study=study, database=False, quiet=True, **in_parts)
    assert len(jobs["controls"]) >= 6 and len(jobs["audit"]) >= 4 and len(jobs["units"]) >= 4
    assert len(jobs["random directions"]) == 6 and len(jobs["null audit"]) >= 2
    assert all(
        len(set(found)) == len(found) and {layer for layer, _ in found} == {2, 3}
        for found in jobs.values()
    )
    assert not (folder_of(study) / "parts").exists()
    found = outcome(folder_of(study))
    assert all(
        a["correlation"] is not None and a["cross_share"] is not None
        for a in found["findings"]["audit"]
    )
    return found, jobs


STAGES = ("random directions", "null audit", "units", "controls", "audit")
PARTS = [stage for stage in STAGES if stage != "units"]


def counted(patch, fail=("", 0)):
    """Layer and first source or draw of each job that is computed from now on, by kind; the n-th of
    one kind fails.
    """
    computed = {kind: [] for kind in STAGES}

    def counting(kind, work):
        @functools.wraps(work)
        def counted_work(tracer, what, *arguments, **named):
            if fail == (kind, len(computed[kind])):
                raise RuntimeError("injected")
            computed[kind].append((tracer.layer, what if kind == "units" else int(what[0])))
            return work(tracer, what, *arguments, **named)

        return counted_work

    for kind, owner, name in (
        ("random directions", pooled_null, "null_part"),
        ("null audit", null_audit, "audit_null"),
        ("units", Tracer, "run_unit"),
        ("controls", sampled_controls, "control_part"),
        ("audit", audit, "audit_part"),
    ):
        patch.setattr(owner, name, counting(kind, getattr(owner, name)))
    return computed


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(("rename", "before", "kept"), [(4, True, 1), (4, False, 2)])
def test_killed_in_the_middle_of_what_is_done_in_parts(
    in_parts, whole, tmp_path, monkeypatch, name, rename, before, kept
):
    expected, jobs = whole
    assert (
        start(in_parts, tmp_path, at_rename=rename, before=before, of=f"parts/{name}")
        == -signal.SIGKILL
    )
    assert parts_done(tmp_path, name) == kept
    computed = counted(monkeypatch)
    trace(study=tmp_path, database=False, quiet=True, **in_parts)
    later = STAGES[STAGES.index(name) + 1 :]
    assert computed == {
        stage: jobs[stage][kept:] if stage == name else jobs[stage] if stage in later else []
        for stage in STAGES
    }
    assert outcome(folder_of(tmp_path)) == expected
    assert not (folder_of(tmp_path) / "parts").exists()


@pytest.mark.parametrize("name", PARTS)
def test_failed_in_the_middle_of_what_is_done_in_parts(in_parts, whole, tmp_path, name, capsys):
    expected, jobs = whole
    kept = 1 if name == "null audit" else 3
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="injected"):
        counted(patch, fail=(name, kept))
        trace(study=tmp_path, database=False, quiet=True, **in_parts)
    assert Manifest.load(folder_of(tmp_path)).status == "failed"
    with pytest.MonkeyPatch.context() as patch:
        computed = counted(patch)
        trace(study=tmp_path, database=False, quiet=True, **in_parts)
    assert computed[name] == jobs[name][kept:]
    assert f"{name}: {kept} of {len(jobs[name])} parts are done" in capsys.readouterr().err
    assert outcome(folder_of(tmp_path)) == expected


def test_killed_when_all_parts_are_there(in_parts, whole, tmp_path, monkeypatch):
    """Before the run is concluded no part may be gone; what is left behind at the very end goes
    when the run is asked for again.
    """
    assert start(in_parts, tmp_path, at_rename=1, of="units/run-end") == -signal.SIGKILL
    parts = folder_of(tmp_path) / "parts"
    assert [parts_done(tmp_path, name) for name in PARTS] == [len(whole[1][n]) for n in PARTS]
    computed = counted(monkeypatch)
    trace(study=tmp_path, database=False, quiet=True, **in_parts)
    assert not any(computed.values()) and outcome(folder_of(tmp_path)) == whole[0]
    parts.mkdir()
    (parts / "audit-L02-F00001.npz").write_bytes(b"of a killed process")
    trace(study=tmp_path, database=False, quiet=True, **in_parts)
    assert not parts.exists()


def test_damaged_parts_are_computed_anew(in_parts, whole, tmp_path, monkeypatch):
    expected, jobs = whole
    assert start(in_parts, tmp_path, at_rename=1, of="parts/audit") == -signal.SIGKILL
    drawn = sorted((folder_of(tmp_path) / "parts").glob("random directions-*.npz"))
    assert len(drawn) == len(jobs["random directions"])
    drawn[4].write_bytes(drawn[4].read_bytes()[:-1])
    arrays = sorted((folder_of(tmp_path) / "parts").glob("controls-*.npz"))
    assert [path.stem for path in arrays] == [
        f"controls-L{layer:02d}-F{first:05d}" for layer, first in jobs["controls"]
    ]
    flipped = bytearray(arrays[0].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    arrays[0].write_bytes(flipped)
    arrays[1].with_suffix(".json").write_text('{"sha256": ')
    arrays[2].unlink()
    for ending in (".npz", ".json"):  # whole, but of another job
        arrays[3].with_suffix(ending).write_bytes(arrays[4].with_suffix(ending).read_bytes())
    computed = counted(monkeypatch)
    trace(study=tmp_path, database=False, quiet=True, **in_parts)
    # random directions as before give the same null audit, and the same units
    assert computed == {
        "random directions": [jobs["random directions"][4]],
        "null audit": [],
        "units": [],
        "controls": jobs["controls"][:4],
        "audit": jobs["audit"],
    }
    assert outcome(folder_of(tmp_path)) == expected


class Foreign(NamedTuple):
    x: int


def test_parts_keep_every_bit_and_take_nothing_that_could_run():
    rng = np.random.default_rng(0)
    value = (
        Found(
            rng.normal(size=(3, 2)),
            np.asfortranarray(rng.normal(size=(2, 3))),
            np.zeros((0, 4), bool),
            np.array([np.nan, -0.0, 5e-324]),
        ),
        {3: 0.1 + 0.2, "x": float("nan"), -1: [float("-inf"), -0.0, 2**70, True, None]},
        np.float32(1) / 3,
    )
    arrays = []
    text = json.dumps(pack(value, arrays))
    found = unpack(json.loads(text), arrays)
    assert type(found[0]) is Found and type(found[2]) is np.float32 and found[2] == value[2]
    for ours, theirs in zip(found[0], value[0], strict=True):
        assert (
            ours.dtype == theirs.dtype
            and ours.shape == theirs.shape
            and ours.tobytes() == theirs.tobytes()
        )
    assert repr(found[1]) == repr(value[1]) and list(found[1]) == [3, "x", -1]
    for refused in (np.array([{}]), {1, 2}, Foreign(1), object()):
        with pytest.raises(TypeError):
            pack({"x": [refused]}, [])
    for name in (
        "os:system",
        "test_resume:Foreign",
        "scircuit.tracing.controls.audit:np",
        "scircuit.tracing.engine.tracer:Tracer",
    ):
        with pytest.raises(ValueError, match="not a record of the engine"):
            unpack({"record": name, "fields": {}}, [])


def test_a_run_says_with_which_software_it_was_begun(undisturbed):
    found = Manifest.load(undisturbed["exact"]).packages
    assert (
        found.pop("torch").split("+")[0] == torch.__version__.split("+")[0]
    )  # what a wheel is for is not always in its name
    assert found == {
        "scircuit": scircuit.__version__,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "transformers": transformers.__version__,
    }


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["scircuit", "python", "numpy", "scipy", "torch", "transformers"])
def test_an_unfinished_run_does_not_go_on_with_other_software(tmp_path, monkeypatch, name):
    study, here = Study(tmp_path), active_run.packages()

    def run(end=True):
        with active_run.active_run(
            study, "steer", {"a": 1}, {"model": "m"}, database=False
        ) as found:
            if end and not found.finished:
                found.conclude({})
            return found.id

    with pytest.raises(RuntimeError, match="without a conclusion"):
        run(end=False)
    before = contents(tmp_path)
    monkeypatch.setattr(active_run, "packages", lambda: {**here, name: "0.0.1"})
    with pytest.raises(UserError) as refused:
        run()
    (folder,) = study.runs.iterdir()
    assert (
        refused.value.problem
        == f"cannot resume run {folder.name}: started with {name} {here[name]}, now {name} 0.0.1"
    )
    assert f"install {name} {here[name]} again" in refused.value.fix
    assert f"scircuit runs delete {folder.name} --study {tmp_path}" in refused.value.fix
    assert contents(tmp_path) == before
    monkeypatch.setattr(active_run, "packages", lambda: here)
    assert run() == folder.name
    monkeypatch.setattr(active_run, "packages", lambda: {**here, name: "0.0.1"})
    assert run() == folder.name, (
        "a finished run is shown whatever is installed, under the same name"
    )


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("name", ["config", "tokens"])
def test_a_run_of_other_inputs_is_not_taken_for_one_of_these(tmp_path, name, finished):
    """Finished or not, where its id does not tell the two apart."""
    study = Study(tmp_path)

    def run(end=True, **beside):
        with active_run.active_run(
            study, "trace", {"a": 1}, {"model": "m"}, database=False, beside=beside
        ) as found:
            if end and not found.finished:
                found.conclude({})
            return found.id

    here = {"config": "c", "tokens": "t"}
    if finished:
        run(**here)
    else:
        with pytest.raises(RuntimeError, match="without a conclusion"):
            run(end=False, **here)
    before = contents(tmp_path)
    with pytest.raises(
        UserError, match=r"run trace-\w+ was computed with (another|other)"
    ) as refused:
        run(**here | {name: "x"})
    assert "scircuit runs delete" in refused.value.fix
    assert contents(tmp_path) == before
    assert run(**here) == run()


def test_a_trace_does_not_go_on_with_other_software(root, undisturbed, tmp_path, monkeypatch):
    options = demo(root, unit_features=1)
    assert start(options, tmp_path, at_rename=30) == -signal.SIGKILL
    before, here = contents(tmp_path), active_run.packages()
    assert 0 < units_done(tmp_path) < len(outcome(undisturbed["exact"])["units"])
    monkeypatch.setattr(
        active_run, "packages", lambda: {**here, "torch": "2.4.0", "numpy": "1.26.0"}
    )
    with pytest.raises(UserError, match=r"cannot resume run .*, now numpy 1\.26\.0, torch 2\.4\.0"):
        trace(study=tmp_path, database=False, quiet=True, **options)
    assert contents(tmp_path) == before
    monkeypatch.setattr(active_run, "packages", lambda: here)
    trace(study=tmp_path, database=False, quiet=True, **options)
    assert outcome(folder_of(tmp_path)) == outcome(undisturbed["exact"])


def test_a_run_from_before_packages_were_recorded_goes_on_with_a_note(
    root, undisturbed, tmp_path, capsys
):
    options = demo(root, unit_features=1)
    assert start(options, tmp_path, at_rename=30) == -signal.SIGKILL
    path = folder_of(tmp_path) / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["packages"]
    path.write_text(json.dumps(manifest))
    trace(study=tmp_path, database=False, quiet=True, **options)
    note = f"run {manifest['run']} does not record the package versions it was started with"
    assert capsys.readouterr().err.count(note) == 1
    assert outcome(folder_of(tmp_path)) == outcome(undisturbed["exact"])
    assert Manifest.load(folder_of(tmp_path)).packages == {}
    trace(study=tmp_path, database=False, quiet=True, **options)
    assert note not in capsys.readouterr().err


def test_a_damaged_file_of_a_unit_names_itself_and_can_be_deleted(root, undisturbed, tmp_path):
    options = demo(root, unit_features=1)
    assert start(options, tmp_path, at_rename=40) == -signal.SIGKILL
    first = sorted(folder_of(tmp_path).glob("units/L*.npz"))[0]
    first.write_bytes(first.read_bytes()[:200])
    with pytest.raises(UserError, match="npz is damaged") as refused:
        trace(study=tmp_path, database=False, quiet=True, **options)
    assert str(first) in refused.value.problem and "delete this file" in refused.value.fix
    first.unlink()
    trace(study=tmp_path, database=False, quiet=True, **options)
    assert outcome(folder_of(tmp_path)) == outcome(undisturbed["exact"])
