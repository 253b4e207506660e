"""What a person sees while a verb runs: messages and a progress line, all on stderr."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from scircuit.core.preflight import CheckLine
from scircuit.core.terminal import in_lines, one_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_INTERVAL_S = 15.0  # between lines where there is no terminal
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def styled(text: str, *styles: str, to: TextIO | None = None) -> str:
    """Text in bold, dim or a colour where `to` (default: stdout) is a terminal; else plain."""
    if not (to or sys.stdout).isatty():
        return text
    return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """Print one message on stderr, on one line: control characters in it are shown as such."""
    print(one_line(text), file=sys.stderr, flush=True)


def say_lines(text: str) -> None:
    """Print a text of several lines on stderr; its colours stay."""
    print(in_lines(text, styles=True), file=sys.stderr, flush=True)


def show_checks(lines: Iterable[CheckLine]) -> None:
    """Print the lines of a preflight on stderr."""
    for line in lines:
        say(f"  {'ok  ' if line.ok else 'FAIL'} {line.name}: {line.found}")


def heading(text: str) -> None:
    """Print the heading of a step on stderr, bold on a terminal."""
    say_lines("\n" + styled(one_line(text), "bold", to=sys.stderr))


def duration(seconds: float) -> str:
    """Seconds as a person writes them: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass
class Progress:
    """How far, how fast, what was found and how long it will still take.

    On a terminal a bar of `rich` is redrawn in place; elsewhere (a log, a notebook) a new line
    appears every 15 seconds and at the end.

    Parameters
    ----------
    label
        What is being done.
    total
        Amount of work, in units.
    unit
        What is counted; without one only the share is shown.
    quiet
        Show nothing.
    """

    label: str
    total: float
    unit: str = ""
    quiet: bool = False
    started: float = field(default_factory=time.monotonic)
    _last_line: float = 0.0
    _bar: tuple[Bar, TaskID] | None = None

    def update(self, done: float, note: str = "") -> None:
        """Show that `done` of `total` are done; `note` is appended."""
        if self.quiet:
            return
        finished = done >= self.total
        if sys.stderr.isatty():
            self._draw(done, note, finished)
            return
        now = time.monotonic()
        if finished or now - self._last_line >= _INTERVAL_S:
            self._last_line = now
            say("  " + self._line(done, note, finished))

    def _line(self, done: float, note: str, finished: bool) -> str:
        elapsed = time.monotonic() - self.started
        rate = done / elapsed if elapsed > 0 else 0.0
        if self.unit:
            parts = [
                f"{self.label}: {done:,.0f}/{self.total:,.0f} {self.unit}",
                f"{rate:,.1f} {self.unit}/s",
            ]
        else:
            parts = [f"{self.label}: {done / self.total:.0%}"]
        if note:
            parts.append(note)
        if finished:
            parts.append(f"took {duration(elapsed)}")
        elif rate > 0 and elapsed > 2.0:  # the first moments hold start-up
            parts.append(f"{duration((self.total - done) / rate)} left")
        return " · ".join(parts)

    def _draw(self, done: float, note: str, finished: bool) -> None:
        if self._bar is None:
            bar = _start_bar()
            self._bar = bar, bar.add_task("", total=self.total, text=self.label)
        bar, task = self._bar
        bar.update(task, completed=done, text=one_line(self._line(done, note, finished)))
        if finished:
            stop_bar()
            self._bar = None


_live: list[Bar] = []  # the bar on the screen, if any: a terminal shows one at a time


def stop_bar() -> None:
    """Leave the bar on the screen as it stands, and give the terminal its cursor back."""
    while _live:
        _live.pop().stop()
    atexit.unregister(stop_bar)


def _start_bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    stop_bar()
    atexit.register(stop_bar)
    bar = Bar(
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(stderr=True),
        redirect_stdout=False,
    )
    bar.start()
    _live.append(bar)
    return bar


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Add the wall time of the block to ``seconds[step]``."""
    start = time.monotonic()
    try:
        yield
    finally:
        seconds[step] = round(seconds.get(step, 0.0) + time.monotonic() - start, 2)
