"""The loss of a model on the cells of a run: equal to a plain count, beside its baselines, and what
follows from it in `check` and `trace`.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine
from scircuit.tracing.evaluation import loss_on_cells as module
from scircuit.tracing.evaluation.loss_on_cells import (
    LossOnCells,
    loss_line,
    loss_on_cells,
    require_better_than_guessing,
)
from scircuit.tracing.evaluation.loss_recovered import mask_genes
from scircuit.tracing.evaluation.unigram import SMOOTHINGS
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from scircuit.workflows.check import check
from tests.support.study_runs import demo, trace
from tests.support.tiny_models import tiny_cells, tiny_model

MASK = 1


class Model(Geneformer):
    """A tiny model with a vocabulary of its own size."""

    vocabulary = SimpleNamespace(mask=MASK)  # type: ignore[assignment]


@pytest.fixture(scope="module")
def adapter() -> Model:
    return Model(tiny_model(layers=2), "tiny", "0" * 64)


def plain(adapter: Model, cells: list[np.ndarray], seed: int) -> tuple[float, float]:
    """Loss by the library's own forward pass, and the unigram by counting gene by gene."""
    losses: list[float] = []
    unigrams: dict[float, list[float]] = {a: [] for a in SMOOTHINGS}
    for i, cell in enumerate(cells):
        masked, at = mask_genes(adapter, cell, seed)
        with torch.no_grad():
            logits = adapter.model(input_ids=torch.as_tensor(masked)[None]).logits[0].double()
        others = [int(t) for j, c in enumerate(cells) if j != i for t in c if t > 3]
        for position in at:
            gene = int(cell[position])
            assert masked[position] == MASK and gene > 3
            losses.append(float(torch.logsumexp(logits[position], 0) - logits[position, gene]))
            for a, found in unigrams.items():
                p = (others.count(gene) + a) / (len(others) + a * 56)
                found.append(-float(np.log(p)))
    return float(np.mean(losses)), min(float(np.mean(v)) for v in unigrams.values())


def test_loss_and_baselines_are_those_of_a_plain_count(adapter):
    cells = tiny_cells(7)
    found = loss_on_cells(adapter, cells, seed=3)
    assert found is not None
    loss, unigram = plain(adapter, cells, 3)
    assert found.loss == pytest.approx(loss, abs=1e-5)
    assert found.unigram == pytest.approx(unigram, abs=1e-12)
    assert found.uniform == pytest.approx(np.log(56), abs=1e-12)  # 60 tokens, 4 of them no genes
    assert found.cells == 7
    assert found.genes == sum(max(1, round(0.15 * (len(c) - 2))) for c in cells)


def test_cells_are_drawn_with_the_seed_and_all_of_them_count_for_the_unigram(adapter, monkeypatch):
    monkeypatch.setattr(module, "CELLS", 3)
    cells = tiny_cells(9)
    found = loss_on_cells(adapter, cells, seed=5)
    assert found is not None and found.cells == 3
    assert found == loss_on_cells(adapter, cells, seed=5)
    other = loss_on_cells(adapter, cells, seed=6)
    assert other is not None and found.loss != other.loss
    others = loss_on_cells(adapter, [*cells[:-1], np.r_[2, np.arange(4, 60), 3]], seed=5)
    assert others is not None and others.unigram != found.unigram


def test_one_cell_has_no_unigram(adapter):
    found = loss_on_cells(adapter, tiny_cells(1))
    assert found is not None and found.unigram is None and "unigram" not in str(found)


def test_the_time_limit_leaves_one_cell(adapter):
    found = loss_on_cells(adapter, tiny_cells(5), seconds=0.0)
    assert found is not None and found.cells == 1


def test_a_model_without_a_token_head_is_not_measured(adapter, monkeypatch):
    monkeypatch.setattr(Model, "vocabulary", SimpleNamespace(mask=-1))
    assert loss_on_cells(adapter, tiny_cells(3)) is None
    line = loss_line(adapter, None)
    assert line.ok and line.found.startswith("not measured: tiny (geneformer) masks no tokens")
    require_better_than_guessing(adapter, None)


@pytest.mark.parametrize(
    ("loss", "unigram", "ok", "warns"),
    [
        (2.0, 3.0, True, False),
        (3.0, 3.0, True, True),
        (3.5, 3.0, True, True),
        (4.0, 3.0, False, False),
        (9.0, 3.0, False, False),
        (3.9, None, True, False),
        (float("nan"), 3.0, False, False),
        (float("inf"), 3.0, False, False),
    ],
)
def test_at_or_above_uniform_fails_and_at_or_above_unigram_warns(adapter, loss, unigram, ok, warns):
    found = LossOnCells(loss, unigram, 4.0, 20, 700)
    line = loss_line(adapter, found)
    assert line.ok is ok
    assert line.found.startswith("warning: no better than unigrams") is warns
    if ok:
        require_better_than_guessing(adapter, found)
    else:
        with pytest.raises(UserError, match="no better than uniform guessing") as error:
            require_better_than_guessing(adapter, found)
        assert "700 masked genes of 20 cells" in str(error.value)
        assert "--untrained" in error.value.fix


@pytest.mark.parametrize(("loss", "near"), [(3.9, True), (3.7, False)])
def test_a_loss_near_uniform_of_a_single_cell_warns(adapter, loss, near):
    """An untrained model may have it by chance, and there are no unigrams to compare with."""
    line = loss_line(adapter, LossOnCells(loss, None, 4.0, 1, 10))
    assert line.ok and line.found.startswith("warning: hardly better than guessing") is near


@pytest.fixture(scope="module")
def other_cells(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's cells with the names of their genes permuted: cells of another world."""
    whole: Any = anndata.read_h5ad(examples / "cells" / "celltypist_sample_559cells.h5ad")
    table = geneformer_v2().symbol_to_ensembl
    known = whole[:40, [name in table for name in whole.var_names]]
    cells: Any = anndata.AnnData(known.X.copy())
    cells.var_names = np.random.default_rng(0).permutation(np.asarray(known.var_names))
    path = tmp_path_factory.mktemp("other") / "cells.h5ad"
    cells.write_h5ad(path)
    return path


def lines(**options: Any) -> dict[str, CheckLine]:
    found = check(quiet=True, mixed=True, device="cpu", n_cells=30, **options)
    return {line.name: line for line in found.lines}


def test_check_passes_the_demo_and_fails_other_cells(examples, other_cells):
    model = str(examples / "model")
    cells = examples / "cells" / "celltypist_sample_559cells.h5ad"
    line = lines(model=model, cells=cells)["model on these cells"]
    assert line.ok and not line.found.startswith("warning")
    line = lines(model=model, cells=other_cells)["model on these cells"]
    assert not line.ok and "9.92 for uniform guessing" in line.found


def test_trace_refuses_other_cells_before_compute_unless_declared(root, other_cells, tmp_path):
    options = demo(root, cells=other_cells, features=(3, 5))
    with pytest.raises(UserError, match="no better than uniform guessing on these cells"):
        trace(study=tmp_path / "study", database=False, quiet=True, **options)
    assert not (tmp_path / "study").exists()


def test_what_is_declared_is_traced_and_said(root, other_cells, tmp_path):
    options = demo(root, cells=other_cells, features=(3, 5), untrained=True)
    found = trace(study=tmp_path / "study", database=False, quiet=True, **options)
    assert not found.preflight[0].ok and found.preflight[0].name == "model on these cells"
    loss = found.findings["loss"]
    assert loss["loss"] > loss["uniform"] and loss["cells"] == 6


def test_the_loss_is_a_property_of_the_run_and_declaring_does_not_change_its_id(root, tmp_path):
    from scircuit.ingest.shards.shard_store import ShardStore

    options = demo(root, features=(3, 5))
    found = trace(study=tmp_path / "study", database=False, quiet=True, **options)
    again = trace(study=tmp_path / "study", database=False, quiet=True, **options, untrained=True)
    assert again.run == found.run and not again.new
    table = ShardStore(found.folder).tables("Run").to_pylist()
    (row,) = [r for r in table if r["mlm_loss"] is not None]
    loss = found.findings["loss"]
    assert (row["mlm_loss"], row["uniform_loss"]) == (loss["loss"], loss["uniform"])
    assert (row["unigram_loss"], row["masked_genes"]) == (loss["unigram"], loss["genes"])
