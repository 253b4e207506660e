"""Write tensors as a safetensors file, whole or not at all, with the system's own errors.

The library reports a full disk as an error of its own kind, with the system's error number in the
text alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from scircuit.core.files import atomic_path


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors.

    Raises
    ------
    OSError
        If the file cannot be written, with the system's error number.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(
                {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
                temporary,
                dict(metadata) if metadata else None,
            )
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
