"""What a person sees while a verb runs: messages and a progress line on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from scircuit.core.preflight import CheckLine


def say(text: str = "") -> None:
    """One message on stderr."""
    click.echo(text, err=True)


def show_checks(lines: Iterable[CheckLine]) -> None:
    """Lines of a preflight on stderr."""
    for line in lines:
        say(f"  {'ok  ' if line.ok else 'FAIL'} {line.name}: {line.found}")


def heading(text: str) -> None:
    """A step's heading on stderr, bold on a terminal."""
    click.echo(click.style(f"\n{text}", bold=True), err=True)


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
    """One line that says how far, how fast, what was found and how long it still takes.

    On a terminal the line is rewritten in place; elsewhere a new line appears every 15 seconds.
    """

    label: str
    total: float
    unit: str = ""
    quiet: bool = False
    started: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _width: int = 0

    def update(self, done: float, note: str = "") -> None:
        """Show that `done` of `total` are done; `note` is appended. Without a unit only the share
        is shown.
        """
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        last = done >= self.total
        if self.quiet or (not last and now - self._shown < (0.2 if terminal else 15.0)):
            return
        self._shown = now
        elapsed = now - self.started
        rate = done / elapsed if elapsed > 0 else 0.0
        left = (
            (self.total - done) / rate if rate > 0 and elapsed > 2.0 else 0.0
        )  # the first moments hold start-up
        if self.unit:
            parts = [
                f"{self.label}: {done:,.0f}/{self.total:,.0f} {self.unit}",
                f"{rate:,.1f} {self.unit}/s",
            ]
        else:
            parts = [f"{self.label}: {done / self.total:.0%}"]
        if note:
            parts.append(note)
        if last or left:
            parts.append(f"took {duration(elapsed)}" if last else f"{duration(left)} left")
        line = "  " + " · ".join(parts)
        if terminal:
            sys.stderr.write("\r" + line.ljust(self._width) + ("\n" if last else ""))
            self._width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Add the wall time of the block to ``seconds[step]``."""
    start = time.monotonic()
    try:
        yield
    finally:
        seconds[step] = round(seconds.get(step, 0.0) + time.monotonic() - start, 2)
