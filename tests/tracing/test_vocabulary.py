"""The packaged vocabulary equals the published dictionaries."""

from __future__ import annotations

import gzip
import json

import pytest

from scircuit.tracing.tokenisation.vocabulary import SPECIALS, geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.derive_vocabulary import derive


@pytest.fixture(scope="module")
def published(shared_data):
    def read(name):
        return json.loads(
            gzip.decompress(
                (shared_data / "vocabulary" / f"geneformer_gc104M_{name}.json.gz").read_bytes()
            )
        )

    return {name: read(name) for name in ("token_dictionary", "gene_median", "symbol_to_ensembl")}


def test_tokens_and_medians_are_the_published_ones(published):
    vocabulary = geneformer_v2()
    assert dict(vocabulary.token) == published["token_dictionary"]
    assert dict(vocabulary.median) == published["gene_median"]


def test_every_published_symbol_is_there_once(published):
    vocabulary = geneformer_v2()
    assert {**vocabulary.symbol_to_ensembl, **vocabulary.outside} == published["symbol_to_ensembl"]
    assert not set(vocabulary.symbol_to_ensembl) & set(vocabulary.outside)


def test_known_genes():
    vocabulary = geneformer_v2()
    assert len(vocabulary) == 20_275
    assert vocabulary.token["ENSG00000102145"] == 2618
    assert vocabulary.symbol("ENSG00000102145") == "GATA1"
    assert (
        vocabulary.gene_of_token[vocabulary.token["ENSG00000170312"]]
        == vocabulary.symbol_to_ensembl["CDK1"]
    )
    assert vocabulary.symbol("ENSG99999999999") == "ENSG99999999999"


def test_specials_are_no_genes():
    vocabulary = geneformer_v2()
    assert (
        [vocabulary.token[s] for s in SPECIALS]
        == [vocabulary.pad, vocabulary.mask, vocabulary.cls, vocabulary.eos]
        == [0, 1, 2, 3]
    )
    assert all(vocabulary.gene_of_token[i] == "" for i in vocabulary.specials)


def test_derivation_gives_the_packaged_content(shared_data):
    from importlib import resources

    packaged = (
        resources.files("scircuit.tracing.tokenisation.vocabulary")
        .joinpath("geneformer_v2.json.gz")
        .read_bytes()
    )
    assert gzip.decompress(derive(shared_data / "vocabulary")) == gzip.decompress(packaged)
