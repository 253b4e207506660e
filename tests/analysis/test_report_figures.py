"""Figures of the report: no text is cut, the numbers are those that are drawn, and findings of any
analysis are drawn by their own module.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.circuits.feature_circuit import FeatureCircuit, Target
from scircuit.analysis.finding import Finding
from scircuit.analysis.report_page import StoredFinding, report_page
from scircuit.analysis.report_page.figures.circuit_svg import circuit_frame, circuit_svg
from scircuit.analysis.report_page.figures.intervention_plots import draw_interaction
from scircuit.analysis.report_page.figures.layer_classes import draw_layer_classes, layer_frame
from scircuit.analysis.report_page.figures.page_figure import drawn, drawn_on_figure, fit_labels
from scircuit.analysis.report_page.table_rows import shift_frame
from scircuit.core.address import Address
from tests.support.report_parts import make_parts, tiny_parts

LONG = "mean logit change of the genes a feature fires on, minus that of the cell's other genes"


@pytest.fixture(scope="module")
def parts():
    return make_parts()


@pytest.fixture(scope="module")
def page(parts):
    return report_page(parts)


def test_a_long_label_is_wrapped_to_its_axis():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    ax = figure.add_subplot()
    ax.set(ylabel=LONG, xlabel=LONG)
    figure.draw_without_rendering()
    assert ax.yaxis.label.get_window_extent().height > ax.get_window_extent().height
    fit_labels(figure)
    figure.draw_without_rendering()
    assert ax.yaxis.label.get_window_extent().height <= figure.bbox.height
    assert ax.xaxis.label.get_window_extent().width <= figure.bbox.width
    assert " ".join(ax.get_ylabel().split()) == LONG  # nothing is left out


def test_the_picture_grows_with_what_is_drawn():
    def draw(ax):
        ax.barh([0, 1], [1, 2])
        ax.set_yticks([0, 1], ["x" * 90, "y"])

    def width(figure):
        return float(re.search(r'width="([\d.]+)pt"', figure.svg)[1])

    short = drawn("f", "", lambda ax: ax.barh([0, 1], [1, 2]))
    assert width(drawn("f", "", draw)) > width(short) + 100


def test_numbers_of_a_figure_are_its_points_or_its_frame(page, parts):
    degree = pd.read_csv(io.StringIO(page.figures["degree"].csv))
    own = degree.loc[degree["series"] == "features"]
    values = np.unique(parts.analysis.tail.degrees)
    assert own["out-degree (edges)"].tolist() == values.tolist()
    share = [(parts.analysis.tail.degrees >= v).mean() for v in values]
    assert own.iloc[:, 2].tolist() == pytest.approx(share)
    hubs = pd.read_csv(io.StringIO(page.figures["hubs"].csv))
    assert len(hubs) == 60 and "expected_degree" in hubs
    doses = pd.read_csv(io.StringIO(page.figures["dose_response"].csv))
    assert doses["coefficient"].tolist() == [0.0, 2.0, 5.0]


def test_every_figure_is_linked(page):
    for name, figure in page.figures.items():
        assert f'href="figures/{name}.svg"' in page.html
        assert f'href="figures/{name}.csv"' in page.html
        assert figure.svg.lstrip().startswith(("<?xml", "<svg")) and figure.caption


def test_the_same_numbers_give_the_same_picture():
    first, again = (drawn("f", "", lambda ax: ax.plot([1, 2], [3, 4])).svg for _ in range(2))
    assert first == again


def test_a_finding_of_any_analysis_is_drawn():
    def draw(frame, numbers, ax):
        ax.plot(frame["x"], frame["y"], label="observed")

    frame = pd.DataFrame({"x": [1, 2], "y": [0.5, None]})
    words = ("test_finding", "A <title>", "share 0.5, by chance 0.3", "1,000 draws")
    found = Finding(*words, frame, draw=draw)
    stored = [
        StoredFinding("analyse_test_finding", found, "analyse-1", "analyse"),
        StoredFinding(
            "compare_test_finding", replace(found, name="unknown", draw=None), "c", "compare"
        ),
    ]
    page = report_page(tiny_parts([0, 0], stored=stored))
    assert page.figures["analyse_test_finding"].csv == "x,y\n1,0.5\n2,\n"
    assert "compare_test_finding" not in page.figures
    html = page.html
    assert html.count("Share 0.5, by chance 0.3.") == 4  # verdict and evidence of both
    assert "A &lt;title&gt;" in html and "1,000 draws" in html
    assert "No figure is declared for this analysis." in html


def targets(count, layers=(2, 3), genes=("VERYLONGGENENAME1",) * 4):
    return tuple(
        Target(
            str(Address("m", "d", layers[i % len(layers)], i)),
            layers[i % len(layers)],
            genes,
            e,
            1.0,
        )
        for i, e in zip(range(count), [-0.4, 0.2] * count, strict=False)
    )


def test_the_drawn_circuit_names_every_end():
    source = str(Address("m", "d", 1, 220))
    circuit = FeatureCircuit(source, ("STAT1",) * 6, "a term " * 12, 31, "computed", targets(10))
    labels = {circuit.targets[0].address: "regulation of <b> " + "very long term name " * 6}
    svg = circuit_svg(circuit, labels)
    assert svg.count("VERYLONGGENENAME1") == 40 and "<b>" not in svg
    assert [f"LAYER {n}" in svg for n in (2, 3, 4)] == [True, True, False]
    assert "supports: ablating" in svg and "suppresses: ablating" in svg
    frame = circuit_frame(circuit)
    assert frame["sign"].tolist() == ["supports", "suppresses"] * 5
    assert circuit_svg(replace(circuit, targets=())) == ""
    # texts begin inside the picture, and rows do not overlap
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    places = [(float(x), float(y)) for x, y in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"', svg)]
    assert all(0 < x < width and 0 < y < height for x, y in places)
    assert len(set(places)) == len(places)


def test_layers_by_class():
    rows = [
        {"control": "direction_null", "source_layer": s, "target_layer": t, "edges": 10 * t,
         "expected_false": 0.5, "carried": None, "generic": 7}
        for s in (0, 1) for t in (1, 2, 3) if t > s
    ]  # fmt: skip
    frame = layer_frame(rows, None, "computed")
    assert frame["computed"].tolist() == [10, 20, 30, 20, 30] and frame["carried"].isna().all()
    svg = drawn_on_figure("layers", "", lambda f: draw_layer_classes(f, frame), frame).svg
    assert svg.count('<g id="axes_') == 3  # a panel for each class that has numbers
    one = frame.loc[frame["source_layer"] == 0]
    assert (
        drawn_on_figure("l", "", lambda f: draw_layer_classes(f, one), one).svg.count("axes_") == 1
    )
    pairs = pd.DataFrame({"source_layer": [0], "target_layer": [1], "edges": [5]})
    assert layer_frame([], pairs, "calibrated")["calibrated"].tolist() == [5]
    assert len(layer_frame([], None, "")) == 0


def test_pairs_stand_against_the_sum_of_single_effects(parts):
    shifts = pd.DataFrame(
        {
            "source": ["i1", "i1", "s0.0", "i1"],
            "target": ["a", "b", "c", "d"],
            "effect": [0.5, -0.2, 0.1, 0.3],
            "interaction": [0.1, None, 0.0, 0.0],
            "q": [0.01, 0.5, 0.5, None],
        }
    )
    found = shift_frame(replace(parts, shifts=shifts))
    assert found["target"].tolist() == ["a", "d"]  # of pairs, with a contrast
    assert found["additive"].tolist() == pytest.approx([0.4, 0.3])
    figure = drawn("interaction", "", lambda ax: draw_interaction(ax, found), found)
    assert figure.csv.startswith("intervention,target,joint,additive")


def test_readouts_of_steering_are_drawn_beside_random_directions(parts):
    nodes = pd.DataFrame(
        {
            "id": ["r1", "r0"],
            "name": ["pseudotime", "own_genes"],
            "readout": ["pseudotime", "own genes"],
            "unit": ["pseudotime", "logits"],
            "measure": ["R2", None],
            "accuracy": [0.61, None],
            "baseline": [0.02, None],
        }
    )
    shifts = pd.DataFrame(
        {
            "source": ["s0.0", "s2.0", "s5.0", "s5.0"],
            "target": ["r1", "r1", "r1", "r0"],
            "dose": [-1.0, 1.0, 4.0, 4.0],
            "effect": [-0.1, 0.1, 0.5, 9.0],
            "control": [0.0, 0.01, None, 0.0],
        }
    )
    page = report_page(
        replace(
            tiny_parts([0, 0]),
            interventions=parts.interventions,
            members=parts.members,
            readouts=nodes,
            readout_shifts=shifts,
        )
    )
    found = pd.read_csv(io.StringIO(page.figures["steered_readouts"].csv))
    assert found["effect"].tolist() == [-0.1, 0.1, 0.5]  # own genes are drawn elsewhere
    assert ">0.61</td>" in page.html and ">0.02</td>" in page.html
