"""Fixtures shared by all rooms: where the real data is, and the real server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytest.register_assert_rewrite("tests.support")
pytest_plugins = ["tests.support.neo4j_fixtures"]


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real cells, gene sets, vocabularies and published results that are not part of the
    repository.
    """
    folder = Path(os.environ.get("SCIRCUIT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"shared data: {folder} is absent (set SCIRCUIT_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The shipped demo cells, model and dictionaries."""
    return ROOT / "examples"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test by its argument where that is binary, as a gzip file is: it holds the time at
    which it was made, and processes that share the tests would name them differently.
    """
    return argname if isinstance(val, bytes) and not val.isascii() else None


class FailuresAtOnce:
    """Prints the end of every failure when it happens: a run that is cut off has then said why."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self.reporter = reporter

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.reporter.ensure_newline()
            self.reporter.write_line(f"FAILED {report.nodeid} ({report.when})", red=True)
            for line in report.longreprtext.splitlines()[-40:]:
                self.reporter.write_line(f"  {line}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register it in the process that prints."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(reporter))


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append(f"{report.nodeid}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With SCIRCUIT_NO_SKIPS=1 a skipped test fails the run: nothing that was not checked may look
    as if it had passed.
    """
    if os.environ.get("SCIRCUIT_NO_SKIPS") == "1" and _skipped:
        print("\nskipped although SCIRCUIT_NO_SKIPS=1:\n  " + "\n  ".join(_skipped))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
