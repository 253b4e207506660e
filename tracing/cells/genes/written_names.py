"""One name as written in a file to a gene: ``ENSG00000141510.18``, ``TP53_ENSG00000141510``,
``b'TP53'``, ``GRCh38_TP53``, `` TP53 `` are all TP53; ``HLA.A`` and ``HLA_A`` are HLA-A.

`read_name` says how it found the gene, because not all ways are equally good: an id or a symbol as
it is (also with a version, or taken out of quotes, a genome's prefix, or a name that holds both)
is *exact*; a retired id, an old symbol or a symbol with other dashes is *followed*; the copy
``TBCE-1`` of a name is not followed, since which copy is meant is unclear.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scircuit.tracing.tokenisation.vocabulary.gene_table import GeneTable


class How(IntEnum):
    """How a name was read."""

    MISSING = 0  # empty, or a word for it
    UNKNOWN = 1
    UNLISTED = 2  # a human Ensembl id that the table lacks
    COPY = 3  # TBCE-1: a name made unique
    RODENT = 4  # Gapdh: a symbol only in upper case
    FOREIGN = 5  # an Ensembl id or a prefix of another species
    RETIRED = 6  # a retired id
    RENAMED = 7  # an old symbol
    CASE = 8  # C1ORF112 for C1orf112
    PUNCTUATION = 9  # HLA.A for HLA-A
    SYMBOL = 10
    ID = 11


class Name(NamedTuple):
    """What a name says: number of the gene or -1, how it was read, the other gene that the same
    name names as well (-1: none), and the species of a foreign name.
    """

    gene: int
    how: How
    other: int = -1
    species: str = ""


_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")  # nothing to take off
_WHOLE = re.compile(r"ENS([A-Z]*)G(\d{11})(?:\.\d+)?(?:_PAR_Y)?")
_ID = re.compile(r"(?<![A-Z0-9])ENS([A-Z]*)G(\d{11})(?:\.\d+)?(?:_PAR_Y)?(?![0-9])", re.IGNORECASE)
_QUOTED = re.compile(r"""b?(['"])(.*)\1""")
# a genome before the name: GRCh38_, GRCh38-2020-A_, hg19___; but RN7SK_ and PLEKHG7_ are symbols
_HUMAN = re.compile(r"\A(?:GRCh\d+|hg\d+|human|homo_sapiens)(?:[.-][\w.-]*?)?_+", re.IGNORECASE)
_OTHERS = {
    "MUS": re.compile(r"(?:GRCm\d+|mm\d+|mouse|mus_musculus)(?:[.-][\w.-]*?)?_+", re.IGNORECASE),
    "RNO": re.compile(r"(?:mRatBN\d+|Rnor|rn\d+|rat)(?:[.-][\w.-]*?)?_+", re.IGNORECASE),
}
# the same with dashes, which Seurat writes for every underscore: only assemblies, since a dash is
# usual in a symbol
_BUILD = r"(?:\.p\d+)?(?:-\d{4}-[A-Z](?=-))?-+(?=[^-])"
_DASHED = {
    "": re.compile(rf"(?:GRCh\d+|hg\d+){_BUILD}", re.IGNORECASE),
    "MUS": re.compile(rf"(?:GRCm\d+|mm\d+){_BUILD}", re.IGNORECASE),
    "RNO": re.compile(rf"(?:mRatBN\d+|Rnor|rn\d+){_BUILD}", re.IGNORECASE),
}
_GENE = re.compile(r"\Agene[:-](?=.)")
COPY = re.compile(r"(.+)[-._]\d+")
_MITOCHONDRIAL = re.compile(r"mt[-._][a-z]+\d*[a-z]?\d?")  # mt-co1; a mouse has mt-Co1
_ORF = re.compile(r"C(?:\d+|X|Y)orf\d", re.IGNORECASE)  # human symbols in two cases
_ENTREZ = re.compile(r"(?:\d+|\?)\|([^|]+)|([^|]+)\|(?:\d+|\?)")  # TP53|7157
_AROUND = " \t\r\n_|:;,/-.()[]"
_NOTHING = {  # NaN is also an old name of SCN11A, which nobody means by it; NAT is one of BRD2
    *("", "nan", "NaN", "NAN", "none", "None", "NONE", "na", "NA", "n/a", "N/A", "<NA>", "#N/A"),
    *("null", "Null", "NULL", "NaT", "-", "--", "---", ".", "?"),
}
_UNKNOWN = Name(-1, How.UNKNOWN)
_LONGEST = 200  # characters; what is longer is a description


def read_name(name: str, table: GeneTable) -> Name:
    """The gene that a name names."""
    number = table.exact.get(name)
    if number is not None:
        return Name(number, How.ID if name.startswith("ENSG") else How.SYMBOL)
    if len(name) > _LONGEST:
        return _UNKNOWN
    whole = _WHOLE.fullmatch(name)
    if whole:
        return _id(whole[1], f"ENS{whole[1]}G{whole[2]}", table)
    if "-" in name and (dashed := _without_genome(name, table)):
        return dashed
    if _PLAIN.fullmatch(name):
        bare = name
    else:
        bare = _bare(name)
        for species, prefix in _OTHERS.items():
            if prefix.match(bare):
                return Name(-1, How.FOREIGN, species=species)
        bare = _HUMAN.sub("", bare, count=1)
    bare = _GENE.sub("", bare, count=1)
    if bare in _NOTHING:
        return Name(-1, How.MISSING)
    found = _with_id(bare, table) if "ens" in bare.lower() else None
    return found or _symbol(bare, table)


def _without_genome(name: str, table: GeneTable) -> Name | None:
    """A name with an assembly and dashes before it; None for any other. In ``GRCh38-2020-A_TP53``
    the dashes are the assembly's own.
    """
    for species, prefix in _DASHED.items():
        if found := prefix.match(name):
            if species:
                return Name(-1, How.FOREIGN, species=species)
            read = read_name(name[found.end() :], table)
            return read if read.how > How.UNKNOWN or "_" not in name else None
    return None


def _id(species: str, number: str, table: GeneTable) -> Name:
    """An Ensembl id without its version."""
    if species:
        return Name(-1, How.FOREIGN, species=species)
    gene = table.exact.get(number, -1)
    if gene >= 0:
        return Name(gene, How.ID)
    if number in table.retired:
        return Name(table.retired[number], How.RETIRED)
    return Name(-1, How.UNLISTED)


def _bare(name: str) -> str:
    """Without surrounding white space, quotes (U2B'' has its own) and the mark of bytes."""
    bare = name.strip().strip("\ufeff\u200b")
    quoted = _QUOTED.fullmatch(bare)
    return quoted[2].strip() if quoted else bare


def _with_id(name: str, table: GeneTable) -> Name | None:
    """A name that is or holds an Ensembl id; None for any other."""
    found = list(_ID.finditer(name))
    ids = {f"ENS{m[1].upper()}G{m[2]}" for m in found}
    if len(ids) != 1:
        return _UNKNOWN if ids else None
    gene = _id(found[0][1].upper(), ids.pop(), table)
    if gene.how == How.FOREIGN:
        return gene
    rest = (name[: found[0].start()] + " " + name[found[-1].end() :]).strip(_AROUND)
    other = table.exact.get(rest, -1)
    if other < 0 or other == gene.gene:
        return gene
    return gene._replace(other=other) if gene.how == How.ID else Name(other, How.SYMBOL)


def _symbol(name: str, table: GeneTable) -> Name:
    entrez = _ENTREZ.fullmatch(name) if "|" in name else None
    if entrez:
        name = entrez[1] or entrez[2]
    gene = table.exact.get(name, -1)
    if gene >= 0:
        return Name(gene, How.SYMBOL)
    upper = name.upper()
    human = name == upper or _ORF.search(name) or _MITOCHONDRIAL.fullmatch(name)
    if human and table.follow and upper in table.upper:
        return Name(table.upper[upper], How.CASE)
    if human and upper in table.renamed:
        return Name(table.renamed[upper], How.RENAMED)
    if upper in table.upper and table.has_token[table.upper[upper]]:
        return Name(-1, How.RODENT)
    copy = COPY.fullmatch(name)
    if copy and copy[1] in table.exact:
        return Name(-1, How.COPY)
    number = table.repunctuated(upper if human else name)
    if number >= 0:
        return Name(number, How.PUNCTUATION)
    copied = copy is not None and table.repunctuated(copy[1]) >= 0
    return Name(-1, How.COPY) if copied else _UNKNOWN
