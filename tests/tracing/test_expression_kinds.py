"""Files of every kind that holds cells: read alike, or refused with the way to convert them."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import zipfile

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.tracing.cells import filters
from scircuit.tracing.cells.expression_files import content_sha256, open_expression
from scircuit.tracing.cells.storage import stored_nodes
from tests.tracing.test_h5ad_sweep import Outcomes, digest, small_h5ad

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:anndata", "ignore::UserWarning:contextlib"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_h5ad(tmp_path_factory.mktemp("kinds") / "cells.h5ad")


@pytest.fixture(scope="module")
def data(whole):
    return anndata.read_h5ad(whole)


def packed(whole, folder):
    path = folder / "cells.h5ad.gz"
    path.write_bytes(gzip.compress(whole.read_bytes()))
    return path


def zarr_folder(data, folder, version):
    path = folder / "cells.zarr"
    before = anndata.settings.zarr_write_format
    anndata.settings.zarr_write_format = version
    try:
        data.write_zarr(path)
    finally:
        anndata.settings.zarr_write_format = before
    return path


def zipped(store, folder, below=""):
    path = folder / "cells.zarr.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in sorted(p for p in store.rglob("*") if p.is_file()):
            archive.write(member, below + member.relative_to(store).as_posix())
    return path


def mudata(whole, folder, modalities=("rna", "prot")):
    """A MuData file: a group per modality, and annotations of all cells."""
    path = folder / "cells.h5mu"
    with h5py.File(path, "w") as file, h5py.File(whole) as source:
        file.attrs["encoding-type"] = "MuData"
        for name in modalities:
            group = file.create_group(f"mod/{name}")
            for part in source:
                source.copy(part, group)
        names = [f"cell{i}" for i in range(6)]
        shared = pd.DataFrame({"donor": list("ababab"), "rna:n": range(6)}, index=names[::-1])
        anndata.io.write_elem(file, "obs", shared)
        anndata.io.write_elem(file, "var", pd.DataFrame(index=["g1"]))
    return path


@pytest.mark.parametrize(
    "kind", ["gzip", "zarr 2", "zarr 3", "zip", "zip with a folder", "h5mu", "zstd"]
)
def test_every_kind_reads_alike(whole, data, tmp_path, kind):
    if kind == "gzip":
        path = packed(whole, tmp_path)
    elif kind.startswith("z") and kind != "zstd":
        path = zarr_folder(data, tmp_path, 3 if kind == "zarr 3" else 2)
        if kind.startswith("zip"):
            path = zipped(path, tmp_path, "cells.zarr/" if "folder" in kind else "")
    elif kind == "zstd":
        import hdf5plugin

        path = tmp_path / "cells.h5ad"
        data.write_h5ad(path, compression=hdf5plugin.FILTERS["zstd"])
    else:
        path = mudata(whole, tmp_path)
    outcomes = Outcomes(whole)
    assert outcomes.of(path) == outcomes.whole
    with open_expression(path) as expression, open_expression(whole) as plain:
        assert not expression.notes and expression.path == path
        shared = expression.obs[plain.obs.columns]
        pd.testing.assert_frame_equal(shared, plain.obs, check_dtype=False)
        if kind == "h5mu":
            assert expression.obs["donor"].tolist() == list("bababa")
            assert "rna:n" not in expression.obs
        else:
            assert list(expression.obs.columns) == list(plain.obs.columns)


def test_columns_are_what_anndata_reads(whole, data):
    with open_expression(whole) as expression:
        pd.testing.assert_frame_equal(expression.obs, data.obs)
        pd.testing.assert_frame_equal(expression.matrices["X"].var, data.var)
        assert (expression.matrices["raw/X"].rows(np.arange(6)) != data.raw.X).nnz == 0
        logged = expression.matrices["layers/logged"].rows(np.arange(6)).toarray()
        assert np.array_equal(logged, data.layers["logged"])


def test_the_hash_of_a_folder_sees_names_and_contents(data, tmp_path):
    path = zarr_folder(data, tmp_path, 2)
    before = content_sha256(path)
    shutil.copytree(path, tmp_path / "again")
    assert content_sha256(tmp_path / "again") == before
    (path / ".zattrs").rename(path / ".other")
    renamed = content_sha256(path)
    (path / ".other").write_text("{}")
    assert len({before, renamed, content_sha256(path)}) == 3


def pickled(folder):
    """An obs column of objects that Python must unpickle."""
    path = folder / "cells.zarr"
    meta = json.loads((path / "obs/n_genes/.zarray").read_text())
    meta["filters"] = [{"id": "pickle", "protocol": 5}]
    (path / "obs/n_genes/.zarray").write_text(json.dumps(meta))
    (path / ".zmetadata").unlink(missing_ok=True)
    return path


def test_pickles_inside_zarr_are_not_loaded(data, tmp_path):
    zarr_folder(data, tmp_path, 2)
    with open_expression(pickled(tmp_path)) as expression:
        assert "n_genes" not in expression.obs
        assert len(expression.notes) == 1 and "obs['n_genes'] is left out" in expression.notes[0]


def test_codecs_that_are_pickles_are_refused():
    class Node:
        shape = (3,)
        filters = ("Pickle(protocol=5)",)
        compressor = None

        def __getitem__(self, _):
            raise AssertionError("was read")

    with pytest.raises(stored_nodes.Unreadable, match="Python pickles, which can run code"):
        stored_nodes.read(Node())


def test_zarr_with_damaged_parts(whole, data, tmp_path):
    outcomes = Outcomes(whole)
    whole_store = zarr_folder(data, tmp_path, 2).rename(tmp_path / "whole")
    (whole_store / ".zmetadata").unlink(missing_ok=True)
    path = tmp_path / "cells.zarr"
    for victim, refused in [
        ("X/.zarray", False),
        ("X/indptr/.zarray", True),
        ("X/.zattrs", True),
        ("obs/n_genes/.zarray", False),
        ("obs/_index/.zarray", True),
    ]:
        for content in (None, b"\xff\0noise"):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(whole_store, path)
            file = path / victim
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
            found = outcomes.of(path)
            if refused:
                assert isinstance(found, str) and "cells: cells.zarr" in found, (victim, content)
            else:
                assert isinstance(found, str) or found == outcomes.whole, (victim, content)


@pytest.mark.parametrize("part", ["data", "indices"])
@pytest.mark.parametrize("stored", ["zarr", "h5"])
def test_a_chunk_that_is_not_stored_is_not_read_as_zeros(whole, data, tmp_path, part, stored):
    if stored == "zarr":
        path = zarr_folder(data, tmp_path, 2)
        chunks = [p for p in (path / "X" / part).iterdir() if p.name.isdigit()]
        chunks[0].unlink()
    else:
        path = shutil.copy(whole, tmp_path / "cells.h5ad")
        with h5py.File(path, "r+") as file:
            values = file["X"][part][()]
            del file["X"][part]
            node = file["X"].create_dataset(part, values.shape, values.dtype, chunks=(2,))
            node[2:] = values[2:]
    with (
        pytest.raises(UserError, match=rf"{part}: 1 of \d+ chunks are not stored"),
        open_expression(path),
    ):
        pass


def test_gzip_that_ends_early_or_expands_too_far(whole, tmp_path, monkeypatch):
    path = packed(whole, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged gzip file"):
        digest(path)
    path.write_bytes(gzip.compress(whole.read_bytes() + bytes(300 << 20), 1))
    with pytest.raises(UserError, match="when expanded; at most"):
        digest(path)
    for inner, word in [(b"a,b\n1,2\n", "text file"), (b"X\n\0\0\0\3", "R data"), (b"", "empty")]:
        path.write_bytes(gzip.compress(inner))
        with pytest.raises(UserError, match=f"a gzip file that holds an? .*{word}"):
            digest(path)


def test_no_temporary_file_is_left(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = packed(whole, tmp_path)
    with open_expression(path):
        assert list((tmp_path / "temporary").iterdir())
    with pytest.raises(ZeroDivisionError), open_expression(path):
        raise ZeroDivisionError
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        (("prot", "atac"), "modalities atac, prot; expected one of RNA"),
        (("rna", "gex"), r"modalities gex, rna; expected one of RNA, named .*, found 2"),
        ((), "modalities none"),
    ],
)
def test_modalities_that_leave_a_doubt(whole, tmp_path, modalities, message):
    path = mudata(whole, tmp_path, modalities)
    if not modalities:
        with h5py.File(path, "a") as file:
            file.create_group("mod")
    with pytest.raises(UserError, match=message):
        digest(path)


def test_other_kinds_name_their_conversion(tmp_path):
    def made(name, content=b"", **members):
        path = tmp_path / name
        if members:
            with h5py.File(path, "w") as file:
                for member in members:
                    file.create_group(member)
        else:
            path.write_bytes(content)
        return path

    folder = tmp_path / "tenx"
    folder.mkdir()
    (folder / "matrix.mtx.gz").touch()
    for path, word in [
        (made("x.loom", matrix=0, row_attrs=0, col_attrs=0), "a loom file(.|\n)*read_loom"),
        (made("x.h5seurat", **{"assays": 0, "meta.data": 0}), "h5Seurat(.|\n)*Convert"),
        (folder, "matrix.mtx: scanpy.read_10x_mtx"),
        (made("x.csv", b"gene,c1\nTP53,4\n"), "text file(.|\n)*read_csv"),
        (made("x.mtx", b"%%MatrixMarket matrix"), "Matrix Market(.|\n)*read_10x_mtx"),
        (made("x.rds", gzip.compress(b"X\n\0\0\0\3\0")), "R data file(.|\n)*zellkonverter"),
        (made("x.h5ad.zst", b"\x28\xb5\x2f\xfdxyz"), "compressed with Zstandard; decompress"),
        (made("x.h5ad", b"PK\x03\x04 nothing"), "a zip archive"),
    ]:
        with pytest.raises(UserError, match=word):
            digest(path)


def unknown_filter(whole, data, folder):
    """A file whose X and one column are compressed with a filter that nobody has."""
    import hdf5plugin

    path = folder / "cells.h5ad"
    data.write_h5ad(path, compression=hdf5plugin.FILTERS["zstd"])
    content = path.read_bytes()
    number = hdf5plugin.FILTERS["zstd"]
    assert content.count(number.to_bytes(2, "little") + b"p\0") > 3
    path.write_bytes(
        content.replace(number.to_bytes(2, "little") + b"p\0", (999).to_bytes(2, "little") + b"p\0")
    )
    return path


def test_a_missing_filter_is_not_damage(whole, data, tmp_path):
    path = unknown_filter(whole, data, tmp_path)
    with pytest.raises(UserError) as caught:
        digest(path)
    assert "filter 999" in str(caught.value) and "pip install hdf5plugin" in caught.value.fix
    assert "damaged" not in str(caught.value)


def test_a_column_with_a_missing_filter_stops_nothing(whole, tmp_path, monkeypatch):
    real = stored_nodes._missing_filters
    monkeypatch.setattr(
        stored_nodes,
        "_missing_filters",
        lambda node: ["32015 (Zstandard)"] if "batch" in node.name else real(node),
    )
    with open_expression(whole) as expression:
        assert "batch" not in expression.obs and len(expression.obs.columns) == 5
        assert "filter 32015 (Zstandard), which is not installed" in expression.notes[0]


def test_without_hdf5plugin_its_name_is_given(data, tmp_path):
    import hdf5plugin

    path = tmp_path / "cells.h5ad"
    data.write_h5ad(path, compression=hdf5plugin.FILTERS["zstd"])
    code = (
        "import sys; sys.modules['hdf5plugin'] = None\n"
        "from scircuit.tracing.cells.expression_files import open_expression\n"
        f"with open_expression({str(path)!r}): pass"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "32015 (Zstandard), which is not installed" in run.stderr, run.stderr


def test_a_file_that_another_program_writes(whole, tmp_path):
    path = tmp_path / "cells.h5ad"
    shutil.copy(whole, path)
    code = f"import h5py\nf = h5py.File({str(path)!r}, 'a'); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(UserError, match="is open for writing in another program"):
            digest(path)
        writer.communicate("\n")
    digest(path)


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("indices", lambda v, at: v.__setitem__(3, 10**6), "indices holds 1000000, outside"),
        ("indices", lambda v, at: v.__setitem__(3, -2), "indices holds -2, outside"),
        ("indices", lambda v, at: v.__setitem__(at + 1, v[at]), "twice"),
        ("indptr", lambda v, at: v.__setitem__(2, v[3] + 1), "indptr falls from"),
        ("indptr", lambda v, at: v.__setitem__(0, 1), "indptr runs from 1 to"),
        ("indptr", lambda v, at: v.__setitem__(-1, v[-1] + 9), "indptr runs from 0 to"),
    ],
)
def test_pointers_and_indices_that_cannot_be(data, tmp_path, form, part, change, message):
    made = anndata.AnnData(getattr(sparse, f"{form}_matrix")(data.X), var=data.var[[]])
    path = tmp_path / "cells.h5ad"
    made.write_h5ad(path)
    with h5py.File(path, "a") as file:
        values = file[f"X/{part}"][:]
        at = int(file["X/indptr"][np.argmax(np.diff(file["X/indptr"][:]) > 1)])
        change(values, at)
        file[f"X/{part}"][:] = values
    with (
        pytest.raises(UserError, match=f"X cannot be read: .*{message}"),
        open_expression(path) as e,
    ):
        e.matrices["X"].rows(np.arange(6))


def test_indices_in_another_order_are_sorted(data, tmp_path):
    counts = sparse.csr_matrix(data.X)
    for row in range(6):
        span = slice(counts.indptr[row], counts.indptr[row + 1])
        counts.indices[span] = counts.indices[span][::-1].copy()
        counts.data[span] = counts.data[span][::-1].copy()
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(counts, var=data.var[[]]).write_h5ad(path)
    with h5py.File(path) as file:
        assert (np.diff(file["X/indices"][:5]) < 0).all()
    with open_expression(path) as expression:
        assert (expression.matrices["X"].rows(np.arange(6)) != sparse.csr_matrix(data.X)).nnz == 0


def test_attributes_as_other_languages_write_them(whole, tmp_path):
    """Bytes, and lists of one; text of a fixed width."""
    path = tmp_path / "cells.h5ad"
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        file["X"].attrs["encoding-type"] = np.array([b"csr_matrix"])
        file["obs"].attrs["_index"] = np.bytes_(b"_index")
        file["var"].attrs["column-order"] = np.array([b"n_cells", b"highly_variable"])
        names = file["var/_index"][:]
        del file["var/_index"]
        file["var/_index"] = names.astype("S30")
    outcomes = Outcomes(whole)
    assert outcomes.of(path) == outcomes.whole
    with open_expression(path) as expression:
        assert not expression.notes
        assert all(isinstance(v, str) for v in expression.matrices["X"].var.index)


def test_errors_of_the_caller_keep_their_kind(whole):
    for error in (OSError("disk"), RuntimeError("torch"), KeyError("x")):
        with pytest.raises(type(error)), open_expression(whole):
            raise error


def old_categorical(whole, folder):
    """A column as anndata stored categories before 2021: codes that refer to a table."""
    path = folder / "cells.h5ad"
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        file["obs/__categories/organ"] = np.array([b"blood", b"liver"])
        file["obs/organ"] = np.array([0, 1, 1, -1, 0, 0], dtype=np.int8)
        file["obs/organ"].attrs["categories"] = file["obs/__categories/organ"].ref
        file["obs"].attrs["column-order"] = np.array([b"organ", b"n_genes"])
    return path


def test_categories_as_they_were_before_2021(whole, tmp_path):
    path = old_categorical(whole, tmp_path)
    with open_expression(path) as expression:
        assert expression.obs["organ"].astype(object).fillna("?").tolist() == [
            "blood", "liver", "liver", "?", "blood", "blood",
        ]  # fmt: skip
        assert list(expression.obs) == ["organ", "n_genes"]
    with h5py.File(path, "a") as file:
        file["obs/organ"][2] = 2
    with open_expression(path) as expression:
        assert "codes run from -1 to 2, but there are 2 categories" in expression.notes[0]
    with h5py.File(path, "a") as file:
        del file["obs/__categories"]
    with open_expression(path) as expression:
        assert "obs['organ'] is left out" in expression.notes[0]


def test_columns_of_newer_encodings_are_left_to_anndata(whole, tmp_path):
    """Known to the installed anndata: read; else left out by name, and asked for in vain."""
    path = tmp_path / "cells.h5ad"
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        file["obs/stamp"] = np.arange(6)
        file["obs/stamp"].attrs["encoding-type"] = "datetime-array"
        file["obs/stamp"].attrs["encoding-version"] = "0.1.0"
        order = [*file["obs"].attrs["column-order"], "stamp"]
        file["obs"].attrs["column-order"] = np.array(order, dtype=object)
    outcomes = Outcomes(whole)
    assert outcomes.of(path) == outcomes.whole
    with open_expression(path) as expression:
        assert "encoding 'datetime-array' 0.1.0 is not known" in expression.notes[0]
        with pytest.raises(UserError, match=r"obs\['stamp'\] cannot be read: its encoding"):
            filters.select(expression.obs, ["stamp=1"])
