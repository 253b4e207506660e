"""Atlas files that are damaged, edited, incomplete or no atlas: an error that names the fault, or a
complete import that says what is missing.
"""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest

from scircuit.core.config import ImportAtlasConfig
from scircuit.core.errors import UserError
from scircuit.ingest.importers.atlas import atlas_source
from tests.support import atlas_tiny

F0, A0, C0 = "layer_00_features.json", "layer_00_annotations.json", "layer_00_celltypes.json"


def read(folder, **options):
    return atlas_source.read(
        ImportAtlasConfig(path=folder, **{**atlas_tiny.NAMES, **options}), atlas_tiny.GENE_IDS
    )


def tables_of(source) -> dict[str, pa.Table]:
    found: dict[str, list[pa.Table]] = {}
    for unit in source.units.values():
        for kind, table in unit().items():
            found.setdefault(kind, []).append(table)
    return {
        kind: pa.concat_tables(parts, promote_options="default") for kind, parts in found.items()
    }


def everything(source) -> tuple:
    """Everything that two imports of one atlas must share."""
    return (
        dict(source.files),
        {k: t.to_pylist() for k, t in tables_of(source).items()},
        source.findings["counts"],
    )


def test_plain_and_gzipped_files_are_the_same_import(tmp_path):
    plain, zipped = atlas_tiny.write(tmp_path / "a"), atlas_tiny.write(tmp_path / "b", zipped=True)
    assert everything(read(plain)) == everything(read(zipped))


def test_both_forms_of_a_file(tmp_path):
    folder = atlas_tiny.write(tmp_path)
    raw = (folder / F0).read_bytes()
    (folder / f"{F0}.gz").write_bytes(gzip.compress(raw))
    assert read(folder).findings["counts"]["features"] == 24
    (folder / f"{F0}.gz").write_bytes(gzip.compress(raw.replace(b"2000", b"2001")))
    with pytest.raises(
        UserError,
        match=r"layer_00_features\.json and layer_00_features\.json\.gz in .* differ",
    ):
        read(folder)


def test_upper_case_genes_meet_their_symbols(tmp_path):
    found = tables_of(read(atlas_tiny.write(tmp_path)))
    genes = {row["symbol"]: row["id"] for row in found["Gene"].to_pylist()}
    assert (
        genes["C1orf1"] == "ENSG00000000099"
        and "C1ORF1" not in genes
        and genes["NOBODY"] == "symbol:NOBODY"
    )
    members = {(r["source"], r["target"]) for r in found["Gene-MEMBER_OF-Term"].to_pylist()}
    assert ("ENSG00000000099", "GO_BP-atlas:GO:0000001") in members and len(members) == 5
    overlap = found["Feature-ENRICHED_FOR-Term"].to_pylist()[0]["genes"]
    assert overlap == ["C1orf1", "GENE1"]
    sizes = {r["id"]: r["size"] for r in found["Term"].to_pylist()}
    assert sizes == {"GO_BP-atlas:GO:0000001": 9, "KEGG-atlas:Toy pathway": 5}


def test_without_a_term_library_terms_have_no_members(tmp_path):
    contents = atlas_tiny.files()
    library = contents.pop("term_library.json")
    source = read(atlas_tiny.write(tmp_path / "deep" / "atlas", contents))
    found = tables_of(source)
    assert found["Gene-MEMBER_OF-Term"].num_rows == 0 and found["Term"].column(
        "id"
    ).to_pylist() == ["GO_BP-atlas:GO:0000001"]
    assert any("no term library" in note for note in source.notes)
    beside = tmp_path / "deep" / "term_library.json"
    beside.write_text(json.dumps(library))
    assert tables_of(read(tmp_path / "deep" / "atlas"))["Gene-MEMBER_OF-Term"].num_rows == 5
    with pytest.raises(UserError, match="there is no term library"):
        read(tmp_path / "deep" / "atlas", terms=tmp_path / "nowhere.json")


def test_relationships_of_the_tiny_atlas(tmp_path):
    source = read(atlas_tiny.write(tmp_path))
    found = tables_of(source)
    links = {
        (r["source"][-9:], r["target"][-9:]): (r["pmi"], r["rank"])
        for r in found["Feature-CO_OCCURS-Feature"].to_pylist()
    }
    assert links == {("L00/F0001", "L02/F0003"): (6.0, 1), ("L00/F0001", "L02/F0002"): (4.0, 2)}
    responses = {
        r["source"][-9:]: (r["effect"], r["control_firings"], r["degenerate"])
        for r in found["Feature-RESPONDS_TO-Perturbation"].to_pylist()
    }
    assert responses == {"L01/F0000": (8.0, 50, True), "L01/F0005": (0.7, 6000, False)}
    stated = [r["variance_explained"] for r in found["Dictionary"].to_pylist()]
    assert stated == [0.8 + layer / 100 for layer in range(3)], "as the summary states it"
    feature = {r["id"]: r for r in found["Feature"].to_pylist()}
    assert (
        feature["toy/tiny/L01/F0002"]["causal_ratio"] == 2.0
        and feature["toy/tiny/L00/F0002"]["causal_ratio"] is None
    )
    assert feature["toy/tiny/L00/F0001"]["mean_activation"] == pytest.approx(2.0)
    assert (
        feature["toy/tiny/L00/F0007"]["module"] is None
        and feature["toy/tiny/L00/F0007"]["top_genes"] is None
    )
    assert {r["id"]: r["cells"] for r in found["CellType"].to_pylist()} == {
        "B cell": 30,
        "T cell": 9,
    }
    assert source.uses == {
        "Model": ("toy",),
        "Dictionary": ("toy/tiny/L00", "toy/tiny/L01", "toy/tiny/L02"),
        "GeneSetLibrary": tuple(found["GeneSetLibrary"].column("id").to_pylist()),
    }


@pytest.mark.parametrize("kind", ["features", "annotations", "celltypes", "positions"])
def test_one_missing_file_of_a_layer_is_reported(tmp_path, kind):
    contents = atlas_tiny.files()
    whole = tables_of(read(atlas_tiny.write(tmp_path / "whole", contents)))
    del contents[f"layer_01_{kind}.json"]
    source = read(atlas_tiny.write(tmp_path / "part", contents))
    assert source.findings["missing"] == {"1": [kind]}
    assert any(note.startswith(f"no {kind} file for layer 1:") for note in source.notes)
    found = tables_of(source)
    for table_kind, table in whole.items():
        if "Feature" in table_kind:
            key = "id" if table_kind == "Feature" else "source"
            kept = [r for r in found[table_kind].to_pylist() if "/L01/" not in r[key]]
            assert kept == [r for r in table.to_pylist() if "/L01/" not in r[key]], table_kind
    indices = {r["index"] for r in found["Feature"].to_pylist() if r["layer"] == 1}
    assert indices == (
        set(range(7)) if kind == "features" else set(range(8))
    )  # feature 7 is in no other file
    assert found["Feature-MEMBER_OF-Module"].num_rows == whole["Feature-MEMBER_OF-Module"].num_rows
    if kind == "features":
        # the long lists of the annotations file stand on their own, and firings are unknown
        assert [r["fire_count"] for r in found["Feature"].to_pylist() if r["layer"] == 1] == [
            None
        ] * 7
        assert {r["degenerate"] for r in found["Feature-RESPONDS_TO-Perturbation"].to_pylist()} == {
            None
        }
        assert (
            found["Feature-ENRICHED_FOR-Term"].num_rows
            == whole["Feature-ENRICHED_FOR-Term"].num_rows
        )


@pytest.mark.parametrize(
    "name",
    [
        "modules.json",
        "cross_layer_graph.json",
        "causal_patching.json",
        "perturbation_response.json",
        "novel_clusters.json",
    ],
)
def test_a_missing_global_file_is_reported(tmp_path, name):
    contents = atlas_tiny.files()
    del contents[name]
    if name == "causal_patching.json":  # it names the layer of the knock-downs
        del contents["perturbation_response.json"]
    source = read(atlas_tiny.write(tmp_path, contents))
    assert (
        any(name in note for note in source.notes) and source.findings["counts"]["features"] == 24
    )


def change(*path, to):
    """A change of one value: file, keys, new value."""

    def apply(contents):
        *head, last = path
        at = contents
        for key in head:
            at = at[key]
        if callable(to):
            to(at[last])
        else:
            at[last] = to

    return apply


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            change(F0, 2, "m", to=1),
            (
                r"layer 0: 1 features, such as 2, are in another module by modules\.json \(0\) than"
                r" by the features file \(1\)"
            ),
        ),
        (
            change(F0, 1, "na", to=5),
            (
                r"1 features of layer 0, such as 1, have a different number of entries in"
                r" layer_00_annotations\.json \(2\) than in the features file \(5\)"
            ),
        ),
        (change(F0, 3, "na", to=1), r"1 features of layer 0, such as 3"),
        (change(F0, 3, "i", to=2), r"layer_00_features\.json: index 2 occurs 2 times"),
        (change(F0, 3, "i", to=8), r"'8' is not an index from 0 to 7"),
        (change(F0, 3, "i", to="3"), r"record 3: 'i' should be int, found '3'"),
        (
            change(F0, to=lambda rows: rows.pop()),
            r"layer_00_features\.json has 7 features, the atlas has 8",
        ),
        (change(F0, 4, "fc", to=True), r"record 4: 'fc' should be int"),
        (
            change(F0, 4, to=lambda row: row.pop("ma")),
            r"record 4: 'ma' should be int or float, found 'nothing'",
        ),
        (change(F0, 4, "d", to=True), r"1 features, such as 4, are marked dead but fire"),
        (change(F0, 4, "tg", 0, "n", to=None), r"top gene \d+: 'n' should be str"),
        (
            change(A0, "0", "genes", 1, "n", to="GENE9"),
            r"layer 0, feature 0: gene 2 is GENE\d in the features file and GENE9",
        ),
        (change(A0, "0", "anns", 0, "o", to="Wiki"), r"unknown ontology 'Wiki'"),
        (change(A0, "0", "anns", 0, "p", to=1.5), r"p or density 1\.5 is not between 0 and 1"),
        (change(A0, "0", "anns", 0, "g", to=[3]), r"has an item that is not a gene symbol"),
        (
            change(
                A0,
                "0",
                "anns",
                1,
                to={
                    "o": "GO_BP",
                    "t": "Toy process (GO:0000001)",
                    "p": 0.1,
                    "or": 1.0,
                    "n": 2,
                    "g": [],
                },
            ),
            r"1 terms are listed twice for one feature",
        ),
        (
            change(A0, to=lambda rows: rows.update({"99": rows.pop("0")})),
            r"'99' is not an index from 0 to 7",
        ),
        (
            change(A0, "1", "anns", 0, "t", to="Another name (GO:0000001)"),
            r"GO_BP-atlas:GO:0000001 has two names",
        ),
        (
            change(C0, "features", to=lambda rows: rows.update({"-1": rows.pop("1")})),
            r"'-1' is not an index",
        ),
        (
            change(C0, "features", "1", "ct", 0, "p", to="small"),
            r"'p' should be int or float, found 'small'",
        ),
        (change(C0, to=[]), r"layer_00_celltypes\.json should be dict, found list"),
        (
            change("layer_00_positions.json", to=lambda rows: rows.pop()),
            r"should be 8 pairs of numbers, found 7 records",
        ),
        (change("layer_00_positions.json", 0, to=[1.0]), r"should be 8 pairs of numbers"),
        (
            change("modules.json", 0, "features", to=[0, 2, 4, 9]),
            r"layer 0, module 0: '9' is not an index",
        ),
        (change("modules.json", 0, "n", to=3), r"layer 0, module 0 lists 4 features, but states 3"),
        (
            change("modules.json", 1, "features", to=[1, 3, 0]),
            r"modules of layer 0: index 0 occurs 2 times",
        ),
        (change("modules.json", 1, "id", to=0), r"module ids of layer 0: index 0 occurs 2 times"),
        (change("modules.json", 0, "layer", to=7), r"'7' is not an index from 0 to 2"),
        (
            change("cross_layer_graph.json", "L00_L02", "deps", 0, "deps", 0, "b", to=8),
            r"source 1: '8' is not an index",
        ),
        (
            change(
                "cross_layer_graph.json",
                to=lambda pairs: pairs.update({"L00_L09": pairs.pop("L00_L02")}),
            ),
            r"L00_L09, layer: '9' is not an index",
        ),
        (change("causal_patching.json", "layer", to=3), r"'3' is not an index from 0 to 2"),
        (
            change("perturbation_response.json", "targets", 0, "top", 0, "i", to=50),
            r"GENE1: '50' is not an index",
        ),
        (
            change("novel_clusters.json", "0", "clusters", 0, "features", to=[2, 2]),
            r"index 2 occurs 2 times",
        ),
        (
            change("global_summary.json", "layers", 1, "alive", to=6),
            r"layer 1 has 7 alive features; global_summary\.json says 6",
        ),
        (
            change("global_summary.json", "n_layers", to=2),
            r"not an index from 0 to 1|files of layer 2",
        ),
        (
            change("term_library.json", "terms", "KEGG|Toy pathway", "size_in_pipeline", to=1),
            r"lists 2 genes .* of a set of 1",
        ),
        (change("term_library.json", "terms", to=[]), r"'terms' should be dict"),
    ],
)
def test_what_contradicts_is_refused(tmp_path, edit, message):
    contents = atlas_tiny.files()
    edit(contents)
    with pytest.raises(UserError, match=message):
        read(atlas_tiny.write(tmp_path, contents))


def test_a_layer_beyond_the_atlas(tmp_path):
    contents = atlas_tiny.files()
    contents["layer_03_features.json"] = contents[F0]
    with pytest.raises(UserError, match="there are files of layer 3, but the atlas has 3 layers"):
        read(atlas_tiny.write(tmp_path, contents))


def test_a_key_that_occurs_twice(tmp_path):
    folder = atlas_tiny.write(tmp_path)
    raw = (folder / A0).read_text()
    (folder / A0).write_text(raw[:-1] + ', "0": ' + json.dumps(json.loads(raw)["0"]) + "}")
    with pytest.raises(UserError, match="the key '0' occurs twice"):
        read(folder)


@pytest.mark.parametrize("raw", [b"", b"[", b"\xff\xfe{}", b"{'a': 1}", b"[" * 100_000])
def test_what_is_no_json(tmp_path, raw):
    folder = atlas_tiny.write(tmp_path)
    (folder / F0).write_bytes(raw)
    with pytest.raises(UserError, match=r"layer_00_features\.json is (not JSON|empty)"):
        read(folder)


@pytest.mark.parametrize("cut", [0.3, 0.99])
def test_a_truncated_gzip(tmp_path, cut):
    folder = atlas_tiny.write(tmp_path, zipped=True)
    path = folder / f"{C0}.gz"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * cut)])
    with pytest.raises(UserError, match=r"layer_00_celltypes\.json\.gz is a damaged gzip file"):
        read(folder)


def test_nan_is_unknown_and_counted(tmp_path):
    contents = atlas_tiny.files()
    contents[F0][3]["ma"] = float("nan")
    contents[A0]["0"]["anns"][0]["p"] = float("nan")
    source = read(atlas_tiny.write(tmp_path, contents))
    assert source.findings["not_json"] == {
        "layer_00_annotations.json": 2,
        "layer_00_features.json": 1,
        "layer_01_annotations.json": 1,
        "layer_02_annotations.json": 1,
    }
    found = tables_of(source)
    assert found["Feature"].to_pylist()[3]["mean_activation"] is None
    assert found["Feature-ENRICHED_FOR-Term"].to_pylist()[0]["q"] is None
    assert (
        found["Feature-ACTIVE_IN-Tissue"].to_pylist()[0]["odds_infinite"] is True
    )  # 5e14: a d / 1e-10


def test_what_is_no_atlas(tmp_path):
    with pytest.raises(UserError, match="cannot read the folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="and no file of an atlas"):
        read(tmp_path / "empty")
    contents = {n: c for n, c in atlas_tiny.files().items() if "features" not in n}
    with pytest.raises(
        UserError, match=r"has no layer_NN_features\.json and \d+ other files of an atlas"
    ):
        read(atlas_tiny.write(tmp_path / "rest", contents))


def test_unknown_shapes_need_names(tmp_path):
    folder = atlas_tiny.write(tmp_path)
    with pytest.raises(
        UserError,
        match=(
            r"no known atlas has 3 layers of 8 features \(known: geneformer-v2-316m: 18 layers"
            r" of 4,608 features"
        ),
    ):
        read(folder, model_name="")
    with pytest.raises(UserError, match="the model name 'My Model' may contain only"):
        read(folder, model_name="My Model")
    (folder / "global_summary.json").unlink()
    with pytest.raises(UserError, match="an unknown number of layers of 8 features"):
        read(folder)
