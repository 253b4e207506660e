"""Keep long work across interruptions: one file of tensors and numbers, whole or not at all, and
signals that wait for a safe moment.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType

from safetensors import SafetensorError, safe_open
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.tensor_file import write_tensors
from scircuit.tracing.interfaces import JsonObject

Handler = Callable[[int, FrameType | None], object] | int | None


def save(path: Path, tensors: Mapping[str, Tensor], facts: JsonObject) -> None:
    """Write tensors and JSON-ready facts as one safetensors file."""
    write_tensors(path, tensors, {"facts": json.dumps(dict(facts))})


def load(path: Path) -> tuple[dict[str, Tensor], JsonObject] | None:
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
            f"checkpoint {path} is damaged: {error}", "delete it: the training then starts again"
        ) from error


def facts_of(path: Path) -> JsonObject:
    """The facts of a file that `save` wrote, without its tensors; empty if they cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return {}


class Interruption:
    """While entered, the first Ctrl-C or SIGTERM is only noted in `asked`; a second one interrupts
    at once.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Handler] = {}

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
