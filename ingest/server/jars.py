"""Downloads a profile's jars by its lock, and verifies their hashes on every use.

A jar is downloaded into a staging folder, its sha256 compared with the lock, and renamed into the
cache: a file in the cache is complete. All studies of a user share the cache: ``$SCIRCUIT_CACHE``,
or the user's cache folder. Layout: ``neo4j/<version>/lib/*.jar`` (the server) and
``neo4j/<version>/browser/*.jar`` (the Browser, separate, so that a study can use its own copy).
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scircuit.core.errors import UserError, disk_full
from scircuit.ingest.server.info import Progress
from scircuit.ingest.server.profiles import DEFAULT_PROFILE, Profile, profile_of

THREADS = 8
ATTEMPTS = 3
BROWSER_GROUP = "org.neo4j.client"


@dataclass(frozen=True)
class Jar:
    """One line of a lock."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file name Maven gives it."""
        return (
            f"{self.artifact}-{self.version}{'-' + self.classifier if self.classifier else ''}.jar"
        )

    @property
    def folder(self) -> str:
        """Its folder below the profile's cache folder."""
        return "browser" if self.group == BROWSER_GROUP else "lib"


def cache_dir() -> Path:
    """Return the folder of shared downloads: ``$SCIRCUIT_CACHE``, or the user's cache folder.

    Raises
    ------
    UserError
        If there is no such folder to name.
    """
    override = os.environ.get("SCIRCUIT_CACHE", "")
    import platformdirs

    try:
        given = Path(override).expanduser() if override else None
    except RuntimeError as error:
        raise UserError(
            f"SCIRCUIT_CACHE={override} is no folder: {error}", "set it to an absolute path"
        ) from error
    found = given or platformdirs.user_cache_path("scircuit", appauthor=False)
    if not given and not found.is_absolute():
        raise UserError(
            "this user has no home folder in which downloads could be kept",
            "set SCIRCUIT_CACHE to a folder that you can write",
        )
    return found.absolute()


def read_lock(path: Path) -> list[Jar]:
    """Parse a lock: tab-separated group, artifact, version, classifier, sha256, bytes, with one
    header line.

    Raises
    ------
    ValueError
        If a line has other than six columns, a malformed hash or size, or two jars share a file
        name.
    """
    jars: list[Jar] = []
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), start=1):
        columns = line.split("\t")
        if number == 1 and columns[0] == "group":
            continue
        if len(columns) != 6:
            raise ValueError(
                f"{path}:{number}: {len(columns)} columns, expected 6 separated by tabs"
            )
        digest, size = columns[4], columns[5]
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError(
                f"{path}:{number}: {digest!r} is not a sha256 in lower-case hexadecimal"
            )
        if not size.isdigit():
            raise ValueError(f"{path}:{number}: {size!r} is not a number of bytes")
        jars.append(Jar(*columns[:5], size=int(size)))
    names = [jar.name for jar in jars]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: {len(names) - len(set(names))} file names occur twice")
    return jars


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, jar: Jar) -> bool:
    """Whether the file exists and matches the lock."""
    try:
        return path.stat().st_size == jar.size and sha256_of(path) == jar.sha256
    except OSError:
        return False


def profile_dir(profile: Profile) -> Path:
    """Return the cache folder of a profile."""
    return cache_dir() / "neo4j" / profile.version


def browser_jar(profile: Profile) -> Path:
    """Return the path of the Browser's jar after installation."""
    return profile_dir(profile) / "browser" / f"neo4j-browser-{profile.browser}.jar"


def install(profile: str = DEFAULT_PROFILE, progress: Progress | None = None) -> Path:
    """Make sure that all jars of a profile are in the cache; download missing or damaged ones.

    Parameters
    ----------
    profile
        Version, one of `PROFILES`.
    progress
        Called with bytes done and total; by default a bar on stderr.

    Returns
    -------
    Path
        The folder of the server's jars.

    Raises
    ------
    UserError
        If a jar cannot be downloaded or differs from the lock, or the disk is full.
    """
    chosen = profile_of(profile)
    root = profile_dir(chosen)
    jars = read_lock(chosen.lock)
    with ThreadPoolExecutor(4) as pool:
        intact = list(pool.map(lambda jar: is_intact(root / jar.folder / jar.name, jar), jars))
    missing = [jar for jar, valid in zip(jars, intact, strict=True) if not valid]
    if missing:
        _fetch(chosen, root, missing, progress)
    _remove_unknown_jars(root, jars)
    return root / "lib"


def _remove_unknown_jars(root: Path, jars: list[Jar]) -> None:
    """Delete jars that are not in the lock: everything in ``lib`` is on the class path."""
    expected = {root / jar.folder / jar.name for jar in jars}
    for path in [*root.glob("lib/*.jar"), *root.glob("browser/*.jar")]:
        if path not in expected:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f"{path} is not part of the server, and cannot be deleted: {error.strerror}",
                    "ask the owner of the cache to delete it, or set SCIRCUIT_CACHE to a folder of"
                    " your own",
                ) from error


def _fetch(profile: Profile, root: Path, missing: list[Jar], progress: Progress | None) -> None:
    total = sum(jar.size for jar in missing)
    try:
        for folder in ("lib", "browser"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
        if free < total + 64 * 2**20:
            raise UserError(
                f"{free / 1e6:.0f} MB free in {root}, but {total / 1e6 + 67:.0f} MB are needed for"
                " the server's jars",
                "free some space, or set SCIRCUIT_CACHE to a folder on a larger disk",
            )
        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=root))
    except OSError as error:
        raise UserError(
            f"the cache folder {root} cannot be written: {error}",
            "set SCIRCUIT_CACHE to a folder that you can write",
        ) from error
    pool = ThreadPoolExecutor(THREADS)
    failures: list[tuple[Jar, Exception]] = []
    try:
        with _reporter(profile, total, progress) as advance:
            fetch_one = _fetcher(staging, root, advance)
            futures = {pool.submit(fetch_one, jar): jar for jar in missing}
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, Exception):
                    failures.append((futures[future], error))
    finally:
        # On Ctrl-C the queue is dropped; files already in the cache are kept for the next try.
        pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(staging, ignore_errors=True)
    if failures:
        jar, error = failures[0]
        if isinstance(error, UserError):
            raise error
        raise UserError(
            f"{len(failures)} of {len(missing)} jars of Neo4j {profile.version} could not be"
            f" downloaded from Maven Central; the first was {jar.name}: {type(error).__name__}:"
            f" {_short(error)}",
            "connect this machine to the network and repeat (jars already downloaded are kept), or"
            f" copy the folder neo4j/{profile.version} from a machine that has it into"
            f" {root.parent}, or set NEO4J_URI to a server that runs elsewhere",
        ) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + "..."


def _fetcher(staging: Path, root: Path, advance: Callable[[int], None]) -> Callable[[Jar], None]:
    """Return the function that downloads one jar into the cache."""
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def on_file(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance

    context = MavenContext(
        resolver=PythonResolver(progress_callback=on_file),
        repo_cache=staging,
        local_repos=[],
        timeout=60,
    )

    def fetch_one(jar: Jar) -> None:
        target = root / jar.folder / jar.name
        artifact = (
            context.project(jar.group, jar.artifact)
            .at_version(jar.version)
            .artifact(jar.classifier)
        )
        for attempt in range(1, ATTEMPTS + 1):
            try:
                path = artifact.resolve()
                if not is_intact(path, jar):
                    raise UserError(
                        f"{jar.name}: the downloaded file has sha256 {sha256_of(path)} and"
                        f" {path.stat().st_size} bytes, but the lock has {jar.sha256} and"
                        f" {jar.size}",
                        "a proxy may alter downloads: repeat on another network. The file was not"
                        " kept",
                    )
                path.replace(target)
                return
            except OSError as error:
                if disk_full(error):
                    raise UserError(
                        f"the disk of {root} became full while downloading {jar.name}",
                        "free some space, or set SCIRCUIT_CACHE to a folder on a larger disk",
                    ) from error
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise UserError(
                        f"{jar.name} is missing or damaged in the cache {root}, which you cannot"
                        f" write: {error.strerror}",
                        "set SCIRCUIT_CACHE to a folder that you can write",
                    ) from error
                if attempt == ATTEMPTS:
                    raise
            except (UserError, RuntimeError):
                if attempt == ATTEMPTS:
                    raise
            # A broken transfer leaves a partial file that jgo would take for the complete one.
            (artifact.cached_path or staging / "none").unlink(missing_ok=True)
            time.sleep(attempt)

    return fetch_one


@contextmanager
def _reporter(
    profile: Profile, total: int, progress: Progress | None
) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes numbers of bytes; it drives the callback, or a bar on stderr."""
    what = f"Neo4j {profile.version} jars"
    lock = threading.Lock()
    done = 0
    if progress is not None:

        def advance(count: int) -> None:
            nonlocal done
            with lock:
                done += count
                progress(what, min(done, total), total)

        yield advance
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(f"Downloading {what}", total=total)
        yield lambda count: bar.advance(task, count)
