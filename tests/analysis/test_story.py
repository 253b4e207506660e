"""The run in ten lines: every number comes from the parts, what was not run has no line, and the
drawn circuit shows signs and names.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from scircuit.analysis.circuits.feature_circuit import FeatureCircuit, Target
from scircuit.analysis.report_page import story
from scircuit.core.address import Address
from tests.support.report_parts import make_parts


@pytest.fixture(scope="module")
def parts():
    made = make_parts()
    hub = str(made.features["id"][0])
    return replace(
        made,
        trace={
            **made.trace,
            "directions": [{}],
            "edges_computed": 4321,
            "edges_carried": 17,
            "edges_generic": 777,
            "expected_false": 55.5,
        },
        model={**made.model, "gene_gene_loss": 7.3, "gene_gene_neighbours_loss": 6.9},
        null={"sentences": ["3.2 computed edges per source, against 0.1 at most"]},
        features=pd.DataFrame(
            {
                "id": [hub],
                "ablation_redundancy": [0.61],
                "ablation_null": [0.72],
                "ablation_partners": [5],
                "steering_slope": [-0.11],
                "steering_control": [-0.004],
                "steering_gene": ["CD74"],
            }
        ),
        circuit=hub,
    )


def test_the_lines_tell_what_was_found_with_its_controls(parts):
    text = "\n".join(story(parts))
    for number in (
        *(
            "7.61",
            "8.22 for",
            "7.3 for",
            "6.9 for",
            "60 features have 4,321 computed edges",
            "have 55.5",
        ),
        *("777 of them", "17 effects", "against 0.1 at most", "0.61 of the effect", "0.72 if"),
        *("by -0.11 a dose (a random direction: 0.004); it raises CD74 most", "30.0 %"),
    ):
        assert number in text, (number, text)
    assert len(story(parts)) <= 11
    assert all(line[0].isupper() or line[0].isdigit() for line in story(parts))


def test_what_was_not_run_has_no_line(parts):
    bare = replace(parts, features=pd.DataFrame(), null={}, annotate={}, model={})
    text = "\n".join(story(bare))
    for word in ("steered", "ablated together", "against", "annotated", "loss"):
        assert word not in text
    assert story(replace(parts, analysis=None)) == ()
    del (old := dict(parts.trace))["directions"]
    assert "computed edges;" not in "\n".join(story(replace(parts, trace=old)))


def test_a_circuit_is_drawn_in_text():
    def target(layer, index, genes, effect):
        return Target(str(Address("m", "d", layer, index)), layer, genes, effect, abs(effect))

    source = str(Address("m", "d", 1, 220))
    targets = target(2, 7, ("IRF1", "GBP1"), -0.4), target(3, 1234, (), 0.2)
    circuit = FeatureCircuit(source, ("STAT1", "JAK2"), "", 31, "computed", targets)
    assert circuit.drawing == (
        "L01/F0220  STAT1, JAK2",
        "  -> L02/F0007  IRF1, GBP1",
        "  -| L03/F1234",
    )
    assert replace(circuit, targets=()).drawing == ()
