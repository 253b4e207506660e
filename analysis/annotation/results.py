"""Results of the tests, as the records of an annotate run need them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.analysis.annotation.top_genes import TopGenes
from scircuit.analysis.enrichment.calibration import Calibration
from scircuit.analysis.enrichment.list_blocks import ListBlock
from scircuit.analysis.enrichment.pair_tests import Tested


class ReportedPairs(NamedTuple):
    """The pairs that are stored, one entry each: row of the feature among the tested ones, its
    block, the pair there, and its q values.

    q that a test does not give are NaN.
    """

    feature: np.ndarray
    block: np.ndarray
    row: np.ndarray
    column: np.ndarray
    overlap: np.ndarray
    p: np.ndarray
    q: np.ndarray
    q_layer: np.ndarray
    q_feature: np.ndarray
    q_calibrated: np.ndarray


class TestedFeatures(NamedTuple):
    """What was tested and found; `rows_of` maps tested features, in the order of the blocks, to
    features of `tops`.

    `reported` are the pairs of the calibrated test, `weighted` those of the weighted one (None: not
    asked for).
    """

    tops: TopGenes
    rows_of: np.ndarray
    blocks: tuple[ListBlock, ...]
    tested: tuple[Tested, ...]
    calibration: Calibration
    reported: ReportedPairs
    weighted: ReportedPairs | None = None
