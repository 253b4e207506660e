"""Cells and tokens of the published study, and what the preflight says about them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.legacy.cell_choice import draw
from scircuit.tracing.legacy.legacy_cohort import load_legacy_cohort
from scircuit.tracing.legacy.legacy_tokens import known_columns, legacy_tokens, rank_values
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.legacy_layout import REPEATED, write_cells, write_study
from tests.support.legacy_reference import published_dictionaries, reference_cells

SYMBOLS = ["GATA1", "CDK1", "MYC", "STAT1", "no such gene"]


def load(path, n_cells=20, length=2048, **options):
    return load_legacy_cohort(
        SimpleNamespace(cells=path, n_cells=n_cells, max_length=0, **options),
        geneformer_v2(),
        length,
    )


def line(cohort, name):
    return next(found for found in cohort.report if found.name == name)


@pytest.fixture(scope="module")
def study(tmp_path_factory, shared_data):
    return write_study(tmp_path_factory.mktemp("legacy"), shared_data)


def test_tokens_of_real_cells_equal_the_plain_restatement(study, shared_data):
    rows, cells = reference_cells(study["cells"], 20, published_dictionaries(shared_data))
    cohort = load(study["cells"])
    assert cohort.row_ids.tolist() == rows.tolist()
    assert [t.tolist() for t in cohort.tokens] == [c.tolist() for c in cells]
    repeats = sum(len(t) - len(np.unique(t)) for t in cells)
    assert repeats > 20  # genes with two columns give two tokens
    assert (
        f"{len(REPEATED)} columns repeat a gene, {repeats} tokens"
        in line(cohort, "legacy duplicates").found
    )
    assert not line(
        cohort, "legacy ties"
    ).ok  # equal values there are, so this platform's sort is part of the result
    _, short = reference_cells(study["cells"], 20, published_dictionaries(shared_data), max_len=40)
    assert [t.tolist() for t in load(study["cells"], length=40).tokens] == [
        c.tolist() for c in short
    ]


def test_every_symbol_leads_to_the_published_token(shared_data):
    token, median, ensembl_of = published_dictionaries(shared_data)
    names = list(ensembl_of)
    known = known_columns(names, geneformer_v2())
    published = [
        (i, token[ensembl_of[s]], median.get(ensembl_of[s], 1.0))
        for i, s in enumerate(names)
        if ensembl_of[s] in token
    ]
    assert (
        list(zip(known.column.tolist(), known.token.tolist(), known.median.tolist(), strict=True))
        == published
    )
    assert len(published) == 20271


def test_the_draw_is_that_of_the_seeded_global_generator():
    controls = np.sort(np.random.default_rng(1).choice(40_000, 3_000, replace=False))
    before = np.random.get_state()[1].copy()
    found = draw(controls)
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(42)
    assert found.tolist() == sorted(np.random.choice(controls, 2000, replace=False).tolist())
    assert draw(controls[:2000]).tolist() == controls[:2000].tolist()


def test_a_hand_example_of_the_order():
    # y = log1p(x / sum * 1e4): 8.5 for half of the sum, 7.8 for a quarter, 7.1 for an eighth; the
    # gene without a token counts in the sum
    x = np.array([[8, 4, 0, 2, 2]], np.float32)
    known = known_columns(SYMBOLS, geneformer_v2())
    v = rank_values(x, known)
    expected = [
        np.log1p(np.float32(share * 1e4)) / m
        for share, m in zip((0.5, 0.25, 0, 0.125), known.median, strict=True)
    ]
    np.testing.assert_allclose(v[0, [0, 1, 3]], np.array(expected)[[0, 1, 3]], rtol=1e-6)
    assert v[0, 2] == -1
    by_value = sorted((0, 1, 3), key=lambda i: -expected[i])
    assert legacy_tokens(v[0], known, 2048).tolist() == [2, *known.token[by_value].tolist(), 3]
    assert legacy_tokens(v[0], known, 4).tolist() == [2, *known.token[by_value[:2]].tolist(), 3]


def test_spellings_plain_strings_and_cells_without_tokens(tmp_path):
    x = np.array(
        [[3, 1, 0, 0, 0], [0, 0, 0, 0, 5], [1, 0, 0, 2, 0], [4, 0, 1, 0, 0], [1, 1, 1, 0, 0]],
        np.float32,
    )
    gene = ["Non-targeting", "non_targeting", "JAK2", "non-targeting", "NON-TARGETING"]
    write_cells(tmp_path / "a.h5ad", x, SYMBOLS, gene, categorical=False)
    cohort = load(tmp_path / "a.h5ad")
    assert cohort.row_ids.tolist() == [
        0,
        3,
    ]  # row 1 has nothing but an unknown gene: dropped, not replaced
    assert cohort.barcodes == ("row 0", "row 3")
    assert "all 3 controls, all traced" in line(cohort, "legacy draw").found
    assert load(tmp_path / "a.h5ad", n_cells=2).row_ids.tolist() == [0]


def test_a_missing_label_is_read_as_the_last_category(tmp_path):
    gene = ["JAK2", "non-targeting", "JAK2", "non-targeting"]
    lines = ["HepG2", "HepG2", "RPE1", "RPE1"]
    write_cells(
        tmp_path / "a.h5ad",
        np.ones((4, 5), np.float32),
        SYMBOLS,
        gene,
        missing=[0],
        cell_line=lines,
        lost=[1],
    )
    cohort = load(tmp_path / "a.h5ad")
    assert cohort.composition == {
        "cell_line": {"HepG2": 1, "NA": 1, "RPE1": 1}
    }  # the report itself does not repeat the fault
    assert cohort.row_ids.tolist() == [0, 1, 3]
    assert line(cohort, "legacy labels").found.startswith("1 cells without a value of obs/gene")


def test_of_a_large_file_only_the_chosen_rows_are_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.poisson(1.0, (6000, 5)).astype(np.float32) + 1
    gene = ["non-targeting" if c else "JAK2" for c in rng.random(6000) < 0.5]
    lines = ["HepG2"] * 2000 + ["K562"] * 2000 + ["RPE1"] * 2000
    write_cells(tmp_path / "a.h5ad", x, SYMBOLS, gene, cell_line=lines)
    keys, plain = [], h5py.Dataset.__getitem__

    def recorded(self, key, *rest):
        if self.name == "/X":
            keys.append(key)
        return plain(self, key, *rest)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", recorded)
    cohort = load(tmp_path / "a.h5ad")
    assert keys == cohort.row_ids.tolist() and len(keys) == 20
    controls = np.flatnonzero(np.array(gene) == "non-targeting")
    np.random.seed(42)
    assert keys == sorted(np.random.choice(controls, 2000, replace=False).tolist())[:20]
    assert cohort.composition == {"cell_line": {"HepG2": 20}}
    population = line(cohort, "legacy population")
    assert (
        not population.ok
        and "cell_line of the 20 traced: HepG2 20, of all controls: " in population.found
        and "K562" in population.found
    )
    assert (
        f"2,000 of {len(controls):,} controls drawn with seed 42, sorted, the first 20 traced"
        in line(cohort, "legacy draw").found
    )


def test_the_report_measures_the_second_logarithm(study):
    cohort = load(study["cells"])
    scale = line(cohort, "legacy scale")
    assert (
        not scale.ok
        and "X is log1p of normalised counts, and is logged again" in scale.found
        and "20 of 20 cells" in scale.found
    )
    assert cohort.composition["cell_line"]["HepG2"] == 16
    assert cohort.manifest()["scale"].startswith("log1p of normalised counts")
    assert cohort.record().column("cells").to_pylist() == [20]


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (lambda counts: counts, "X is raw counts, and is logged before"),
        (
            lambda counts: np.log1p(counts / counts.sum(1, keepdims=True) * 1e4),
            "X is log1p of normalised counts, and is logged again before",
        ),
        (
            lambda counts: np.log1p(counts) ** 1.1,
            "X is unknown scale, taken as log1p of normalised counts, and is logged again before",
        ),
    ],
)
def test_the_scale_is_said(tmp_path, stored, said):
    names = list(geneformer_v2().symbol_to_ensembl)[:120]
    counts = np.random.default_rng(0).poisson(3.0, (6, 120)).astype(np.float32)
    write_cells(
        tmp_path / "a.h5ad", stored(counts).astype(np.float32), names, ["non-targeting"] * 6
    )
    assert line(load(tmp_path / "a.h5ad"), "legacy scale").found.startswith(said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gene": ["JAK2"] * 4}, r"no non-targeting .* it holds JAK2 4"),
        (
            {"symbols": ["Gata1", "Cdk1", "Myc", "Stat1", "x"]},
            "none of 4 cells expresses a gene whose symbol is in the vocabulary; 0 of 5",
        ),
    ],
)
def test_files_without_controls_or_known_genes_are_refused(tmp_path, change, message):
    given = {
        "x": np.ones((4, 5), np.float32),
        "symbols": SYMBOLS,
        "gene": ["non-targeting"] * 4,
    } | change
    write_cells(tmp_path / "a.h5ad", **given)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.h5ad")


def test_other_layouts_options_and_models_are_refused(tmp_path, shared_data):
    with pytest.raises(UserError, match=r"no obs/gene, no var/gene_name_index, no dense X"):
        load(shared_data / "cells" / "papalexi2021_thp1_crisprko_subset.h5ad")
    with pytest.raises(UserError, match="is not a file"):
        load(tmp_path / "absent.h5ad")
    write_cells(tmp_path / "a.h5ad", np.ones((4, 5), np.float32), SYMBOLS, ["non-targeting"] * 4)
    given = {
        "where": ("cell_line=K562",),
        "layer_key": "counts",
        "mixed": True,
        "panel": True,
        "min_mapped": 0.1,
        "min_tokens": 5,
    }
    for name, value in given.items():
        with pytest.raises(
            UserError, match=f"as published; it was given --{name.replace('_', '-')}\n"
        ):
            load(tmp_path / "a.h5ad", **{name: value})
    with pytest.raises(UserError, match="it was given --where, --mixed"):
        load(tmp_path / "a.h5ad", where=("cell_line=K562",), mixed=True)
    for limit, asked in ((512, 513), (4096, 2049)):
        with pytest.raises(
            UserError, match=f"--max-length {asked} exceeds the limit of {min(limit, 2048)} tokens"
        ):
            load_legacy_cohort(
                SimpleNamespace(cells=tmp_path / "a.h5ad", n_cells=2, max_length=asked),
                geneformer_v2(),
                limit,
            )
    config = SimpleNamespace(cells=tmp_path / "a.h5ad", n_cells=2, max_length=0)
    with pytest.raises(UserError, match="Geneformer V2"):
        load_legacy_cohort(config, replace(geneformer_v2(), eos=1), 2048)
