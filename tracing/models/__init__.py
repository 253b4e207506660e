"""Model adapters, one module per family; `load_model` looks at what a folder holds and picks the
family.

An adapter is the only place that knows a model's architecture: embedding, one layer given states,
logits, gene positions. `docs/adapters.md` shows how to add one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter


class Family(NamedTuple):
    """A family of models that can be loaded."""

    name: str
    holds: str  # what its folders hold, for messages
    recognises: Callable[[Path], bool]
    load: Callable[[Path, str, str], Adapter]  # folder, device, name


def _is_type(kind: str) -> Callable[[Path], bool]:
    def recognises(folder: Path) -> bool:
        from scircuit.tracing.models.huggingface import model_type

        return model_type(folder) == kind

    return recognises


def _load_geneformer(folder: Path, device: str, name: str) -> Adapter:
    from scircuit.tracing.models.geneformer import Geneformer

    return Geneformer.load(folder, device, name)


def _load_gpt_neox(folder: Path, device: str, name: str) -> Adapter:
    from scircuit.tracing.models.decoders.gpt_neox import GPTNeoX

    return GPTNeoX.load(folder, device, name)


def _load_gemma2(folder: Path, device: str, name: str) -> Adapter:
    from scircuit.tracing.models.decoders.gemma2 import Gemma2

    return Gemma2.load(folder, device, name)


def _is_scgpt(folder: Path) -> bool:
    return (
        any((folder / name).is_file() for name in ("args.json", "best_model.pt"))
        and not (folder / "config.json").exists()
    )


def _load_scgpt(folder: Path, device: str, name: str) -> Adapter:
    from scircuit.tracing.models.scgpt import ScGPT

    return ScGPT.load(folder, device, name)


_families: list[Family] = [
    Family(
        "Geneformer",
        "config.json with model_type 'bert' and model.safetensors",
        _is_type("bert"),
        _load_geneformer,
    ),
    Family(
        "GPT-NeoX (Cell2Sentence on Pythia)",
        "config.json with model_type 'gpt_neox', model.safetensors and tokenizer.json",
        _is_type("gpt_neox"),
        _load_gpt_neox,
    ),
    Family(
        "Gemma-2 (Cell2Sentence-Scale)",
        "config.json with model_type 'gemma2', model.safetensors and tokenizer.json",
        _is_type("gemma2"),
        _load_gemma2,
    ),
    Family("scGPT", "args.json, vocab.json and best_model.pt", _is_scgpt, _load_scgpt),
]


def families() -> tuple[Family, ...]:
    """Families that can be loaded, the first that recognises a folder loading it."""
    return tuple(_families)


def register_family(
    name: str,
    holds: str,
    recognises: Callable[[Path], bool],
    load: Callable[[Path, str, str], Adapter],
) -> None:
    """Add a family, before those that are there; one of the same name is replaced.

    Parameters
    ----------
    name
        Its name.
    holds
        What its folders hold, in words, for messages.
    recognises
        Whether a folder holds such a model.
    load
        From folder, device and name to an adapter.
    """
    _families[:] = [
        Family(name, holds, recognises, load),
        *(f for f in _families if f.name != name),
    ]


def load_model(path: str | Path, device: str = "auto", name: str = "") -> Adapter:
    """Load a model folder, without network access.

    Parameters
    ----------
    path
        Folder of a known family; see `families`.
    device
        ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda`` or ``mps``.
    name
        Name used in addresses; the folder's name when empty.

    Raises
    ------
    UserError
        If the folder, its configuration or its weights are missing, damaged, unsafe, not finite,
        quantised, changed by an adapter or of an unknown family.
    """
    from scircuit.tracing.models.unusual_weights import require_plain

    folder = Path(path).expanduser()
    supported = "; ".join(f"{f.name} ({f.holds})" for f in _families)
    if not folder.is_dir():
        raise UserError(f"no model folder at {folder}", f"give a folder of {supported}")
    try:
        require_plain(folder)
        for family in _families:
            if family.recognises(folder):
                return family.load(folder, device, name)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error})", "check the folder and its permissions"
        ) from error
    raise _unknown(folder, supported)


def _unknown(folder: Path, supported: str) -> UserError:
    from scircuit.tracing.models.huggingface import model_type

    kind = model_type(folder)
    if kind is None:
        inside = sorted(p.name for p in folder.iterdir())[:8]
        below = sorted(p.name for p in folder.iterdir() if (p / "config.json").is_file())
        if below:
            supported = f"{supported}; one lies below it: {folder / below[-1]}"
        return UserError(
            f"{folder} has no config.json or args.json (it holds:"
            f" {', '.join(inside) or 'nothing'})",
            f"give a folder of {supported}",
        )
    return UserError(
        f"{folder} holds a model of type {kind or 'unknown'!r}; supported: {supported}",
        "see docs/adapters.md for how to add a family",
    )
