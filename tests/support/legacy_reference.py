"""The oracle of replication: the published layer-5 map as a plain restatement, reading the same
files on its own.

Cells: obs/gene, one seed, the first of the sorted draw, log1p again, log before the median, numpy's
default sort. Tracing: a whole forward of the encoder with a hook, two dense decodes per edit, every
gene position encoded, the mean over member positions in float64, Welford over cells. Nothing is
shared with the engine."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch


def published_dictionaries(
    shared_data: Path,
) -> tuple[dict[str, int], dict[str, float], dict[str, str]]:
    """Token, median and symbol dictionaries as published, from the JSON copies."""
    folder = shared_data / "vocabulary"
    token, median, symbol = (
        json.loads(gzip.decompress((folder / f"geneformer_gc104M_{name}.json.gz").read_bytes()))
        for name in ("token_dictionary", "gene_median", "symbol_to_ensembl")
    )
    return token, median, symbol


def column(group: Any, name: str) -> np.ndarray:
    node = group[name]
    if isinstance(node, h5py.Group):
        return np.array([c.decode() for c in node["categories"][:]])[node["codes"][:]]
    return np.array([v.decode() for v in node[:]])


def reference_cells(
    path: Path, n_cells: int, dictionaries: tuple[dict, dict, dict], max_len: int = 2048
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows drawn, and the token ids of those that have any."""
    token, median, ensembl_of = dictionaries
    with h5py.File(path, "r") as file:
        gene, symbols = column(file["obs"], "gene"), column(file["var"], "gene_name_index")
        controls = np.where(
            (gene == "non-targeting") | (gene == "Non-targeting") | (gene == "non_targeting")
        )[0]
        state = np.random.get_state()
        np.random.seed(42)
        if len(controls) > 2000:
            controls = np.random.choice(controls, 2000, replace=False)
            controls.sort()
        np.random.set_state(state)
        rows = controls[:n_cells]
        x = np.stack([file["X"][int(r), :] for r in rows]).astype(np.float32)
    sums = x.sum(axis=1, keepdims=True)
    sums[sums == 0] = 1
    y = np.log1p(x / sums * 1e4)
    mapped = [i for i, s in enumerate(symbols) if ensembl_of.get(s) and ensembl_of[s] in token]
    ids = np.array([token[ensembl_of[symbols[i]]] for i in mapped])
    medians = np.array([median.get(ensembl_of[symbols[i]], 1.0) for i in mapped])
    cells = []
    for cell in y:
        expressed = cell[mapped]
        keep = expressed > 0
        if keep.any():
            order = np.argsort(-np.nan_to_num(expressed[keep] / medians[keep], nan=0.0, posinf=0.0))
            cells.append(
                np.concatenate([[2], ids[keep][order][: max_len - 2], [3]]).astype(np.int64)
            )
    return rows, cells


class Sae:
    """A published dictionary as its own code used it; x is already centred."""

    def __init__(self, folder: Path) -> None:
        content = torch.load(folder / "sae_final.pt", weights_only=True)
        state, self.k = content["model_state_dict"], content["k"]
        self.w_enc, self.b_enc, self.w_dec, self.b_dec = (
            state[n] for n in ("W_enc.weight", "W_enc.bias", "W_dec.weight", "W_dec.bias")
        )
        self.mean = torch.from_numpy(np.load(folder / "activation_mean.npy"))

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, index = (x @ self.w_enc.T + self.b_enc).topk(self.k, dim=-1)
        return torch.zeros(len(x), len(self.b_enc)).scatter(1, index, values.relu()), index

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        return h @ self.w_dec.T + self.b_dec


def active_sources(folder: Path) -> list[int]:
    features = json.loads((folder / "feature_catalog.json").read_text())["features"]
    return [f["feature_idx"] for f in features if f["activation_freq"] >= 0.001]


class Traced(NamedTuple):
    """Statistics of one (feature, target layer), arrays over targets; `effects` are those of the
    active cells.
    """

    n: int
    n_pos: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    d: np.ndarray
    edge: np.ndarray
    effects: np.ndarray


@torch.no_grad()
def reference_trace(
    model: Any,
    saes: dict[int, Sae],
    cells: list[np.ndarray],
    source: int,
    targets: tuple[int, ...],
    features: list[int],
) -> dict[tuple[int, int], Traced]:
    """Every statistic of every (feature, target layer)."""
    cache = []
    for tokens in cells:
        genes = np.where((tokens != 2) & (tokens != 3))[0]
        ids = torch.tensor(tokens)[None]
        states = model.bert(
            input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
        ).hidden_states
        h, topk = saes[source].encode(states[source + 1][0][genes] - saes[source].mean)
        clean = {t: saes[t].encode(states[t + 1][0][genes] - saes[t].mean)[0] for t in targets}
        cache.append((ids, genes, states[source + 1][0], h, topk, clean))
    return {
        (f, t): found
        for f in features
        for t, found in trace_feature(model, saes, cache, source, targets, f).items()
    }


@torch.no_grad()
def trace_feature(
    model: Any,
    saes: dict[int, Sae],
    cache: list,
    source: int,
    targets: tuple[int, ...],
    feature: int,
) -> dict[int, Traced]:
    """Ablate one feature in every cell where it is among the top k somewhere, whatever its value
    there.
    """
    size = len(saes[source].b_enc)
    n, mean, m2, n_pos = (
        0,
        {t: np.zeros(size) for t in targets},
        {t: np.zeros(size) for t in targets},
        {t: np.zeros(size) for t in targets},
    )
    rows: dict[int, list[np.ndarray]] = {t: [] for t in targets}
    for ids, genes, hidden, h, topk, clean in cache:
        members = (topk == feature).any(dim=1)
        if not members.any():
            continue
        n += 1
        without = h.clone()
        without[:, feature] = 0
        delta = (saes[source].decode(without) + saes[source].mean) - (
            saes[source].decode(h) + saes[source].mean
        )
        modified = hidden.clone()
        modified[genes] = hidden[genes] + delta

        def replace(
            _module: Any, _inputs: Any, output: Any, modified: torch.Tensor = modified
        ) -> Any:
            return (modified[None], *output[1:]) if isinstance(output, tuple) else modified[None]

        hook = model.bert.encoder.layer[source].register_forward_hook(replace)
        states = model.bert(
            input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
        ).hidden_states
        hook.remove()
        for t in targets:
            after, _ = saes[t].encode(states[t + 1][0][genes] - saes[t].mean)
            x = np.mean(
                [
                    (after[p] - clean[t][p]).numpy().astype(np.float64)
                    for p in torch.where(members)[0]
                ],
                axis=0,
            )
            step = x - mean[t]
            mean[t] += step / n
            m2[t] += step * (x - mean[t])
            n_pos[t] += x > 0
            rows[t].append(x)
    result = {}
    for t in targets:
        if n < 2:
            continue
        sd = np.sqrt(m2[t] / (n - 1))
        d = mean[t] / np.maximum(sd, 1e-10)
        consistency = np.maximum(n_pos[t], n - n_pos[t]) / n
        result[t] = Traced(
            n,
            n_pos[t].astype(int),
            mean[t],
            sd,
            d,
            (np.abs(d) > 0.5) & (consistency > 0.7),
            np.stack(rows[t]),
        )
    return result
