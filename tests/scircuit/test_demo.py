"""The whole job through the command line, as a person runs it: real cells, real model, real Neo4j,
real gene sets.
"""

import json
import os
import re
import subprocess

import pytest

from scircuit.core import glossary
from tests.support.cli_process import PROGRAM


def scircuit(*arguments, cwd, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("NEO4J_")}
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=1500,
        **more,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One full demo; the server is stopped at the end."""
    folder = tmp_path_factory.mktemp("demo")
    result = scircuit("demo", "--json", cwd=folder)
    try:
        assert result.returncode == 0, result.stderr[-4000:]
        yield folder, json.loads(result.stdout.strip().splitlines()[-1]), result.stderr
    finally:
        scircuit("db", "stop", cwd=folder)


@pytest.mark.server
def test_the_numbers_are_there_and_agree(demo):
    _, found, _ = demo
    for key in (
        "edges_traced",
        "edges_in_graph",
        "features",
        "features_annotated",
        "null_annotation_rate",
        "zero_edit_max",
        "tail_alpha",
        "seconds",
        "report",
        "browser",
    ):
        assert key in found
    assert found["edges_in_graph"] == found["edges_traced"] > 10_000
    assert found["mlm_loss"] < found["unigram_loss"]
    # circuits: far more than random directions and a scrambled model have
    assert found["edges_computed"] > 1000
    assert found["expected_false"] < 0.1 * found["edges_computed"]
    assert found["scrambled_share"] < 0.15
    assert 0 <= found["null_annotation_rate"] <= 1
    assert found["zero_edit_max"] < 1e-4
    assert found["seconds"]["total"] < 3600


@pytest.mark.server
def test_every_active_feature_was_traced(demo):
    folder, found, _ = demo
    result = scircuit(
        "query",
        "--format",
        "json",
        "--cypher",
        "MATCH (f:Feature {layer: 1}) WHERE f.cells_active >= 2 RETURN count(f) AS active, sum(CASE"
        " WHEN f.traced THEN 1 ELSE 0 END) AS traced",
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    row = json.loads(result.stdout)[0]
    assert row["active"] == row["traced"] == found["sources"] > 100


@pytest.mark.server
def test_findings_are_node_properties(demo):
    folder, _, _ = demo
    result = scircuit(
        "query",
        "--format",
        "json",
        "--cypher",
        "MATCH (f:Feature) RETURN count(f.hub_rank) AS hubs, count(f.annotated) AS annotated,"
        " count(f.ablation_redundancy) AS ablated, count(f.steering_slope) AS steered,"
        " count(f.firing_rate) AS rates",
        cwd=folder,
    )
    row = json.loads(result.stdout)[0]
    assert all(row.values()), row


@pytest.mark.server
def test_graph_equals_the_shards(demo):
    folder, found, _ = demo
    import scircuit as sc
    from tests.support.graph_checksum import graph_checksums, shard_checksums

    study = folder / "scircuit-study"
    run = found["runs"]["trace"]
    with sc.connect(study) as connection:
        assert graph_checksums(connection, run) == shard_checksums(study / "runs" / run)


@pytest.mark.server
def test_the_report_stands_alone(demo):
    _, found, _ = demo
    with open(found["report"]) as file:
        page = file.read()
    assert page.count("data:image/svg+xml") >= 5
    for outside in ("http-equiv", 'src="http', "@import", "https://"):
        assert outside not in page.replace(glossary.PAGE, "")
    links = set(re.findall(r'href="(http[^"]*)"', page))  # followed on a click, never fetched
    assert links == {found["browser"], glossary.PAGE}


@pytest.mark.server
def test_status_tells_a_program_how_to_connect(demo):
    folder, found, _ = demo
    status = json.loads(scircuit("db", "status", "--json", cwd=folder).stdout)
    assert {"uri", "user", "password", "browser", "version", "pid", "home"} <= set(status)
    assert status["browser"] == found["browser"]
    assert "127.0.0.1" in status["uri"] or "localhost" in status["uri"]
    password_file = folder / "scircuit-study" / "neo4j" / "password"
    assert password_file.stat().st_mode & 0o077 == 0
    assert status["password"] is None and status["password_file"] == str(password_file)
    shown = json.loads(scircuit("db", "status", "--json", "--show-password", cwd=folder).stdout)
    assert shown["password"] == password_file.read_text().strip()
    with open(found["report"]) as file:
        assert shown["password"] not in file.read()


@pytest.mark.server
def test_the_second_time_computes_no_run_again(demo):
    folder, found, _ = demo

    def written():
        return {
            p: p.stat().st_mtime_ns
            for p in (folder / "scircuit-study" / "runs").rglob("*")
            if p.is_file() and p.name != "log"
        }

    before = written()
    again = scircuit("demo", "--json", cwd=folder)
    assert again.returncode == 0, again.stderr[-4000:]
    second = json.loads(again.stdout.strip().splitlines()[-1])
    assert second["runs"] == found["runs"]
    assert second["edges_in_graph"] == found["edges_in_graph"]
    assert written() == before


@pytest.mark.server
def test_the_graph_can_be_built_anew_from_the_runs(demo):
    import scircuit as sc
    from tests.support.graph_checksum import graph_checksums, shard_checksums

    folder, found, _ = demo
    study = folder / "scircuit-study"
    result = scircuit("db", "rebuild", cwd=folder)
    assert result.returncode == 0, result.stderr
    run = found["runs"]["trace"]
    with sc.connect(study) as connection:
        assert graph_checksums(connection, run) == shard_checksums(study / "runs" / run)
        assert connection.run("SHOW CONSTRAINTS YIELD name RETURN count(*) AS n")[0]["n"] > 10
