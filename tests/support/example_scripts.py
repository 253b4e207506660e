"""Scripts of the examples as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def example_script(examples: Path, name: str) -> ModuleType:
    """`examples/<name>.py`, loaded without running it."""
    spec = importlib.util.spec_from_file_location(name, examples / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
