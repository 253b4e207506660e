"""Annotating a catalogue: labels, tables that fit the schema, honest rates, and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from scircuit.analysis.annotation.annotate_features import annotate, top_genes
from scircuit.analysis.annotation.sentences import annotation_sentences
from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.enrichment.matched_null import Rate
from scircuit.analysis.enrichment.overrepresentation import collect, overlaps
from scircuit.analysis.genesets.readers import read_gmt, shipped
from scircuit.analysis.genesets.trrust import shipped_trrust
from scircuit.analysis.report_page.annotation_claims import excess_sentence as report_sentence
from scircuit.core import schema
from scircuit.core.address import Address
from scircuit.core.config import AnnotateConfig
from scircuit.core.errors import UserError

TERM = "GO:0006364"  # rRNA processing


def ensembl(symbol):
    return f"ENSG_{symbol}"


def address(layer, index):
    return str(Address("m", "d-x4", layer, index))


@pytest.fixture(scope="module")
def study():
    """120 features: every third loads on rRNA processing, every sixth of the rest on GATA1 targets,
    others on random genes.
    """
    rng = np.random.default_rng(0)
    genes = sorted(shipped()[0].genes)
    genes = [genes[i] for i in rng.choice(len(genes), 5000, replace=False)]
    rrna = [g.upper() for t in shipped()[0].terms if t.accession == TERM for g in t.genes]
    gata1 = list(shipped_trrust().modes("GATA1"))
    genes = sorted(set(genes) | set(rrna) | set(gata1))
    detection = {
        ensembl(g): float(d) for g, d in zip(genes, rng.beta(0.5, 2, len(genes)), strict=True)
    }
    rows = []
    for f in range(120):
        own = (
            rng.choice(rrna, 10, replace=False).tolist()
            if f % 3 == 0
            else rng.choice(gata1, 8, replace=False).tolist()
            if f % 6 == 1
            else []
        )
        others = [g for g in rng.choice(genes, 40, replace=False) if g not in own]
        rows += [(2 + f % 2, f // 2, ensembl(g), 5 + rng.random(), 9) for g in own]
        rows += [(2 + f % 2, f // 2, ensembl(g), rng.random(), 4) for g in others]
        rows.append((2 + f % 2, f // 2, ensembl("AAAS"), 100.0, 1))
    return (
        pd.DataFrame(rows, columns=["layer", "index", "gene", "mean_activation", "fire_count"]),
        detection,
    )


def run(catalogue, detection, libraries=None, trrust=True, alive=None, **config):
    return annotate(
        catalogue,
        detection,
        shipped() if libraries is None else libraries,
        shipped_trrust() if trrust else None,
        symbol_of=lambda g: g.removeprefix("ENSG_"),
        ensembl_of=lambda s: ensembl(s.upper()) if s.isalnum() else None,
        address=address,
        config=AnnotateConfig(null_draws=5, **config),
        run="annotate-1",
        alive=alive,
    )


@pytest.fixture(scope="module")
def annotation(study):
    return run(*study)


def test_top_genes_need_enough_firings_and_break_ties_the_same_way():
    frame = pd.DataFrame(
        {
            "layer": 0,
            "index": [0] * 5 + [1],
            "gene": list("dcbaex"),
            "mean_activation": [1.0, 1.0, 2.0, 1.0, 9.0, 1.0],
            "fire_count": [3, 4, 3, 3, 2, 1],
        }
    )
    tops = top_genes(frame, 3, 3)
    assert tops.genes == [["b", "c", "a"], []]
    assert top_genes(frame.iloc[::-1], 3, 3).genes == tops.genes


def test_planted_features_get_their_label_and_tf(annotation):
    frame = annotation.frame
    planted = frame.iloc[
        [
            i
            for i in range(len(frame))
            if (frame["layer"].iloc[i] - 2 + 2 * frame["index"].iloc[i]) % 3 == 0
        ]
    ]
    assert planted["annotated"].mean() > 0.95
    assert planted["label"].str.contains("RNA|ribosom", case=False).mean() > 0.95
    gata = frame.iloc[
        [
            i
            for i in range(len(frame))
            if (frame["layer"].iloc[i] - 2 + 2 * frame["index"].iloc[i]) % 6 == 1
        ]
    ]
    assert (gata["best_tf"] == "GATA1").mean() > 0.5
    assert not any("AAAS" in genes for genes in frame["top_genes"])


def test_rates_stand_beside_the_null(annotation):
    rate = annotation.rates[0]
    assert (rate.library, rate.rule, rate.lists) == ("all", "calibrated", 120)
    assert rate.null_rate < 0.05 < rate.rate
    assert {r.library for r in annotation.rates} == {"all", "GO_BP", "Reactome", "TRRUST"}
    assert annotation.findings["annotation_rate"] == rate.rate
    assert annotation.findings["family_size"] == 120 * annotation.findings["terms"]
    assert "matched random" in annotation.sentence


def test_every_table_fits_the_schema_and_every_end_exists(annotation):
    tables = annotation.tables
    for kind, table in tables.items():
        assert table.schema.names[0] in ("id", "source")
        schema.conform(kind, table)
    genes, terms = (set(tables[k].column("id").to_pylist()) for k in ("Gene", "Term"))
    features = set(tables["Feature"].column("id").to_pylist())
    libraries = set(tables["GeneSetLibrary"].column("id").to_pylist())
    ends = {"Feature": features, "Gene": genes, "Term": terms, "GeneSetLibrary": libraries}
    for kind in (k for k in tables if "-" in k):
        source, _, target = kind.split("-")
        assert set(tables[kind].column("source").to_pylist()) <= ends[source]
        assert set(tables[kind].column("target").to_pylist()) <= ends[target]
    assert tables["Gene-REGULATES-Gene"].num_rows == 8427 and set(
        tables["Gene-REGULATES-Gene"].column("library").to_pylist()
    ) == {"TRRUST"}
    assert any(g.startswith("symbol:") for g in genes)
    assert {"GATA1"} <= {
        s
        for s, tf in zip(
            tables["Gene"].column("symbol").to_pylist(),
            tables["Gene"].column("is_tf").to_pylist(),
            strict=True,
        )
        if tf
    }
    assert set(tables["Feature-ENRICHED_FOR-Term"].column("run").to_pylist()) == {"annotate-1"}
    assert len(features) == 120
    assert set(tables["Gene"].column("is_tf").to_pylist()) == {
        True,
        None,
    }, "what one library does not list another may"
    rows = tables["Feature"].to_pylist()
    assert {(r["annotation_run"], r["tf_library"]) for r in rows} == {("annotate-1", "TRRUST")}
    enriched = tables["Feature-ENRICHED_FOR-Term"].column("source").to_pylist()
    assert {r["id"] for r in rows if r["annotated"]} == set(enriched)
    assert all(r["terms"] == enriched.count(r["id"]) for r in rows)
    assert all(bool(r["label"]) == r["annotated"] for r in rows)


def test_captions_are_short(annotation):
    names = annotation.tables["Feature"].column("name").to_pylist()
    assert all(len(n) <= 42 and n.startswith("L0") for n in names)


def test_a_user_library_takes_part(study, shared_data):
    kegg = read_gmt(shared_data / "genesets" / "KEGG_2021_Human.gmt", name="KEGG")
    found = run(*study, libraries=[kegg], trrust=False)
    assert {r.library for r in found.rates} == {"all", "KEGG"}
    assert "Gene-REGULATES-Gene" not in found.tables
    assert all(v is None for v in found.frame["best_tf"])


def test_engine_gseapy_gives_the_same_labels_and_numbers(study):
    catalogue, detection = study
    few = catalogue[catalogue["index"] < 5]
    library = [shipped()[1]]
    one, two = (
        run(few, detection, libraries=library, trrust=False, engine=e) for e in ("exact", "gseapy")
    )
    assert one.frame["label"].tolist() == two.frame["label"].tolist()
    np.testing.assert_array_equal(
        one.frame["label_null"].astype(float), two.frame["label_null"].astype(float)
    )
    first, second = (
        x.tables["Feature-ENRICHED_FOR-Term"]
        .to_pandas()
        .sort_values(["source", "target"], ignore_index=True)
        for x in (one, two)
    )
    assert len(first) > 5
    for column in ("source", "target", "overlap"):
        assert first[column].tolist() == second[column].tolist()
    for column in ("p", "q", "q_layer", "q_feature", "q_calibrated", "odds_ratio"):
        np.testing.assert_allclose(first[column], second[column], rtol=1e-9)


def test_what_a_test_counted_is_stored_beside_it(annotation):
    """The p of every hypergeometric test follows from its stored numbers; the members of a term
    that are in the graph are fewer.
    """
    from scipy.stats import hypergeom

    tables = {kind: table.to_pandas() for kind, table in annotation.tables.items()}
    found = tables["Feature-ENRICHED_FOR-Term"].query("test == 'hypergeometric'")
    p = hypergeom.sf(
        found.overlap - 1, found.background_genes, found.term_genes, found.listed_genes
    )
    np.testing.assert_allclose(found.p, p, rtol=1e-9)
    members = tables["Gene-MEMBER_OF-Term"].groupby("target").size()
    largest = found.groupby("target").term_genes.max()
    assert (members.loc[largest.index] <= largest).all()
    size = tables["Term"].set_index("id").size_in_background
    assert (size.loc[largest.index] >= largest).all()


def test_q_of_every_family_is_benjamini_hochberg_over_all_its_terms(study, annotation):
    tops = top_genes(study[0])
    symbols = [[g.removeprefix("ENSG_") for g in genes] for genes in tops.genes]
    background = [g.removeprefix("ENSG_") for g in study[1]]
    incidence = build([*shipped(), shipped_trrust().library()], background, min_mapped=0)
    rows = incidence.rows(symbols)
    hits = collect(overlaps(rows, incidence))
    dense = np.ones((120, len(incidence.terms)))
    dense[hits.row, hits.column] = hits.p
    q = {
        "q": false_discovery_control(dense.ravel()).reshape(dense.shape),
        "q_feature": false_discovery_control(dense, axis=1),
    }
    layer = np.zeros_like(dense)
    for number in (2, 3):
        layer[tops.layer == number] = false_discovery_control(
            dense[tops.layer == number].ravel()
        ).reshape(-1, dense.shape[1])
    q["q_layer"] = layer
    row = {
        address(int(la), int(ix)): r
        for r, (la, ix) in enumerate(zip(tops.layer, tops.index, strict=True))
    }
    column = {t.id: c for c, t in enumerate(incidence.terms)}
    stored = annotation.tables["Feature-ENRICHED_FOR-Term"].to_pylist()
    assert len(stored) > 100
    for record in stored:
        at = row[record["source"]], column[record["target"]]
        assert record["p"] == pytest.approx(dense[at], rel=1e-12)
        for name, values in q.items():
            assert record[name] == pytest.approx(values[at], rel=1e-9)


def test_one_function_says_whether_annotation_exceeds_chance():
    def first(excess, low, high):
        rates = [
            Rate("all", rule, 2000, 0, 0.0, 0.0, 0.0, 0.0, excess, low, high)
            for rule in ("calibrated", "overlap2", "pooled")
        ]
        return annotation_sentences(rates, 0.05, 10)[0]

    for given, start in (
        (
            (0.0, -0.0014, 0.0014),
            (
                "annotation does not exceed chance: 0.0 % of features beyond matched random lists"
                " (95 % interval -0.14 % to 0.14 %): 0 of 2,000"
            ),
        ),
        ((0.02, 0.0, 0.04), "annotation does not exceed chance: 2.0 %"),
        (
            (0.02, 0.01, 0.03),
            (
                "annotation exceeds chance by 2.0 % of features (95 % interval 1.0 % to 3.0 %): 0"
                " of 2,000"
            ),
        ),
    ):
        assert first(*given).startswith(start)
        assert first(*given).startswith(report_sentence({"excess": list(given)}) + ":")


def test_firing_features_without_a_list_count_also_where_a_layer_has_no_list_at_all(study):
    catalogue, detection = study
    weak = pd.DataFrame(
        {
            "layer": 7,
            "index": [0, 1],
            "gene": catalogue["gene"].iloc[:2].to_numpy(),
            "mean_activation": 1.0,
            "fire_count": 1,
        }
    )
    found = run(
        pd.concat([catalogue, weak], ignore_index=True), detection, alive={2: 60, 3: 80, 7: 30}
    )
    assert found.rates[0].lists == found.findings["features"] == 170
    assert found.findings["features_tested"] == 120
    assert found.findings["annotation_rate"] == found.findings["features_annotated"] / 170
    assert found.findings["family_size"] == 170 * found.findings["terms"]
    assert (
        found.layer_rates["calibrated", 7].lists == 30
        and found.layer_rates["calibrated", 7].rate == 0
    )
    plain = run(catalogue, detection, alive={2: 60, 3: 110})
    assert found.frame["label"].tolist()[:120] == plain.frame["label"].tolist()
    schema.conform("Feature", found.tables["Feature"])


def test_each_layer_may_have_a_background_of_its_own(study):
    catalogue, detection = study
    only = {
        2: detection,
        3: {
            g: d
            for n, (g, d) in enumerate(detection.items())
            if n % 20 or g in set(catalogue["gene"])
        },
    }
    found = run(catalogue, only, alive={2: 100, 3: 100})
    assert found.rates[0].lists == 200
    assert {layer for _, layer in found.layer_rates} == {2, 3}
    terms = found.tables["Term"].to_pylist()
    assert len({t["id"] for t in terms}) == len(terms)


def test_wrong_input_is_refused(study, tmp_path):
    catalogue, detection = study
    with pytest.raises(UserError, match="no columns gene"):
        run(catalogue.drop(columns="gene"), detection)
    with pytest.raises(UserError, match="empty"):
        run(catalogue.iloc[:0], detection)
    with pytest.raises(UserError, match="none of 120 features"):
        run(catalogue, detection, min_fire_count=1000)
    path = tmp_path / "alien.gmt"
    path.write_text("T\t\t" + "\t".join(f"X-{i}" for i in range(20)) + "\n")
    with pytest.raises(UserError, match="0 of 20 genes"):
        run(catalogue, detection, libraries=[read_gmt(path)])


def test_nothing_enriched_is_an_honest_result(study):
    catalogue, detection = study
    rng = np.random.default_rng(1)
    genes = list(detection)
    random = pd.DataFrame(
        [
            (2, f, g, rng.random(), 5)
            for f in range(40)
            for g in rng.choice(genes, 20, replace=False)
        ],
        columns=catalogue.columns,
    )
    found = run(random, detection)
    assert found.rates[0].annotated <= 4
    assert found.tables["Feature"].num_rows == 40


def test_a_thousand_features_without_biology(study):
    _, detection = study
    rng = np.random.default_rng(2)
    genes = np.array(list(detection))
    pick = np.concatenate([rng.choice(genes.size, 20, replace=False) for _ in range(1000)])
    frame = pd.DataFrame(
        {
            "layer": 2,
            "index": np.repeat(np.arange(1000), 20),
            "gene": genes[pick],
            "mean_activation": rng.random(pick.size),
            "fire_count": 5,
        }
    )
    found = annotate(
        frame,
        detection,
        shipped(),
        shipped_trrust(),
        symbol_of=lambda g: g.removeprefix("ENSG_"),
        ensembl_of=lambda s: ensembl(s.upper()),
        address=address,
        config=AnnotateConfig(),
        run="r",
    )
    assert found.rates[0].lists == 1000 and found.rates[0].annotated <= 4
