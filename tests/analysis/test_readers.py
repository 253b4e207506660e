"""`read_library` tells every format by content, reads the real files whole, and refuses or counts
what is wrong with one.
"""

from __future__ import annotations

import csv
import gzip
import json
import re

import pytest

from scircuit.analysis.genesets.build_library import library_name
from scircuit.analysis.genesets.library import GeneSetLibrary
from scircuit.analysis.genesets.readers import read_library
from scircuit.analysis.genesets.regulons import Regulons
from scircuit.analysis.genesets.symbols import repair
from scircuit.analysis.genesets.trrust import read_trrust
from scircuit.core.errors import UserError


def write(tmp_path, content, name="x.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def terms(library):
    return {t.accession: set(t.genes) for t in library.terms}


def pairs(regulons):
    return {(p.tf, p.target): p.mode for p in regulons.pairs}


PLAIN = {"A": {"CDK1", "BRCA1"}, "B": {"TP53"}}


@pytest.mark.parametrize(
    "content",
    [
        "A\t\tCDK1\tBRCA1\nB\t\tTP53\n",
        "A\tA\tCDK1,1.0\tBRCA1,0.5\nB\tB\tTP53,1e-3\n",
        "A\tx\tCDK1, Infinity\tBRCA1,nan\nB\tx\tTP53,-inf\n",
        "\ufeffA\t\tCDK1\tBRCA1\r\nB\t\tTP53\r\n",
        "A\t\tCDK1\tBRCA1\rB\t\tTP53",
        "A\t\tCDK1\tBRCA1\t\t\nB\t\tTP53\t\nC\t\t\t\n",
        "term,gene\nA,CDK1\nA,BRCA1\nB,TP53\n",
        "gs_name\tdescription\tgene_symbol\nA\tx\tCDK1\nA\tx\tBRCA1\nB\tx\tTP53\n",
        "genesymbol,collection,geneset\nCDK1,x,A\nBRCA1,x,A\nTP53,x,B\n",
        '{"A": ["CDK1", "BRCA1"], "B": ["TP53"], "C": []}',
        (
            '{"one": {"systematicName": "A", "geneSymbols": ["CDK1", "BRCA1"]}, "two":'
            ' {"systematicName": "B", "geneSymbols": ["TP53"]}}'
        ),
        "A\t\tCDK1\tBRCA1\nB\t\tTP53\n".encode("utf-16"),
        gzip.compress(b"A\t\tCDK1\tBRCA1\nB\t\tTP53\n"),
        gzip.compress(b"A\t\tCDK1\tBRCA1\n") + gzip.compress(b"B\t\tTP53\n"),
    ],
)
def test_one_library_in_every_layout(tmp_path, content):
    for name in ("x.gmt", "x.json", "anything"):
        assert terms(read_library(write(tmp_path, content, name))) == PLAIN


REGULONS = {("AR", "MYC"): "Activation", ("AR", "KLK3"): "Repression", ("SPI1", "MYC"): "Unknown"}


@pytest.mark.parametrize(
    "content",
    [
        "AR\tMYC\tActivation\t1;2\nAR\tKLK3\tRepression\t3\nSPI1\tMYC\tUnknown\t4\n",
        "AR\tMYC\t1\t1;2\nAR\tKLK3\t2\t3\nSPI1\tMYC\t0\t4\n",
        "TF\tgene_symbol\tinteraction\tposition\nAR\tMYC\tActivation\t1;2\nAR\tKLK3\tRepression\t3\nSPI1\tMYC\tUnknown\t4\n",
        "Gene1\tGene2\tMode_of_Regulation\tPMID\r\nAR\tMYC\tActivation\t1;2\r\nAR\tKLK3\tRepression\t3\r\nSPI1\tMYC\tUnknown\t4\r\n",
        '"source","target","weight"\n"AR","MYC",1\n"AR","KLK3",-1\n"SPI1","MYC",0\n',
        "source,target,weight,PMID\nAR,MYC,0.5,1\nAR,KLK3,-2,1\nSPI1,MYC,Infinity,1\n",
        gzip.compress(
            b"tf\tconfidence\ttarget\tmor\nAR\tA\tMYC\t1.0\nAR\tA\tKLK3\t-1.0\nSPI1\tC\tMYC\tnan\n"
        ),
    ],
)
def test_one_regulon_table_in_every_layout(tmp_path, content):
    found = read_library(write(tmp_path, content))
    assert isinstance(found, Regulons)
    assert pairs(found) == REGULONS
    assert found.rows == 3
    assert terms(found.library()) == {"AR": {"MYC", "KLK3"}, "SPI1": {"MYC"}}


def test_a_weight_of_two_is_activation_and_a_mode_of_two_is_repression(tmp_path):
    assert (
        pairs(read_library(write(tmp_path, "source,target,weight\nAR,MYC,2\n")))["AR", "MYC"]
        == "Activation"
    )
    assert (
        pairs(read_library(write(tmp_path, "tf,target,mode\nAR,MYC,2\n")))["AR", "MYC"]
        == "Repression"
    )


def test_two_columns_of_symbols_are_pairs_of_unknown_mode(tmp_path):
    found = read_library(write(tmp_path, "AR\tMYC\nAR\tKLK3\nSPI1\tMYC\n"))
    assert set(pairs(found).values()) == {"Unknown"}
    assert any("two columns" in n for n in found.notes)


def test_weights_that_are_no_numbers_are_counted(tmp_path):
    found = read_library(
        write(
            tmp_path,
            "source,target,weight\nAR,MYC,Infinity\nAR,KLK3,-inf\nAR,TP53,nan\nAR,CDK1,1\n",
        )
    )
    assert any("3 of 4 rows have a weight that is not a finite number" in n for n in found.notes)


def test_string_exports_become_the_partners_of_each_protein(tmp_path):
    head = "#node1\tnode2\tnode1_string_id\tnode2_string_id\tcombined_score\n"
    rows = (
        "A1\tB1\t9606.ENSP1\t9606.ENSP2\t0.9\nB1\tA1\t9606.ENSP2\t9606.ENSP1\t0.9\n"
        "B1\tC1\t9606.ENSP2\t9606.ENSP3\t0.7\nA1\tC1\t9606.ENSP1\t9606.ENSP3\t0.4\n"
    )
    found = read_library(write(tmp_path, head + rows))
    assert terms(found) == {"A1": {"B1"}, "B1": {"A1", "C1"}, "C1": {"B1"}}
    assert any("3 of 4 pairs" in n for n in found.notes)
    assert terms(
        read_library(write(tmp_path, "protein1 protein2 combined_score\nA1 B1 900\nA1 C1 400\n"))
    ) == {"A1": {"B1"}, "B1": {"A1"}}
    assert terms(
        read_library(write(tmp_path, '{"pairs_700": [["A1", "B1"]], "pairs_900": [["B1", "A1"]]}'))
    ) == {"A1": {"B1"}, "B1": {"A1"}}
    with pytest.raises(UserError, match=r"protein\.info"):
        read_library(
            write(
                tmp_path,
                "protein1 protein2 combined_score\n9606.ENSP00000000233 9606.ENSP00000356607 173\n",
            )
        )
    with pytest.raises(UserError, match="species 10090"):
        read_library(
            write(
                tmp_path,
                "protein1 protein2 combined_score\n10090.ENSMUSP00000000001"
                " 10090.ENSMUSP00000027991 173\n",
            )
        )
    with pytest.raises(UserError, match="not a number"):
        read_library(write(tmp_path, "#node1\tnode2\tcombined_score\nA1\tB1\thigh\n"))


def test_latin_text_is_read_and_said(tmp_path):
    found = read_library(
        write(tmp_path, "Sj\xf6gren syndrome\t\tCDK1\tBRCA1\nB\t\tTP53\n".encode("latin-1"))
    )
    assert "Sjögren syndrome" in terms(found)
    assert any("Latin-1, 1 characters" in n for n in found.notes)


def test_an_accession_that_occurs_again_keeps_the_first_and_is_counted(tmp_path):
    text = "P (GO:0000001)\t\tA1\tB1\nP (GO:0000001)\t\tB1\tA1\nQ (GO:0000001)\t\tC1\tD1\n"
    found = read_library(write(tmp_path, text))
    assert terms(found) == {"GO:0000001": {"A1", "B1"}}
    assert found.notes == (
        (
            "2 terms repeat an accession, 1 of them with other genes; the first of each is"
            " kept: 'GO:0000001' (2 genes kept, 2 left out)"
        ),
    )
    again = read_library(write(tmp_path, '{"A": ["CDK1"], "A": ["TP53"]}'))
    assert terms(again) == {"A": {"CDK1"}}
    assert "repeat an accession" in again.notes[0]


MOUSE = ["Lypla1", "Tcea1", "Atp6v1h", "Rb1cc1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n \r\n", "empty"),
        ("CDK1\nBRCA1\nTP53\n", "one gene per line"),
        ("".join(f"T{i // 5}\tx\tG{i}\n" for i in range(40)), "one gene per line"),
        ("T\t\t" + "\t".join(MOUSE) + "\n", "mouse"),
        ("\n".join(f"Ar\t{g}\tActivation\t1" for g in MOUSE), "mouse"),
        (json.dumps({"T": MOUSE}), "mouse"),
        ('{"A": ["CDK1"', "truncated"),
        ('{"A": [Infinity]}', "Infinity"),
        ('{"A": NaN}', "NaN"),
        ('{"A": 3}', "a number, expected a list"),
        ('["CDK1"]', "a list"),
        ('{"A": []}', "no term with a gene"),
        ('{"P12345": ["GO:0008150", "GO:0002376"]}', "not genes to terms"),
        ('{"pairs_700": [["A1"]]}', "not two gene names"),
        ("[" * 100_000, "nested too deeply|not valid"),
        ('{"A": ' * 100_000, "nested too deeply|not valid"),
        ("format-version: 1.2\n\n[Term]\nid: GO:1\n", "--obo"),
        ("!gaf-version: 2.2\nUniProtKB\tA\n", "GAF"),
        ("Symbol\tApproved.Symbol\tchromosome\nA\tB\t1\n", "gene names"),
        ("TF\ttarget\tmode\n", "no rows"),
        ("tf,target,mode\nAR,MYC,1\nAR,KLK3,maybe\n", "line 3"),
        ("tf,target,mode\nAR,,1\n", "line 2"),
        ("source,target,weight\nAR\n", "line 2.*1 of 3"),
        (b"PK\x03\x04xxxx", "spreadsheet"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (bytes(range(128, 256)), "UTF-8"),
        (b"A\t\tB\x00C\n", "control"),
        (b"\xff\xfeA", "UTF-16"),
        (gzip.compress(b"A\t\tB\n" * 500)[:40], "damaged gzip"),
        (gzip.compress(b"PK\x03\x04"), "spreadsheet"),
        (
            "TF;gene_symbol;interaction;position\nAATF;BAX;Repression;22909821\n",
            "semicolons(.|\\n)*tabs",
        ),
        ("Some prose about gene sets, with commas.\nAnd more.\n", "none of them"),
    ],
)
def test_wrong_files_get_one_clear_message(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as caught:
        read_library(write(tmp_path, content))
    assert "x.txt" in str(caught.value)
    assert caught.value.fix


def test_papers_joined_by_semicolons_are_no_columns(tmp_path):
    text = "AATF BAX Repression 1;2;3;4;5\nAATF MYC Activation 6;7\n"
    for delimiter in (" ", ","):
        assert read_library(write(tmp_path, text.replace(" ", delimiter))).pairs[0].pmids == (
            "1",
            "2",
            "3",
            "4",
            "5",
        )


def test_a_folder_and_an_absent_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_library(tmp_path)
    with pytest.raises(UserError, match="cannot read"):
        read_library(tmp_path / "absent")


@pytest.mark.parametrize(
    ("token", "fixed"),
    [
        ("7-Sep", "SEPTIN7"),
        ("07-Sep", "SEPTIN7"),
        ("Sep-07", "SEPTIN7"),
        ("Sep-7", "SEPTIN7"),
        ("7-Sept", "SEPTIN7"),
        ("07-Sep-24", "SEPTIN7"),
        ("7/Sep/2024", "SEPTIN7"),
        ("2024-09-07", "SEPTIN7"),
        ("2024-09-07 00:00:00", "SEPTIN7"),
        ("2024-03-08", "MARCHF8"),
        ("8-Mar", "MARCHF8"),
        ("1-Mar", "1-Mar"),
        ("2024-12-01", "2024-12-01"),
        ("1-Dec", "1-Dec"),
        ("Dec-01", "Dec-01"),
        ("4-Oct", "4-Oct"),
        ("HLA-A", "HLA-A"),
        ("NKX2-5", "NKX2-5"),
        ("MARC1", "MARC1"),
        ("SEPTIN7", "SEPTIN7"),
        ("H3-3A", "H3-3A"),
        ("13-Sep", "13-Sep"),
        ("2024-13-01", "2024-13-01"),
    ],
)
def test_every_dialect_of_spreadsheet_damage(token, fixed):
    symbol = repair(token)
    assert symbol.text == fixed
    damaged = token[0].isdigit() or token[:4] in ("Sep-", "Dec-")
    assert bool(symbol.note) == damaged


def test_no_real_symbol_looks_damaged(shared_data):
    """Of all 63,675 gene names only the members of the two renamed families and the ambiguous DEC1
    get a remark.
    """
    with gzip.open(
        shared_data / "vocabulary" / "geneformer_gc104M_symbol_to_ensembl.json.gz", "rt"
    ) as file:
        names = json.load(file)
    odd = {name for name in names if repair(name).note}
    assert all(name.upper() == "DEC1" or name.upper().startswith(("SEPT", "MARCH")) for name in odd)


def damaged(text, dialect):
    """A TRRUST text as the damaged copies have it."""
    for gene, day in (
        ("SEPT7", ("7-Sep", "Sep-07", "7-Sep")),
        ("DEC1", ("1-Dec", "Dec-01", "1-Dec")),
    ):
        text = text.replace(f"\t{gene}\t", f"\t{day[dialect]}\t")
    if dialect == 2:
        for word, number in (("Unknown", "0"), ("Activation", "1"), ("Repression", "2")):
            text = text.replace(f"\t{word}\t", f"\t{number}\t")
    return text


@pytest.mark.parametrize("dialect", [0, 1, 2])
@pytest.mark.parametrize("headed", [True, False])
def test_three_dialects_of_damaged_trrust_give_the_same_pairs_but_for_the_ambiguous_ones(
    tmp_path, shared_data, dialect, headed
):
    text = (shared_data / "genesets" / "trrust_rawdata.human.tsv").read_text()
    whole = read_trrust(write(tmp_path, text))
    text = text if headed else text.split("\n", 1)[1]
    found = read_library(write(tmp_path, damaged(text, dialect)), name="TRRUST")
    assert isinstance(found, Regulons)
    different = set(found.pairs) - set(whole.pairs)
    assert found.rows == whole.rows == 9396
    assert all({p.tf, p.target} & {"1-Dec", "Dec-01"} for p in different)
    if "\tDEC1\t" in text:
        assert different
        assert any("several genes" in n for n in found.notes)
    assert any("SEPTIN7" in n for n in found.notes)


# sets and genes as counted in SOURCES.md of the files
SETS = {
    "GO_Biological_Process_2021.gmt": (6036, 14937),
    "KEGG_2016.gmt": (293, 7010),
    "KEGG_2021_Human.gmt": (320, 8078),
    "c2.cp.kegg.v7.5.1.symbols.gmt": (186, 5245),
    "ReactomePathways.gmt": (1448, 11193),
    "c2.cp.reactome.v7.0.symbols.gmt": (1499, 10718),
    "c5.mf.v7.0.symbols.gmt": (1645, 15599),
    "c5.cc.v7.0.symbols.gmt": (1001, 13819),
    "h.all.v7.0.symbols.gmt": (50, 4384),
    "wikipathway.v7.2.symbols.gmt": (500, 7316),
    "CORUM_human_2018.gmt": (2301, None),
}


@pytest.mark.parametrize("name", SETS)
def test_real_gmt_files_are_read_whole(shared_data, name):
    path = shared_data / "genesets" / name
    library = read_library(path)
    assert isinstance(library, GeneSetLibrary)
    sets, genes = SETS[name]
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    rows = [
        [*row[:2], *(re.sub(r",[0-9.]+$", "", token).strip() for token in row[2:])] for row in rows
    ]
    tokens = {token for row in rows for token in row[2:]} - {""}
    assert len(library.terms) == sets == len(rows)
    if genes is not None:
        assert (
            len({t.split(",")[0] for t in tokens}) == genes
        )  # as SOURCES.md counted; one Reactome name holds commas
    assert {g for t in library.terms for g in t.genes} - {repair(t).text for t in tokens} == set()
    assert {repair(t).text.upper() for t in tokens} == library.genes
    by_row = sum(len({repair(t).text.upper() for t in row[2:] if t}) for row in rows)
    assert sum(len(t.genes) for t in library.terms) == by_row


REGULON_FILES = {
    "trrust_rawdata.human.tsv": (795, 8427),
    "trrust_v2_initial_genenet.tsv": (800, 8444),
    "collectri.csv": (1186, 43178),
    "dorothea_hs_ABC.tsv.gz": (271, 13223),
}


@pytest.mark.parametrize("name", REGULON_FILES)
def test_real_regulons_are_read_whole(shared_data, name):
    path = shared_data / "genesets" / name
    found = read_library(path)
    assert isinstance(found, Regulons)
    text = gzip.decompress(path.read_bytes()).decode() if name.endswith(".gz") else path.read_text()
    rows = list(csv.DictReader(text.splitlines(), delimiter="," if name.endswith(".csv") else "\t"))
    tf, target = next(
        (a, b)
        for a, b in (
            ("TF", "gene_symbol"),
            ("Gene1", "Gene2"),
            ("source", "target"),
            ("tf", "target"),
        )
        if a in rows[0]
    )
    expected = {(r[tf], r[target]) for r in rows}
    assert (len({a for a, _ in expected}), len(expected)) == REGULON_FILES[name]
    # the two renamed families meet no other gene of the file, so no two pairs fall together
    assert len(found.pairs) == len(expected)
    assert found.rows == len(rows)
    assert {(repair(a).text, repair(b).text) for a, b in expected} == {
        (p.tf, p.target) for p in found.pairs
    }
    weight = next((c for c in ("weight", "mor") if c in rows[0]), None)
    if weight:
        signs = {(repair(r[tf]).text, repair(r[target]).text): float(r[weight]) for r in rows}
        assert all((p.mode == "Activation") == (signs[p.tf, p.target] > 0) for p in found.pairs)


def test_real_string_export_gives_the_partners(shared_data):
    path = shared_data / "genesets" / "string_example_alzheimer.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    assert len(rows) == 240
    edges = {frozenset(r[:2]) for r in rows if float(r[-1]) >= 0.7}
    library = read_library(path)
    assert isinstance(library, GeneSetLibrary)
    assert sum(len(t.genes) for t in library.terms) == 2 * len(edges)
    assert all(frozenset((t.accession, g)) in edges for t in library.terms for g in t.genes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hgnc_alias_to_approved.tsv.gz", "gene names"),
        ("go_associations_BP.json", "not genes to terms"),
        ("hs_hgnc_tfs.txt", "one gene per line"),
        ("hs_hgnc_curated_tfs.txt", "one gene per line"),
        ("lambert2018.txt", "one gene per line"),
        ("msigdb_license_v7.0.txt", "none of them"),
        ("SOURCES.md", "none of them"),
    ],
)
def test_real_files_that_are_no_gene_sets_are_refused(shared_data, name, message):
    with pytest.raises(UserError, match=message):
        read_library(shared_data / "genesets" / name)


def test_every_real_file_is_covered(shared_data):
    named = {
        *SETS,
        *REGULON_FILES,
        "string_example_alzheimer.tsv",
        "hgnc_alias_to_approved.tsv.gz",
        "go_associations_BP.json",
        "hs_hgnc_tfs.txt",
        "hs_hgnc_curated_tfs.txt",
        "lambert2018.txt",
        "msigdb_license_v7.0.txt",
        "SOURCES.md",
    }
    assert {p.name for p in (shared_data / "genesets").iterdir()} == named


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a b.gmt", "a_b"),
        ("x.tsv.gz", "x"),
        ("x.CSV", "x"),
        ("c2.cp.v7.gmt.gz", "c2.cp.v7"),
        ("x.json", "x"),
        ("x", "x"),
    ],
)
def test_library_names_come_from_file_names(file, name):
    assert library_name(file) == name
