"""Which process, if any, is the server of a home: by its recorded id, proven by its command line.

A process id alone proves nothing: after a crash the system may have given it to another program.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from ingest.server.jvm import home_argument


def is_server_of(process: psutil.Process, home: Path) -> bool:
    """Whether the process runs the server of this home (and is not merely a zombie of it)."""
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
        The recorded process id, looked at first. When it is not the server (crash, recycled id, or a starter that was
        killed before it could record), all processes are searched.
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
    """Ask the process to shut down (SIGTERM), and kill it when it has not within the time.

    Returns
    -------
    bool
        Whether it shut down by itself.
    """
    try:
        process.terminate()
        process.wait(timeout_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(30)
        return False
    return True
