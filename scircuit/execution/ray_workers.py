"""The jobs of a run on a Ray cluster: one worker for each GPU, or without GPUs for each host; needs
``pip install 'scircuit[ray]'``.

::

    driver: cells, records, shards, graph    --job-->    worker: model, dictionaries, clean pass
                                             <--result--

A worker reads model and dictionaries from the same paths as the driver. Where a host does not have
a path, the driver puts the files into Ray's object store and the worker reads them there; their
hashes must be those of the run. Cells are sent as tokens. A worker that dies is started again by
Ray, on any host with room, and so is its job; only results that arrive are stored.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.execution.software_versions import listed, packages
from scircuit.tracing.engine.jobs import Done, Job, Report, perform

if TYPE_CHECKING:
    import numpy as np

    from scircuit.execution.load_inputs import Inputs
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.engine.tracer import Tracer

FOLDERS = ("model", "dictionaries")
_PATIENCE_S = 60  # without any result, before a worker that has no job is ended
# of a job whose worker dies: a lost host costs several until Ray knows it is lost; a job that
# always exhausts its host must end
RETRIES = 10
# bytes by file name; an array is read in the object store itself, without a copy
Files = Mapping[str, "np.ndarray"]
# Handles and references of Ray are Any here: it is imported only when it is asked for, and does not
# type the options of an actor.
Handle = Reference = Any
WorkerOptions = dict[str, Any]


@dataclass(frozen=True)
class Cells:
    """What a worker needs of a cohort."""

    tokens: list[np.ndarray]


@dataclass(frozen=True)
class WorkerInputs:
    """What every worker of a run is given; `folders` are those of model and dictionaries."""

    settings: TraceSettings
    folders: Mapping[str, str]
    run: str
    hashes: Mapping[str, object]
    packages: Mapping[str, str]
    threads: int


class Worker:
    """Opens the tracers of a run once, and computes jobs with them.

    Cells and files come with every call, and are read at the first: a worker that was started again
    has nothing else to open its tracers from.
    """

    def __init__(self, inputs: WorkerInputs) -> None:
        self._inputs = inputs
        self._tracers: Mapping[int, Tracer] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="scircuit-worker-")

    def perform(self, job: Job, cells: Cells, files: Mapping[str, Files]) -> Done:
        """Compute one job."""
        self.open(cells, files)
        return perform(self._tracers, job)

    def open(self, cells: Cells, files: Mapping[str, Files]) -> None:
        """Load everything, unless it is loaded.

        Parameters
        ----------
        cells
            The cells of the run.
        files
            Folder -> its files, for folders that not every host sees.

        Raises
        ------
        UserError
            If this host has other packages or other files than the driver.
        """
        if self._tracers:
            return
        inputs, host = self._inputs, os.uname().nodename
        if packages() != inputs.packages:
            raise UserError(
                f"the worker on {host} has {listed(packages())}, the driver"
                f" {listed(inputs.packages)}",
                "install the same versions on all hosts",
            )
        import torch

        from scircuit.execution.load_inputs import load_dictionaries_for
        from scircuit.tracing.engine.tracer import open_tracers
        from scircuit.tracing.models import load_model

        if inputs.threads:
            torch.set_num_threads(inputs.threads)
        model, dictionaries = (self._folder(kind, files) for kind in FOLDERS)
        adapter = load_model(model, inputs.settings.device, inputs.settings.model_name)
        found = load_dictionaries_for(adapter, dictionaries)
        hashes = {
            "model": adapter.sha256,
            "dictionaries": {str(layer): d.sha256 for layer, d in sorted(found.items())},
        }
        for kind in FOLDERS:
            if hashes[kind] != inputs.hashes[kind]:
                raise UserError(
                    f"the {kind} that the worker on {host} reads from"
                    f" {inputs.folders[kind]} are not those of the driver",
                    "put the same files there on all hosts, or on none (they are sent then)",
                )
        self._tracers = open_tracers(adapter, found, cells, inputs.settings, inputs.run)

    def _folder(self, kind: str, files: Mapping[str, Files]) -> Path:
        """Where the files of a folder are on this host: a temporary folder when they were sent."""
        folder = Path(self._inputs.folders[kind])
        if kind not in files:
            return folder
        sent = Path(self._temporary.name) / kind / folder.name
        for name, content in files[kind].items():
            path = sent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.data)
        return sent


class RayWorkers:
    """Computes jobs on the workers of a Ray cluster.

    Parameters
    ----------
    inputs
        Inputs of the workers; each gets its own number of threads.
    references
        Cells and files in the object store.
    options
        Ray options of each worker: the resources it takes.
    """

    def __init__(
        self, inputs: WorkerInputs, references: list[Reference], options: list[WorkerOptions]
    ) -> None:
        self._inputs, self._references = inputs, references
        self._free, self._taken = list(options), {}

    def _start(self) -> Any:
        import ray

        options = self._free.pop(0)
        actor = ray.remote(Worker).options(max_restarts=-1, max_task_retries=RETRIES, **options)
        handle = actor.remote(replace(self._inputs, threads=int(options["num_cpus"])))
        self._taken[handle] = options
        return handle

    def _end(self, handle: Handle) -> None:
        import ray

        ray.kill(handle)
        self._free.append(self._taken.pop(handle))

    def map(self, jobs: Iterable[Job], progress: Report | None = None) -> Iterator[Done]:  # noqa: ARG002 - jobs report when they are done
        """Results of the jobs as they come.

        A worker gets its first job when it is open, and stays at a source layer while that has
        jobs, because the numeric floor of each layer is computed first. While no result comes,
        workers without a job are ended one by one: a worker that is restarted may need the room.

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
        idle: list[Any] = []
        handles = list(self._taken)
        handles += [self._start() for _ in range(min(len(self._free), missing - len(handles)))]
        running: dict[Any, tuple[Any, Job | None]] = {
            handle.open.remote(*self._references): (handle, None) for handle in handles
        }
        while missing:
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_PATIENCE_S)
            if not ready:
                if idle:
                    self._end(idle.pop())
                elif all(job is None for _, job in running.values()):
                    say(
                        "  no worker has started yet: the Ray cluster has no room, or loading the"
                        " model takes long"
                    )
                continue
            handle, job = running.pop(ready[0])
            found = _received(ready[0], job)
            after = _next(waiting, job.layer if job else None)
            if after is None:
                idle.append(handle)
            else:
                running[handle.perform.remote(after, *self._references)] = (handle, after)
            if job is not None:
                missing -= 1
                yield found


def _next(waiting: Mapping[int, deque[Job]], layer: int | None) -> Job | None:
    """The next job of a layer, else of the layer with the most jobs."""
    left = [at for at, jobs in waiting.items() if jobs]
    return (
        waiting[max(left, key=lambda at: (at == layer, len(waiting[at])))].popleft()
        if left
        else None
    )


def _received(reference: Reference, job: Job | None) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        doing = "loading" if job is None else f"a job of source layer {job.layer}"
        raise UserError(
            f"a worker ended {RETRIES + 1} times while {doing}: {str(error).strip()}",
            "Ray's log gives the cause (often memory: --memory); finished units are kept, the same"
            " command resumes the run",
        ) from error


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to the Ray cluster at an address, and disconnect at the end; nothing without an
    address.

    Raises
    ------
    UserError
        If Ray is not installed, or there is no such cluster.
    """
    if not address:
        yield
        return
    if address == "local":
        # Ray's switch for "one machine": listen on the loopback interface only
        wanted = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    else:  # without these it looks for a cluster for minutes
        wanted = {"RAY_NUM_REDIS_GET_RETRIES": "2", "RAY_py_gcs_connect_timeout_s": "10"}
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", **wanted}.items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    try:
        import ray
    except ImportError:
        raise UserError(
            "--ray needs Ray, which is not installed", "pip install 'scircuit[ray]'"
        ) from None
    if ray.is_initialized():  # by the caller, who ends it
        yield
        return
    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        fix = "give the address that `ray start --head` printed, auto on one of its hosts, or local"
        raise UserError(f"no Ray cluster at {address!r}: {error}", fix) from error
    try:
        yield
    finally:
        ray.shutdown()


def ray_workers(
    settings: TraceSettings, folders: Mapping[str, str], run: str, inputs: Inputs
) -> RayWorkers:
    """Workers of the connected cluster for a run.

    Parameters
    ----------
    settings, run, inputs
        The run.
    folders
        Paths of model and dictionaries.

    Raises
    ------
    UserError
        If the cluster has nothing to compute on.
    """
    import ray

    options = _worker_options(inputs.adapter.device.type)
    say(
        f"  computing on {len(options)} worker{'s' if len(options) > 1 else ''} of the Ray cluster,"
        f" one per {'GPU' if options[0]['num_gpus'] else 'host'}"
    )
    files = {
        kind: _files(Path(folders[kind])) for kind in _unseen([folders[kind] for kind in FOLDERS])
    }
    if files:
        say(f"  not every host has the {' and '.join(files)}: sent through the object store")
    settings = replace(settings, device=inputs.adapter.device.type)
    of_worker = WorkerInputs(settings, folders, run, inputs.hashes(), packages(), 0)
    return RayWorkers(of_worker, [ray.put(Cells(inputs.cohort.tokens)), ray.put(files)], options)


def _worker_options(device: str) -> list[dict[str, Any]]:
    """Ray options of every worker.

    Raises
    ------
    UserError
        If the cluster has no device of this kind.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if device == "cuda":
        options = [{"num_gpus": 1, "num_cpus": 0}] * int(
            sum(node["Resources"].get("GPU", 0) for node in nodes)
        )
    else:
        options = [
            {
                "num_gpus": 0,
                "num_cpus": node["Resources"]["CPU"],
                "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=True),
            }
            for node in nodes
            if node["Resources"].get("CPU", 0) >= 1
        ]
    if not options:
        raise UserError(
            f"the Ray cluster of {len(nodes)} hosts offers no {device}",
            "choose another --device, or add hosts to the cluster",
        )
    return options


def _unseen(paths: list[str]) -> list[str]:
    """Kinds of folder whose path some host does not have."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(_sees)
    hosts = [
        NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        for node in ray.nodes()
        if node["Alive"]
    ]
    seen = ray.get([look.options(scheduling_strategy=host).remote(paths) for host in hosts])
    return [kind for i, kind in enumerate(FOLDERS) if not all(found[i] for found in seen)]


def _sees(paths: list[str]) -> list[bool]:
    return [Path(path).is_dir() for path in paths]


def _files(folder: Path) -> Files:
    """Files of a folder by relative name, hidden ones left out."""
    import numpy as np

    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {
        str(name): np.fromfile(folder / name, np.uint8)
        for name in names
        if not any(part.startswith(".") for part in name.parts)
    }
