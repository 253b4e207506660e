"""Files on every scale, and with every choice of matrices, give exactly the tokens of the counts
they were made from, or are refused: 20 files a kind, at two sizes (14 small ones and 6 larger).
What is harmless must be read, and not refused.
"""

from collections import Counter
from functools import partial

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.tracing.cells.scale import judge, to_counts
from tests.support import cell_scales
from tests.support.cell_scales import EXPECTED, INVERTED, MIXTURES, NO_COUNTS, mixed
from tests.support.plain_tokens import Cells, draw, tokens
from tests.support.token_outcome import outcome

SIZES = {(14, 700): 14, (30, 3_000): 6}  # cells and genes -> files of a kind

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def drawn():
    """The cells of each size, 20 of each, and the tokens of their counts."""
    return {
        size: [(c, tokens(c.counts, c.genes)) for c in (draw(seed, *size) for seed in range(files))]
        for size, files in SIZES.items()
    }


def write(path, values, cells, obs=None):
    """A file of these values over all genes."""
    frame = pd.DataFrame(obs or {}, index=[f"cell{i}" for i in range(len(values))])
    stored = sparse.csr_matrix(values.astype(np.float32))
    data = anndata.AnnData(stored, obs=frame, var=pd.DataFrame(index=cells.genes))
    data.write_h5ad(path)
    return data


def name(kind):
    return "-".join(k.__name__ for k in kind) if isinstance(kind, tuple) else kind.__name__


@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
@pytest.mark.parametrize("kind", [*INVERTED, *EXPECTED], ids=name)
def test_counts_in_any_form_give_exactly_their_tokens(kind, size, drawn, tmp_path):
    for i, (cells, of_counts) in enumerate(drawn[size]):
        values = kind(cells.counts.astype(float), np.random.default_rng((size[1], i)))
        write(tmp_path / "cells.h5ad", values, cells)
        stored = values.astype(np.float32).astype(float)
        expected = tokens(stored, cells.genes) if kind in EXPECTED else of_counts
        what, said = outcome(tmp_path / "cells.h5ad", expected)
        assert what == "exact", said


@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
@pytest.mark.parametrize("kind", NO_COUNTS, ids=name)
def test_values_that_are_no_counts_are_refused(kind, size, drawn, tmp_path):
    for i, (cells, of_counts) in enumerate(drawn[size]):
        values = kind(cells.counts.astype(float), np.random.default_rng((size[1], i)))
        write(tmp_path / "cells.h5ad", values, cells)
        what, said = outcome(tmp_path / "cells.h5ad", of_counts)
        assert what == "refused" and "scale" in said and "fix: " in said


def one_more(counts, rng):
    return counts + 1


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (cell_scales.ranks, "rounded rates"),
        (cell_scales.rounded_over_lengths, "rounded rates"),
        (one_more, "1 was added"),
    ],
    ids=["ranks", "rates", "one more"],
)
def test_whole_numbers_of_another_kind_are_refused(kind, found, drawn, tmp_path):
    for i, (cells, of_counts) in enumerate(drawn[14, 700][:6]):
        values = kind(cells.counts.astype(float), np.random.default_rng(i))
        write(tmp_path / "cells.h5ad", values, cells)
        what, said = outcome(tmp_path / "cells.h5ad", of_counts)
        assert what == "refused" and found in said, said


@pytest.mark.parametrize(
    ("kind", "decimals", "wanted"),
    [
        (cell_scales.per_10k, 2, "exact"),
        (cell_scales.per_million, 4, "exact"),
        (cell_scales.log1p_per_10k, 4, "exact"),
        (cell_scales.log1p_per_10k, 3, ""),
        (cell_scales.log1p_per_10k, 2, "refused"),
    ],
)
def test_decimals_that_were_cut_off_leave_the_counts_or_the_file_is_refused(
    kind, decimals, wanted, drawn, tmp_path
):
    for cells, of_counts in drawn[14, 700][:6]:
        values = np.round(kind(cells.counts.astype(float), None), decimals)
        write(tmp_path / "cells.h5ad", values, cells)
        what, said = outcome(tmp_path / "cells.h5ad", of_counts)
        assert what == (wanted or what), said
        assert what == "exact" or f"rounded to {decimals} decimals" in said, said


@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
@pytest.mark.parametrize("kinds", MIXTURES, ids=name)
def test_a_mixture_is_refused_with_the_cells_of_each_kind(kinds, size, drawn, tmp_path):
    for i, (cells, of_counts) in enumerate(drawn[size]):
        others = (1, 2, size[0] // 2)[i % 3]
        values = mixed(*kinds, cells.counts.astype(float), np.random.default_rng(i), others)
        study = ["A"] * (size[0] - others) + ["B"] * others
        write(tmp_path / "cells.h5ad", values, cells, {"study": pd.Categorical(study)})
        what, said = outcome(tmp_path / "cells.h5ad", of_counts)
        assert what == "refused"
        assert f"{size[0] - others} of {size[0]} cells hold" in said, said
        assert f"cell{size[0] - others}" in said and "--where study=A" in said, said


def cut(matrix, keep):
    return sparse.csr_matrix(matrix[:, keep].astype(np.float32))


def two_matrices(cells, x, genes, raw):
    """X over some genes beside raw over all."""
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(len(x))])
    data = anndata.AnnData(sparse.csr_matrix(x.astype(np.float32)), obs=obs)
    data.var_names = [cells.genes[j] for j in genes]
    data.raw = anndata.AnnData(
        sparse.csr_matrix(raw.astype(np.float32)), obs=obs, var=pd.DataFrame(index=cells.genes)
    )
    return data


def variable_counts_beside_all_counts(cells, keep, rng):
    return two_matrices(cells, cells.counts[:, keep], keep, cells.counts)


def variable_logs_beside_all_counts(cells, keep, rng):
    x = cell_scales.log1p_per_10k(cells.counts, rng)[:, keep]
    return two_matrices(cells, x, keep, cells.counts)


def scaled_beside_all_logs(cells, keep, rng):
    x = cell_scales.scaled(cells.counts, rng)[:, keep]
    return two_matrices(cells, x, keep, cell_scales.log1p_per_10k(cells.counts, rng))


def variable_count_layer_beside_all_logs(cells, keep, rng):
    counts = cells.counts[:, keep]
    raw = cell_scales.log1p_per_10k(cells.counts, rng)
    data = two_matrices(cells, np.log1p(counts), keep, raw)
    data.layers["counts"] = sparse.csr_matrix(counts.astype(np.float32))
    return data


def logs_beside_a_count_layer(cells, keep, rng):
    x = np.log1p(cell_scales.per(cells.counts)).astype(np.float32)
    data = anndata.AnnData(sparse.csr_matrix(x), var=pd.DataFrame(index=cells.genes))
    data.layers["umi"] = sparse.csr_matrix(cells.counts.astype(np.float32))
    data.layers["scaled"] = cell_scales.scaled(cells.counts, rng).astype(np.float32)
    return data


def rates_beside_a_count_layer(cells, keep, rng):
    x = cell_scales.over_lengths(cells.counts, rng).astype(np.float32)
    data = anndata.AnnData(sparse.csr_matrix(x), var=pd.DataFrame(index=cells.genes))
    data.layers["raw_counts"] = sparse.csr_matrix(cells.counts.astype(np.float32))
    return data


def counts_of_some_cells_beside_all_logs(cells, keep, rng):
    """As after two files are put together of which one has no layer of counts."""
    x = np.log1p(cell_scales.per(cells.counts)).astype(np.float32)
    data = anndata.AnnData(sparse.csr_matrix(x), var=pd.DataFrame(index=cells.genes))
    some = cells.counts.astype(np.float32)
    some[len(some) // 2 :] = 0
    data.layers["counts"] = sparse.csr_matrix(some)
    return data


CHOICES = (
    counts_of_some_cells_beside_all_logs,
    variable_counts_beside_all_counts,
    variable_logs_beside_all_counts,
    scaled_beside_all_logs,
    variable_count_layer_beside_all_logs,
    logs_beside_a_count_layer,
    rates_beside_a_count_layer,
)


@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
@pytest.mark.parametrize("kind", CHOICES, ids=name)
def test_the_counts_of_most_genes_are_read_wherever_they_are(kind, size, drawn, tmp_path):
    for i, (cells, expected) in enumerate(drawn[size]):
        rng = np.random.default_rng(i)
        keep = np.sort(rng.choice(size[1], size[1] // 5 * (1 + i % 3), replace=False))
        kind(cells, keep, rng).write_h5ad(tmp_path / "cells.h5ad")
        what, said = outcome(tmp_path / "cells.h5ad", expected)
        assert what == "exact" and "left aside: " in said, said


def shapes_of_cells(seed):
    """Counts as different methods give them: small and deep, thin, skewed, over many genes."""
    rng = np.random.default_rng(seed)
    mean, spread, genes, cells, depth = [
        (0.0, 1.6, 700, 14, 0.3),  # a small table of frequent genes
        (1.5, 1.0, 700, 14, 0.4),  # a deep one
        (-3.0, 1.9, 6_000, 30, 0.5),  # droplets, thin
        (-1.5, 1.9, 5_000, 20, 0.4),  # droplets, deep
    ][seed % 4]
    means = rng.lognormal(mean, spread, genes) * rng.lognormal(0, depth, cells)[:, None]
    return rng.poisson(rng.gamma(2.0, means / 2.0)).astype(float), rng


def verdict(values):
    """``refused``, or the counts that would be read."""
    stored = sparse.csr_matrix(values.astype(np.float32)).astype(float)
    scale, _, misfits = judge(stored)
    return "refused" if not scale.usable or len(misfits) else to_counts(stored, scale).toarray()


def test_false_refusals_and_missed_faults_are_rare():
    """Of 240 harmless sets of cells at most 1 % are refused; of 240 faulty ones none is missed."""
    refused, missed = Counter(), Counter()
    harmless = [*INVERTED, *EXPECTED, partial(cell_scales.raw)]
    for seed in range(240):
        counts, rng = shapes_of_cells(seed)
        kind = harmless[seed // 4 % len(harmless)]
        if isinstance(verdict(kind(counts, rng)), str):
            refused[str(kind)] += 1
        fault = NO_COUNTS[seed // 4 % len(NO_COUNTS)]
        if not isinstance(verdict(fault(counts, rng)), str):
            missed[fault.__name__] += 1
    assert sum(refused.values()) <= 2, refused
    assert not missed, missed


def test_real_cells_are_counts_thinned_or_cut(examples):
    """Real counts pass at every depth and over any random genes; their rounded logarithms never."""
    counts = anndata.read_h5ad(examples / "cells" / "celltypist_sample_559cells.h5ad").X
    for seed in range(30):
        rng = np.random.default_rng(seed)
        cells = counts[np.sort(rng.choice(559, (14, 30, 100)[seed % 3], replace=False))].toarray()
        thin = rng.binomial(cells.astype(int), (1.0, 0.3, 0.1)[seed // 3 % 3]).astype(float)
        some = thin[:, rng.random(thin.shape[1]) < (1.0, 0.3)[seed % 2]]
        assert not isinstance(verdict(some), str)
        full = thin[thin.sum(axis=1) > 0]
        for fault in (cell_scales.rounded_logs, cell_scales.logs_cut_to_integers):
            assert isinstance(verdict(fault(full, rng)), str), (seed, fault)


def test_cells_of_a_tuple_are_as_drawn(drawn):
    """The generator's cells are deep enough that faults can show."""
    for size in SIZES:
        for cells, expected in drawn[size]:
            assert isinstance(cells, Cells) and cells.counts.shape == size
            assert min(map(len, expected)) > 200
