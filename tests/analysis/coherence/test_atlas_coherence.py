"""What chance gives on the public atlas of Geneformer: random annotated targets share a term with
the sources of the published study in a quarter of all cases. The published shares stand beside it.

Sources are the 30 that the published selection takes at layers 5 and 15; the chance values were
computed by other code from the same files (uniform, and weighted by firing frequency).
"""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.coherence.term_sets import term_sets

SOURCES = {
    5: "2743 1762 564 801 1560 1686 3605 4432 4174 2892 4582 1226 4528 329 1771 2520 4588 154 3147"
    " 1019 1431 856 2995 2783 1750 893 3195 3499 1802 1947",
    15: "721 1409 72 1223 4574 3248 3464 1043 2353 1243 3446 2912 1710 2517 2728 4216 426 2807 3749"
    " 3769 1831 2031 567 3229 132 3919 993 2286 3326 793",
}
CHANCE = {5: (0.264, 0.292), 15: (0.247, 0.280)}
PUBLISHED = 0.529


def document(path):
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize("layer", SOURCES)
def test_chance_of_sharing_a_term(shared_data, layer):
    folder = shared_data / "atlas" / "geneformer"
    files = {int(p.name[6:8]): p for p in sorted(folder.glob("layer_*_annotations.json.gz"))}
    if layer not in files:
        pytest.skip(f"the atlas is absent from {folder}")
    own = document(files[layer])
    sources = [own[key]["anns"] for key in SOURCES[layer].split()]
    uniform, weighted, specific = [], [], []
    for number, path in files.items():
        if number <= layer:
            continue
        features = document(path.with_name(path.name.replace("annotations", "features")))
        rate = {f["i"]: f["f"] for f in features}
        targets = [(int(k), v["anns"]) for k, v in document(path).items() if v["anns"]]
        lists = [*sources, *(terms for _, terms in targets)]
        rows = [(i, a["t"]) for i, terms in enumerate(lists) for a in terms]
        frame = pd.DataFrame(rows, columns=["feature", "term"]).assign(name=lambda f: f.term)
        sets = term_sets(frame, len(lists))
        assert "pairwise_enrichment" in sets.generic
        pairs = sets.shared(np.arange(30), np.arange(30, len(lists)))
        weight = np.array([rate[i] for i, _ in targets])
        uniform.append((pairs & 1).mean())
        weighted.append(((pairs & 1) * weight).sum() / (30 * weight.sum()))
        specific.append((pairs >> 1).mean())
    assert (np.mean(uniform), np.mean(weighted)) == pytest.approx(CHANCE[layer], abs=6e-4)
    assert np.mean(specific) < np.mean(uniform) - 0.03  # what generic terms make up
    assert 1.8 < PUBLISHED / np.mean(weighted) < 2.0
