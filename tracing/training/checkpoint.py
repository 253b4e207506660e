"""Keep long work across interruptions: one file of tensors and numbers, whole or not at all, and
signals that wait for a safe moment.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.tensor_file import write_tensors


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-ready facts as one safetensors file."""
    write_tensors(path, tensors, {"facts": json.dumps(dict(facts))})


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save` wrote; None where there is no file.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 - the file is no dict
            }
            return tensors, json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"checkpoint {path} is damaged: {error}", "delete it: the training then begins anew"
        ) from error


def facts_of(path: Path) -> dict[str, Any]:
    """The facts of a file that `save` wrote, without its tensors; empty where there are none to
    read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return {}


class Interruption:
    """While it is entered, the first Ctrl-C or SIGTERM only is kept in `asked`; a second one
    interrupts at once.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt(self.asked)
        self.asked = signal.Signals(number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)
