"""Train the demo's dictionaries: a TopK autoencoder (512 latents, k = 16) at each of the model's
six layers.

    python examples/train_demo_dictionaries.py      # made examples/dictionaries, 4 min on 2 cores

The same as ``scircuit train --model examples/model --cells
examples/cells/celltypist_sample_559cells.h5ad --out examples/dictionaries --epochs 10``. The cells
held out are those held out from the model (same barcodes, share and seed), so neither has seen
them."""

from __future__ import annotations

import sys
from pathlib import Path

from scircuit.core.config import CellsConfig, TrainConfig
from scircuit.core.preflight import printed
from scircuit.tracing.cells.cohort import Cohort, load_cohort
from scircuit.tracing.models import load_model
from scircuit.tracing.training.trainer import train_dictionaries

HERE = Path(__file__).resolve().parent
CELLS = HERE / "cells" / "celltypist_sample_559cells.h5ad"


def train(model: Path, name: str, config: TrainConfig) -> Cohort:
    """Train dictionaries for a model folder and print how good they are; the cells used."""
    adapter = load_model(model, "cpu", name)
    cohort = load_cohort(
        CellsConfig(cells=config.cells, n_cells=config.n_cells),
        adapter.vocabulary,
        adapter.max_length,
    )
    print(printed(cohort.report), file=sys.stderr)

    def progress(done: int, total: int, _note: str = "") -> None:
        if done % 100 == 0 or done == total:
            print(f"step {done} of {total}", file=sys.stderr, flush=True)

    for report in train_dictionaries(adapter, cohort, config, progress):
        pca = vars(report)["pca_variance_explained"]
        print(
            f"layer {report.layer}: variance explained {report.variance_explained:.3f} (PCA of"
            f" {config.k}: {pca:.3f}), {report.dead_share:.1%} dead, L0 {report.l0:.1f}"
        )
    return cohort


def main() -> None:
    config = TrainConfig(
        model="examples/model",
        cells=CELLS,
        out=HERE / "dictionaries",
        expansion=4,
        k=16,
        epochs=10,
        seed=0,
    )
    train(HERE / "model", "geneformer-demo", config)


if __name__ == "__main__":
    main()
