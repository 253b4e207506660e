"""A trace that is killed, interrupted or terminated is resumed by the same command, and the result is that of an undisturbed run, bit by bit."""

import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from study_runs import command, demo, edges, folder_of, outcome, start, units_done

from scircuit.run import Study
from scircuit.settings import UserError

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
        {"at_rename": 22 + chance.randrange(4), "before": False},  # the first units; each becomes final by four renames
        {"at_rename": chance.randint(3, 9)},
        {"at_rename": chance.randint(3, 9), "before": False},
        {"after_s": chance.uniform(0.3, 0.8)},  # wherever it is then: units, q, controls
    ]
    done = []
    for i, ending in enumerate(endings):
        code = start(options, tmp_path, threads=1 + i % 2, **ending)
        assert code == -signal.SIGKILL or (code == 0 and "after_s" in ending)
        done.append(units_done(tmp_path))
    assert done == sorted(done) and done[0] == 0 < done[1]
    # asked for other units now: those begun with stay
    assert start({**options, "unit_features": 7}, tmp_path, threads=2) == 0
    assert outcome(folder_of(tmp_path)) == outcome(undisturbed[context])


@pytest.mark.parametrize("context", CONTEXTS)
def test_killed_where_every_shard_gets_its_q(root, undisturbed, tmp_path, context):
    options = demo(root, context=context, unit_features=3)
    assert start(options, tmp_path, at_rename=40) == -signal.SIGKILL
    manifest = json.loads((folder_of(tmp_path) / "manifest.json").read_text())
    assert manifest["status"] == "running"
    assert any(".r1." in s["name"] for s in manifest["shards"])
    assert start(options, tmp_path) == 0
    # other work units, same run, same statistics: q, p, pass-through and all
    assert folder_of(tmp_path).name == undisturbed[context].name
    assert edges(folder_of(tmp_path)).equals(edges(undisturbed[context]))
    ours, theirs = (outcome(f)["findings"] for f in (folder_of(tmp_path), undisturbed[context]))
    assert ours == theirs and ours["edges"] > 300


@pytest.mark.parametrize("context", CONTEXTS)
def test_other_batches_agree_to_tolerance(root, undisturbed, tmp_path, context):
    assert start(demo(root, context=context, batch_pairs=5, batch_rows=60), tmp_path) == 0
    ours, theirs = (edges(f).to_pandas().set_index(["source", "target"]) for f in (folder_of(tmp_path), undisturbed[context]))
    assert folder_of(tmp_path).name != undisturbed[context].name
    both = ours.join(theirs, how="inner", rsuffix="_2")
    assert len(both) >= 0.995 * max(len(ours), len(theirs)) > 300
    np.testing.assert_allclose(both["mean"], both["mean_2"], atol=2e-6)
    np.testing.assert_allclose(both["passthrough"], both["passthrough_2"], atol=2e-6)
    assert (both["p"] == both["p_2"]).mean() > 0.98


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_keeps_what_was_done(root, undisturbed, tmp_path, number, code, word):
    full = command(demo(root, unit_features=1), tmp_path)
    process = subprocess.Popen(full, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while units_done(tmp_path) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == code, message
    assert f"{word}: what was finished is kept; the same command resumes it" in message and "Traceback" not in message
    manifest = json.loads((folder_of(tmp_path) / "manifest.json").read_text())
    assert manifest["status"] == "interrupted" and manifest["seconds"] > 0
    with pytest.raises(UserError, match="no complete 'trace' run"):
        Study(tmp_path).latest("trace")
    assert start(demo(root, unit_features=1), tmp_path) == 0
    assert outcome(folder_of(tmp_path)) == outcome(undisturbed["exact"])
