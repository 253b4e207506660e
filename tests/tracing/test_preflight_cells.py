"""The preflight as a whole: what is refused, with which numbers, and what a good cohort reports."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig, TrainConfig
from scircuit.core.errors import UserError
from scircuit.core.schema import NODES
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.plain_tokens import current_symbols


def load(path, max_length=258, **options):
    return load_cohort(CellsConfig(cells=path, **options), geneformer_v2(), max_length)


@pytest.fixture(scope="module")
def demo(examples):
    return examples / "cells" / "celltypist_sample_559cells.h5ad"


@pytest.fixture(scope="module")
def annotated(examples):
    """Sixty demo cells with columns as public files have them."""
    data = anndata.read_h5ad(examples / "cells" / "celltypist_sample_559cells.h5ad")[:60].copy()
    data.obs["cell_line"] = pd.Categorical(["K562"] * 20 + ["HepG2"] * 30 + ["RPE1"] * 10)
    data.obs["gene"] = ["non-targeting", "GATA1"] * 30
    data.obs["gem_group"] = np.arange(60) % 2 + 1.0
    return data


def written(data, folder):
    path = folder / "cells.h5ad"
    data.write_h5ad(path)
    return path


def test_report_of_the_demo_cells(demo):
    cohort = load(demo, n_cells=0)
    found = {line.name: line.found for line in cohort.report}
    assert all(line.ok for line in cohort.report)
    assert list(found) == [
        "file",
        "filters",
        "barcodes",
        "population",
        "counts",
        "scale",
        "cells",
        "identifiers",
        "species",
        "duplicate genes",
        "mapped",
        "tokens",
        "truncated",
    ]
    assert "18,791 have a token" in found["identifiers"]
    assert found["tokens"].startswith("256 / 256 / 256")
    assert found["mapped"].startswith("94.6% of 9,810 expressed genes")
    assert "559 of 559 cells" in found["cells"] and cohort.species == "human"
    full = load(demo, 8192, n_cells=0)
    assert (full.gene_tokens.min(), full.gene_tokens.max()) == (403, 5699)
    assert np.percentile(full.gene_tokens, [10, 50, 90]).round().tolist() == [614, 1154, 3643]


def test_record_and_manifest(demo):
    cohort = load(demo, n_cells=7, seed=3)
    record = cohort.record().to_pylist()[0]
    assert set(record) == {"id"} | {p.name for p in NODES["Cohort"].properties}
    assert record["cells"] == 7 and len(record["id"]) == 12 and record["tokens_median"] == 256
    manifest = cohort.manifest()
    assert (
        manifest["row_ids"] == cohort.row_ids.tolist() == sorted(manifest["row_ids"])
        and len(set(manifest["barcodes"])) == 7
    )
    assert load(demo, n_cells=7, seed=3).id == cohort.id != load(demo, n_cells=7, seed=4).id


def test_a_draw_is_random_not_the_first_rows(demo):
    rows = load(demo, n_cells=20, seed=0).row_ids
    assert rows.max() > 300 and not np.array_equal(rows, np.arange(20))


def test_wrong_species(shared_data):
    with pytest.raises(
        UserError,
        match=(
            r"mouse or rat: 3 of 13,913 names are human symbols as written, 11,688 only in upper"
            r" case(.|\n)*orthologues"
        ),
    ):
        load(shared_data / "cells" / "scvelo_dentategyrus_50obs.h5ad")


def test_mouse_ensembl_ids(annotated, tmp_path):
    data = annotated.copy()
    data.var_names = [f"ENSMUSG{i:011d}.2" for i in range(data.n_vars)]
    with pytest.raises(UserError, match="mouse: 32,786 of 32,786 ids start with ENSMUSG"):
        load(written(data, tmp_path), mixed=True)


def test_scaled_file_falls_back_to_raw_and_says_so(shared_data):
    cohort = load(
        shared_data / "cells" / "10x_pbmc68k_reduced.h5ad",
        n_cells=0,
        where=("bulk_labels=CD14+ Monocyte,CD19+ B",),
        panel=True,
    )
    found = {line.name: line.found for line in cohort.report}
    assert (
        found["counts"].startswith("raw/X")
        and "X holds scaled" in found["counts"]
        and "log1p of normalised" in found["scale"]
    )
    assert cohort.composition["bulk_labels"] == {"CD14+ Monocyte": 129, "CD19+ B": 95}
    assert len(cohort.row_ids) == 224
    with pytest.raises(UserError, match=r"scale of X: scaled.*values are negative"):
        load(shared_data / "cells" / "10x_pbmc68k_reduced.h5ad", layer_key="X")


def test_imputed_file_is_refused(shared_data):
    with pytest.raises(
        UserError,
        match="no matrix of the file can be converted back to counts; X: scaled or imputed",
    ):
        load(shared_data / "cells" / "palantir_cd34_markers_pseudotime.h5ad")


def test_doubly_logged_file_is_refused(annotated, tmp_path):
    data = annotated.copy()
    depth = np.asarray(data.X.sum(axis=1)).ravel()
    data.X = (
        sparse.csr_matrix(sparse.diags_array(1e4 / depth) @ data.X, dtype=np.float32)
        .log1p()
        .log1p()
    )
    with pytest.raises(
        UserError,
        match=(
            r"log1p taken twice \([\d,]+ of [\d,]+ ratios(.|\n)*fix: the file was log-transformed"
            r" twice"
        ),
    ):
        load(written(data, tmp_path), mixed=True)


def test_log_normalised_cells_give_the_tokens_of_their_counts(annotated, tmp_path):
    path = written(annotated, tmp_path)
    expected = load(path, n_cells=0, mixed=True)
    data = annotated.copy()
    depth = np.asarray(data.X.sum(axis=1)).ravel()
    data.X = sparse.csr_matrix(sparse.diags_array(1e4 / depth) @ data.X, dtype=np.float32).log1p()
    cohort = load(written(data, tmp_path), n_cells=0, mixed=True)
    assert "log1p of normalised" in cohort.scale
    assert all(np.array_equal(a, b) for a, b in zip(cohort.tokens, expected.tokens, strict=True))


@pytest.mark.parametrize("form", ["versions", "column", "symbols column"])
def test_identifiers_are_found_wherever_they_are(annotated, tmp_path, form):
    vocabulary = geneformer_v2()
    expected = load(written(annotated, tmp_path), n_cells=0, mixed=True)
    data = annotated.copy()
    ids = [
        vocabulary.symbol_to_ensembl.get(s, f"ENSG9{i:010d}")
        for i, s in enumerate(current_symbols(data.var_names))
    ]
    if form == "versions":
        data.var_names = [f"{g}.{i % 17 + 1}" for i, g in enumerate(ids)]
    elif form == "column":
        data.var["ensembl_id"] = ids
    else:
        data.var["feature_name"] = pd.Categorical(data.var_names)
        data.var_names = [str(i) for i in range(data.n_vars)]
    cohort = load(written(data, tmp_path), n_cells=0, mixed=True)
    found = next(line.found for line in cohort.report if line.name == "identifiers")
    assert {
        "versions": "Ensembl ids in var index",
        "column": "Ensembl ids in var['ensembl_id']",
        "symbols column": "symbols in var['feature_name']",
    }[form] in found
    assert all(np.array_equal(a, b) for a, b in zip(cohort.tokens, expected.tokens, strict=True))


def test_names_of_nothing(annotated, tmp_path):
    data = annotated.copy()
    data.var_names = [f"probe_{i}" for i in range(data.n_vars)]
    with pytest.raises(
        UserError,
        match=(
            r"none of 32,786 names is a human symbol \(the first: probe_0(.|\n)*Ensembl ids or"
            r" human gene symbols"
        ),
    ):
        load(written(data, tmp_path), mixed=True)


def test_too_few_genes_map(annotated, tmp_path):
    data = annotated.copy()
    data.var_names = [s if i % 2 else f"probe_{i}" for i, s in enumerate(data.var_names)]
    with pytest.raises(
        UserError,
        match=(
            r"mapped: 4\d\.\d% of [\d,]+ expressed genes have a token.*lost most: MT-RNR2,"
            r" .*probe_.*at least 80%"
        ),
    ):
        load(written(data, tmp_path), mixed=True)


def test_columns_of_one_gene_are_summed(annotated, tmp_path):
    expected = load(written(annotated, tmp_path), n_cells=0, mixed=True)
    data = annotated.copy()
    vocabulary = geneformer_v2()
    data.var_names = [
        vocabulary.symbol_to_ensembl.get(s, s) for s in current_symbols(data.var_names)
    ]
    half = sparse.csr_matrix(np.floor(data.X.toarray() / 2))
    rest = sparse.csr_matrix(data.X) - half
    doubled = anndata.AnnData(
        sparse.hstack([half, rest], format="csr"),
        obs=data.obs,
        var=pd.DataFrame(index=[*data.var_names, *(f"{v}.3" for v in data.var_names)]),
    )
    cohort = load(written(doubled, tmp_path), n_cells=0, mixed=True)
    assert "columns of 18,791 genes summed" in next(
        line.found for line in cohort.report if line.name == "duplicate genes"
    )
    assert all(np.array_equal(a, b) for a, b in zip(cohort.tokens, expected.tokens, strict=True))


def test_too_few_tokens(shared_data):
    with pytest.raises(
        UserError,
        match=(
            r"tokens: \d+ / \d+ / 95 gene tokens per cell(.|\n)*a median of at least"
            r" 100(.|\n)*--min-tokens"
        ),
    ):
        load(shared_data / "cells" / "pbmc_small.h5ad", n_cells=0, panel=True)
    cohort = load(shared_data / "cells" / "pbmc_small.h5ad", n_cells=0, min_tokens=20, panel=True)
    assert "223 have a token" in next(
        line.found for line in cohort.report if line.name == "identifiers"
    )


def test_mixed_cell_lines_are_refused_unless_declared(annotated, tmp_path):
    path = written(annotated, tmp_path)
    with pytest.raises(
        UserError,
        match=(
            r"the 60 chosen cells mix 3 values of obs\['cell_line'\]: HepG2 30, K562 20, RPE1"
            r" 10(.|\n)*--where cell_line=HepG2"
        ),
    ):
        load(path)
    assert len(load(path, n_cells=0, mixed=True).row_ids) == 60
    one = load(path, n_cells=0, where=("cell_line=K562", "gene=non-targeting"))
    assert one.row_ids.tolist() == list(range(0, 20, 2))
    assert one.composition["cell_line"] == {"K562": 10} and one.composition["gene"] == {
        "non-targeting": 10
    }
    assert len(load(path, n_cells=0, where=("cell_line=K562,RPE1",)).row_ids) == 30
    assert len(load(path, n_cells=0, where=("cell_line=RPE1", "gem_group=2")).row_ids) == 5


@pytest.mark.parametrize(
    "name",
    ["Cell line", "cell.line", "cell-line", "CellLine", "CELL_LINE", "Cell Line Name", "Species"],
)
def test_populations_are_known_however_the_column_is_written(annotated, tmp_path, name):
    data = annotated.copy()
    data.obs[name] = data.obs.pop("cell_line")
    path = written(data, tmp_path)
    with pytest.raises(UserError, match=rf"mix 3 values of obs\['{name}'\]: HepG2 30"):
        load(path, n_cells=0)
    assert len(load(path, n_cells=0, where=[f"{name}=HepG2"]).row_ids) == 30
    assert load(path, n_cells=0, mixed=True).composition[name]["K562"] == 20
    data.obs[name] = "K562"
    line = next(one for one in load(written(data, tmp_path)).report if one.name == "population")
    assert line.found == f"one value each in {name}"


def test_training_cells_are_held_to_the_same_rule(annotated, tmp_path):
    config = TrainConfig(model="", cells=written(annotated, tmp_path), out=tmp_path)
    with pytest.raises(UserError, match="mix 3 values"):
        load_cohort(config, geneformer_v2(), 258)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (
            "cell_lines=K562",
            (
                r"no column 'cell_lines'; it has cell_line, gene, gem_group(.|\n)*did you mean"
                r" 'cell_line'"
            ),
        ),
        (
            "cell_line=k-562",
            r"no cell has cell_line = 'k-562'; cell_line holds HepG2 \(30\), K562 \(20\)",
        ),
        ("cell_line=K56", "did you mean 'K562'"),
        ("cell_line", "not COLUMN=VALUE"),
        ("=K562", "not COLUMN=VALUE"),
        ("cell_line=", "not COLUMN=VALUE"),
    ],
)
def test_wrong_filters_name_what_exists(annotated, tmp_path, where, expected):
    with pytest.raises(UserError, match=expected):
        load(written(annotated, tmp_path), where=(where,))


def test_filters_that_exclude_each_other(annotated, tmp_path):
    data = annotated.copy()
    data.obs["half"] = ["a"] * 20 + ["b"] * 40
    with pytest.raises(UserError, match="no cell of 60 passes all filters"):
        load(written(data, tmp_path), where=("half=b", "cell_line=K562"))


def test_duplicate_barcodes_are_refused(annotated, tmp_path):
    data = annotated.copy()
    names = list(data.obs_names)
    names[5] = names[4]
    data.obs_names = names
    with pytest.raises(
        UserError,
        match=r"barcodes: 1 names occur more than once, such as Cell_5(.|\n)*obs_names_make_unique",
    ):
        load(written(data, tmp_path), where=("cell_line=K562",))
    assert len(load(written(data, tmp_path), n_cells=0, where=("cell_line=HepG2",)).row_ids) == 30


def test_empty_cells_are_left_out_and_replaced(annotated, tmp_path):
    data = annotated.copy()
    dense = data.X.toarray()
    dense[::4] = 0
    data.X = sparse.csr_matrix(dense)
    path = written(data, tmp_path)
    cohort = load(path, n_cells=0, mixed=True)
    assert len(cohort.row_ids) == 45 and not (cohort.row_ids % 4 == 0).any()
    assert "15 without counts skipped" in next(
        line.found for line in cohort.report if line.name == "cells"
    )
    assert len(load(path, n_cells=40, mixed=True).row_ids) == 40
    data.X = sparse.csr_matrix(data.X.shape, dtype=np.float32)
    with pytest.raises(
        UserError, match="no matrix of the file can be converted back to counts; X: empty"
    ):
        load(written(data, tmp_path), mixed=True)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN or infinite"), (-1.0, "negative")])
def test_one_bad_value_among_all_cells_is_found(annotated, tmp_path, value, word):
    data = annotated.copy()
    data.X.data[-1] = value
    with pytest.raises(UserError, match=word):
        load(written(data, tmp_path), mixed=True)


def test_unknown_layer_key(annotated, tmp_path):
    with pytest.raises(UserError, match="layer 'umis' does not exist; the file has X"):
        load(written(annotated, tmp_path), layer_key="umis", mixed=True)


def test_length_beyond_the_model(demo):
    with pytest.raises(UserError, match="--max-length 4096 exceeds the limit of 258 tokens"):
        load_cohort(CellsConfig(cells=demo, max_length=4096), geneformer_v2(), 258)
    assert (
        max(
            map(
                len,
                load_cohort(CellsConfig(cells=demo, max_length=102), geneformer_v2(), 258).tokens,
            )
        )
        == 102
    )
