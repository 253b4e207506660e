"""Readers of gene-set files: every layout that occurs in the wild, and every way a file can be
wrong.
"""

from __future__ import annotations

import gzip

import pytest

from scircuit.analysis.genesets.readers import read_gmt, shipped
from scircuit.analysis.genesets.symbols import repair
from scircuit.analysis.genesets.trrust import read_trrust, shipped_trrust
from scircuit.core.errors import UserError


def write(tmp_path, text, name="x.gmt"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_accessions_are_found_in_the_name_in_column_two_or_not_at_all(tmp_path):
    lib = read_gmt(
        write(
            tmp_path,
            "rRNA processing (GO:0006364)\t\tA\tB\nCell Cycle"
            " R-HSA-1640170\t\tA\nPathway\tR-HSA-5\tA\nABC"
            " transporters\t\tA\nHALLMARK_X\thttp://x/1\tA\nGlycan Homo sapiens hsa00532\t\tA\n",
        )
    )
    assert [t.accession for t in lib.terms] == [
        "GO:0006364",
        "R-HSA-1640170",
        "R-HSA-5",
        "ABC transporters",
        "HALLMARK_X",
        "hsa00532",
    ]
    assert lib.terms[0].name == "rRNA processing"
    assert lib.terms[4].name == "HALLMARK_X"


def test_a_file_that_may_be_cut_in_its_last_line_says_so(tmp_path):
    whole = "Ribosome\t\tRPL3\tRPL4\tRPS3\nCell cycle\t\tCDK1\tCCNB1\tCDC20\n"
    assert read_gmt(write(tmp_path, whole)).notes == ()
    cut = read_gmt(write(tmp_path, whole[:-7]))
    assert cut.terms[1].genes == ("CDK1", "CCNB1")
    assert cut.notes == (
        ("the last of 2 lines (Cell cycle, 4 fields) has no line end: the file may be truncated"),
    )
    assert read_gmt(write(tmp_path, whole.replace("\n", "\r\n"))).notes == ()


def test_weights_repeats_and_blank_lines_are_taken_off(tmp_path):
    lib = read_gmt(write(tmp_path, "T\t\tCDK1,1.0\tcdk1\tBRCA1,0.5\t\n\n"))
    assert lib.terms[0].genes == ("CDK1", "BRCA1")


def test_repeated_accessions_are_reported_and_the_first_is_kept(tmp_path):
    lib = read_gmt(write(tmp_path, "T\t\tA\tB\nT\t\tC\n"))
    assert lib.terms[0].genes == ("A", "B")
    assert "repeat an accession" in lib.notes[0]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "x.gmt", "empty"),
        ("CDK1\nBRCA1\nTP53\n", "x.gmt", "one gene per line"),
        ("T\t\t" + "\t".join(["Cdk1", "Brca1", "Lypla1", "Actb"]) + "\n", "x.gmt", "mouse"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, name, message):
    with pytest.raises(UserError, match=message):
        read_gmt(write(tmp_path, text, name))


def test_a_truncated_gzip_and_a_binary_file_are_refused(tmp_path):
    whole = gzip.compress(b"T\t\tA\tB\n" * 500)
    path = tmp_path / "x.gmt.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged gzip"):
        read_gmt(path)
    path = tmp_path / "y.gmt"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(UserError, match="UTF-8"):
        read_gmt(path)
    with pytest.raises(UserError, match="cannot read"):
        read_gmt(tmp_path / "absent.gmt")


def test_real_files_have_the_published_sizes(shared_data):
    folder = shared_data / "genesets"
    expected = {
        "GO_Biological_Process_2021.gmt": (6036, "GO:0000086"),
        "KEGG_2021_Human.gmt": (320, "Cell cycle"),
        "ReactomePathways.gmt": (1448, "R-HSA-1640170"),
        "CORUM_human_2018.gmt": (2301, "CORUM:1"),
        "h.all.v7.0.symbols.gmt": (50, "HALLMARK_G2M_CHECKPOINT"),
    }
    for name, (count, accession) in expected.items():
        lib = read_gmt(folder / name)
        assert len(lib.terms) == count
        assert accession in {t.accession for t in lib.terms}
    cycle = next(
        t for t in read_gmt(folder / "KEGG_2021_Human.gmt").terms if t.name == "Cell cycle"
    )
    assert len(cycle.genes) == 124
    assert "CDK1" in cycle.genes


def test_what_is_shipped_may_be_and_is_whole():
    go, reactome = shipped()
    assert (len(go.terms), go.licence) == (6008, "CC BY 4.0")
    assert (len(reactome.terms), reactome.licence) == (1448, "CC0 1.0")
    assert "CDK1" in next(t for t in go.terms if t.accession == "GO:0000086").genes
    assert all(5 <= len(t.genes) <= 500 for t in go.terms)


def test_shipped_extract_is_the_source_restricted(shared_data):
    source = {
        t.accession: {g.upper() for g in t.genes}
        for t in read_gmt(shared_data / "genesets" / "GO_Biological_Process_2021.gmt").terms
    }
    for term in shipped()[0].terms:
        assert {g.upper() for g in term.genes} <= source[term.accession]


def test_trrust_has_the_published_counts():
    trrust = shipped_trrust()
    assert (len(trrust.pairs), trrust.rows, len(trrust.tfs)) == (8427, 9396, 795)
    modes = trrust.modes("GATA1")
    assert {"KLF1", "HBB", "EPOR", "ALAS2"} <= set(modes)
    both = next(p for p in trrust.pairs if (p.tf, p.target) == ("AR", "KLK3"))
    assert both.mode == "Both"
    assert "10547578" in both.pmids
    assert "9316650" in both.pmids
    assert trrust.licence == "CC BY-SA 4.0"


def test_trrust_rows_merge_and_spreadsheet_damage_is_repaired_where_one_gene_fits(tmp_path):
    text = "AR\tSep-07\t2\t1\nAR\tMYC\tUnknown\t5;6\nAR\tMYC\t1\t4\nBHLHE41\t1-Dec\tUnknown\t2\n"
    plain, headed = (
        read_trrust(write(tmp_path, t, "t.tsv"))
        for t in (text, "Source\tTarget\tType\tCitation\n" + text)
    )
    assert plain.pairs == headed.pairs
    found = {(p.tf, p.target): p for p in plain.pairs}
    assert found["AR", "SEPTIN7"].mode == "Repression"
    assert (found["AR", "MYC"].mode, found["AR", "MYC"].pmids) == ("Activation", ("4", "5", "6"))
    assert ("BHLHE41", "1-Dec") in found
    assert any("several genes" in n for n in plain.notes)
    with pytest.raises(UserError, match="line 2"):
        read_trrust(write(tmp_path, "AR\tMYC\tUnknown\t5\nAR\tMYC\tmaybe\t5\n", "t.tsv"))


@pytest.mark.parametrize(
    ("token", "fixed"),
    [
        ("7-Sep", "SEPTIN7"),
        ("Sep-07", "SEPTIN7"),
        ("Mar-08", "MARCHF8"),
        ("MARCH8", "MARCHF8"),
        ("SEPT7", "SEPTIN7"),
        ("Mar-01", "Mar-01"),
        ("1-Dec", "1-Dec"),
        ("DEC1", "DEC1"),
        ("CDK1", "CDK1"),
        ("SEPT15", "SEPT15"),
        ("15-Sep", "15-Sep"),
    ],
)
def test_symbols_are_repaired_only_where_unambiguous(token, fixed):
    assert repair(token).text == fixed
    assert (fixed == "CDK1") or repair(token).note or token == "SEPT15"
