"""An imported atlas in a real Neo4j: bulk import and streaming give one graph, a second import
changes nothing, bad files leave nothing.
"""

from __future__ import annotations

import shutil

import pytest

from scircuit.core.errors import UserError
from scircuit.core.study import Study
from scircuit.ingest import server
from scircuit.ingest.graph.bulk_import import bulk_import
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.loader import prepare
from scircuit.ingest.graph.stream import load_run
from scircuit.workflows.importing import import_
from tests.support import atlas_tiny
from tests.support.graph_digest import graph_digest
from tests.support.neo4j_fixtures import start_brief

TINY = {**atlas_tiny.NAMES, "database": False, "quiet": True}


def folders(study: Study) -> list:
    return [study.run_folder(m.run) for m in study.manifests()]


def test_scgpt_in_bulk_and_as_a_stream(connection, shared_data, tmp_path):
    """One layer of the smaller atlas, and an invented one beside it."""
    study, atlas = Study(tmp_path / "study"), tmp_path / "scgpt"
    others = shutil.ignore_patterns("layer_04*", "layer_08*")
    shutil.copytree(shared_data / "atlas" / "scgpt", atlas, ignore=others)
    result = import_("atlas", path=atlas, study=study.root, database=False, quiet=True)
    import_("atlas", path=atlas_tiny.write(tmp_path / "tiny"), study=study.root, **TINY)
    home = tmp_path / "neo4j"
    start_brief(home, heap="512m", pagecache="128m")
    server.stop(home)
    try:
        report = bulk_import(folders(study), home)
        for folder in folders(study):
            load_run(connection, folder)
        streamed = graph_digest(connection)
        assert [load_run(connection, folder).loaded_rows for folder in folders(study)] == [0, 0]
        assert graph_digest(connection) == streamed
        info = start_brief(home, heap="512m", pagecache="128m")
        with Connection.open(Target(info.uri, info.user, info.password)) as imported:
            prepare(imported)
            assert graph_digest(imported) == streamed
            assert [load_run(imported, folder).loaded_rows for folder in folders(study)] == [0, 0]
    finally:
        server.stop(home)
    assert report.relationships == sum(d.count for kind, d in streamed.items() if "-" in kind)
    counts = result.findings["counts"]
    tiny = {"Feature": 24, "Feature-ENRICHED_FOR-Term": 6, "Feature-CO_OCCURS-Feature": 2}
    assert streamed["Feature"].count == counts["features"] + tiny["Feature"]
    assert (
        streamed["Feature-ENRICHED_FOR-Term"].count
        == counts["associations"] + tiny["Feature-ENRICHED_FOR-Term"]
    )
    assert (
        streamed["Feature-CO_OCCURS-Feature"].count
        == result.findings["links"] + tiny["Feature-CO_OCCURS-Feature"]
    )
    used = connection.run("MATCH (r:Run)-[:USED]->(x) RETURN r.id AS run, count(x) AS n ORDER BY n")
    assert [row["n"] for row in used] == [1 + 3 + 2, 1 + 12 + 3]
    row = connection.run(
        "MATCH (f:Feature {id: $id})-[e:ENRICHED_FOR]->(t:Term)-[:MEMBER_OF]->(l:GeneSetLibrary)"
        " RETURN e.origin AS origin, l.name AS library LIMIT 1",
        id="scgpt-whole-human/tabula-sapiens-x4-k32/L00/F0002",
    )
    assert row and row[0]["origin"] == "published" and row[0]["library"].endswith("-atlas")


def test_the_same_files_again_change_nothing(tmp_path):
    folder, study = atlas_tiny.write(tmp_path / "tiny"), Study(tmp_path / "study")
    first = import_("atlas", path=folder, study=study.root, **TINY)
    before = study.manifests()
    zipped = atlas_tiny.write(tmp_path / "zipped", zipped=True)
    again = [import_("atlas", path=place, study=study.root, **TINY) for place in (folder, zipped)]
    assert first.new and not any(r.new for r in again) and {r.run for r in again} == {first.run}
    assert study.manifests() == before


def test_bad_files_leave_no_run(tmp_path):
    contents, study = atlas_tiny.files(), Study(tmp_path / "study")
    contents["layer_02_annotations.json"]["1"]["anns"][0]["p"] = "often"
    with pytest.raises(UserError, match=r"layer_02_annotations\.json annotation 2: 'p' should be"):
        import_(
            "atlas", path=atlas_tiny.write(tmp_path / "bad", contents), study=study.root, **TINY
        )
    assert not study.manifests() and not list((tmp_path / "study").rglob("*.parquet"))


def test_two_atlases_of_one_name(tmp_path):
    study, contents = Study(tmp_path / "study"), atlas_tiny.files()
    first = import_(
        "atlas", path=atlas_tiny.write(tmp_path / "a", contents), study=study.root, **TINY
    )
    contents["layer_00_positions.json"][0] = [9.0, 9.0]
    other = atlas_tiny.write(tmp_path / "b", contents)
    with pytest.raises(
        UserError,
        match=(
            rf"already has another atlas called toy/tiny \(run {first.run}\); 1 files differ,"
            r" such as layer_00_positions.json"
        ),
    ):
        import_("atlas", path=other, study=study.root, **TINY)
    renamed = import_("atlas", path=other, study=study.root, **{**TINY, "dictionary_name": "other"})
    assert renamed.run != first.run and len(study.manifests()) == 2
    shutil.rmtree(other)
