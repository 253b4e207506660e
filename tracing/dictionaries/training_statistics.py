"""How often each feature of a dictionary fired where it was made, and what it was called there.

    activation_freq(f) = positions where z_f > 0 / positions
    mean_activation(f) = sum of z_f / positions

Two sources: the published ``feature_catalog.json`` and ``feature_annotations.json`` beside a
checkpoint, and ``catalogue.safetensors``, which the project's trainer writes from its held-out
cells. Read when first asked for: the published JSON is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.formats.safe_files import (
    need_weights,
    read_json,
    read_tensors,
)
from scircuit.tracing.interfaces import JsonObject

OWN_FILE = "catalogue.safetensors"
UNANNOTATED = "unannotated"
_TERM_ONTOLOGIES = ("GO_BP", "KEGG", "Reactome")


@dataclass(frozen=True, eq=False)
class FeatureCatalogue:
    """How the features of one dictionary fired, and what they were called, where it was made.

    Attributes
    ----------
    activation_freq
        Share of gene positions where each feature is active, [F].
    is_dead
        Whether it never fired there, [F].
    mean_activation
        Mean activation over all positions, silent ones included (dictionary units), [F].
    top_genes
        Feature -> gene symbols, falling mean activation over firings; empty where none were
        published.
    annotations
        Feature -> annotations as published, in their order (``ontology``, ``term`` and what comes
        with them).
    source
        File it was read from.
    """

    activation_freq: np.ndarray
    is_dead: np.ndarray
    mean_activation: np.ndarray
    top_genes: Mapping[int, tuple[str, ...]] = field(default_factory=dict, repr=False)
    annotations: Mapping[int, tuple[JsonObject, ...]] = field(default_factory=dict, repr=False)
    source: str = ""

    def label(self, feature: int) -> str:
        """Name by the published rule: the first GO, KEGG or Reactome term in list order, else the
        first term of any kind, else ``unannotated``.

        List order is not the order of significance (exhaustive layer-5 map, public code).
        """
        listed = self.annotations.get(feature, ())
        first = next(
            (a for a in listed if a.get("ontology") in _TERM_ONTOLOGIES),
            listed[0] if listed else None,
        )
        return str(first.get("term", UNANNOTATED)) if first else UNANNOTATED


def is_there(path: Path) -> bool:
    """Whether there is something of this name, a broken link included."""
    return path.exists() or path.is_symlink()


def require_rates(frequency: np.ndarray, path: Path) -> None:
    """Check that firing rates are shares.

    Raises
    ------
    UserError
        If one is negative, above 1 or no number.
    """
    bad = int((~((frequency >= 0) & (frequency <= 1))).sum())
    if bad:
        raise UserError(
            f"{path}: {bad:,} of {frequency.size:,} firing rates are not between 0 and 1",
            "copy the file again, or delete it to do without",
        )


def read_published(folder: Path, n_features: int) -> FeatureCatalogue | None:
    """Catalogue of a published dictionary folder; None where it has no ``feature_catalog.json``.

    Raises
    ------
    UserError
        If a file is damaged, or belongs to another dictionary.
    """
    path = folder / "feature_catalog.json"
    if not is_there(path):
        return None
    entries = read_json(path).get("features")
    if not isinstance(entries, list):
        raise UserError(
            f"{path} has no list 'features'", "copy it again from the source of the checkpoint"
        )
    try:
        number = np.array([int(e["feature_idx"]) for e in entries], dtype=np.int64)
        values = {
            "activation_freq": np.array([e["activation_freq"] for e in entries], dtype=np.float64),
            "is_dead": np.array([e["is_dead"] for e in entries], dtype=bool),
            "mean_activation": np.array(
                [e.get("mean_activation", np.nan) for e in entries], dtype=np.float64
            ),
        }
        genes = {
            int(e["feature_idx"]): tuple(str(g["gene_name"]) for g in e.get("top_genes", ()))
            for e in entries
        }
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(
            f"{path}: an entry has no valid {error}",
            "expected feature_idx, is_dead and activation_freq for every feature",
        ) from error
    if not np.array_equal(np.sort(number), np.arange(n_features)):
        raise UserError(
            f"{path} lists {len(np.unique(number)):,} features; the checkpoint beside it has"
            f" {n_features:,}",
            "catalogue and checkpoint belong to different dictionaries: copy both again",
        )
    order = np.argsort(number)
    require_rates(values["activation_freq"], path)
    return FeatureCatalogue(
        **{name: array[order] for name, array in values.items()},
        top_genes=genes,
        annotations=_annotations(folder),
        source=str(path),
    )


def _annotations(folder: Path) -> dict[int, tuple[JsonObject, ...]]:
    path = folder / "feature_annotations.json"
    if not is_there(path):
        return {}
    found = read_json(path).get("feature_annotations")
    if not isinstance(found, dict):
        raise UserError(
            f"{path} has no object 'feature_annotations'",
            "copy it again from the source of the checkpoint",
        )
    return {int(feature): tuple(listed) for feature, listed in found.items()}


def read_own(folder: Path, n_features: int) -> FeatureCatalogue | None:
    """Catalogue beside a dictionary in the project's own format; None where there is none.

    Raises
    ------
    UserError
        If the file is damaged, or belongs to another dictionary.
    """
    path = folder / OWN_FILE
    if not is_there(path):
        return None
    frequency, mean = (
        t.numpy()
        for t in need_weights(
            read_tensors(path), ("activation_freq", "mean_activation"), path, "project's own"
        )
    )
    if frequency.shape != (n_features,) or mean.shape != (n_features,):
        raise UserError(
            f"{path} lists {frequency.size:,} features; the dictionary beside it has"
            f" {n_features:,}",
            "delete the file, or train again",
        )
    require_rates(frequency, path)
    return FeatureCatalogue(frequency, frequency == 0, mean, source=str(path))


def write_own(folder: Path, activation_freq: np.ndarray, mean_activation: np.ndarray) -> Path:
    """Write the catalogue of a dictionary in the project's own format."""
    import torch

    from scircuit.tracing.dictionaries.tensor_file import write_tensors

    path = folder / OWN_FILE
    values = {"activation_freq": activation_freq, "mean_activation": mean_activation}
    write_tensors(
        path, {name: torch.from_numpy(value.astype(np.float64)) for name, value in values.items()}
    )
    return path
