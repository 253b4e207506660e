"""How the server's Java is run: command line, environment, working folder, names of hosts.

A class path cannot hold ``:`` or ``*``, the address of a jar no ``[`` or ``?``, and Java reads
other letters than ASCII only in a locale that has them. A home with such a path is therefore
reached as the working folder of the process, and a cache with such a path by a link in the home.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
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
WORKING_FOLDER = Path("/proc/self/cwd")
PLAIN = re.compile(r"[A-Za-z0-9 ._/@~-]+")
# Options and settings of the user's own Java or Neo4j must not affect this server, and its messages
# must be in English to be understood.
DROPPED = (
    "NEO4J_",
    "JAVA_",
    "_JAVA_",
    "JDK_",
    "JVM_",
    "IBM_JAVA",
    "OPENJ9_JAVA",
    "CLASSPATH",
    "HEAP_SIZE",
    "LC_",
    "LANG",
)
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


def server_command(
    java: Path, profile: Profile, home: Path, heap: str, browser: Path, *, names: bool = True
) -> list[str]:
    """Return the command that runs the server in the foreground, with the home as its working
    folder; with `names`, it knows the names of this machine only.
    """
    base = root(home)
    path = [base / "plugins" / "*", _jars(home, profile), reach(home, browser)]
    return [
        str(java),
        f"-Xms{heap}",
        f"-Xmx{heap}",
        *COMMON,
        *SERVER,
        *options(home, names=names),
        f"-XX:ErrorFile={base / 'logs' / 'hs_err_pid%p.log'}",
        home_argument(home),
        "-cp",
        os.pathsep.join(str(part) for part in path),
        main_class(profile),
        f"--home-dir={base}",
        f"--config-dir={base / 'conf'}",
    ]


def home_argument(home: Path) -> str:
    """Return the argument that identifies the server process of this home."""
    return f"-Dscircuit.home={home}"


def _jars(home: Path, profile: Profile) -> Path:
    return reach(home, profile_dir(profile) / "lib") / "*"


def admin_command(
    java: Path, profile: Profile, home: Path, heap: str, brief: bool = False
) -> list[str]:
    """Return the start of an administration command; its arguments follow.

    A `brief` command ends before Java's second compiler and parallel collector would help.
    """
    path = str(_jars(home, profile))
    tuning = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if brief else ["-XX:+UseParallelGC"]
    command = [str(java), f"-Xmx{heap}", *tuning, *COMMON, *options(home, names=True)]
    return [*command, "-cp", path, "org.neo4j.cli.AdminTool"]


def environment(home: Path | None = None) -> dict[str, str]:
    """Return the variables for a child that runs Java; `home` for one of Neo4j's programs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED)}
    kept["LC_ALL"] = "C.UTF-8"
    if home is not None:
        kept |= {"NEO4J_HOME": str(root(home)), "NEO4J_CONF": str(root(home) / "conf")}
    return kept


def root(home: Path) -> Path:
    """Return the path by which Java reaches the home, if the home is its working folder.

    Raises
    ------
    UserError
        If Java cannot express the path, and the system has no other name for it.
    """
    if PLAIN.fullmatch(str(home)):
        return home
    if WORKING_FOLDER.exists():
        return WORKING_FOLDER
    if home.as_posix().isascii() and not re.search(r"[:*?\[\],\x00-\x1f]", str(home)):
        return home
    raise UserError(
        f"the folder {home} has a character that the server's Java cannot have in a path",
        "choose a --study folder of letters, digits, '-', '_' and '.'",
    )


def reach(home: Path, path: Path) -> Path:
    """Return the path by which Java reaches a file or folder, by a link in the home if needed."""
    if path.is_relative_to(home):
        return root(home) / path.relative_to(home)
    return path if PLAIN.fullmatch(str(path)) else link(home, path)


def link(home: Path, target: Path, suffix: str = "") -> Path:
    """Make a link in the home's ``run`` folder, and return the path by which Java reaches it."""
    name = f"reached-{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}{suffix}"
    made = home / "run" / name
    part = made.with_name(f"{name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(made)
    return root(home) / "run" / name


def options(home: Path, *, names: bool) -> list[str]:
    """Return the options that keep a process of this home to its home and to this machine.

    Temporary files are in the home: the system's folder may be full or not allow programs. With
    `names`, host names come from a file in the home that has this machine's: the server is found
    by address, its log library gives up where the machine's own name has no address, and name
    servers that do not answer would cost half a minute.
    """
    found = [
        # Java writes these counters into the system's /tmp, and dies when it is full.
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={root(home) / 'run' / 'tmp'}",
        "-Djava.net.preferIPv4Stack=true",
    ]
    if names:
        own = socket.gethostname()
        known = {"localhost", own, own.partition(".")[0]} - {""}
        text = "".join(f"127.0.0.1 {name}\n" for name in sorted(known))
        (home / "run" / "hosts").write_text(text, encoding="utf-8")
        found.append(f"-Djdk.net.hosts.file={root(home) / 'run' / 'hosts'}")
    return found


def empty_temporary_folder(home: Path) -> None:
    """Delete what a killed server left in its temporary folder."""
    shutil.rmtree(home / "run" / "tmp", ignore_errors=True)
    (home / "run" / "tmp").mkdir(exist_ok=True)
