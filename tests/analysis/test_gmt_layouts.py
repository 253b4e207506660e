"""GMT and GMX files as they are found: without descriptions, turned round, with other identifiers,
delimiters and encodings. A file gives exactly its sets, or one sentence.
"""

from __future__ import annotations

import json
import random

import pytest

from scircuit.analysis.annotation.choose_libraries import choose_libraries
from scircuit.analysis.genesets.gene_names import with_symbols
from scircuit.analysis.genesets.readers import read_library, shipped
from scircuit.core.config import AnnotateConfig
from scircuit.core.errors import UserError
from scircuit.tracing.tokenisation.vocabulary import human_gene_ids

SETS = {
    "repair": ["BRCA1", "BRCA2", "ATM"],
    "cell cycle": ["CDK1", "CDK2", "TP53"],
    "growth": ["MYC", "MAX"],
}


def write(tmp_path, content):
    path = tmp_path / "x.gmt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sets(library):
    return {t.name: list(t.genes) for t in library.terms}


def lines(middle=None, rows=SETS, tab="\t"):
    """GMT text; `middle` is the second field, or none at all."""
    second = [] if middle is None else [middle]
    return "".join(tab.join([name, *second, *genes]) + "\n" for name, genes in rows.items())


def gmx(*middle):
    columns = [[name, *middle, *genes] for name, genes in SETS.items()]
    depth = max(map(len, columns))
    padded = [column + [""] * (depth - len(column)) for column in columns]
    return "".join("\t".join(row) + "\n" for row in zip(*padded, strict=True))


LAYOUTS = {
    "empty description": lines(""),
    "na": lines("na"),
    "a word that is a gene": lines("TF", {**SETS, "more": ["ATR", "CHEK1"]}),
    "address": lines("http://example.org/x"),
    "no description": lines(),
    "a description in quotes": lines('"from a paper"'),
    "quotes": "".join(
        "\t".join(f'"{field}"' for field in (name, "na", *genes)) + "\n"
        for name, genes in SETS.items()
    ),
    "single quotes": "".join(
        "\t".join(f"'{field}'" for field in (name, *genes)) + "\n" for name, genes in SETS.items()
    ),
    "weights": "".join(
        "\t".join([name, "", *(f"{gene},{i}.5" for i, gene in enumerate(genes))]) + "\n"
        for name, genes in SETS.items()
    ),
    "weights without description": "".join(
        "\t".join([name, *(f"{gene},1.0" for gene in genes)]) + "\n" for name, genes in SETS.items()
    ),
    "joined by commas": "".join(f"{name}\tna\t{','.join(g)}\n" for name, g in SETS.items()),
    "joined by spaces": "".join(f"{name}\tna\t{' '.join(g)}\n" for name, g in SETS.items()),
    "joined, no description": "".join(f"{name}\t{'; '.join(g)}\n" for name, g in SETS.items()),
    "header": "Set name\tDescription\tGenes\n" + lines("na"),
    "comment": "# made by hand\n" + lines("na"),
    "trailing tabs": lines("na").replace("\n", "\t\t\t\n"),
    "no description, CRLF, trailing tabs": lines().replace("\n", "\t\r\n"),
    "byte order mark": "\ufeff" + lines(),
    "UTF-16": lines().encode("utf-16"),
    "UTF-16 without mark": lines().encode("utf-16-le"),
    "UTF-16, big end first": lines("na").encode("utf-16-be"),
    "blank lines": lines("na").replace("\n", "\n\n \n"),
    "GMX": gmx("na"),
    "GMX without descriptions": gmx(),
    "GMX with empty descriptions": gmx(""),
    "marks without width": lines("na").replace("BRCA1", "\u200bBRCA1").replace("MAX", "MAX\ufeff"),
    "table of markers (PanglaoDB)": "species\tofficial gene symbol\tcell type\torgan\n"
    + "".join(f"Mm Hs\t{g}\t{name}\tBlood\n" for name, genes in SETS.items() for g in genes),
    "table of markers (CellMarker)": "speciesType\tcellName\tcellMarker\tgeneID\n"
    + "".join(f"Human\t{name}\t[{', '.join(genes)}]\t1\n" for name, genes in SETS.items()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_all_genes_and_no_others(tmp_path, layout):
    found = sets(read_library(write(tmp_path, LAYOUTS[layout])))
    assert {name: found[name] for name in SETS} == SETS
    assert len(found) == len(SETS) + (layout == "a word that is a gene")


def test_three_genes_joined_by_slashes_are_separated_and_a_fusion_is_not(tmp_path):
    found = sets(read_library(write(tmp_path, "a\tna\tATM/MYC/MAX\nb\tna\tCDK1\tBCR/ABL1\n")))
    assert found == {"a": ["ATM", "MYC", "MAX"], "b": ["CDK1", "BCR/ABL1"]}


def test_columns_named_by_number_are_sets_and_no_header(tmp_path):
    names = ["set_1", "set_2", "set_3"]
    text = gmx("na")
    for old, new in zip(SETS, names, strict=True):
        text = text.replace(old, new)
    assert sets(read_library(write(tmp_path, text))) == dict(zip(names, SETS.values(), strict=True))


def test_a_file_without_descriptions_says_so(tmp_path):
    notes = read_library(write(tmp_path, lines())).notes
    assert any("column 2 holds genes (such as BRCA1), not descriptions" in note for note in notes)
    assert not read_library(write(tmp_path, lines("na"))).notes


def test_a_regulator_beside_its_set_is_a_description(tmp_path):
    text = "STAT1 targets\tSTAT1\tTP53\tMDM2\nMYC_UP\tMYC\tBRCA2\tATM\nMAX\tMAX\tCDK1\n"
    found = sets(read_library(write(tmp_path, text)))
    assert found == {"STAT1 targets": ["TP53", "MDM2"], "MYC_UP": ["BRCA2", "ATM"], "MAX": ["CDK1"]}


@pytest.mark.parametrize("described", [1, 4, 12, 28, 36, 39])
def test_half_a_file_with_descriptions_is_refused_and_a_few_are_told(tmp_path, described):
    """Of 40 sets so many have a description; the genes are real ones, common and rare."""
    chance = random.Random(described)
    pool = sorted({g for library in shipped() for g in library.genes if g.isalnum()})
    rows = {f"set {i}": chance.sample(pool, 12) for i in range(40)}
    chosen = set(chance.sample(sorted(rows), described))
    text = "".join(
        "\t".join([name, *(["from a paper"] if name in chosen else []), *genes]) + "\n"
        for name, genes in rows.items()
    )
    path = write(tmp_path, text)
    if described in (12, 28):
        with pytest.raises(UserError, match=r"column 2 is the name of a gene in \d+ of 40"):
            read_library(path, is_gene=human_gene_ids().__contains__)
        return
    library = read_library(path, is_gene=human_gene_ids().__contains__)
    for term in library.terms:
        genes = rows[term.name]
        eaten = described > 20 and term.name not in chosen
        assert [g.upper() for g in term.genes] == (genes[1:] if eaten else genes)
    if described > 20:
        assert any("is read as a description, as in the others" in n for n in library.notes)


ENTREZ = {"repair": ["672", "675"], "growth": ["4609"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines("na", ENTREZ), "are Entrez ids: 3 of 3, such as 672"),
        (lines(None, {"a": ["1", "672", "675"], "b": ["2", "4609"]}), "Entrez ids"),
        (json.dumps(ENTREZ), "Entrez ids"),
        (json.dumps({"growth": [4609, 675]}), "Entrez ids"),
        ("gs_name,entrez_gene\nrepair,672\nrepair,675\n", "Entrez ids"),
        (lines("na", {"a": ["hsa:672", "hsa:675"], "b": ["hsa:4609"]}), "Entrez ids"),
        (
            "Term\tOverlap\tP-value\tAdjusted P-value\tGenes\nrepair\t2/9\t0.01\t0.1\tATM;BRCA1\n",
            "a table of results",
        ),
        (lines("na", {"a": ["P38398", "Q14683"]}), "UniProt accessions"),
        (lines("na", {"a": ["ENST00000357654", "NM_007294.4"]}), "transcript or protein ids"),
        (lines("na", tab=","), "commas between the fields instead of tabs"),
        (lines("na", {"a": ["CDK1", "ATM"], "b": ["MYC"]}, tab=" "), "spaces between the fields"),
        (lines("na", tab=";"), "semicolons"),
        (lines("na") + "other na CHEK1 ATR\n", "the line 'other na CHEK1 ATR' has no tab"),
        (lines("na") + "other,na,CHEK1,ATR\n", "the line 'other,na,CHEK1,ATR' has no tab"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as refused:
        read_library(write(tmp_path, content))
    assert refused.value.fix


def test_a_few_numbers_among_symbols_are_counted(tmp_path):
    library = read_library(write(tmp_path, lines("na", {"a": ["CDK1", "ATM", "672"]})))
    assert any("1 of 3 genes look like Entrez ids (such as 672)" in note for note in library.notes)
    # a symbol that has the form of an accession is none
    assert not read_library(write(tmp_path, lines("na", {"a": ["H2AC11", "CDK1"]}))).notes


@pytest.mark.parametrize("version", ["", ".17"])
def test_sets_of_ensembl_ids_are_those_of_symbols(tmp_path, version):
    ids = human_gene_ids()
    symbols = {gene: symbol for symbol, gene in ids.items()}
    text = lines(None, {n: [ids[g] + version for g in genes] for n, genes in SETS.items()})
    text += f"unknown\tENSG00000999999\t{ids['ATM']}\n"
    library = with_symbols(read_library(write(tmp_path, text)), lambda gene: symbols.get(gene, ""))
    assert sets(library) == {**SETS, "unknown": ["ENSG00000999999", "ATM"]}
    assert any(
        "9 genes are Ensembl ids; 8 have a symbol, 1 are not known" in n for n in library.notes
    )
    chosen = choose_libraries(
        AnnotateConfig(shipped=False, gmt=(tmp_path / "x.gmt",)),
        lambda symbol: symbol.upper() in ids,
        lambda gene: symbols.get(gene, ""),
    )
    assert sets(chosen.libraries[0])["repair"] == SETS["repair"]


TARGETS = {"STAT1": ["BRCA1", "BRCA2", "ATM"], "MYC": ["CDK1", "CDK2"], "JUN": ["TP53", "MAX"]}


@pytest.mark.parametrize("word", ["na", "NA", "targets", "http://example.org", "-"])
@pytest.mark.parametrize("names", [TARGETS, SETS])
def test_one_word_below_each_name_is_gmx_whatever_the_names(tmp_path, names, word):
    columns = [[name, word, *genes] for name, genes in names.items()]
    depth = max(map(len, columns))
    padded = [column + [""] * (depth - len(column)) for column in columns]
    text = "".join("\t".join(row) + "\n" for row in zip(*padded, strict=True))
    library = read_library(write(tmp_path, text))
    assert sets(library) == names and "the sets are columns (GMX)" in library.notes
    # the same sets in lines are read as lines
    assert sets(read_library(write(tmp_path, lines(word, names)))) == names


def test_a_table_of_nothing_but_genes_says_that_columns_may_be_the_sets(tmp_path):
    equal = {name: genes[:2] for name, genes in TARGETS.items()}
    library = read_library(write(tmp_path, lines(None, equal)))
    assert sets(library) == equal
    assert any("names of the sets are genes too" in note for note in library.notes)
    assert not any("names of the" in n for n in read_library(write(tmp_path, lines())).notes)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["915.0", "916.0", "917."], "Entrez ids"),
        (["HGNC:1678", "hgnc:1706"], "HGNC ids"),
        (["MGI:98834", "MGI:88339"], "mouse or rat gene ids"),
        (["1007_s_at", "121_at", "1255_g_at"], "microarray probe ids"),
        (["ILMN_1651229", "ILMN_1651230"], "microarray probe ids"),
        (["A_23_P100001", "A_24_P935491"], "microarray probe ids"),
        (["ENSG00000141510_at", "7157_at"], "microarray probe ids"),
    ],
)
@pytest.mark.parametrize("middle", ["na", None])
def test_ids_of_other_kinds_are_called_by_their_kind(tmp_path, ids, kind, middle):
    with pytest.raises(UserError, match=f"are {kind}: "):
        read_library(write(tmp_path, lines(middle, {"a": ids, "b": ids[::-1]})))


def test_a_set_without_a_name_is_counted_as_one(tmp_path):
    library = read_library(write(tmp_path, lines("na", {**SETS, "": ["ATR", "CHEK1"]})))
    assert sets(library) == SETS
    assert "1 of 4 sets have genes and no name, and were skipped" in library.notes
