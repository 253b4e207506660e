"""Names of genes: how single names are read, which column is followed, and what is said of it."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.cells import species
from scircuit.tracing.cells.genes.candidates import role
from scircuit.tracing.cells.genes.written_names import How, read_name
from scircuit.tracing.cells.identifiers import identify
from scircuit.tracing.tokenisation.vocabulary import Bins, geneformer_v2, human_gene_ids
from scircuit.tracing.tokenisation.vocabulary.folder_vocabulary import read_vocabulary, with_names
from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import SPECIALS, from_tokens
from tests.support.plain_tokens import draw, renamed

TP53, SNRPB2 = "ENSG00000141510", "ENSG00000125870"


@pytest.fixture(scope="module")
def vocabulary():
    return geneformer_v2()


@pytest.fixture(scope="module")
def cells():
    return draw(5, cells=1, genes=400)


def gene(name, vocabulary):
    read = read_name(name, vocabulary.table)
    return (vocabulary.table.genes[read.gene] if read.gene >= 0 else "", read.how)


@pytest.mark.parametrize(
    "name",
    [
        *("TP53", TP53, f"{TP53}.18", f"{TP53}_PAR_Y", f"{TP53}.5_PAR_Y", " TP53\t", "b'TP53'"),
        *(f"b'{TP53}.2'", f"TP53_{TP53}", f"{TP53}_TP53", f"{TP53}|TP53", f"TP53 ({TP53}.3)"),
        *("GRCh38_TP53", "hg19_TP53", f"GRCh38______{TP53}", "GRCh38-2020-A_TP53", '"TP53"'),
        *("gene-TP53", f"gene:{TP53}", "TP53|7157", "7157|TP53", TP53.lower(), "\ufeffTP53"),
        f"GRCh38_TP53_{TP53}",
    ],
)
def test_names_that_are_exact(name, vocabulary):
    assert gene(name, vocabulary) in ((TP53, How.SYMBOL), (TP53, How.ID))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((n, How.MISSING) for n in ("", " ", "nan", "NaN", "None", "NA", "<NA>", "-")),
        *((n, How.UNKNOWN) for n in ("probe_1", "225", "7157", "ENST00000269305", "TP53;MYC")),
        *((n, How.UNKNOWN) for n in ("CD4_TotalSeqB", "sgTP53", "BCR_ABL1", "1-Mar", "x" * 999)),
        (f"{TP53};{SNRPB2}", How.UNKNOWN),  # which of the two
        *((n, How.RODENT) for n in ("Gapdh", "gapdh", "Actb", "Morf4l1")),
        *((n, How.FOREIGN) for n in ("ENSMUSG00000059552", "mm10_Trp53", "GRCm38_TP53")),
        ("ENSRNOG00000010756.4", How.FOREIGN),
        ("TBCE-1", How.COPY),
        ("ENSG00999999999", How.UNLISTED),
    ],
)
def test_names_that_are_no_gene(name, how, vocabulary):
    assert gene(name, vocabulary) == ("", how)


def test_old_names_and_other_cases(vocabulary):
    assert gene("CTGF", vocabulary) == (vocabulary.symbol_to_ensembl["CCN2"], How.RENAMED)
    orf = next(s for s in vocabulary.symbol_to_ensembl if "orf" in s)
    assert gene(orf.upper(), vocabulary) == (vocabulary.symbol_to_ensembl[orf], How.CASE)
    # its apostrophes are part of the name: U2B is another gene
    assert gene("U2B''", vocabulary) == (SNRPB2, How.RENAMED)
    assert gene("PLEKHG7_ENSG00000187510", vocabulary)[0] == "ENSG00000187510"  # no genome hg7


@pytest.mark.parametrize(
    "form",
    ["{s}", "{s}_{g}", "{g}.5_{s}", "{s} ({g})", "{g}|{s}", "b'{s}'", "GRCh38_{s}", "hg19___{g}"],
)
def test_every_gene_is_read_in_every_form(form, vocabulary):
    """Some symbols look like a genome's prefix (RN7SK), a quote (U2B'') or nothing (NAN)."""
    table = vocabulary.table
    wrong = []
    for symbol, number in table.exact.items():
        if not symbol.startswith("ENSG"):
            name = form.format(s=symbol, g=table.genes[number])
            found = read_name(name, table)
            if found.gene != number or found.other >= 0 or found.how < How.SYMBOL:
                wrong.append(name)
    assert not wrong, wrong[:5]


def test_every_old_symbol_is_followed_as_the_plain_reading_does(vocabulary):
    table = vocabulary.table
    assert len(renamed()) > 40_000
    for old, new in renamed().items():
        assert read_name(old, table)[:2] == (table.exact[new], How.RENAMED), old


def test_no_gene_of_a_rodent_is_taken_for_a_human_one(vocabulary):
    """Their symbols are written Gapdh; some are human symbols as they stand, and only human ones
    are written C1orf112.
    """
    table = vocabulary.table
    for symbol in table.exact:
        name = symbol.capitalize()
        human = name in table.exact or name == name.upper() or re.search(r"c\w+orf\d", name.lower())
        if not human and not symbol.startswith("ENSG"):
            assert read_name(name, table).gene == -1, name


@pytest.mark.parametrize(
    ("column", "what"),
    [
        *(
            (c, "own")
            for c in ("gene_ids", "ensembl_id", "Ensembl.ID", "geneSymbol", "feature_name")
        ),
        *((c, "own") for c in ("gene_ids-0", "hgnc", "_index", "names", "Gene", "gene_short_name")),
        *((c, "other") for c in ("host_gene_id", "mouse_gene_id", "ortholog", "nearestGene")),
        *((c, "other") for c in ("mmusculus_homolog_ensembl_gene", "target_gene", "old_symbol")),
        *((c, "unnamed") for c in ("biotype", "chromosome", "my_column", "ratio", "description")),
    ],
)
def test_what_the_name_of_a_column_says(column, what):
    assert role(column) == what


def test_columns_that_contradict_each_other(cells, vocabulary):
    var = pd.DataFrame({"gene_ids": cells.genes[1:] + cells.genes[:1]}, index=cells.symbols)
    with pytest.raises(UserError) as error:
        identify(var, vocabulary)
    assert "var index and var['gene_ids'] name different genes in 400 of 400" in str(error.value)
    assert f"{cells.symbols[0]} beside {cells.genes[1]}" in str(error.value)
    assert "--gene-column index or --gene-column gene_ids" in str(error.value)
    by_index = identify(var, vocabulary, "index")
    by_column = identify(var, vocabulary, "gene_ids")
    expected = tuple(g if g in vocabulary.token else "" for g in cells.genes)
    assert by_index.genes == expected and by_column.genes == expected[1:] + expected[:1]
    assert "named by --gene-column" in by_index.sentence()


def test_a_third_column_says_which_is_right(cells, vocabulary):
    var = pd.DataFrame(
        {"gene_ids": cells.genes[1:] + cells.genes[:1], "ensembl": cells.genes}, index=cells.symbols
    )
    with pytest.raises(UserError, match=r"var\['ensembl'\] agrees with var index"):
        identify(var, vocabulary)


@pytest.mark.parametrize(("rows", "refused"), [(0, False), (7, False), (9, True), (60, True)])
def test_few_rows_may_differ_as_renamed_symbols_do(rows, refused, cells, vocabulary):
    """At most 2 % of 400; those that differ follow the ids, and it is said."""
    symbols = list(cells.symbols)
    elsewhere = sorted(set(vocabulary.symbol_to_ensembl) - set(symbols))
    symbols[:rows] = elsewhere[:rows]
    var = pd.DataFrame({"gene_ids": cells.genes}, index=symbols)
    if refused:
        with pytest.raises(UserError, match=f"different genes in {rows} of 400"):
            identify(var, vocabulary)
        return
    found = identify(var, vocabulary)
    assert found.genes == tuple(g if g in vocabulary.token else "" for g in cells.genes)
    said = f"{rows} rows name another gene in var index" in " ".join(found.warnings)
    assert said == (rows > 0)


def test_gaps_are_filled_and_counted(cells, vocabulary):
    ids = [g if i % 4 else None for i, g in enumerate(cells.genes)]
    found = identify(pd.DataFrame({"gene_ids": ids}, index=cells.symbols), vocabulary)
    assert found.column == "var['gene_ids']" and "100 gaps filled from var index" in found.notes
    assert found.genes == tuple(g if g in vocabulary.token else "" for g in cells.genes)
    assert found.names[0] == cells.symbols[0] and "nan" not in found.names
    assert "var index (" in found.why and "agrees" in found.why


def test_a_gene_without_any_name_is_never_called_nan(cells, vocabulary):
    names = pd.Series([None, np.nan, *cells.symbols[2:]], dtype=object)
    numbers = [str(i) for i in range(400)]
    found = identify(pd.DataFrame({"symbol": names}).set_axis(numbers), vocabulary)
    assert found.names[:2] == ("0", "1") and found.count("missing") == 2
    both = identify(pd.DataFrame({"symbol": names}).set_axis(names), vocabulary)
    assert both.names[0] == "(column 0 has no name)" and "2 have no name" in both.sentence()


@pytest.mark.parametrize("column", ["host_gene_id", "anchor"])
def test_an_unknown_column_never_beats_a_complete_index(column, cells, vocabulary):
    var = pd.DataFrame({column: cells.genes[::-1]}, index=cells.symbols)
    found = identify(var, vocabulary)
    assert found.column == "var index"
    assert f"var['{column}'] names other genes than var index in 400 of 400" in found.warnings[0]
    assert f"--gene-column {column}" in found.warnings[0]


def test_an_unknown_column_that_agrees_may_serve(cells, vocabulary):
    index = [s if i % 2 else f"probe{i}" for i, s in enumerate(cells.symbols)]
    found = identify(pd.DataFrame({"xref": cells.genes}, index=index), vocabulary)
    assert found.column == "var['xref']" and not found.warnings
    assert found.genes == tuple(g if g in vocabulary.token else "" for g in cells.genes)


def test_orthologues_are_named_and_not_used(cells, vocabulary):
    mouse = [f"ENSMUSG{i:011d}" for i in range(400)]
    found = identify(pd.DataFrame({"ortholog": mouse}, index=cells.symbols), vocabulary)
    assert found.column == "var index"
    assert found.warnings == ("var['ortholog'] names genes of mouse and was not used",)
    # the cells of a mouse with the human orthologue beside each gene stay those of a mouse
    turned = identify(pd.DataFrame({"human_ortholog": cells.symbols}, index=mouse), vocabulary)
    which = species.detect(turned, vocabulary)
    assert which.name == "mouse" and "var['human_ortholog'] names human genes" in which.evidence
    with pytest.raises(UserError, match=r"genes of mouse; expected one species"):
        identify(pd.DataFrame({"gene_symbol": cells.symbols}, index=mouse), vocabulary)


def test_an_old_symbol_is_not_added_to_the_gene_under_its_own_name(vocabulary):
    names = ["CTGF", "CCN2", "AARS", "ATP5A1", "TP53", "MYC"]
    found = identify(pd.DataFrame(index=names), vocabulary)
    assert found.status.tolist() == ["left out", *["mapped"] * 5]
    assert not found.duplicates and found.genes[0] == ""
    assert "2 renamed symbols followed, such as AARS to AARS1" in found.sentence()
    assert "left out are other names of genes that are here already, such as CTGF" in (
        found.sentence()
    )


def test_two_old_symbols_of_one_gene_are_both_left_out(vocabulary):
    old = [n for n, g in vocabulary.table.renamed.items() if g == vocabulary.table.exact["AARS1"]]
    found = identify(pd.DataFrame(index=[*old[:2], "TP53", "MYC", "GATA1"]), vocabulary)
    assert len(old) > 1 and found.status[:2].tolist() == ["left out"] * 2


def test_retired_ids_are_followed_where_the_model_tells_them(vocabulary):
    retired = replace(vocabulary, retired={"ENSG00999999999": TP53})
    var = pd.DataFrame(index=["ENSG00999999999.2", SNRPB2])
    assert identify(var, vocabulary).genes == ("", SNRPB2)
    found = identify(var, retired)
    assert found.genes == (TP53, SNRPB2)
    assert "1 retired ids followed, such as ENSG00999999999.2 to TP53" in found.sentence()
    beside = identify(pd.DataFrame(index=["ENSG00999999999", TP53]), retired)
    assert beside.genes == ("", TP53) and beside.count("left out") == 1


def test_the_folder_of_a_model_may_tell_retired_ids(tmp_path):
    names = ["<pad>", "<mask>", TP53, SNRPB2]
    retired = {"ENSG00999999999": TP53, "P53": TP53, TP53: TP53}
    for file, content in (
        ("token_dictionary.json", {n: i for i, n in enumerate(names)}),
        ("gene_median_dictionary.json", dict.fromkeys(names[2:], 1.5)),
        ("ensembl_mapping_dict.json", retired),
    ):
        (tmp_path / file).write_text(json.dumps(content))
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.retired == {"ENSG00999999999": TP53}
    found = identify(pd.DataFrame(index=["ENSG00999999999", "SNRPB2"]), vocabulary)
    assert found.genes == (TP53, SNRPB2)
    (tmp_path / "ensembl_mapping_dict.json").write_text("[]")
    with pytest.raises(UserError, match=r"ensembl_mapping_dict\.json is not a JSON object"):
        read_vocabulary(tmp_path)


def test_a_model_may_ask_for_symbols_as_written(vocabulary, tmp_path):
    orf = next(s for s in vocabulary.symbol_to_ensembl if "orf" in s)
    var = pd.DataFrame(index=["CTGF", orf.upper(), "TP53", "Gapdh"])
    assert identify(var, with_names(vocabulary, tmp_path)).count("mapped") == 3
    (tmp_path / "gene_names.json").write_text('{"follow_old_symbols": 0}')
    assert identify(var, with_names(vocabulary, tmp_path)).genes == ("", "", TP53, "")
    (tmp_path / "gene_names.json").write_text('{"symbols": 0}')
    with pytest.raises(UserError, match="holds symbols; expected follow_old_symbols, 0 or 1"):
        with_names(vocabulary, tmp_path)


def test_an_id_that_no_table_has_is_not_a_second_copy_of_a_gene_that_is_here(cells, vocabulary):
    """Copies on other haplotypes have ids of their own and the same symbol."""
    genes = [*cells.genes, "ENSG00999999999"]
    symbols = [*cells.symbols, cells.symbols[0]]
    found = identify(pd.DataFrame({"gene_ids": genes}, index=symbols), vocabulary)
    assert found.genes[-1] == "" and found.status[-1] == "left out" and not found.duplicates


def test_features_that_are_no_genes(cells, vocabulary):
    """An antibody against CD4 is called CD4, as the gene is."""
    var = pd.DataFrame(
        {"gene_ids": [*cells.genes, "CD4"], "feature_types": ["Gene Expression"] * 401},
        index=[*cells.symbols, "CD4_TotalSeqB"],
    )
    assert identify(var, vocabulary).genes[-1]
    var.iloc[-1, 1] = "Antibody Capture"
    found = identify(var, vocabulary)
    assert found.genes[-1] == "" and found.status[-1] == "no gene"
    assert "1 are no genes by var['feature_types']" in found.sentence()


def test_a_column_that_is_not_there(cells, vocabulary):
    var = pd.DataFrame({"gene_ids": cells.genes}, index=cells.symbols)
    with pytest.raises(UserError, match=r"no such column; it has index, gene_ids(.|\n)*gene_ids,"):
        identify(var, vocabulary, "gene_idx")


def test_categories_numbers_and_repeated_columns(cells, vocabulary):
    var = pd.DataFrame({"a": range(400), "b": [0.5] * 400, "c": pd.Categorical(cells.symbols)})
    var.columns = ["gene_ids", "symbol", "symbol"]
    found = identify(var.set_axis([str(i) for i in range(400)]), vocabulary)
    assert found.genes == tuple(g if g in vocabulary.token else "" for g in cells.genes)


def test_a_model_of_symbols_takes_what_maps_most(cells):
    names = [*SPECIALS, *cells.symbols[:300], "OWN1"]
    vocabulary = from_tokens(names, Bins(51, -2.0), "test")
    var = pd.DataFrame({"gene_ids": [*cells.genes, ""]}, index=[*cells.symbols, "OWN1"])
    found = identify(var, vocabulary)
    assert found.column == "var index" and found.genes[-1] == "OWN1"
    assert found.count("mapped") == 301


def test_order_and_category_change_nothing(cells, vocabulary):
    var = pd.DataFrame({"x": cells.genes, "symbol": cells.symbols}, index=cells.symbols)
    one = identify(var, vocabulary)
    other = identify(var[["symbol", "x"]].astype("category"), vocabulary)
    backwards = identify(var[::-1], vocabulary)
    assert one.genes == other.genes == backwards.genes[::-1]


def test_columns_of_text_are_not_read_to_the_end(vocabulary, monkeypatch):
    """Descriptions and positions are given up after a thousand names, others read once each."""
    known = list(human_gene_ids().items())[:9_000]
    var = pd.DataFrame({f"text{i}": [f"{i} on {j}" for j in range(9_000)] for i in range(6)})
    var["both"] = [f"{s}_{g}" for s, g in known]
    var["biotype"] = "protein_coding"
    var.index = pd.Index([s for s, _ in known])
    read = []

    def counting(name, table):
        read.append(name)
        return read_name(name, table)

    monkeypatch.setattr("scircuit.tracing.cells.genes.candidates.read_name", counting)
    assert identify(var, vocabulary).count("unknown") == 0
    assert len(read) <= 6 * 1_000 + 2 * (9_000 + 1_000) + 1
