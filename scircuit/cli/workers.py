"""The jobs of a run on a Ray cluster: one worker for each GPU, or without GPUs for each host; needs ``pip install 'scircuit[ray]'``.

::

    driver: cells, records, shards, graph   --job-->   worker: model, dictionaries, clean pass   --result-->   driver

A worker reads model and dictionaries from the same paths as the driver. Where some host does not see a path, the driver puts the files into
Ray's object store and they are read from there; either way their hashes must be those of the run. Cells travel as tokens. A worker that dies is
started again by Ray, wherever there is room, and its job with it; a result that was not received was not stored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit import __version__
from scircuit.cli.console import say
from scircuit.settings import TraceConfig, UserError
from tracing.jobs import Done, Job, Report, perform

if TYPE_CHECKING:
    import numpy as np

    from scircuit.cli.models import Inputs
    from tracing.engine import Tracer

FOLDERS = ("model", "dictionaries")
_PATIENCE_S = 60
RETRIES = 3  # a job whose worker dies is tried again so often: one that always exhausts its host must end
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Cells:
    """What a worker needs of a cohort."""

    tokens: list[np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What every worker of a run is given."""

    config: TraceConfig
    run: str
    hashes: Mapping[str, Any]
    packages: Mapping[str, str]
    threads: int


class Worker:
    """Opens the tracers of a run once, and computes jobs with them.

    Parameters
    ----------
    setting
        The run.
    cells
        Its cells.
    files
        Folder -> its files, for folders that not every host sees.
    """

    def __init__(self, setting: Setting, cells: Cells, files: Mapping[str, Files]) -> None:
        self._setting, self._cells, self._files = setting, cells, files

    def open(self) -> str:
        """Load everything; the name of this host.

        Raises
        ------
        UserError
            If this host has other packages or other files than the driver.
        """
        return f"{os.uname().nodename} ({next(iter(self._tracers.values())).adapter.device})"

    def perform(self, job: Job) -> Done:
        """Compute one job."""
        return perform(self._tracers, job)

    @cached_property
    def _tracers(self) -> Mapping[int, Tracer]:
        import torch

        from scircuit.cli.models import load_dictionaries_for
        from tracing.engine import open_tracers
        from tracing.models import load_model

        setting, host = self._setting, os.uname().nodename
        if setting.threads:
            torch.set_num_threads(setting.threads)
        if packages() != setting.packages:
            raise UserError(
                f"the worker on {host} has {_listed(packages())}, the driver {_listed(setting.packages)}", "install the same versions on all hosts"
            )
        with tempfile.TemporaryDirectory(prefix="scircuit-worker-") as temporary:
            model, dictionaries = (self._folder(kind, Path(temporary)) for kind in FOLDERS)
            adapter = load_model(model, setting.config.device, setting.config.model_name)
            found = load_dictionaries_for(adapter, dictionaries)
        hashes = {"model": adapter.sha256, "dictionaries": {str(layer): d.sha256 for layer, d in sorted(found.items())}}
        for kind in FOLDERS:
            if hashes[kind] != setting.hashes[kind]:
                raise UserError(
                    f"the {kind} that the worker on {host} reads from {getattr(setting.config, kind)} are not those of the driver",
                    "put the same files there on all hosts, or none: they are sent then",
                )
        return open_tracers(adapter, found, self._cells, setting.config, setting.run)

    def _folder(self, kind: str, temporary: Path) -> Path:
        """Where the files of a folder are on this host; written under `temporary` when they were sent."""
        folder = Path(getattr(self._setting.config, kind))
        if kind not in self._files:
            return folder
        for name, content in self._files[kind].items():
            path = temporary / folder.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return temporary / folder.name


def packages() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"scircuit": __version__, "torch": version("torch"), "numpy": version("numpy")}


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


class RayWorkers:
    """Computes jobs on the workers of a Ray cluster.

    Parameters
    ----------
    arguments
        Of `Worker`, in the object store, but for the setting's threads.
    setting
        The run.
    places
        Options of the actor of each worker.
    """

    def __init__(self, setting: Setting, arguments: tuple[Any, ...], places: list[dict[str, Any]]) -> None:
        self._setting, self._arguments, self._places = setting, arguments, places

    def _start(self, place: Mapping[str, Any]) -> Any:
        import ray

        actor = ray.remote(Worker).options(max_restarts=-1, max_task_retries=RETRIES, **place)
        return actor.remote(replace(self._setting, threads=int(place["num_cpus"])), *self._arguments)

    def map(self, jobs: Iterable[Job], progress: Report | None = None) -> Iterator[Done]:  # noqa: ARG002 - jobs report when they are done
        """Results of the jobs as they come.

        A worker gets its first job when it is open, and keeps to a source layer while that has jobs, because each layer has a numeric floor to
        find first. One for which nothing is left is ended: that makes room for a worker that has to start again.

        Raises
        ------
        UserError
            If a worker refuses the run's inputs, or workers end with the same job again and again.
        """
        import ray

        waiting: dict[int, deque[Job]] = {}
        for job in jobs:
            waiting.setdefault(job.layer, deque()).append(job)
        missing = sum(map(len, waiting.values()))
        handles = [self._start(place) for place in self._places[:missing]]
        running: dict[Any, tuple[Any, Job | None]] = {handle.open.remote(): (handle, None) for handle in handles}
        try:
            while missing:
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_PATIENCE_S)
                if not ready:
                    if all(job is None for _, job in running.values()):
                        say("  no worker could be started yet: the Ray cluster has no room, or is loading the model")
                    continue
                handle, job = running.pop(ready[0])
                found = _received(ready[0], job)
                after = _next(waiting, job.layer if job else None)
                if after is None:
                    ray.kill(handle)
                else:
                    running[handle.perform.remote(after)] = (handle, after)
                if job is None:
                    say(f"  worker on {found} is ready")
                else:
                    missing -= 1
                    yield found
        finally:
            for handle in handles:
                ray.kill(handle)


def _next(waiting: Mapping[int, deque[Job]], layer: int | None) -> Job | None:
    """The next job of a layer, else of the layer with most of them."""
    left = [at for at, jobs in waiting.items() if jobs]
    return waiting[max(left, key=lambda at: (at == layer, len(waiting[at])))].popleft() if left else None


def _received(reference: Any, job: Job | None) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        doing = "loading" if job is None else f"a job of source layer {job.layer}"
        raise UserError(
            f"a worker ended {RETRIES + 1} times at {doing}: {str(error).strip()}",
            "Ray's log says why (often memory: --memory); what was done is kept, the same command goes on",
        ) from error


@contextlib.contextmanager
def ray_workers(config: TraceConfig, run: str, inputs: Inputs) -> Iterator[RayWorkers]:
    """Connect to the cluster that ``config.ray`` names, and disconnect at the end.

    Raises
    ------
    UserError
        If Ray is not installed, there is no such cluster, or it has nothing to compute on.
    """
    with _connected(config.ray) as ray:
        places = _places(ray, inputs.adapter.device.type)
        say(f"  computing on {len(places)} worker{'s' if len(places) > 1 else ''} of the Ray cluster, {'one a GPU' if places[0]['num_gpus'] else 'one a host'}")
        setting = Setting(config, run, inputs.hashes(), packages(), 0)
        files = {kind: _files(Path(getattr(config, kind))) for kind in _unseen(ray, [getattr(config, kind) for kind in FOLDERS])}
        if files:
            say(f"  not every host sees the {' and '.join(files)}: sent through the object store")
        yield RayWorkers(setting, (ray.put(Cells(inputs.cohort.tokens)), ray.put(files)), places)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray, which is not installed", "pip install 'scircuit[ray]'") from None
    if ray.is_initialized():  # somebody's notebook: theirs to end
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == "local" else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, **quiet, **own)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        fix = "give the address that `ray start --head` printed, auto on one of its hosts, or local"
        raise UserError(f"no Ray cluster at {address!r}: {error}", fix) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray sets its own, which would end the run without a word
    try:
        yield ray
    finally:
        ray.shutdown()


def _places(ray: Any, device: str) -> list[dict[str, Any]]:
    """Actor options of every worker.

    Raises
    ------
    UserError
        If the cluster has no device of this kind.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if device == "cuda":
        places = [{"num_gpus": 1, "num_cpus": 0}] * int(sum(node["Resources"].get("GPU", 0) for node in nodes))
    else:
        places = [
            {"num_gpus": 0, "num_cpus": node["Resources"]["CPU"], "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)}
            for node in nodes if node["Resources"].get("CPU", 0) >= 1
        ]  # fmt: skip
    if not places:
        raise UserError(f"the Ray cluster of {len(nodes)} hosts offers no {device}", "choose another --device, or add hosts to the cluster")
    return places


def _unseen(ray: Any, paths: list[str]) -> list[str]:
    """Kinds of folder whose path some host does not see."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(_sees)
    hosts = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]]
    seen = ray.get([look.options(scheduling_strategy=host).remote(paths) for host in hosts])
    return [kind for i, kind in enumerate(FOLDERS) if not all(found[i] for found in seen)]


def _sees(paths: list[str]) -> list[bool]:
    return [Path(path).is_dir() for path in paths]


def _files(folder: Path) -> Files:
    """Files of a folder by relative name, hidden ones left out."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {str(name): (folder / name).read_bytes() for name in names if not any(part.startswith(".") for part in name.parts)}
