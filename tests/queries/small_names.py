"""Names in the small study: its runs, models, sizes, terms, and the addresses of its features."""

from __future__ import annotations

from scircuit.core.address import Address

MODEL, SET = "toy-model", "toy-set"
OLD, NEW, BROKEN = "trace-0000000001", "trace-0000000002", "trace-0000000003"
ANNOTATE, ANALYSE, ABLATE, STEER = (
    "annotate-0000000001",
    "analyse-0000000001",
    "ablate-0000000001",
    "steer-0000000001",
)
PREDICT = "predict-0000000001"
COMPARE = "compare-0000000001"
ATTRIBUTE, REATTRIBUTE = "attribute-0000000001", "attribute-0000000002"  # of OLD, of NEW
ANALYSE_OLD = "analyse-0000000002"  # of OLD; ANALYSE is of NEW
EARLIER = "annotate-0000000009"  # an annotation that ANNOTATE has replaced
ATLAS, IMPORTED, MATCH = "import-0000000001", "import-0000000002", "match-0000000001"
OTHER, OTHER_SET, OTHER_LAYERS, OTHER_SIZE = "other-model", "other-set", (5, 6, 7), 10
CELL_TYPES = ("T cell", "B cell", "erythroid cell", "club epithelial cell")
SIZES = {1: 14, 2: 14, 3: 14}
CELLS = 20
SILENT = "toy-model/toy-set/L03/F0005"  # fires in no clean cell
TERMS = (
    "T cell activation",
    "regulation of T cell activation",
    "translation",
    "DNA repair",
    "mitotic spindle",
    "B cell activation",
)


def address(layer: int, index: int) -> str:
    return str(Address(MODEL, SET, layer, index))


def other(layer: int, index: int) -> str:
    """Address of a feature of the imported atlas."""
    return str(Address(OTHER, OTHER_SET, layer, index))
