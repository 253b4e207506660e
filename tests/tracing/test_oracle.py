"""Every statistic of every edge equals the plain loop's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from reference import (
    TinyDictionary,
    cell_effects,
    clean_pass,
    reference_loop,
    tiny_cells,
    tiny_cohort,
    tiny_model,
)

from scircuit.core.config import TraceConfig
from scircuit.tracing.engine.tracer import Tracer
from scircuit.tracing.models.geneformer import Geneformer

SOURCE, TARGETS = 1, (2, 3, 4)
STATISTICS = ("n", "n_pos", "n_neg", "mean", "sd", "d", "p", "passthrough", "positions", "halves")


def setup(
    cells: int = 9,
    layers: int = 6,
    act: str = "gelu",
    dtype: torch.dtype = torch.float32,
    **options: object,
):
    model = tiny_model(layers=layers, act=act).to(dtype)
    dictionaries = {
        t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0).to(dtype) for t in (SOURCE, *TARGETS)
    }
    tokens = tiny_cells(cells, seed=3)
    config = TraceConfig(
        model="m",
        dictionaries="tiny-dictionary",
        cells=Path("c"),
        source_layers=(SOURCE,),
        target_layers=options.pop("target_layers", TARGETS),  # type: ignore[arg-type]
        unit_features=options.pop("unit_features", 7),
        batch_pairs=options.pop("batch_pairs", 5),
        gate_p=1.0,
        **options,  # type: ignore[arg-type]
    )
    adapter = Geneformer(model, "tiny", "0" * 64)
    return (
        Tracer(adapter, dictionaries, tiny_cohort(tokens), config, "trace-test"),
        model,
        dictionaries,
        tokens,
    )


def edges_of(tracer: Tracer) -> dict[tuple[str, str], dict]:
    rows = [row for unit in tracer.units for row in tracer.run_unit(unit).edges.to_pylist()]
    return {(r["source"], r["target"]): r for r in rows}


@pytest.fixture(
    scope="module",
    params=[("gelu", torch.float64), ("gelu", torch.float32), ("relu", torch.float64)],
    ids=str,
)
def traced(request: pytest.FixtureRequest):
    tracer, model, dictionaries, tokens = setup(act=request.param[0], dtype=request.param[1])
    floors = {t: float(tracer.floors[tracer.columns(t)][0]) for t in TARGETS}
    oracle = reference_loop(
        model, dictionaries, tokens, SOURCE, TARGETS, tracer.sources.tolist(), floors
    )
    return tracer, edges_of(tracer), oracle


def test_every_statistic_of_every_edge(traced):
    tracer, edges, oracle = traced
    compared = 0
    for (feature, t), stats in oracle.items():
        for j in np.flatnonzero(~np.isnan(stats["p"])):
            edge = edges[str(tracer.address(SOURCE, feature)), str(tracer.address(t, j))]
            for name in STATISTICS:
                limit = 1e-5
                if name == "d" and tracer.adapter.dtype == torch.float32:
                    # d = mean / sd: rounding of mean and sd (a few 1e-7 in float32) reaches d times
                    # (1 + |d|) / sd
                    limit += 1e-6 * (1 + abs(stats["d"][j])) / max(stats["sd"][j], 1e-10)
                if name == "halves" and (edge[name] is None or np.isnan(stats[name][j])):
                    assert edge[name] is None and np.isnan(stats[name][j])
                    continue
                assert abs(edge[name] - stats[name][j]) <= limit, (
                    feature,
                    t,
                    j,
                    name,
                    edge[name],
                    stats[name][j],
                )
            compared += 1
    assert compared == len(edges) > 1500


def test_some_sources_are_silent_in_some_cells(traced):
    tracer, edges, _ = traced
    assert {e["n"] for e in edges.values()} != {len(tracer.cells)}
    assert len({c.length for c in tracer.cells}) > 3


def test_float32_effects_of_single_cells_equal_the_hooked_forward():
    tracer, model, dictionaries, tokens = setup()
    feature = int(tracer.sources[-1])
    found = tracer.effects(np.array([feature]), keep_passthrough=True)
    for c, cell in enumerate(tokens):
        clean = clean_pass(model, dictionaries, cell, (SOURCE, *TARGETS))
        wanted = cell_effects(model, dictionaries, clean, SOURCE, TARGETS, feature)
        assert (wanted is not None) == found.active[0, c]
        for t in TARGETS if wanted else ():
            assert wanted is not None
            np.testing.assert_allclose(
                found.effects[0, c, tracer.columns(t)], wanted[1][t], atol=1e-5
            )
            np.testing.assert_allclose(
                found.passed[0, c, tracer.columns(t)], wanted[2][t], atol=1e-5
            )


def test_rank_one_edit_equals_the_difference_of_two_decodes():
    dictionary = TinyDictionary(0, 32, 48, 4, seed=0)
    z = dictionary.encode(torch.randn(20, 32, generator=torch.Generator().manual_seed(1)))
    without = z.clone()
    without[:, 5] = 0
    wanted = dictionary.decode(without) - dictionary.decode(z)
    ours = -z[:, 5, None] * dictionary.columns(torch.tensor([5]))
    torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=0)
