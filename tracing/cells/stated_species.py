"""Which species a file says its cells are of: columns of obs, `uns`, its genome, and `var`.

Names of genes do not always tell: those of a mouse in upper case are mostly those of human genes.
What a file states is read word by word (``Mus musculus``, ``NCBITaxon:10090``, ``mm10``); a
statement that names no known species, or a human and another, says nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

from scircuit.core.errors import quoted
from scircuit.tracing.cells.column_names import named
from scircuit.tracing.cells.expression_files import Expression
from scircuit.tracing.cells.filter_values import cells_per_value
from scircuit.tracing.cells.genes.other_species import most_of_another

_COLUMNS = (
    *("organism", "species", "organism_ontology_term_id", "organism_ontology_label"),
    *("species_ontology_term_id", "species_ontology_label", "organism_label", "organism_name"),
    *("species_name", "donor_organism", "genus_species", "taxon", "taxon_id", "taxid", "tax_id"),
)
_OF_GENES = ("feature_reference", "genome", "organism", "species")
_WORDS = {
    "human": "human humans homo sapiens hsapiens 9606 grch hg",
    "mouse": "mouse mice murine mus musculus mmusculus 10090 grcm mm",
    "rat": "rat rats rattus norvegicus rnorvegicus 10116 rnor mratbn rn",
    "macaque": "macaque macaca mulatta fascicularis rhesus 9544 9541 mmul rhemac macfas",
    "marmoset": "marmoset callithrix jacchus 9483",
    "chimpanzee": "chimpanzee troglodytes 9598 pantro",
    "pig": "pig swine sus scrofa 9823 sscrofa susscr",
    "cow": "cow cattle bovine taurus 9913",
    "sheep": "sheep ovis aries 9940",
    "dog": "dog canis familiaris 9615 canfam",
    "rabbit": "rabbit oryctolagus cuniculus 9986",
    "chicken": "chicken gallus 9031 galgal",
    "frog": "xenopus laevis tropicalis 8355 8364",
    "zebrafish": "zebrafish danio rerio 7955 grcz danrer",
    "fruit fly": "drosophila melanogaster 7227 bdgp",
    "worm": "caenorhabditis elegans 6239 wbcel",
    "yeast": "yeast saccharomyces cerevisiae 4932 saccer",
}
_SPECIES = {word: name for name, words in _WORDS.items() for word in words.split()}


class Stated(NamedTuple):
    """A statement that is not only of human cells: the species, who states it of how much, and the
    filter that keeps human cells where there are some.
    """

    species: str
    found: str
    keep: str = ""


def species_of(text: str) -> str:
    """The one species that a text names; empty where it names none or several."""
    words = re.findall(r"[a-z]+|\d+", text.casefold())
    found = {_SPECIES[word] for word in words if word in _SPECIES}
    return found.pop() if len(found) == 1 else ""


def stated_species(expression: Expression, obs: pd.DataFrame, var: pd.DataFrame) -> Stated | None:
    """What a file states about these cells and genes, if it is not that they are human.

    Parameters
    ----------
    expression
        The open file.
    obs
        Annotation of the chosen cells.
    var
        Table of the genes.
    """
    for column in named(obs.columns, _COLUMNS):
        if found := _of_cells(column, cells_per_value(pd.Series(obs[column]))):
            return found
    for text, where in ((expression.organism, "uns"), (expression.genome, "the genome")):
        species = species_of(text)
        if species not in ("", "human"):
            return Stated(species, f"{where} states {text}")
    for column in named(var.columns, _OF_GENES):
        if found := _of_genes(column, cells_per_value(pd.Series(var[column]))):
            return found
    return None


def _of_cells(column: str, counts: dict[str, int]) -> Stated | None:
    """What a column of obs states; a single cell of another species counts."""
    of = {value: species_of(value) for value in counts}
    others = [value for value in counts if of[value] not in ("", "human")]
    if not others:
        return None
    human = [value for value in counts if of[value] == "human"]
    listed = ", ".join(f"{value} {counts[value]:,}" for value in [*others, *human][:8])
    keep = f"--where {quoted(f'{column}={human[0]}')}" if human else ""
    found = f"obs[{column!r}] states another species ({listed} of {sum(counts.values()):,} cells)"
    return Stated(of[others[0]], found, keep)


def _of_genes(column: str, counts: dict[str, int]) -> Stated | None:
    """What a column of var states; a few genes may be of a virus or a transgene."""
    of = {value: species_of(value) for value in counts}
    others = [value for value in counts if of[value] not in ("", "human")]
    n, total = sum(counts[value] for value in others), sum(counts.values())
    human = "human" in of.values()
    if not others or (n <= most_of_another(total) if human else 2 * n < total):
        return None
    found = f"var[{column!r}] states {others[0]} for {n:,} of {total:,} genes"
    return Stated(of[others[0]], found)
