"""What must be given before the server's Java is started: memory, disk, open files, loopback.

Each lack is said here in one sentence; Java would say it late, or not at all.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import socket
from pathlib import Path

import psutil

from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.ingest.server.home import HOST

MIN_DISK = 256 * 2**20
MIN_HEAP = 256 * 2**20
SYSTEM_SHARE = 192 * 2**20
MIN_FILES = 1024
SHARED_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "fuse.sshfs", "davfs")


def check(home: Path, heap: int, pagecache: int) -> None:
    """Check everything, in the order in which a person would ask.

    Parameters
    ----------
    home
        The server's folder.
    heap, pagecache
        Bytes.

    Raises
    ------
    UserError
        If something lacks.
    """
    _check_memory(heap, pagecache)
    _check_disk(home)
    _check_open_files()
    check_loopback()
    kind = file_system(home)
    if kind in SHARED_SYSTEMS:
        say(
            f"warning: the server's folder {home} is on a network file system ({kind}), where its"
            " locks do not hold between machines: start it from one machine only, or choose a"
            " --study folder on a local disk"
        )


def _check_memory(heap: int, pagecache: int) -> None:
    if heap < MIN_HEAP:
        raise UserError(
            f"a heap of {heap // 2**20} MB is too small for the server", "use at least 256m"
        )
    memory = min(psutil.virtual_memory().total, _container_limit())
    if heap + pagecache + SYSTEM_SHARE > memory:
        raise UserError(
            f"heap {heap // 2**20} MB and page cache {pagecache // 2**20} MB, with"
            f" {SYSTEM_SHARE // 2**20} MB for Java itself, exceed the {memory // 2**20} MB of"
            " memory of this machine",
            "choose a smaller heap or page cache, such as heap 512m and pagecache 128m",
        )


def _check_disk(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < MIN_DISK:
        raise UserError(
            f"{free // 2**20} MB of disk space free at {home}; the server needs {MIN_DISK // 2**20}"
            " MB to start",
            "free some space, or put the study on a larger disk",
        )


def _container_limit() -> int:
    """Return the memory limit of the control group, which may be below the machine's memory."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        return int(text) if text != "max" else 2**62
    except (OSError, ValueError):
        return 2**62


def _check_open_files() -> None:
    # Java raises the soft limit to the hard one itself.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < MIN_FILES:
        raise UserError(
            f"a program may have {hard} open files here (ulimit -Hn), but the server needs"
            f" {MIN_FILES}",
            "raise the hard limit: in a new login shell, in /etc/security/limits.conf, or in the"
            " settings of the container or queue",
        )


def check_loopback() -> None:
    """Check that this machine can connect to itself, on the only address that the server uses.

    Raises
    ------
    UserError
        If it cannot.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.bind((HOST, 0))
            server.listen(1)
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"the loopback address {HOST} does not work on this machine ({error}), and the server"
            " listens on no other",
            "bring it up (as root: ip link set lo up), or let this container or sandbox use IPv4"
            " on the loopback",
        ) from error


def file_system(folder: Path) -> str:
    """Return the type of a folder's file system, such as ``ext4``; empty if it is unknown."""
    best, kind = -1, ""
    with contextlib.suppress(OSError, psutil.Error):
        for part in psutil.disk_partitions(all=True):
            mount = Path(part.mountpoint)
            if folder.is_relative_to(mount) and len(mount.parts) >= best:
                best, kind = len(mount.parts), part.fstype
    return kind
