"""A person's own model, small: trained by the example script, given dictionaries by ``train``,
checked and traced.
"""

import json
import subprocess
import sys


def test_own_model_from_training_to_edges(examples, tmp_path):
    import scircuit as sc

    cells = examples / "cells" / "celltypist_sample_559cells.h5ad"
    model, saes, study = tmp_path / "own-model", tmp_path / "own-saes", tmp_path / "study"
    size = [
        "--steps",
        "3",
        "--layers",
        "3",
        "--width",
        "32",
        "--heads",
        "2",
        "--positions",
        "130",
        "--batch",
        "8",
    ]
    script = [sys.executable, str(examples / "train_demo_model.py"), "--out", str(model), *size]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"mlm_loss", "unigram_loss"} <= set(json.loads((model / "metrics.json").read_text()))
    trained = sc.train(
        model=str(model), cells=cells, out=saes, k=8, epochs=1, n_cells=60, quiet=True
    )
    assert [r.layer for r in trained.reports] == [0, 1, 2]
    names = {
        line.name
        for line in sc.check(
            cells=cells, model=str(model), dictionaries=str(saes), n_cells=30
        ).lines
    }
    assert {
        "zero edit changes nothing",
        "cells seen in training",
        "layer 2 reconstruction",
    } <= names
    options = {
        "model": str(model),
        "dictionaries": str(saes),
        "cells": cells,
        "source_layers": (0,),
        "n_cells": 8,
        "control_features": 4,
    }
    traced = sc.trace(study=study, database=False, quiet=True, **options)
    edges = traced.edges()
    assert len(edges) == traced.findings["edges"] > 0
    assert edges["source"].str.startswith("own-model/own-saes/L00/F").all()
    assert set(edges["target"].str.extract(r"/L(\d\d)/")[0]) <= {"01", "02"}
    again = sc.trace(study=study, database=False, quiet=True, **options)
    assert (again.run, again.new) == (traced.run, False)
