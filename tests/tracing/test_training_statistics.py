"""The catalogue beside a dictionary: firing rates, dead features, labels by the published rule."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries, save_dictionary
from scircuit.tracing.dictionaries.training_statistics import write_own

WIDTH, FEATURES, K = 6, 4, 2


def published(folder, entries, annotations=None):
    place = folder / f"layer05_x4_k{K}"
    place.mkdir(parents=True)
    state = {
        "W_enc.weight": torch.randn(FEATURES, WIDTH),
        "W_enc.bias": torch.zeros(FEATURES),
        "W_dec.weight": torch.randn(WIDTH, FEATURES),
        "W_dec.bias": torch.zeros(WIDTH),
    }
    torch.save(
        {"model_state_dict": state, "d_model": WIDTH, "n_features": FEATURES, "k": K},
        place / "sae_final.pt",
    )
    np.save(place / "activation_mean.npy", np.zeros(WIDTH, np.float32))
    (place / "feature_catalog.json").write_text(json.dumps({"summary": {}, "features": entries}))
    if annotations is not None:
        # The published files hold bare Infinity, which is not JSON proper.
        (place / "feature_annotations.json").write_text(
            json.dumps({"summary": {}, "feature_annotations": annotations})
        )
    return place


def entry(feature, freq):
    genes = [{"gene_id": "ENSG1", "gene_name": "MKI67", "mean_activation": 2.0, "fire_count": 9}]
    return {
        "feature_idx": feature,
        "is_dead": freq == 0,
        "activation_freq": freq,
        "mean_activation": freq * 3,
        "fire_count": 1,
        "top_genes": genes,
    }


def test_published_catalogue_and_labels(tmp_path):
    annotations = {
        "0": [
            {"ontology": "pairwise_enrichment", "term": "STRING_edges", "density": 0.2},
            {"ontology": "KEGG", "term": "Spliceosome", "odds_ratio": float("inf")},
        ],
        "1": [
            {"ontology": "transcription_factors", "term": "MYC"},
            {"ontology": "pairwise_enrichment", "term": "TRRUST_edges"},
        ],
        "2": [
            {"ontology": "GO_BP", "term": "late", "p_adjusted": 0.04},
            {"ontology": "Reactome", "term": "smallest", "p_adjusted": 1e-9},
        ],
    }
    published(
        tmp_path, [entry(3, 0.0), entry(1, 0.25), entry(0, 0.5), entry(2, 0.0005)], annotations
    )
    catalogue = load_dictionaries(tmp_path)[5].catalogue
    assert catalogue is not None
    assert catalogue.activation_freq.tolist() == [0.5, 0.25, 0.0005, 0.0]
    assert catalogue.is_dead.tolist() == [False, False, False, True]
    assert catalogue.mean_activation.tolist() == [1.5, 0.75, 0.0015, 0.0]
    assert catalogue.top_genes[1] == ("MKI67",)
    assert [catalogue.label(f) for f in range(4)] == ["Spliceosome", "MYC", "late", "unannotated"]


def test_a_catalogue_of_another_dictionary_or_a_damaged_one_is_refused(tmp_path):
    published(tmp_path / "few", [entry(0, 0.1), entry(1, 0.1)])
    with pytest.raises(UserError, match=r"lists 2 features; the checkpoint beside it has 4"):
        _ = load_dictionaries(tmp_path / "few")[5].catalogue
    place = published(tmp_path / "cut", [entry(f, 0.1) for f in range(FEATURES)])
    (place / "feature_catalog.json").write_text('{"features": [')
    with pytest.raises(UserError, match=r"feature_catalog\.json is damaged"):
        _ = load_dictionaries(tmp_path / "cut")[5].catalogue
    (place / "feature_catalog.json").write_text(json.dumps({"features": [{"feature_idx": 0}]}))
    with pytest.raises(UserError, match="'activation_freq'"):
        _ = load_dictionaries(tmp_path / "cut")[5].catalogue


def test_own_catalogue(tmp_path):
    made = Dictionary(
        0,
        torch.randn(FEATURES, WIDTH),
        torch.zeros(FEATURES),
        torch.randn(FEATURES, WIDTH),
        torch.zeros(WIDTH),
        torch.zeros(WIDTH),
        k=K,
    )
    place = save_dictionary(made, tmp_path)
    assert load_dictionaries(tmp_path)[0].catalogue is None
    write_own(place, np.array([0.5, 0.0, 0.1, 0.2]), np.ones(FEATURES))
    catalogue = load_dictionaries(tmp_path)[0].catalogue
    assert catalogue is not None and catalogue.is_dead.tolist() == [False, True, False, False]
    assert catalogue.activation_freq[3] == 0.2 and catalogue.label(0) == "unannotated"
    write_own(place, np.ones(FEATURES + 1), np.ones(FEATURES + 1))
    with pytest.raises(UserError, match="lists 5 features; the dictionary beside it has 4"):
        _ = load_dictionaries(tmp_path)[0].catalogue
