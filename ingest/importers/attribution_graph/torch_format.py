"""Attribution graphs as circuit-tracer saves them (``.pt``): a dictionary of tensors, with the
model's configuration and the logit targets as objects.

The file is a pickle, which could run code. It is read with ``weights_only=True``, and the few
classes that such a file names are replaced by empty records, so that no code of the tool is
imported or run; a file that names any other class is refused.

    adjacency[target, source],  nodes: selected features, errors [layer][position], tokens, logits
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scircuit.core.address import slug
from scircuit.core.errors import UserError
from scircuit.core.expansion import check_zip
from scircuit.ingest.importers.attribution_graph.attribution_nodes import AttributionGraph

_NEEDED = (
    "input_string",
    "adjacency_matrix",
    "cfg",
    "active_features",
    "logit_targets",
    "input_tokens",
    "selected_features",
)
_CONFIGURATIONS = (
    "circuit_tracer.utils.tl_nnsight_mapping.UnifiedConfig",
    "transformer_lens.HookedTransformerConfig.HookedTransformerConfig",
    "transformer_lens.config.HookedTransformerConfig.HookedTransformerConfig",
)
# Values of a graph: tensors, lists, texts, the configuration.
Saved = Any
_TARGET = "circuit_tracer.attribution.targets.LogitTarget"


class Record:
    """Replaces the configuration of a model: stores its fields only."""


class LogitTarget(NamedTuple):
    """Replaces the record of a token that the graph explains."""

    token_str: str
    vocab_idx: int


def read_graph_pt(path: Path) -> AttributionGraph:
    """Read and check one graph.

    Raises
    ------
    UserError
        If the file is not such a graph, names other classes, or has tensors of inconsistent
        shapes.
    """
    data = _load(path)
    missing = [k for k in _NEEDED if k not in data]
    if missing:
        raise UserError(
            f"{path.name} has no {', '.join(missing)}; it has"
            f" {', '.join(map(str, list(data)[:12]))}",
            "give a graph that circuit-tracer saved (Graph.to_pt)",
        )
    adjacency, active, selected = (
        _array(data, k, path.name)
        for k in ("adjacency_matrix", "active_features", "selected_features")
    )
    layers, tokens, logits = (
        _layers(data["cfg"], path.name),
        len(data["input_tokens"]),
        len(data["logit_targets"]),
    )
    if (
        active.ndim != 2
        or active.shape[1] != 3
        or selected.ndim != 1
        or (len(selected) and not 0 <= selected.min() <= selected.max() < len(active))
    ):
        raise UserError(
            f"{path.name}: active_features {active.shape} and selected_features {selected.shape}"
            " are inconsistent",
            "compute the graph again",
        )
    count, size = len(selected), len(selected) + layers * tokens + tokens + logits
    if adjacency.shape != (size, size):
        raise UserError(
            f"{path.name}: the matrix is {adjacency.shape}, expected {size} x {size}: {count}"
            f" features, {layers} x {tokens} errors, {tokens} tokens, {logits} logits",
            "compute the graph again",
        )
    layer, position, index = (
        active[selected].astype(np.int64).T if count else np.zeros((3, 0), np.int64)
    )
    into = adjacency[:count]
    if not np.isfinite(into).all():
        raise UserError(
            f"{path.name}: {int((~np.isfinite(into)).sum()):,} weights are not finite",
            "compute the graph again",
        )
    if into[:, size - logits :].any():
        raise UserError(
            f"{path.name}: logits act on features, so rows and columns seem to be swapped",
            "the matrix must be [target, source]",
        )
    target, source = np.nonzero(into[:, :count])
    model, scan = (
        str(_field(data["cfg"], "model_name") or ""),
        data.get("scan_name", data.get("scan")),
    )
    errors = count + layers * tokens
    names = scan if isinstance(scan, list) else [scan] if scan else []
    return AttributionGraph(
        title=path.stem,
        model=slug(model.split("/")[-1]) if model else "",
        dictionary=slug(str(names[0])) if len(names) == 1 else "",
        layer=layer,
        index=index,
        position=position,
        part=np.zeros(count, np.int64),
        source=source,
        target=target,
        weight=into[target, source].astype(float),
        nodes={"feature": count, "error": layers * tokens, "embedding": tokens, "logit": logits},
        incoming={
            "feature": float(np.abs(into[:, :count]).sum()),
            "error": float(np.abs(into[:, count:errors]).sum()),
            "embedding": float(np.abs(into[:, errors : errors + tokens]).sum()),
        },
        rule=(
            f"attribution graph of one input, {count:,} of {len(active):,} active features, all"
            " effects between them"
        ),
        cut=count < len(active),
        findings={
            "prompt": str(data["input_string"]),
            "tokens": tokens,
            "scan": ", ".join(map(str, names)),
        },
    )


def _load(path: Path) -> dict[str, Saved]:
    import pickle

    import torch

    replacements = [*((Record, name) for name in _CONFIGURATIONS), (LogitTarget, _TARGET)]
    check_zip(path)
    try:
        with torch.serialization.safe_globals(replacements):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", "check the path") from None
    except pickle.UnpicklingError as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if "GLOBAL" in line),
            "it is not a file of tensors",
        )
        raise UserError(
            f"{path.name} could run code when read, or is damaged ({reason.split(' was not')[0]})",
            "export the graph as JSON with circuit-tracer and import that",
        ) from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise UserError(
            f"{path.name} cannot be read ({str(error).splitlines()[0][:120]})",
            "it may be truncated: copy or compute it again",
        ) from error
    if not isinstance(data, dict):
        raise UserError(
            f"{path.name} is a {type(data).__name__}, expected a dictionary of tensors",
            "give a graph that circuit-tracer saved (Graph.to_pt)",
        )
    return data


def _array(data: dict[str, Saved], name: str, where: str) -> np.ndarray:
    import torch

    value = data[name]
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        raise UserError(
            f"{where}: {name} is a {type(value).__name__}, expected a dense tensor",
            "compute the graph again",
        )
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _field(config: Saved, name: str) -> object:
    return config.get(name) if isinstance(config, dict) else vars(config).get(name)


def _layers(config: Saved, where: str) -> int:
    found = _field(config, "n_layers")
    if not isinstance(found, int) or found < 1:
        raise UserError(
            f"{where}: the configuration has n_layers = {found!r}", "compute the graph again"
        )
    return found
