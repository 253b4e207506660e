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
        return process.status() != psutil.STATUS_ZOMBIE and _names(process.cmdline(), home)
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
        except (psutil.Error, ValueError, OverflowError):
            pass
    if not home.is_dir():
        return None
    for process in psutil.process_iter(["cmdline"]):
        if _names(process.info["cmdline"] or [], home) and is_server_of(process, home):
            return process
    return None


def _names(command: list[str], home: Path) -> bool:
    """Whether a command line runs this home's server; the second form is that of a server that an
    earlier version of this program started.
    """
    return home_argument(home) in command or f"--home-dir={home}" in command


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
