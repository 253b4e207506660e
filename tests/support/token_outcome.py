"""What the product makes of a file whose tokens are known: exactly these, or a refusal."""

import pytest

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2


def outcome(path, expected, max_length=2048, **options):
    """``exact`` or ``refused``, and what was said; any other tokens fail the test.

    path: the file. expected: the list of token lists that `tests.support.plain_tokens.tokens`
    gives, in file order. options: of `CellsConfig`; all cells and small panels by default.
    """
    config = CellsConfig(
        cells=path, **{"n_cells": 0, "panel": True, "min_tokens": 10, "mixed": True, **options}
    )
    try:
        cohort = load_cohort(config, geneformer_v2(), max_length)
    except UserError as refusal:
        return "refused", str(refusal)
    said = "\n".join(str(line) for line in cohort.report)
    given = [cell.tolist() for cell in cohort.tokens]
    if given != expected:
        differ = sum(a != b for a, b in zip(given, expected, strict=False))
        pytest.fail(
            f"{differ} of {len(expected)} cells have other tokens, and nothing said so:\n{said}"
        )
    return "exact", said
