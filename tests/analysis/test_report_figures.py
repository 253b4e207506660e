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
from scircuit.analysis.report_page.table_rows import shift_frame, steering_words
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
    undrawn = page.figures["compare_test_finding"]  # its table all the same
    assert not undrawn.svg and undrawn.csv == "x,y\n1,0.5\n2,\n"
    html = page.html
    assert html.count("Share 0.5, by chance 0.3.") == 2  # the evidence of both
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


def dosed(parts, **columns):
    """The page of a steering run, and what its dose figure shows."""
    frame = parts.interventions
    steer = frame["verb"] == "steer"
    frame = frame.assign(**{k: [v if s else None for s in steer] for k, v in columns.items()})
    page = report_page(replace(parts, interventions=frame))
    return page, page.figures["dose_response"]


def test_a_random_direction_is_shown_by_its_size_and_not_by_a_mean_over_signs(parts):
    page, figure = dosed(parts)
    found = pd.read_csv(io.StringIO(figure.csv))
    # the mean over directions is 0.001, one of them is 40 times that
    assert found["control_size"].tolist() == pytest.approx([np.hypot(0.001, 0.04)] * 3)
    assert "size of the change by one random direction" in figure.caption
    table = page.html[page.html.index("All doses as a table") :]
    assert "size of one random direction" in table and ">0.04</td>" in table
    assert ">0.001</td>" not in table[: table.index("</details>")]


def test_without_a_spread_random_directions_are_not_drawn_and_it_is_said(parts):
    _, figure = dosed(parts, control_sd=None)
    assert "not drawn: the run has only their mean" in figure.caption
    assert "control_size" not in figure.csv
    _, figure = dosed(parts, control_sd=None, control=None)
    assert "No random direction was steered beside" in figure.caption


def axes_of(rows, axis, one_is_clean):
    from matplotlib.figure import Figure

    from scircuit.analysis.report_page.figures.intervention_plots import draw_steering

    figure = Figure()
    draw_steering(figure, pd.DataFrame(rows), "logits", axis, one_is_clean)
    return figure, figure.axes[0]


@pytest.mark.parametrize(
    ("mode", "text", "axis"),
    [
        ("amplify", "multiplied by a coefficient", "1: no change, 0: ablated"),
        (None, "multiplied by a coefficient", "1: no change, 0: ablated"),
        ("clamp", "mean active value, wherever it fires; 1 is that mean", "units of the mean"),
        ("clamp-all", "mean active value, at all gene positions", "units of the mean"),
    ],
)
def test_the_coefficient_is_explained_by_the_mode_of_the_run(parts, mode, text, axis):
    page, _ = dosed(parts, mode=mode)
    assert text in page.html
    changes_nothing = "1 changes nothing" in page.html
    words = steering_words([{"mode": mode}])
    assert axis in words.axis and changes_nothing == words.one_is_clean == (
        mode in ("amplify", None)
    )
    row = dict.fromkeys(("effect", "effect_low", "effect_high", "control_size"), 0.1)
    rows = [row | {"feature": "L01/F0001", "coefficient": c} for c in (0.0, 2.0)]
    figure, ax = axes_of(rows, words.axis, words.one_is_clean)
    assert figure.get_supxlabel() == words.axis
    upright = [x for line in ax.lines for x in [list(line.get_xdata())] if x == [1, 1]]
    assert bool(upright) == words.one_is_clean  # a line where nothing is changed
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == pytest.approx((-0.1, 0.1))


def test_doses_beyond_the_norms_of_the_model_are_marked_in_the_table(parts):
    page, _ = dosed(parts, beyond_norm=True)
    table = page.html[page.html.index("All doses as a table") :].partition("</details>")[0]
    assert table.count(" *</td>") == 3 and "take no part in slopes" in table
    page, _ = dosed(parts, beyond_norm=False)
    assert " *</td>" not in page.html and "take no part in slopes" not in page.html


def test_probes_that_are_no_better_than_shuffled_labels_are_marked(parts):
    nodes = pd.DataFrame(
        {
            "id": ["r1", "r2", "r3"],
            "name": ["pseudotime", "fate:B", "markers"],
            "measure": ["R2", "AUC", None],
            "accuracy": [0.61, 0.5, None],
            "baseline": [0.02, 0.51, None],
            "p": [1 / 21, 12 / 21, None],
        }
    )
    page = report_page(replace(parts, readouts=nodes)).html
    assert page.count("(no better than shuffled labels)") == 1
    assert "fate:B <b>(no better than shuffled labels)</b>" in page and ">0.57</td>" in page
