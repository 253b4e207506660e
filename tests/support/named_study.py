"""A study of the demo's model whose every folder and file has a name that is hard to handle, and
the verbs on it as a user gives them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np

NAME = "Geneformer V2 <b>316M</b> & co (a, b) #1 é"
SLUG = "geneformer-v2-b-316m-b-co-a-b-1"
SYMBOLS = ["CD3D", "CD3E", "IL7R", "CCR7", "LYZ", "S100A8", "S100A9", "NKG7", "GNLY", "MS4A1"]


def folder_name(what: str) -> str:
    """The name of a thing; a slash of the markup cannot be in a file name."""
    return f"{what} {NAME}".replace("/", "∕")


class Named:
    """Paths of a study and its inputs below `root`, all with such names.

    Parameters
    ----------
    root
        An empty folder.
    examples
        The shipped examples.
    name
        Gives the name of each thing; plain names for a study that is only to be small.
    """

    def __init__(self, root: Path, examples: Path, name: Any = folder_name) -> None:
        self.root, self.name = root, name
        self.study = root / name("Study")
        self.model = root / name("Model")
        self.dictionaries = root / name("SAE")
        self.cells = root / f"{name('Cells')}.h5ad"
        self.gmt = root / f"{name('Sets')}.gmt"
        shutil.copytree(examples / "model", self.model)
        shutil.copytree(examples / "dictionaries", self.dictionaries)
        cells = anndata.read_h5ad(examples / "cells" / "celltypist_sample_559cells.h5ad")
        chosen = np.random.default_rng(0).permutation(cells.n_obs)[:30]
        cells[chosen].copy().write_h5ad(self.cells)
        self.gmt.write_text(
            "".join(
                f"<i>set</i> {i}\tna\t" + "\t".join(SYMBOLS[i : i + 6]) + "\n" for i in range(5)
            )
        )

    def verbs(self) -> dict[str, dict[str, Any]]:
        """Options of the verbs that make a run, in an order in which they can be given; small."""
        return {
            "trace": {
                "cells": self.cells,
                "model": str(self.model),
                "dictionaries": str(self.dictionaries),
                "source_layers": (3,),
                "features": tuple(range(12)),
                "n_cells": 5,
                "mixed": True,
                "max_length": 110,
                "control_features": 2,
                "null_draws": 8,
                "device": "cpu",
            },
            "annotate": {
                "shipped": False,
                "gmt": (self.gmt,),
                "min_size": 2,
                "null_draws": 2,
                "n_cells": 8,
            },
            "analyse": {"bootstrap": 5},
            "ablate": {"hubs": 3, "device": "cpu"},
            "predict": {"draws": 20},
            "steer": {"hubs": 2, "device": "cpu"},
            "importance": {"hubs": 3, "n_cells": 6, "device": "cpu"},
            "circuit": {
                "behaviour": "mlm",
                "n_cells": 12,
                "steps": 2,
                "draws": 19,
                "device": "cpu",
            },
        }


def flags(options: dict[str, Any]) -> list[str]:
    """Options on the command line."""
    found: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, tuple) else (value,):
            if one is True or one is False:
                found.append(flag if one else f"--no-{flag.removeprefix('--')}")
            else:
                found += [flag, str(one)]
    return found


def edges_file(folder: Path, name: str) -> Path:
    """A small table of published edges."""
    header = "source_layer,source_feature,target_layer,target_feature,cohens_d,consistency,n_cells"
    rows = [f"5,{i},6,{i + 1},{0.6 + i / 10},0.9,12" for i in range(6)]
    path = folder / f"{name}.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path
