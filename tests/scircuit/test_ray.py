"""A trace on a Ray cluster of two workers gives the shards of a single process, also when a worker
is killed in the middle.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError
from scircuit.execution import ray_workers
from scircuit.execution.load_inputs import load_inputs
from scircuit.execution.partial_results import PartialResults
from tests.support.patience import HANGS_S
from tests.support.study_runs import (
    command,
    demo,
    folder_of,
    options_alone,
    outcome,
    parts_done,
    start,
    trace,
    units_done,
)


@pytest.fixture(scope="module")
def address():
    """Two hosts of one CPU each, on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's own is 15: beside other tests its workers would hardly get a turn
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv(
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
        )  # both listen on the loopback interface only
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()


@pytest.fixture(scope="module")
def options(root):
    return demo(root, source_layers=(2, 3), unit_features=1, audit=0.01, context="16")


@pytest.fixture(scope="module")
def alone(options, tmp_path_factory):
    """Outcome of the same run in one process."""
    study = tmp_path_factory.mktemp("alone")
    assert start(options, study) == 0
    return outcome(folder_of(study))


def ray_workers_of_this_machine():
    return [
        p
        for p in psutil.Process().children(recursive=True)
        if "ray::Worker" in " ".join(p.cmdline())
    ]


def test_a_worker_is_killed_in_the_middle(options, address, alone, tmp_path):
    process = subprocess.Popen(
        [*command(options, tmp_path), "--ray", address],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + HANGS_S
    while units_done(tmp_path) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    before, victims = units_done(tmp_path), ray_workers_of_this_machine()
    victims[0].send_signal(signal.SIGKILL)
    message = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == 0, message
    assert 3 <= before < len(alone["units"])
    assert len(victims) == 2
    assert "computing on 2 workers of the Ray cluster, one per host" in message
    assert outcome(folder_of(tmp_path)) == alone


def test_begun_here_continued_there_with_files_that_are_sent(
    options, address, alone, tmp_path, monkeypatch, capsys
):
    assert start(options, tmp_path, at_rename=45) == -signal.SIGKILL
    assert 0 < units_done(tmp_path) < len(alone["units"])
    sees = ray_workers._unseen
    monkeypatch.setattr(ray_workers, "_unseen", lambda paths: [*sees(paths), *ray_workers.FOLDERS])
    trace(study=tmp_path, database=False, quiet=True, **options, ray=address)
    assert (
        "not every host has the model and dictionaries: sent through the object store"
        in capsys.readouterr().err
    )
    assert outcome(folder_of(tmp_path)) == alone


def test_controls_and_audit_are_kept_part_by_part(options, address, alone, tmp_path, monkeypatch):
    """Stopped on the cluster in the middle of the controls, gone on here until the middle of the
    audit, ended on the cluster.
    """
    computed, plain = [], PartialResults.write
    stop = {"controls": 1, "audit": 3}

    def write(self, done):
        plain(self, done)
        computed.append((self._name, done.job.layer, int(done.job.arguments[0][0])))
        if sum(name == self._name for name, *_ in computed) == stop.get(self._name):
            raise RuntimeError("injected")

    monkeypatch.setattr(PartialResults, "write", write)
    for place in (address, ""):
        with pytest.raises(RuntimeError, match="injected"):
            trace(study=tmp_path, database=False, quiet=True, **options, ray=place)
    assert [parts_done(tmp_path, name) for name in stop] == [2, 3]
    stop.clear()
    trace(study=tmp_path, database=False, quiet=True, **options, ray=address)
    assert len(set(computed)) == len(computed), "no part is computed twice"
    assert {(name, layer) for name, layer, _ in computed} == {
        (name, layer)
        for name in ("random directions", "null audit", "controls", "audit")
        for layer in (2, 3)
    }
    assert outcome(folder_of(tmp_path)) == alone
    assert not (folder_of(tmp_path) / "parts").exists()


def test_other_files_or_packages_are_refused(options, tmp_path, examples):
    inputs = load_inputs(TraceConfig(**options_alone(options)))
    folders = {kind: options[kind] for kind in ray_workers.FOLDERS}
    setting = ray_workers.WorkerInputs(
        inputs.settings, folders, "run", inputs.hashes(), ray_workers.packages(), 1
    )
    cells = ray_workers.Cells(inputs.cohort.tokens)
    ray_workers.Worker(setting).open(cells, {})
    other = ray_workers.Worker(
        replace(setting, hashes={**setting.hashes, "dictionaries": {"3": "0" * 64}})
    )
    with pytest.raises(
        UserError,
        match=r"the dictionaries that the worker on .* reads from .* are not those of the driver",
    ):
        other.open(cells, {})
    old = ray_workers.Worker(replace(setting, packages={**setting.packages, "torch": "2.4.0"}))
    with pytest.raises(UserError, match=r"the worker on .* has .*, the driver .*torch 2\.4\.0"):
        old.open(cells, {})
    files = {"model": ray_workers._files(examples / "dictionaries")}
    with pytest.raises(UserError, match=r"config.json"):
        ray_workers.Worker(setting).open(cells, files)


def test_what_a_cluster_cannot_do_is_said(options, address, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_workers, "packages", lambda: {"scircuit": "9"})
    with pytest.raises(UserError, match=r"the worker on .* the driver scircuit 9"):
        trace(study=tmp_path, database=False, quiet=True, **options, ray=address)
    with pytest.raises(UserError, match=r"2 hosts offers no cuda"), ray_workers.connected(address):
        ray_workers._worker_options("cuda")


def test_without_ray_or_a_cluster_one_message(options, tmp_path):
    with socket.socket() as nobody:  # a port that is taken and silent
        nobody.bind(("127.0.0.1", 0))
        full = [*command(options, tmp_path), "--ray", f"127.0.0.1:{nobody.getsockname()[1]}"]
        env = {
            **os.environ,
            "RAY_NUM_REDIS_GET_RETRIES": "1",
            "RAY_py_gcs_connect_timeout_s": "1",
            "RAY_gcs_rpc_server_connect_timeout_s": "1",
        }
        nowhere = subprocess.run(full, capture_output=True, text=True, check=False, env=env)
    code = "import sys; sys.modules['ray'] = None\nfrom scircuit.cli.main import main; main()"
    missing = subprocess.run(
        [*full[:2], code, *full[3:]], capture_output=True, text=True, check=False
    )
    for found, fix in ((nowhere, "ray start --head"), (missing, "pip install 'scircuit[ray]'")):
        assert found.returncode == 2 and fix in found.stderr and "Traceback" not in found.stderr, (
            found.stderr
        )
    assert not (tmp_path / "runs").exists()


def test_ray_is_imported_only_when_asked_for():
    code = (
        "import sys, scircuit.workflows.trace, scircuit.execution.trace_run,"
        " scircuit.execution.ray_workers; print('ray' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
