"""A small study in the layout of the published one: real control cells, a random BERT, random
dictionaries with their catalogue and annotations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from tests.support.tiny_models import tiny_model

WIDTH, FEATURES, K, SOURCE, TARGETS = 64, 256, 32, 1, (2, 3, 4)
REPEATED = ("STAT1", "CD86", "MYC")  # genes given a second column


def write_column(
    group: Any, name: str, values: list[str], categorical: bool, missing: list[int] | None = None
) -> None:
    """A column as HDF5 holds it: plain strings, or categories and codes (-1 for `missing` rows)."""
    if not categorical:
        group.create_dataset(name, data=np.array(values, dtype=object), dtype=h5py.string_dtype())
        return
    categories, codes = np.unique(np.array(values), return_inverse=True)
    codes = codes.astype(np.int16)
    codes[missing or []] = -1
    made = group.create_group(name)
    made.create_dataset("categories", data=categories.astype(object), dtype=h5py.string_dtype())
    made.create_dataset("codes", data=codes)


def write_cells(
    path: Path,
    x: np.ndarray,
    symbols: list[str],
    gene: list[str],
    *,
    categorical: bool = True,
    missing: list[int] | None = None,
    cell_line: list[str] | None = None,
    lost: list[int] | None = None,
    barcodes: list[str] | None = None,
) -> None:
    """An h5ad with dense X, obs/gene and var/gene_name_index."""
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=x)
        obs, var = file.create_group("obs"), file.create_group("var")
        write_column(obs, "gene", gene, categorical, missing)
        write_column(var, "gene_name_index", symbols, categorical=False)
        if cell_line:
            write_column(obs, "cell_line", cell_line, categorical=True, missing=lost)
        if barcodes:
            write_column(obs, "_index", barcodes, categorical=False)
            obs.attrs["_index"] = "_index"


def write_study(folder: Path, shared_data: Path) -> dict[str, Path]:
    """Cells, model and dictionaries of the published layout; cell lines in blocks of rows, as in
    the published file.
    """
    import anndata

    screen = anndata.read_h5ad(shared_data / "cells" / "papalexi2021_thp1_crisprko_subset.h5ad")
    counts, symbols = np.asarray(screen.X.todense()), [str(s) for s in screen.var_names]
    again = [symbols.index(s) if s in symbols else i for i, s in enumerate(REPEATED)]
    counts, symbols = (
        np.concatenate([counts, counts[:, again]], axis=1),
        [
            *symbols,
            *(symbols[i] for i in again),
        ],
    )
    x = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4).astype(np.float32)
    lines = np.repeat(["HepG2", "Jurkat", "K562", "RPE1"], -(-len(x) // 4))[: len(x)]
    cells = folder / "screen.h5ad"
    write_cells(
        cells,
        x,
        symbols,
        [str(g) for g in screen.obs["target_gene"]],
        cell_line=lines.tolist(),
        barcodes=[str(b) for b in screen.obs_names],
    )
    model = write_model(folder / "model")
    sample = [
        torch.tensor(
            [2, *np.random.default_rng(i).permutation(np.arange(4, 20275))[:60].tolist(), 3]
        )
        for i in range(12)
    ]
    with torch.no_grad():
        states = [
            model(input_ids=t[None], output_hidden_states=True).hidden_states[1:] for t in sample
        ]
    for layer in (SOURCE, *TARGETS):
        write_dictionary(
            folder / "dictionaries" / f"layer{layer:02d}_x4_k{K}",
            layer,
            torch.cat([s[layer][0, 1:-1] for s in states]),
        )
    return {"cells": cells, "model": folder / "model", "dictionaries": folder / "dictionaries"}


def write_model(folder: Path) -> Any:
    """A random masked-LM of Geneformer V2's vocabulary, as a Hugging Face folder."""
    model = tiny_model(
        layers=5, width=WIDTH, vocabulary=20275, positions=512, spread=0.15, act="relu", ffn=128
    )
    model.save_pretrained(folder)
    return model


def write_dictionary(folder: Path, layer: int, rows: torch.Tensor) -> None:
    """A random TopK dictionary around the mean of `rows`; biases are so low that often fewer than k
    pre-activations are positive.
    """
    g = torch.Generator().manual_seed(100 + layer)
    mean = rows.mean(0)
    encoder = torch.randn(FEATURES, WIDTH, generator=g) / WIDTH**0.5
    bias = -1.2 + 0.8 * torch.randn(FEATURES, generator=g)
    decoder = torch.randn(WIDTH, FEATURES, generator=g)
    decoder /= decoder.norm(dim=1, keepdim=True)  # rows, as published, not feature directions
    folder.mkdir(parents=True)
    state = {
        "W_enc.weight": encoder,
        "W_enc.bias": bias,
        "W_dec.weight": decoder,
        "W_dec.bias": 0.1 * torch.randn(WIDTH, generator=g),
    }
    torch.save(
        {"model_state_dict": state, "d_model": WIDTH, "n_features": FEATURES, "k": K},
        folder / "sae_final.pt",
    )
    np.save(folder / "activation_mean.npy", mean.numpy())
    values, index = ((rows - mean) @ encoder.T + bias).topk(K)
    fires = torch.zeros(len(rows), FEATURES).scatter(1, index, (values > 0).float()).mean(0)
    features = [
        {
            "feature_idx": f,
            "is_dead": float(p) == 0,
            "activation_freq": float(p),
            "mean_activation": 1.0,
            "top_genes": [],
        }
        for f, p in enumerate(fires)
    ]
    (folder / "feature_catalog.json").write_text(
        json.dumps(
            {"summary": {"layer": layer, "n_features": FEATURES, "k": K}, "features": features}
        )
    )
    (folder / "feature_annotations.json").write_text(
        json.dumps(
            {
                "summary": {},
                "feature_annotations": {"0": [{"ontology": "KEGG", "term": "Spliceosome"}]},
            }
        )
    )
