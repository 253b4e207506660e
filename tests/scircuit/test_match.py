"""``scircuit match``: which runs it takes, what it writes, what it says, and what it refuses."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from scircuit.cli.verbs import match as command
from scircuit.core.address import Address, parse
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.workflows.importing import import_
from scircuit.workflows.match import LOADS, match

GENES = [f"ENSG{i:011d}" for i in range(400)]


def a_run(
    study,
    verb,
    layers,
    started="2026-01-01T00:00:00+00:00",
    status="complete",
    name="",
    columns=("rank", "mean_activation"),
):
    """A run with the genes of features; `layers` is model/set -> layer -> list of gene lists."""
    run = name or f"{verb}-{started[8:10]}{len(layers):08d}"
    store = ShardStore(
        study.run_folder(run),
        Manifest(run=run, verb=verb, config={}, inputs={}, version="0", started=started),
    )
    for where, by_layer in layers.items():
        model, dictionary = where.split("/")
        for layer, lists in by_layer.items():
            ids = [str(Address(model, dictionary, layer, i)) for i in range(len(lists))]
            rows = [
                (f, GENES[g], r + 1, 20.0 - r)
                for f, genes in zip(ids, lists, strict=True)
                for r, g in enumerate(genes)
            ]
            table = {"source": [r[0] for r in rows], "target": [r[1] for r in rows]} | {
                c: [r[k] for r in rows]
                for k, c in ((2, "rank"), (3, "mean_activation"))
                if c in columns
            }
            store.add(
                f"{model}.L{layer:02d}", {"Feature": pa.table({"id": ids}), LOADS: pa.table(table)}
            )
    store.finish(status)
    return run


def some(rng, n, like=None):
    """Random lists of 12 genes; each shares 8 with the list of the same number in `like`."""
    lists = []
    for k in range(n):
        base = [] if like is None else like[k][:8]
        lists.append(
            base + [int(g) for g in rng.permutation(400) if g not in base][: 12 - len(base)]
        )
    return lists


@pytest.fixture
def study(tmp_path):
    rng = np.random.default_rng(0)
    place = Study(tmp_path / "study")
    first = some(rng, 40)
    a_run(place, "annotate", {"m/own": {1: first, 2: some(rng, 40, first)}}, name="annotate-own")
    a_run(place, "import", {"other/atlas": {0: some(rng, 40, first)}}, name="import-atlas")
    a_run(
        place,
        "trace",
        {"m/own": {1: some(rng, 40), 5: some(rng, 40)}},
        "2026-02-01T00:00:00+00:00",
        name="trace-own",
    )
    a_run(
        place,
        "annotate",
        {"m/own": {1: some(rng, 40)}},
        "2026-02-01T00:00:00+00:00",
        status="failed",
        name="annotate-failed",
    )
    return place


def test_pairs_of_the_same_genes_are_linked_once(study):
    found = match(study=study.root, database=False, quiet=True)
    table = found.table("Feature-SAME_GENES-Feature")
    pairs = {(a, b) for a, b in zip(table.source, table.target, strict=True)}
    planted = {(f"m/own/L01/F{i:04d}", f"m/own/L02/F{i:04d}") for i in range(40)} | {
        (f"m/own/{layer}/F{i:04d}", f"other/atlas/L00/F{i:04d}")
        for layer in ("L01", "L02")
        for i in range(40)
    }
    assert len(pairs) == len(table) and len(pairs & planted) > 100 and len(pairs - planted) <= 3
    assert all(parse(a) < parse(b) for a, b in pairs)
    first = table[(table.source == "m/own/L01/F0000") & (table.target == "m/own/L02/F0000")].iloc[0]
    weights = np.arange(20.0, 8, -1) / np.arange(20.0, 8, -1).sum()
    shared = (
        weights[:8].sum()
    )  # the genes planted have the same ranks in both lists; further ones are shared by chance
    assert (
        first.shared >= 8
        and first.overlap >= shared / (2 - shared) - 1e-3
        and first.p <= first.q <= 0.01
    )
    manifest = Manifest.load(found.folder)
    assert set(manifest.parents) == {"annotate-own", "import-atlas"}
    f = found.findings
    assert f["pairs_tested"] == 3 * 40 * 40 == sum(x["pairs"] for x in f["families"]) and f[
        "pairs_stored"
    ] == len(table)
    assert {(x["first"], x["second"]) for x in f["families"]} == {("m", "m"), ("m", "other")}
    assert f["next_layer"]["m/own"]["share"] > 0.9 > 0.3 > f["next_layer"]["m/own"]["null_share"]
    assert all("random lists" in s for s in found.sentences[:4])
    again = match(study=study.root, database=False, quiet=True)
    assert again.run == found.run and not again.new and again.sentences == found.sentences


def test_a_dictionary_is_taken_from_its_newest_complete_run(study):
    before = match(study=study.root, database=False, quiet=True)
    rng = np.random.default_rng(1)
    a_run(
        study,
        "annotate",
        {"m/own": {2: some(rng, 40)}},
        "2026-03-01T00:00:00+00:00",
        name="annotate-new",
    )
    after = match(study=study.root, database=False, quiet=True)
    assert after.run != before.run
    assert Manifest.load(after.folder).inputs["dictionaries"] == {
        "m/own/L01": "annotate-own",
        "m/own/L02": "annotate-new",
        "other/atlas/L00": "import-atlas",
    }
    assert not after.table("Feature-SAME_GENES-Feature").source.str.startswith("m/own/L02").any(), (
        "the new lists are of other genes"
    )
    named = match(
        study=study.root, database=False, quiet=True, runs=("annotate-own", "import-atlas")
    )
    assert named.run == before.run, "naming the runs that are taken anyway is the same run"


def test_only_between_models(study):
    found = match(study=study.root, database=False, quiet=True, within_model=False)
    assert {(x["first"], x["second"]) for x in found.findings["families"]} == {
        ("m", "other")
    } and not found.findings["next_layer"]


def test_lists_without_ranks_or_activations(tmp_path):
    study = Study(tmp_path / "study")
    rng = np.random.default_rng(3)
    first = some(rng, 30)
    a_run(study, "annotate", {"m/s": {0: first}}, columns=())
    a_run(study, "import", {"n/s": {0: some(rng, 30, first)}}, columns=("rank",))
    assert (
        len(match(study=study.root, database=False, quiet=True).table("Feature-SAME_GENES-Feature"))
        >= 15
    )


def test_nothing_passes(tmp_path):
    study = Study(tmp_path / "study")
    rng = np.random.default_rng(4)
    a_run(study, "annotate", {"m/s": {0: some(rng, 30), 1: some(rng, 30)}})
    found = match(study=study.root, database=False, quiet=True)
    assert (
        found.findings["pairs_stored"] == 0
        and "0.0 % of the features of m/s" in str(found)
        and found.table("Feature-SAME_GENES-Feature").empty
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": ("annotate-missing",)}, "no run at"),
        ({"runs": ("annotate-failed",)}, "is failed"),
        ({"runs": ("import-atlas",)}, "known for 1 dictionaries .other/atlas/L00., expected two"),
        ({"runs": ("annotate-own",), "within_model": False}, "expected dictionaries of two models"),
        ({"q": 1.5}, "q is 1.5"),
        ({"top_genes": 2}, "top_genes is 2, expected at least 3"),
        ({"null_draws": 0}, "null_draws is 0"),
        ({"best": 0}, "best is 0"),
    ],
)
def test_refused(study, options, message):
    before = sorted(p.name for p in study.runs.iterdir())
    with pytest.raises(UserError, match=message):
        match(study=study.root, database=False, quiet=True, **options)
    assert sorted(p.name for p in study.runs.iterdir()) == before


def test_runs_without_genes_are_refused(tmp_path):
    study = Study(tmp_path / "study")
    with pytest.raises(UserError, match="no complete run of study"):
        match(study=study.root, database=False)
    ShardStore(
        study.run_folder("analyse-1"),
        Manifest(run="analyse-1", verb="analyse", config={}, inputs={}, version="0"),
    ).finish("complete")
    with pytest.raises(UserError, match=r"run analyse-1 \(analyse\) has no genes"):
        match(study=study.root, database=False, runs=("analyse-1",))


def test_on_the_command_line(study):
    result = CliRunner().invoke(
        command, ["--study", str(study.root), "--no-database", "--json", "--null-draws", "6"]
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["pairs_stored"] > 100 and all(f["draws"] >= 6 for f in said["families"])


def test_the_atlas_of_scgpt(shared_data, tmp_path):
    """Real lists: every stored pair's overlap from the atlas' files, and a null far below what is
    found.
    """
    folder = shared_data / "atlas" / "scgpt"
    import_(
        "atlas",
        study=tmp_path,
        database=False,
        quiet=True,
        path=folder,
        terms=shared_data / "atlas" / "term_library.json.gz",
    )
    found = match(study=tmp_path, database=False, quiet=True)
    table = found.table("Feature-SAME_GENES-Feature")
    (family,) = found.findings["families"]
    assert family["null_pairs"] <= 0.02 * family["passing"] and len(table) > 300
    lists = {}
    for path in (folder / f"layer_{n:02d}_features.json.gz" for n in (0, 4, 8)):
        layer = int(path.name[6:8])
        annotated = json.loads(
            gzip.decompress((folder / path.name.replace("features", "annotations")).read_bytes())
        )
        for feature in json.loads(gzip.decompress(path.read_bytes())):
            genes = annotated.get(str(feature["i"]), {}).get("genes", feature["tg"])
            lists[layer, feature["i"]] = {g["n"]: g["a"] for g in genes}
    sizes = [
        sum(len(x) >= 3 for (layer, _), x in lists.items() if layer == one) for one in (0, 4, 8)
    ]
    assert family["pairs"] == sizes[0] * sizes[1] + sizes[0] * sizes[2] + sizes[1] * sizes[2]
    for row in table.sample(200, random_state=0).itertuples():
        one, other = (lists[parse(a).layer, parse(a).index] for a in (row.source, row.target))
        shares = [{g: a / sum(x.values()) for g, a in x.items()} for x in (one, other)]
        s = sum(min(a, shares[1].get(g, 0)) for g, a in shares[0].items())
        assert row.shared == len(one.keys() & other.keys())
        # weights are rounded to 1 in 10,000
        assert row.overlap == pytest.approx(s / (2 - s), abs=0.002)
