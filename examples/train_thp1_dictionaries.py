"""Train the THP-1 demo's dictionaries: a TopK autoencoder (384 latents, k = 16) at each of the
model's four layers.

    python examples/train_thp1_dictionaries.py      # made examples/thp1/dictionaries

The same as ``scircuit train --model examples/thp1/model --cells
examples/thp1/cells/papalexi2021_thp1_crispr_20729cells.h5ad --out examples/thp1/dictionaries
--n-cells 4000``. Cells are held out by barcode, as for the model, and the model has seen none of
them either (checked at the end)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from train_demo_dictionaries import train

from scircuit.core.config import TrainConfig
from scircuit.tracing.cells.held_out import held_out

HERE = Path(__file__).resolve().parent / "thp1"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    config = TrainConfig(
        model="examples/thp1/model",
        cells=HERE / "cells" / "papalexi2021_thp1_crispr_20729cells.h5ad",
        out=folder / "dictionaries",
        n_cells=4000,
        expansion=4,
        k=16,
        epochs=4,
        seed=0,
    )
    cohort = train(folder / "model", "geneformer-thp1", config)
    unseen = set(json.loads((folder / "model" / "metrics.json").read_text())["held_out"])
    mask = held_out(cohort.barcodes, config.held_out, config.seed)
    mine = {b for b, h in zip(cohort.barcodes, mask, strict=True) if h}
    assert mine <= unseen, f"the model was trained on {len(mine - unseen)} of the held-out cells"


if __name__ == "__main__":
    main()
