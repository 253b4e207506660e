"""The loss of the model on the run's own cells stands first in the report, with its baselines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scircuit.analysis.report_page import findings, story
from tests.support.report_parts import make_parts


@pytest.fixture(scope="module")
def made():
    return make_parts()


@pytest.mark.parametrize(
    ("loss", "unigram", "verdict"),
    [
        (7.4, 8.9, ""),
        (9.2, 8.9, ", no better than unigrams"),
        (12.5, 8.2, ", no better than guessing"),
        (7.4, None, ""),
    ],
)
def test_the_loss_on_these_cells_comes_first(made, loss, unigram, verdict):
    measured = {"loss": loss, "unigram": unigram, "uniform": 9.917, "cells": 20, "genes": 760}
    parts = replace(
        made,
        trace={**made.trace, "loss": measured},
        model={**made.model, "mlm_loss": 7.81, "unigram_loss": 8.28},
    )
    claim = f"the model's loss on 760 masked genes of 20 of these cells is {loss} nats{verdict}"
    (first, *_) = findings(parts)
    assert first.claim.startswith(f"{claim}; on held-out cells of its training it is 7.81 nats")
    known = "" if unigram is None else f"{unigram} for unigrams of the other cells, "
    assert first.control.startswith(
        f"on the same genes, in nats: {known}9.92 for uniform guessing; baselines in nats in its"
        " training: 8.28 for unigrams"
    )
    line = story(parts)[0]
    assert line.startswith(claim[:1].upper() + claim[1:])
    assert f"against {known}9.92 for uniform guessing; on held-out cells" in line


def test_without_it_the_report_says_what_it_knows(made):
    parts = replace(made, model={"mlm_loss": 7.81, "unigram_loss": 8.28})
    (first, *_) = findings(parts)
    assert first.claim.startswith("the model's loss on masked genes of held-out cells is 7.81 nats")
    assert story(parts)[0].startswith("The model's loss on masked genes of held-out cells is 7.81")
