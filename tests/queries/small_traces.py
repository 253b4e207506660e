"""Edges, control edges and features of the two trace runs of the small study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.queries.small_names import ANNOTATE, CELLS, MODEL, NEW, OLD, SET, SILENT, TERMS, address


def edges(
    rng: np.random.Generator,
    sizes: dict[int, int],
    run: str,
    source_layer: int,
    target_layers: tuple[int, ...],
    density: float,
) -> pd.DataFrame:
    many = sizes[source_layer]
    pairs = [
        (address(source_layer, i), address(t, j))
        for i in range(many)
        for t in target_layers
        for j in range(sizes[t])
        if rng.random() < density * (1 - i / (2 * many))
    ]
    n = len(pairs)
    zero = rng.integers(0, 17, n)
    share = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], n, p=[0.3, 0.15, 0.1, 0.15, 0.3])
    n_pos = np.round((CELLS - zero) * share).astype(int)
    mean = np.where(share > 0.5, 1.0, -1.0) * rng.uniform(0.01, 1.5, n)
    sd = rng.uniform(0.1, 1.5, n)
    frame = pd.DataFrame(pairs, columns=["source", "target"])
    return frame.assign(
        run=run,
        n=CELLS,
        n_pos=n_pos,
        n_neg=CELLS - zero - n_pos,
        mean=mean,
        sd=sd,
        d=mean / sd,
        p=rng.uniform(0, 0.1, n),
        q=rng.uniform(0, 0.1, n),
        direct=rng.normal(0, 0.1, n),
        positions=rng.integers(20, 400, n),
        halves=np.where(
            zero <= 8, rng.integers(0, 3, n), np.nan
        ),  # empty where a half has too few cells
    ).assign(**_against_the_null(np.random.default_rng([source_layer, n]), n))


def _against_the_null(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """What the direction null says of each edge; q_computed is missing where few cells agree."""
    cells = rng.integers(3, CELLS + 1, n)
    p = rng.uniform(0, 0.1, n)
    return {
        "computed": rng.normal(0, 0.5, n),
        "computed_cells": cells,
        "z_direct": rng.normal(0, 3, n),
        "z_computed": rng.normal(0, 4, n),
        "p_computed": p,
        "q_computed": np.where(cells >= 6, p, np.nan),
        "q_direct": rng.uniform(0, 0.1, n),
    }


def control_edges(rng: np.random.Generator, edges: pd.DataFrame) -> pd.DataFrame:
    """What the controls do in the place of four sources of each complete run."""
    columns = ["source", "target", "run", "n", "n_pos", "n_neg", "mean", "sd", "d", "p", "q"]
    parts = []
    for run, layer in ((OLD, 1), (NEW, 2)):
        beside = edges[
            (edges.run == run) & edges.source.isin([address(layer, i) for i in range(4)])
        ][columns]
        for control, share in (
            ("random_direction", 0.7),
            ("feature_swap", 0.5),
            ("zero_edit", 0.4),
            ("half_even", 0.9),
        ):
            part = beside[rng.random(len(beside)) < share]
            n = len(part)
            mean = part["mean"] * rng.uniform(-0.5, 1.5, n)
            parts.append(
                part.assign(
                    control=control,
                    mean=mean,
                    d=mean / part.sd,
                    p=rng.uniform(0, 0.2, n),
                    q=rng.uniform(0, 0.2, n),
                )
            )
    return pd.concat(parts, ignore_index=True)


def features(rng: np.random.Generator, sizes: dict[int, int], edges: pd.DataFrame) -> pd.DataFrame:
    rows = []
    good = edges[(edges.q <= 0.05) & (edges.n_pos + edges.n_neg >= 6)]
    out, into = good.groupby("source").size(), good.groupby("target").size()
    for layer, many in sizes.items():
        for index in range(many):
            key = address(layer, index)
            rate = float(rng.uniform(0.001, 0.2))
            expected = 20 * rate
            named = rng.random() < 0.6
            rows.append(
                {
                    "id": key,
                    "name": (
                        f"L{layer:02d}/F{index:04d}" + (f" {TERMS[index % 6]}" if named else "")
                    ),
                    "model": MODEL,
                    "dictionary": f"{MODEL}/{SET}/L{layer:02d}",
                    "layer": layer,
                    "index": index,
                    "firing_rate": rate,
                    "cells_active": int(rng.integers(5, 21)),
                    "mean_activation": float(rng.uniform(0.5, 3)) if key != SILENT else None,
                    "traced": layer < 3,
                    "alive": index != many - 1 or layer < 3,
                    "top_genes": [f"G{(index * 3 + k) % 40}" for k in range(4)],
                    "label": TERMS[index % 6] if named else "",
                    "label_library": "GO" if named else "",
                    "label_q": float(rng.uniform(0, 0.05)) if named else None,
                    "label_null": 0.01 if named else 0.4 if index % 4 else None,
                    "annotated": bool(named),
                    "terms": int(named),
                    "annotation_run": ANNOTATE,
                    "tf_library": "TRRUST",
                    "annotatable_genes": int(rng.integers(0, 20)),
                    "best_tf": f"G{index}",
                    "best_tf_q": float(rng.uniform(0, 1)),
                    "tf_share": (index % 5) / 5,
                    "tf_share_q": 0.2,
                    "out_degree": int(out.get(key, 0)),
                    "in_degree": int(into.get(key, 0)),
                    "expected_degree": expected,
                    "residual_degree": (
                        float(np.log((out.get(key, 0) + 1) / (expected + 1))) if layer < 3 else None
                    ),
                    "support_share": 0.5,
                    "pagerank": 0.01 + 0.001 * index if layer > 1 else None,
                    "pagerank_expected": 0.02 if layer > 1 else None,
                    "pagerank_p": (14 - index) / 100 if layer > 1 else None,
                    "pagerank_q": (16 - index) / 50 if layer > 1 else None,
                    "out_degree_legacy": None if layer < 3 else 1,
                    "random_degree": int(rng.integers(0, 3)),
                    "swap_degree": int(rng.integers(0, 3)),
                    "steering_slope": None,
                    "steering_control": None,
                }
            )
    frame = pd.DataFrame(rows)
    return ranked(frame)


def older(features: pd.DataFrame) -> pd.DataFrame:
    """What the older trace run and its analysis found, where the newer run says something else:
    other activations in the layers that both used, and other degrees everywhere.
    """
    frame = features[features.model == MODEL].reset_index(drop=True)
    both, place = frame.layer > 1, frame.index.to_numpy()
    frame.loc[both, "firing_rate"] = frame.firing_rate / 2 + 0.3
    frame.loc[both, "cells_active"] = frame.cells_active - 4
    # the scale of half of the targets makes small effects none
    scale = np.where(place % 2, 400.0, 0.01)
    frame.loc[both, "mean_activation"] = np.where(place % 7, scale, np.nan)[both]
    frame.loc[both, "alive"] = place[both] % 3 > 0
    frame[["random_degree", "swap_degree"]] += 40
    frame[["out_degree", "in_degree"]] += 60
    frame["support_share"] = 0.25
    frame["residual_degree"] = -frame.residual_degree
    return ranked(frame)


def ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """The features with the ranks of the sources of each layer."""
    for layer in (1, 2):
        own = frame.layer == layer
        frame.loc[own, "hub_rank"] = frame[own].residual_degree.rank(
            ascending=False, method="first"
        )
        frame.loc[own, "degree_rank"] = frame[own].out_degree.rank(ascending=False, method="first")
    return frame
