"""The command lines of the server's Java: options, class path, main class."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.ingest.server.jars import profile_dir
from scircuit.ingest.server.profiles import Profile

# The distribution's own options, without AlwaysPreTouch (slow start), and with the throughput
# collector instead of G1: this server mostly loads data, on few cores and a small heap. Java
# ignores options that it does not know.
COMMON = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "-Dfile.encoding=UTF-8",
    "-Dlog4j2.disable.jmx=true",
)
SERVER = (
    "-XX:+UseParallelGC",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:+TrustFinalNonStaticFields",
    "-XX:+DisableExplicitGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.nio.maxCachedBufferSize=1024",
    "-Dio.netty.tryReflectionSetAccessible=true",
)
SERVICE = "META-INF/services/org.neo4j.server.startup.EntryPoint"
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_size(text: str, what: str) -> int:
    """Return the bytes of a size such as ``512m`` or ``1g``.

    Raises
    ------
    UserError
        If the text is no such size.
    """
    found = re.fullmatch(r"([1-9]\d*)([kmgt])", text.strip().lower())
    if not found:
        raise UserError(
            f"{what} {text!r} is not a size", "write an integer and k, m or g: 512m, 1g"
        )
    return int(found[1]) * UNITS[found[2]]


def main_class(profile: Profile) -> str:
    """Read the server's main class from its jar; it differs between versions."""
    path = profile_dir(profile) / "lib" / f"neo4j-{profile.version}.jar"
    with zipfile.ZipFile(path) as jar:
        lines = jar.read(SERVICE).decode("utf-8").splitlines()
    return next(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def server_command(java: Path, profile: Profile, home: Path, heap: str, browser: Path) -> list[str]:
    """Return the command that runs the server in the foreground."""
    path = [str(home / "plugins" / "*"), str(profile_dir(profile) / "lib" / "*"), str(browser)]
    return [
        str(java),
        f"-Xms{heap}",
        f"-Xmx{heap}",
        *COMMON,
        *SERVER,
        f"-XX:ErrorFile={home / 'logs' / 'hs_err_pid%p.log'}",
        "-cp",
        os.pathsep.join(path),
        main_class(profile),
        home_argument(home),
        f"--config-dir={home / 'conf'}",
    ]


def home_argument(home: Path) -> str:
    """Return the argument that identifies the server process of this home."""
    return f"--home-dir={home}"


def admin_command(java: Path, profile: Profile, heap: str, brief: bool = False) -> list[str]:
    """Return the start of an administration command; its arguments follow.

    A `brief` command ends before Java's second compiler and parallel collector would help.
    """
    path = str(profile_dir(profile) / "lib" / "*")
    tuning = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if brief else ["-XX:+UseParallelGC"]
    return [str(java), f"-Xmx{heap}", *tuning, *COMMON, "-cp", path, "org.neo4j.cli.AdminTool"]
