"""A small study of a model that reads sentences: real cells, a tokeniser trained on gene names,
random weights, transcoders trained on them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np

from tests.support.named_study import folder_name
from tests.support.sentence_parts import byte_level
from tests.support.tiny_decoders import neox_config, random_weights

TOP_N, CELLS = 30, 12


def sentence_model(folder: Path, name: str = "C2S Model (tiny)", **config: Any) -> Path:
    """Folder of a random GPT-NeoX with its tokeniser and a template of `TOP_N` genes."""
    from transformers import GPTNeoXForCausalLM

    path = folder / name
    tokeniser = byte_level()
    shape = {"layers": 3, "vocab_size": tokeniser.get_vocab_size(), "max_position_embeddings": 512}
    random_weights(GPTNeoXForCausalLM(neox_config(**{**shape, **config})), 3).save_pretrained(path)
    tokeniser.save(str(path / "tokenizer.json"))
    text = "{num_genes} genes of a {organism} cell: {cell_sentence}.\nType of this cell:"
    (path / "prompt_template.json").write_text(json.dumps({"text": text, "top_n": TOP_N}))
    return path


def some_cells(examples: Path, folder: Path, name: str = "Cells (some).h5ad") -> Path:
    """A few of the shipped immune cells."""
    cells = anndata.read_h5ad(examples / "cells" / "celltypist_sample_559cells.h5ad")
    chosen = np.sort(np.random.default_rng(0).permutation(cells.n_obs)[: 2 * CELLS])
    cells[chosen].copy().write_h5ad(folder / name)
    return folder / name


class SentenceStudy:
    """Model, cells, transcoders and a traced run below a folder, all with names that are hard to
    handle.
    """

    def __init__(self, root: Path, examples: Path) -> None:
        import scircuit as sc

        self.study = root / folder_name("Study")
        self.model = sentence_model(root, folder_name("Model"))
        self.cells = some_cells(examples, root, f"{folder_name('Cells')}.h5ad")
        self.transcoders = root / folder_name("Transcoders")
        self.inputs: dict[str, Any] = {
            "model": str(self.model),
            "cells": self.cells,
            "mixed": True,
            "device": "cpu",
            "panel": True,
        }
        self.reports = sc.train(
            out=self.transcoders,
            site="mlp",
            expansion=2,
            k=6,
            epochs=2,
            batch_rows=256,
            quiet=True,
            **self.inputs,
        )
        self.trace = sc.trace(
            study=self.study,
            dictionaries=str(self.transcoders),
            source_layers=(0,),
            n_cells=CELLS,
            null_draws=16,
            untrained=True,
            database=False,
            quiet=True,
            **self.inputs,
        )

    def features(self) -> Any:
        """Features of the trace run as a frame."""
        from scircuit.core.study import Study
        from scircuit.execution.feature_table import features_of

        study = Study(self.study)
        return features_of(study, study.manifest(self.trace.run)).to_pandas()
