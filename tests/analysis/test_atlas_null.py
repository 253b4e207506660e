"""The published atlas against its own null: counts of the published procedure, its rate on random
lists, and what is left with calibration.

Oracles are those that were computed from the atlas' files by other code (Fisher's exact test pair
by pair): features that the published procedure annotates by gene sets in Geneformer layers 4, 8 and
17, the rate of random 20-gene lists by layer, and features at q over every feature x every term.
"""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from scircuit.analysis.annotation.published_rate import (
    PublishedLayer,
    PublishedTerm,
    incidence_of,
    published_rates,
    published_rule,
    random_lists,
)
from scircuit.analysis.annotation.sentences import percent
from scircuit.analysis.enrichment.pair_tests import test_lists as tested_lists

REPRODUCED = {4: 2392, 8: 2034, 17: 2086}


def document(path):
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="module")
def atlas(shared_data):
    folder = shared_data / "atlas"
    if not (folder / "term_library.json.gz").is_file():
        message = f"the published atlas is absent from {folder}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    library = document(folder / "term_library.json.gz")
    terms = [
        PublishedTerm(*key.split("|", 1), key, entry["size_in_pipeline"], entry["genes_seen"])
        for key, entry in library["terms"].items()
    ]
    assert len(terms) == 2261

    def layers(model, wanted=None):
        found = []
        for path in sorted((folder / model).glob("layer_*_annotations.json.gz")):
            number = int(path.name[6:8])
            if wanted and number not in wanted:
                continue
            lists = [[g["n"] for g in entry["genes"]] for entry in document(path).values()]
            features = document(path.with_name(path.name.replace("annotations", "features")))
            annotated = sum(f["na"] > 0 for f in features)
            background = library["backgrounds"][f"{model}_atlas"][str(number)]
            further = [g["n"] for f in features for g in f.get("tg", ())]
            found.append(
                PublishedLayer(
                    number, sum(not f["d"] for f in features), annotated, background, lists, further
                )
            )
        return found

    return terms, layers


@pytest.fixture(scope="module")
def geneformer(atlas):
    terms, layers = atlas
    return published_rates(layers("geneformer"), terms, draws=2, null_draws=10)


def test_the_published_procedure_is_reproduced(geneformer):
    found = {x.layer: x.reproduced for x in geneformer.layers}
    assert len(found) == 13
    for layer, count in REPRODUCED.items():
        assert abs(found[layer] - count) <= 5


def test_random_lists_are_annotated_more_often_than_features(geneformer):
    # 4,600 lists a layer: the rate of a draw has a standard deviation of 0.7 % and more, as lists
    # of a layer share one threshold
    assert 0.605 < geneformer.random < 0.635
    assert all(0.59 < x.random < 0.65 for x in geneformer.layers)
    assert geneformer.published == pytest.approx(0.507, abs=0.0005)
    assert geneformer.published < geneformer.random
    assert "does not exceed chance" in geneformer.sentence


def test_few_features_are_left_over_every_pair_and_with_calibration(geneformer):
    assert abs(sum(x.pooled for x in geneformer.layers) - 315) <= 5
    assert abs(sum(x.pooled_pairs for x in geneformer.layers) - 2155) <= 20
    rate = geneformer.rate
    assert rate.lists == geneformer.alive == 59517
    assert rate.null_rate < 0.001 < rate.rate < 0.01
    assert rate.excess_low > 0
    assert percent(rate.rate) in geneformer.sentence


def test_scgpt_exceeds_its_null(atlas):
    terms, layers = atlas
    found = published_rates(layers("scgpt", (0, 4, 8)), terms, draws=2, null_draws=10)
    assert [x.layer for x in found.layers] == [0, 4, 8]
    # published 31.0 % in all 12 layers, random lists 14.7 to 18.0 % by layer
    assert all(0.135 < x.random < 0.19 for x in found.layers)
    assert found.published > 1.5 * found.random
    assert "above chance" in found.sentence


def test_the_kernel_equals_fisher_on_published_lists(atlas):
    terms, layers = atlas
    layer = layers("geneformer", (8,))[0]
    layer = layer._replace(lists=layer.lists[:60])
    p, overlap = {}, {}
    for r, genes in enumerate(layer.lists):
        own = {g.upper() for g in genes}
        for c, t in enumerate(terms):
            a = len(own & set(t.genes))
            if a >= 2:
                table = [[a, len(own) - a], [t.size - a, layer.background - len(own) - t.size + a]]
                p[r, c], overlap[r, c] = fisher_exact(table, alternative="greater")[1], a
    incidence = incidence_of(layer, terms)
    tested = tested_lists(incidence.rows(layer.lists), incidence)
    mine = {(int(r), int(c)): (float(x), int(k)) for r, c, k, x in zip(*tested.hits, strict=True)}
    assert set(mine) == set(p)
    for key, value in p.items():
        assert mine[key][1] == overlap[key]
        # scipy's Fisher test sums the hypergeometric law as well, with 11 digits
        assert mine[key][0] == pytest.approx(value, rel=1e-9)
    keys = list(p)
    q = false_discovery_control(np.array([p[k] for k in keys]))
    assert published_rule(tested) == len({k[0] for k, x in zip(keys, q, strict=True) if x <= 0.05})


def test_random_lists_are_uniform_sets():
    drawn = random_lists(6000, 2, 4, np.random.default_rng(0))
    assert (np.diff(drawn.indptr) == 2).all()
    pairs = drawn.indices.reshape(-1, 2)
    counts = np.unique(pairs @ [4, 1], return_counts=True)[1]
    assert counts.size == 6
    # 6,000 draws of 6 sets: 1,000 each, standard deviation 29
    assert np.abs(counts - 1000).max() < 120


def test_lists_beyond_the_published_background_are_refused():
    with pytest.raises(ValueError, match="3 genes, the published background 2"):
        incidence_of(PublishedLayer(1, 1, 1, 2, [["A", "B", "C"]]), [])
    with pytest.raises(ValueError, match="no layer"):
        published_rates([], [])
