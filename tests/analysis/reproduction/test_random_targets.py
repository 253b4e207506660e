"""What the study's statistics give without circuits, on small worlds where it can be enumerated."""

from __future__ import annotations

import gzip
import itertools
import json

import numpy as np
import pytest

from scircuit.analysis.reproduction.selective.random_targets import (
    RANDOM,
    _shuffled,
    consensus,
    negative_share,
    random_pairs,
)
from scircuit.analysis.reproduction.study_files import StudyFiles
from scircuit.ingest.importers.strict_files import read_json


def annotation(ontology, term, p):
    return {"o": ontology, "t": term, "p": p}


def world(folder, lists):
    """Files of Geneformer layers: of each feature its annotations; all fire equally often."""
    (folder / "geneformer").mkdir(parents=True)
    for layer, features in lists.items():
        base = folder / "geneformer" / f"layer_{layer:02d}"
        rows = {
            str(i): {"genes": ["G"] * 20, "anns": [annotation(*a) for a in anns]}
            for i, anns in enumerate(features)
            if anns
        }
        rates = [{"i": i, "f": 0.02} for i in range(len(features))]
        for name, content in (("annotations", rows), ("features", rates)):
            path = base.with_name(f"{base.name}_{name}.json.gz")
            path.write_bytes(gzip.compress(json.dumps(content).encode()))
    return StudyFiles(None, folder, read_json, read_json)


def test_the_expected_overlap_is_that_of_all_permutations():
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d", "e"]
    for _ in range(5):
        one, two = (
            {tuple(rng.choice([*names, extra], 2).tolist()) for _ in range(9)}
            for extra in ("only one", "a")
        )
        inside = sorted({name for pair in two for name in pair})
        counts = []
        for order in itertools.permutations(inside):
            new = dict(zip(inside, order, strict=True))
            counts.append(len(one & {(new[a], new[b]) for a, b in two}))
        both, expected = consensus(one, two)
        assert both == len(one & two)
        assert expected == pytest.approx(np.mean(counts), rel=1e-12)


def test_random_targets_have_the_published_labels(tmp_path):
    """The first term of a source, whatever its p; the process with the smallest p of a target; no
    pair with a target that has none."""
    source = [("KEGG", "first", 0.04), ("GO_BP", "second", 1e-9)]
    target = [("GO_BP", "weak", 0.03), ("GO_BP", "strong", 1e-4), ("KEGG", "best", 1e-9)]
    other = [("KEGG", "no process", 1e-9)]
    files = world(tmp_path, {5: [source], 6: [target, other, []]})
    found = random_pairs(files, "geneformer", {5: (6,)}, False, np.random.default_rng(0))
    assert found == {("first", "strong")}


def test_shuffled_sources_share_terms_as_all_pairs_do(tmp_path):
    rng = np.random.default_rng(3)
    lists = {
        layer: [
            [("GO_BP", f"T{t}", 0.01) for t in rng.choice(12, rng.integers(0, 4), replace=False)]
            for _ in range(15)
        ]
        for layer in (5, 6, 7)
    }
    files = world(tmp_path, lists)
    sets = {n: [{a[1] for a in anns} for anns in rows if anns] for n, rows in lists.items()}
    shares = [
        np.mean([bool(a & b) for a in sets[one] for b in sets[two]])
        for one, two in ((5, 6), (5, 7), (6, 7))
    ]
    value = _shuffled("geneformer", {5: (6, 7), 6: (7,)})(files)
    assert value == pytest.approx(np.mean(shares), rel=1e-12)


def test_the_published_rule_makes_symmetric_effects_negative():
    """20,000 targets: three standard errors of a half are below 0.03 for the edges that pass."""
    for changed in (0.3, 0.5, 0.7):
        assert negative_share(changed, symmetric=False) > 0.6
        assert negative_share(changed, symmetric=True) == pytest.approx(0.5, abs=0.03)
    assert negative_share(1.0, symmetric=False) == pytest.approx(0.5, abs=0.03)


def test_the_claim_is_refuted_by_larger_folds_only():
    claim = next(c for c in RANDOM.checks if c.id == "consensus")
    assert claim.holds is not None
    assert claim.holds([3.0, 9.0]) and not claim.holds([9.0, 13.0])
