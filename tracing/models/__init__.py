"""Model adapters, one module per family; `load_model` reads a folder's ``config.json`` and picks the family.

An adapter is the only place that knows a model's architecture: embedding, one layer given states, logits, gene positions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.settings import UserError

if TYPE_CHECKING:
    from tracing.models.base import Adapter

FAMILIES = {"bert": "geneformer"}


def load_model(path: str | Path, device: str = "auto", name: str = "") -> Adapter:
    """Load a model folder (Hugging Face layout), without network access.

    Parameters
    ----------
    path
        Folder with ``config.json`` and ``model.safetensors``.
    device
        ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda`` or ``mps``.
    name
        Name used in addresses; the folder's name when empty.

    Raises
    ------
    UserError
        If the folder, its configuration or its weights are missing, unsafe or of an unknown family.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"no model folder at {folder}", "give the folder that holds config.json and model.safetensors (Hugging Face layout)"
        )
    config = folder / "config.json"
    if not config.is_file():
        inside = sorted(p.name for p in folder.iterdir())[:8]
        raise UserError(
            f"{folder} has no config.json (it holds: {', '.join(inside) or 'nothing'})",
            "give the folder that holds config.json and model.safetensors (Hugging Face layout)",
        )
    try:
        kind = json.loads(config.read_text()).get("model_type", "")
    except (json.JSONDecodeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{config} is not a JSON object ({error})", "download the model again") from error
    if kind not in FAMILIES:
        raise UserError(
            f"{folder} holds a model of type {kind or 'unknown'!r}; supported: Geneformer (model_type 'bert')",
            "give a Geneformer folder such as Geneformer-V2-316M",
        )
    from tracing.models.geneformer import Geneformer

    return Geneformer.load(folder, device=device, name=name)
