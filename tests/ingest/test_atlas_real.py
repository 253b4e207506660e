"""The published atlases at hand: every record against a plain reading, the published counts, and
what is known to be wrong with them.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
from collections import Counter, defaultdict
from types import SimpleNamespace

import pyarrow as pa
import pytest

from scircuit.core import schema
from scircuit.core.config import ImportAtlasConfig
from scircuit.ingest.importers.atlas import atlas_source
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.atlas_oracles import (
    GENEFORMER,
    LAYER_COUNTS,
    NAMES,
    POSITIONS,
    PUBLISHED,
    SCGPT,
    address,
    column,
    features_of,
    keyed,
    record_counts,
)
from tests.support.atlas_plain import Plain, accession, infinite_odds, load, strict, text


@pytest.fixture(scope="module")
def gene_ids():
    known = geneformer_v2()
    return {**known.outside, **known.symbol_to_ensembl}


@pytest.fixture(scope="module", params=[SCGPT, GENEFORMER])
def imported(request, shared_data, gene_ids):
    """Source, its tables by kind, and the plain reading."""
    folder = shared_data / "atlas" / request.param
    if not folder.is_dir():
        pytest.skip(f"shared data: {folder} is absent")
    source = atlas_source.read(ImportAtlasConfig(path=folder), gene_ids)
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    for tables in source.units.values():
        for kind, table in tables().items():
            parts[kind].append(schema.conform(kind, table))
    tables = {
        kind: pa.concat_tables(found, promote_options="default") for kind, found in parts.items()
    }
    plain = Plain(folder)
    gc.freeze()  # millions of records that stay: collecting looks through them again and again
    yield SimpleNamespace(
        name=request.param, source=source, tables=tables, plain=plain, folder=folder
    )
    gc.unfreeze()


@pytest.fixture(scope="module")
def seen():
    """Nodes of the atlases read so far."""
    return {}


def test_every_record_is_there_once(imported, gene_ids, shared_data):
    """Acceptance 1: the counts of the graph are those of the files, and the published ones where
    all files are there.
    """
    plain, tables = imported.plain, imported.tables
    library = json.loads(
        gzip.decompress((shared_data / "atlas" / "term_library.json.gz").read_bytes())
    )["terms"]
    expected = record_counts(plain, imported.folder, library)
    assert {kind: table.num_rows for kind, table in tables.items()} == expected
    if len(plain.present["features"]) == plain.layers:
        for kind, count in PUBLISHED[imported.name].items():
            assert tables[kind].num_rows == count, kind
    assert (len(library), expected["Gene-MEMBER_OF-Term"]) == (2261, 36_587)
    for kind, table in tables.items():
        keys = ("id",) if kind in schema.NODES else ("source", "target")
        assert len(set(column(table, *keys))) == table.num_rows, f"{kind} has a record twice"


def test_both_atlases_meet_in_genes_and_terms(imported, seen):
    """3.1: one gene, term, library, cell type or tissue is one node, whichever atlas names it;
    compared when the second is read.
    """
    kinds = ("Gene", "Term", "GeneSetLibrary", "CellType", "Tissue")
    seen[imported.name] = {
        kind: set(imported.tables[kind].column("id").to_pylist()) for kind in kinds
    } | {"symbols": imported.plain.gene_symbols}
    if len(seen) == 2:
        a, b = seen[SCGPT], seen[GENEFORMER]
        assert len(a["Gene"] | b["Gene"]) == len(a["symbols"] | b["symbols"])
        assert len(a["Gene"] & b["Gene"]) >= len(a["symbols"] & b["symbols"]) > 4000
        assert a["Term"] == b["Term"] and a["GeneSetLibrary"] == b["GeneSetLibrary"]
        assert a["CellType"] <= b["CellType"] and a["Tissue"] == b["Tissue"]


def test_values_of_every_relationship(imported, gene_ids):
    """Each association with its numbers: nothing is shifted, rounded or swapped."""
    plain, tables, name = imported.plain, imported.tables, imported.name

    def id_of(symbol: str) -> str:
        return gene_ids.get(symbol) or f"symbol:{symbol}"

    loads = {
        (address(name, *at), id_of(symbol)): (rank, a, fc)
        for at, genes in plain.genes.items()
        for rank, (symbol, a, fc) in enumerate(genes, 1)
    }
    table = tables["Feature-LOADS_ON-Gene"]
    assert keyed(table, "rank", "mean_activation", "fire_count") == loads

    case = {s.upper(): s for s in plain.gene_symbols}
    enriched = {
        (address(name, layer, i), accession(o, t)): (
            p,
            None if infinite_odds(odds) else odds,
            True if infinite_odds(odds) else None,
            n,
            [case[g] for g in genes],
        )
        for layer, i, o, t, p, odds, n, genes in plain.terms
    }
    table = tables["Feature-ENRICHED_FOR-Term"]
    assert keyed(table, "q", "odds_ratio", "odds_infinite", "overlap", "genes") == enriched
    assert "p" not in table.column_names and set(column(table, "test", "origin")) == {
        ("fisher_ov2_bh", "published")
    }

    for key, kind in (("ct", "CellType"), ("ti", "Tissue")):
        table = tables[f"Feature-ACTIVE_IN-{kind}"]
        active = {
            (address(name, layer, i), what): (
                p,
                None if infinite_odds(odds) else odds,
                True if infinite_odds(odds) else None,
            )
            for layer, i, what, p, odds, _ in plain.active[key]
        }
        assert keyed(table, "q", "odds_ratio", "odds_infinite") == active
    assert sorted(tables["Feature-ACTIVE_IN-CellType"].column("cells").to_pylist()) == sorted(
        row[5] for row in plain.active["ct"]
    )

    links = {(address(name, a, i), address(name, b, j)): pmi for a, i, b, j, pmi in plain.links}
    table = tables["Feature-CO_OCCURS-Feature"]
    assert (
        dict(zip(column(table, "source", "target"), table.column("pmi").to_pylist(), strict=True))
        == links
    )
    best = {
        s: max(p for (a, _), p in links.items() if a == s)
        for s in {s for s, _ in list(links)[:200]}
    }
    assert all(
        pmi == best[s]
        for s, pmi, rank in column(table, "source", "pmi", "rank")
        if rank == 1 and s in best
    )


def test_values_of_every_feature(imported):
    """Properties of the features; the mean over all positions becomes the mean over active ones."""
    plain, name, rows = imported.plain, imported.name, features_of(imported)
    layouts = {
        layer: load(imported.folder, f"layer_{layer:02d}_positions.json")
        for layer in plain.present["positions"]
    }
    for (layer, i), row in plain.features.items():
        found = rows[address(name, layer, i)]
        assert (found["layer"], found["index"], found["alive"], found["fire_count"]) == (
            layer,
            i,
            not row["d"],
            row["fc"],
        )
        assert found["rare"] == (row["fc"] < 100) and found["svd_aligned"] == row["sv"]
        assert found["firing_rate"] == pytest.approx(row["f"], abs=6e-7)
        if row["ma"] > 0:
            assert found["mean_activation"] == pytest.approx(
                row["ma"] * POSITIONS[name] / row["fc"], rel=1e-12
            )
        else:
            assert found["mean_activation"] is None
        assert (found["published_label"] or "") == row["lb"] and found["published_terms"] == row[
            "na"
        ]
        assert [found["layout_x"], found["layout_y"]] == layouts[layer][i]
        assert found["top_genes"] == ([g for g, _, _ in plain.genes[layer, i]] or None)
        assert found["module"] == (
            None if row["m"] < 0 else f"{NAMES[name]}/L{layer:02d}/M{row['m']:02d}"
        )
        edges = plain.densities.get((layer, i), {})
        assert (found["string_density"], found["trrust_density"]) == (
            edges.get("STRING_edges"),
            edges.get("TRRUST_edges"),
        )
    assert not {"label", "annotated", "terms", "label_q"} & set(
        imported.tables["Feature"].column_names
    )


def test_per_layer_oracles(imported):
    """4.1 and 4.2, for the layers whose files are there."""
    plain, name = imported.plain, imported.name
    oracles = [line.split() for line in LAYER_COUNTS[name].strip().splitlines()]
    rows = imported.tables["Feature"].to_pylist()
    per_layer = defaultdict(list)
    for row in rows:
        per_layer[row["layer"]].append(row)
    tested = defaultdict(set)
    associations, types, tissues = Counter(), Counter(), Counter()
    for source in imported.tables["Feature-ENRICHED_FOR-Term"].column("source").to_pylist():
        tested[int(source.split("/")[2][1:])].add(source)
        associations[int(source.split("/")[2][1:])] += 1
    for counter, kind in ((types, "CellType"), (tissues, "Tissue")):
        counter.update(
            int(s.split("/")[2][1:])
            for s in imported.tables[f"Feature-ACTIVE_IN-{kind}"].column("source").to_pylist()
        )
    modules = Counter(
        i.split("/")[2] for i in imported.tables["Module"].column("id").to_pylist() if "/M" in i
    )
    members = Counter(
        s.split("/")[2]
        for s, t in column(imported.tables["Feature-MEMBER_OF-Module"], "source", "target")
        if "/M" in t
    )
    assert plain.present["features"]
    for layer, (alive, annotated, fdr, entries, groups, inside, ct, ti, rare) in enumerate(oracles):
        assert (modules[f"L{layer:02d}"], members[f"L{layer:02d}"]) == (
            int(groups),
            int(inside),
        ), layer
        if layer not in plain.present["features"]:
            continue
        features = per_layer[layer]
        assert sum(f["alive"] for f in features) == int(alive)
        assert sum(f["published_terms"] > 0 for f in features) == int(annotated)
        assert sum(f["published_terms"] for f in features) == int(entries)
        assert sum(f["rare"] and f["alive"] for f in features) == int(rare)
        assert (types[layer], tissues[layer]) == (int(ct), int(ti))
        if fdr != "-" and layer in plain.present["annotations"]:
            assert len(tested[layer]) == int(fdr)
            densities = sum(
                (f["string_density"] is not None) + (f["trrust_density"] is not None)
                for f in features
            )
            assert associations[layer] + densities == int(entries)


def test_entries_add_up_for_every_feature(imported):
    """Acceptance 3: na is the number of terms and densities of the feature."""
    rows = features_of(imported)
    terms = Counter(imported.tables["Feature-ENRICHED_FOR-Term"].column("source").to_pylist())
    annotated = [
        i
        for i, f in rows.items()
        if f["layer"] in imported.plain.present["annotations"] and f["published_terms"]
    ]
    assert annotated and sum(rows[i]["published_terms"] for i in annotated) == sum(
        map(imported.plain.entries, *zip(*imported.plain.features, strict=True))
    )
    for i in annotated:
        row = rows[i]
        assert row["published_terms"] == terms[i] + (row["string_density"] is not None) + (
            row["trrust_density"] is not None
        )


def test_members_of_modules_agree_with_the_features(imported):
    """Acceptance 4: MEMBER_OF and the module number of each feature say the same."""
    rows = features_of(imported)
    found = {
        s: t
        for s, t in column(imported.tables["Feature-MEMBER_OF-Module"], "source", "target")
        if "/M" in t
    }
    for i, row in rows.items():
        if row["layer"] in imported.plain.present["features"]:
            assert found.get(i) == row["module"]


def test_infinite_odds_are_flagged(imported):
    """Acceptance 5, and its counterpart where the other atlas divides by 1e-10."""
    plain = imported.plain
    expected = sum(infinite_odds(row[5]) for row in plain.terms) + sum(
        infinite_odds(row[4]) for rows in plain.active.values() for row in rows
    )
    flagged = 0
    for kind in (
        "Feature-ENRICHED_FOR-Term",
        "Feature-ACTIVE_IN-CellType",
        "Feature-ACTIVE_IN-Tissue",
    ):
        for odds, infinite in column(imported.tables[kind], "odds_ratio", "odds_infinite"):
            flagged += infinite is True
            assert (odds is None) == (infinite is True)
    assert flagged == expected == imported.source.findings["infinite_odds"]
    if imported.name == SCGPT:
        assert expected == sum(plain.infinite.values())
        if len(plain.present["celltypes"]) == plain.layers:
            assert (plain.infinite["celltypes"], plain.infinite["annotations"]) == (806, 11)


def test_missing_files_are_named(imported):
    """Acceptance 6: which layer lacks what is in the findings, the notes and on the dictionary."""
    plain = imported.plain
    expected = {
        str(layer): [k for k, there in plain.present.items() if layer not in there]
        for layer in range(plain.layers)
    }
    assert imported.source.findings["missing"] == {k: v for k, v in expected.items() if v}
    for row in imported.tables["Dictionary"].to_pylist():
        summary = json.loads(row["summary"])
        assert summary.get("missing", []) == expected[str(row["layer"])]
        assert summary["layer"] == plain.summary["layers"][row["layer"]]
        assert row["variance_explained"] == summary["layer"]["variance_explained"]
        assert (row["alive"], row["published_annotated"]) == (
            summary["layer"]["alive"],
            summary["layer"]["annotated"],
        )
    notes = " ".join(imported.source.notes)
    bare = {layer for layer, lacks in expected.items() if len(lacks) == len(plain.present)}
    assert ("no files for layer" in notes) == bool(bare)
    for kind in plain.present:
        assert (f"no {kind} file for layer" in notes) == any(
            kind in lacks for layer, lacks in expected.items() if layer not in bare
        )
    if imported.name == SCGPT and plain.present["features"] == [0, 4, 8]:
        assert "for layers 1-3, 5-7, 9-11" in notes
    if imported.name == GENEFORMER:
        assert all(expected[layer] == ["annotations"] for layer in ("0", "1", "2", "3", "11"))
        assert "no annotations file for layers 0-3, 11" in notes


def test_gene_index_is_rebuilt_byte_for_byte(imported):
    """Acceptance 7: the index that the web page reads, from the records alone; its git blob id is
    in the published tree.
    """
    plain = imported.plain
    if len(plain.present["features"]) < plain.layers:
        assert imported.name == SCGPT  # of which three layers are at hand: nothing to compare with
        return
    symbols = dict(column(imported.tables["Gene"], "id", "symbol"))
    rows = features_of(imported)
    index: dict[str, list] = {}
    for source, target, rank in sorted(
        column(imported.tables["Feature-LOADS_ON-Gene"], "source", "target", "rank"),
        key=lambda r: (r[0], r[2]),
    ):
        if rank <= 5:
            row = rows[source]
            module = int(row["module"].rsplit("M", 1)[1]) if row["module"] else -1
            entry = {
                "l": row["layer"],
                "i": row["index"],
                "r": rank - 1,
                "lb": (row["published_label"] or "")[:60],
                "m": module,
            }
            index.setdefault(symbols[target], []).append(entry)
    content = json.dumps(index, separators=(",", ":")).encode()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    published = {GENEFORMER: (24_434_953, "69e09617"), SCGPT: (6_138_397, "f25c57a0")}
    assert (len(content), blob[:8]) == published[imported.name]


def test_responses_that_divide_by_nothing(imported):
    """Acceptance 9: 193 of the 220 effects above 0.5, by the feature's own firings over all control
    positions.
    """
    if not imported.plain.perturbations:
        assert "Feature-RESPONDS_TO-Perturbation" not in imported.tables
        return
    fired = {i: f["fc"] for (layer, i), f in imported.plain.features.items() if layer == 11}
    rows = imported.tables["Feature-RESPONDS_TO-Perturbation"].to_pylist()
    expected = {
        (f"knockdown {t['gene']}", address(imported.name, 11, x["i"])): (x["es"], fired[x["i"]])
        for t in imported.plain.perturbations
        for x in t["top"]
    }
    assert {
        (r["target"], r["source"]): (r["effect"], r["control_firings"]) for r in rows
    } == expected
    large = [r for r in rows if abs(r["effect"]) > 0.5]
    assert (len(large), sum(r["degenerate"] for r in large)) == (220, 193)
    assert {r["control_firings"] for r in large if r["degenerate"]} <= set(range(19))
    # well-defined features never exceed 1.8, and with them 11 of the 100 knock-downs respond (6.3)
    assert max(abs(r["effect"]) for r in rows if not r["degenerate"]) <= 1.80
    assert len({r["target"] for r in large if not r["degenerate"]}) == 11


def test_files_that_are_not_json_are_read(imported):
    """Acceptance 10: a strict parser rejects some of scGPT's files, this importer none."""
    names = [
        p.name.removesuffix(".gz")
        for p in imported.folder.iterdir()
        if "ontology_index" not in p.name
    ]
    rejected = {n for n in names if not strict(text(imported.folder, n))}
    assert set(imported.source.findings["not_json"]) == rejected
    if imported.name == GENEFORMER:
        assert not rejected
    else:
        expected = {
            f"layer_{layer:02d}_celltypes.json" for layer in imported.plain.present["celltypes"]
        }
        expected |= {
            f"layer_{layer:02d}_annotations.json"
            for layer in (0, 3, 5, 8)
            if layer in imported.plain.present["annotations"]
        }
        assert rejected == expected


def test_causal_patching_is_on_its_layer(imported):
    """3.5, rule 6: layer 11 of Geneformer, layer 7 of scGPT."""
    layer = {GENEFORMER: 11, SCGPT: 7}[imported.name]
    expected = {
        address(imported.name, layer, row["i"]): (row["td"], row["od"], row["sr"])
        for row in imported.plain.causal["features"]
    }
    found = {
        i: (f["causal_target"], f["causal_other"], f["causal_ratio"])
        for i, f in features_of(imported).items()
        if f["causal_ratio"] is not None
    }
    assert found == expected and len(found) == 50


def test_clusters_of_features_without_annotation(imported):
    rows = {r["id"]: r for r in imported.tables["Module"].to_pylist()}
    for layer, cluster in imported.plain.clusters:
        row = rows[f"{NAMES[imported.name]}/L{layer:02d}/N{cluster['cluster_id']:02d}"]
        assert (row["overlap"], row["firing_rate"], row["genes"], row["size"]) == (
            cluster["mean_jaccard"],
            cluster["mean_activation_freq"],
            cluster["consensus_genes"],
            cluster["n_features"],
        )
    for m in imported.plain.modules:
        row = rows[f"{NAMES[imported.name]}/L{m['layer']:02d}/M{m['id']:02d}"]
        assert (row["size"], row["index"], row["top_terms"]) == (
            m["n"],
            m["id"],
            [t["t"] for t in m["top_anns"]],
        )


def test_anchors(imported):
    """7: single values that the specification names."""
    if imported.name == GENEFORMER:
        row = features_of(imported)[address(GENEFORMER, 11, 1023)]
        assert (row["fire_count"], row["module"], row["top_genes"][:2]) == (
            373_243,
            f"{NAMES[GENEFORMER]}/L11/M00",
            ["CENPE", "PLK1"],
        )
        assert (
            row["published_label"] == "Cell Cycle, Mitotic R-HSA-69278"
            and row["name"] == "L11/F1023 Cell Cycle, Mitotic"
        )
        assert (
            imported.tables["Feature-ENRICHED_FOR-Term"]
            .column("library")
            .to_pylist()
            .count("TRRUST-atlas")
            == 1484
        )
        assert imported.source.findings["counts"]["p_zero"] == 454
    zero = [row for row in imported.plain.terms if row[4] == 0]
    assert imported.source.findings["counts"]["p_zero"] == len(zero)
    assert not any("pairwise" in t for t in imported.tables["Term"].column("id").to_pylist())
