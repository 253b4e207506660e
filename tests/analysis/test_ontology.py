"""Closure of a library over is_a, on an ontology written by hand, against a plain walk up; and what
can be wrong with one.
"""

from __future__ import annotations

import gzip
import random

import pytest

from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.ontology import close, is_a
from scircuit.core.errors import UserError

pytest.importorskip("goatools", reason="the optional goatools is not installed")

HEAD = "format-version: 1.2\ndata-version: releases/2025-01-01\n\n"


def record(number, *parents, name="", more=""):
    return (
        f"[Term]\nid: GO:{number:07d}\nname: {name or f'term {number}'}\nnamespace:"
        " biological_process\n" + "".join(f"is_a: GO:{p:07d} ! x\n" for p in parents) + more + "\n"
    )


# 1 is the root; 4 has two parents; 8 was merged into 5; 9 is obsolete; part_of is no is_a
OBO = (
    HEAD
    + record(1, name="root")
    + record(2, 1)
    + record(3, 1)
    + record(4, 2, 3)
    + record(5, 4, more="alt_id: GO:0000008\n")
    + record(6, 2, more="relationship: part_of GO:0000003 ! x\n")
    + record(9, more="is_obsolete: true\n")
    + "[Typedef]\nid: part_of\nname: part of\n"
)


def library(*terms):
    return GeneSetLibrary(
        "GO",
        "go.gmt",
        "hash",
        "",
        "",
        tuple(
            Term(f"GO:{n:07d}" if isinstance(n, int) else n, f"name {n}", tuple(genes))
            for n, genes in terms
        ),
    )


def write(tmp_path, text, name="x.obo"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def genes_of(closed):
    return {t.accession: {g.upper() for g in t.genes} for t in closed.terms}


def go(*numbers):
    return [f"GO:{n:07d}" for n in numbers]


def test_genes_go_up_to_every_ancestor_and_missing_parents_are_added(tmp_path):
    path = write(tmp_path, OBO)
    closed = close(library((4, ["A", "B"]), (8, ["C"]), (3, ["D", "a"])), path)
    expected = dict(
        zip(
            go(4, 5, 3, 2, 1),
            ({"A", "B", "C"}, {"C"}, {"A", "B", "C", "D"}, {"A", "B", "C"}, {"A", "B", "C", "D"}),
            strict=True,
        )
    )
    assert genes_of(closed) == expected
    assert set(is_a(closed, path)) == set(zip(go(5, 4, 4, 2, 3), go(4, 2, 3, 1, 1), strict=True))
    by = {t.accession: t for t in closed.terms}
    assert by["GO:0000003"].genes[:2] == ("D", "a")
    assert by["GO:0000001"].name == "root"
    assert any(
        "2025-01-01" in n and "2 parent terms added" in n and " 10 memberships" in n
        for n in closed.notes
    )
    assert any("1 of 3 terms have an id that was merged" in n for n in closed.notes)
    assert closed.sha256 != "hash"
    assert closed.file == "go.gmt + x.obo"


def test_part_of_is_not_followed(tmp_path):
    closed = close(library((6, ["A"])), write(tmp_path, OBO))
    assert set(genes_of(closed)) == set(go(6, 2, 1))


def test_obsolete_and_unknown_terms_are_kept_as_they_are_and_counted(tmp_path):
    closed = close(
        library((4, ["A"]), (9, ["O"]), (77, ["U"]), ("no accession", ["N"])), write(tmp_path, OBO)
    )
    found = genes_of(closed)
    assert (found["GO:0000009"], found["GO:0000077"], found["no accession"]) == (
        {"O"},
        {"U"},
        {"N"},
    )
    assert any("1 of 4 terms are obsolete" in n for n in closed.notes)
    assert any("2 of 4 terms are not in the ontology" in n for n in closed.notes)


def test_closing_again_changes_nothing(tmp_path):
    path = write(tmp_path, OBO)
    once = close(library((4, ["A"]), (5, ["B"])), path)
    twice = close(once, path)
    assert genes_of(once) == genes_of(twice)
    assert is_a(twice, path) == is_a(once, path)
    assert any(" 0 memberships by a child term, 0 parent terms added" in n for n in twice.notes)


def test_gzip_line_ends_and_mark_make_no_difference(tmp_path):
    plain = close(library((5, ["A"])), write(tmp_path, OBO))
    for content in (gzip.compress(OBO.encode()), ("\ufeff" + OBO.replace("\n", "\r\n")).encode()):
        assert genes_of(close(library((5, ["A"])), write(tmp_path, content))) == genes_of(plain)


def test_a_random_ontology_equals_a_plain_walk_up(tmp_path):
    rng = random.Random(0)
    parents = {
        n: rng.sample(range(1, n), min(n - 1, rng.randint(1, 3))) if n > 1 else []
        for n in range(1, 120)
    }
    chosen = rng.sample(range(1, 120), 60)
    terms = {n: {f"G{rng.randint(0, 200)}" for _ in range(5)} for n in chosen}
    path = write(tmp_path, HEAD + "".join(record(n, *p) for n, p in parents.items()))
    closed = close(library(*((n, sorted(g)) for n, g in terms.items())), path)

    def above(n):
        return {n}.union(*(above(p) for p in parents[n]))

    expected: dict[str, set[str]] = {}
    for n, genes in terms.items():
        for a in above(n):
            expected.setdefault(f"GO:{a:07d}", set()).update(genes)
    assert genes_of(closed) == expected
    assert set(is_a(closed, path)) == {
        (a, f"GO:{p:07d}") for a, n in ((a, int(a[3:])) for a in expected) for p in parents[n]
    }
    found = genes_of(closed)
    assert all(found[child] <= found[parent] for child, parent in is_a(closed, path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + record(1, 2) + record(2, 1), "cycle"),
        (HEAD + record(4, 99), "GO:0000099"),
        ("A\t\tB\n", r"no \[Term\]"),
        ("", "empty"),
        (HEAD + record(50), "has none of the 1 terms"),
        (HEAD + "[Term]\nid: GO:0000004\nid: GO:0000005\n", "damaged"),
        (gzip.compress(OBO.encode())[:60], "damaged gzip"),
    ],
)
def test_wrong_ontologies_get_one_clear_message(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        close(library((4, ["A"])), write(tmp_path, text))
    assert "x.obo" in str(caught.value)


def test_without_goatools_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "goatools.obo_parser", None)
    with pytest.raises(UserError, match=r"scircuit\[ontology\]"):
        close(library((4, ["A"])), write(tmp_path, OBO))
