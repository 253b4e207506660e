"""Finds the server process of a home by its recorded id and its command line.

A process id alone is not enough: after a crash the system may have given it to another program.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil

from scircuit.ingest.server.jvm import home_argument


def is_server_of(process: psutil.Process, home: Path) -> bool:
    """Whether the process runs the server of this home, and is not a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and home_argument(home) in process.cmdline()
    except psutil.Error:
        return False


def find_server(home: Path, pid: int) -> psutil.Process | None:
    """Return the server's process, or None.

    Parameters
    ----------
    home
        The server's folder, absolute.
    pid
        The recorded process id, checked first. If it is not the server (after a crash, with a
        reused id, or if the starting process was killed), all processes are searched.
    """
    if pid:
        try:
            process = psutil.Process(pid)
            if is_server_of(process, home):
                return process
        except psutil.Error:
            pass
    if not (home / "server.json").exists():
        return None
    wanted = home_argument(home)
    for process in psutil.process_iter(["cmdline"]):
        if wanted in (process.info["cmdline"] or ()) and is_server_of(process, home):
            return process
    return None


def end(process: psutil.Process, timeout_s: float) -> bool:
    """Ask the process to shut down (SIGTERM), and kill it if it does not end in time.

    Returns
    -------
    bool
        Whether it shut down by itself.
    """
    try:
        process.terminate()
        if _ended(process, timeout_s):
            return True
        process.kill()
        _ended(process, 30)
    except psutil.NoSuchProcess:
        return True
    return False


def _ended(process: psutil.Process, timeout_s: float) -> bool:
    """Wait until a process has ended, or is a zombie that its parent has not waited for."""
    until = time.monotonic() + timeout_s
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    with contextlib.suppress(psutil.Error):
        process.wait(1)  # usually its parent has waited for it by now
    return True
