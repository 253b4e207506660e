"""All figures of a report by name, out of its parts; where there is nothing to draw there is none,
and the page has a sentence in its place.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scircuit.analysis.behaviour.behaviour_circuit import NAME as BEHAVIOUR_CIRCUIT
from scircuit.analysis.behaviour.circuit_drawing import draw_members, drawing_size, members_frame
from scircuit.analysis.enrichment.matched_null import Rate
from scircuit.analysis.enrichment.rate_plot import plot_rates
from scircuit.analysis.report_page.annotation_claims import atlas_rows, draw_published
from scircuit.analysis.report_page.control_rows import control_rows
from scircuit.analysis.report_page.figures.circuit_svg import circuit_frame, circuit_svg
from scircuit.analysis.report_page.figures.control_plot import draw_controls
from scircuit.analysis.report_page.figures.intervention_plots import (
    FEATURES,
    draw_interaction,
    draw_ratio_cloud,
    draw_ratios,
    draw_readouts,
    draw_steering,
    readout_size,
    steering_size,
)
from scircuit.analysis.report_page.figures.layer_classes import (
    classes_of,
    draw_layer_classes,
    figure_size,
    layer_frame,
)
from scircuit.analysis.report_page.figures.page_figure import PageFigure, drawn, drawn_on_figure
from scircuit.analysis.report_page.intervention_runs import rows_of, runs_of
from scircuit.analysis.report_page.number_text import known
from scircuit.analysis.report_page.table_rows import (
    ablation_rows,
    dose_rows,
    readout_frame,
    shift_frame,
    steering_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuits.circuit_analysis import Analysis
    from scircuit.analysis.report_page.report_input import ReportInput

STORED_P = 0.1  # up to which an ablate run stores a contrast
_SETS = 20  # joint ablations that are drawn; all are in the CSV


def report_figures(parts: ReportInput) -> dict[str, PageFigure]:
    """Name -> figure, in the order of the page."""
    figures = [
        *(_of_circuit(parts, parts.analysis) if parts.analysis is not None else ()),
        *_of_layers(parts),
        *_of_controls(parts),
        *(f for one in runs_of(parts, "steer") for f in _of_steering(one.parts, one.suffix)),
        *(f for one in runs_of(parts, "ablate") for f in _of_ablation(one.parts, one.suffix)),
        *_of_findings(parts),
        *_of_annotation(parts),
    ]
    return {f.name: f for f in figures}


def _of_circuit(parts: ReportInput, analysis: Analysis) -> Iterator[PageFigure]:
    """The drawn circuit, degrees, hubs, annotation bias and signs."""
    if not len(analysis.frames["hubs"]):
        return
    circuit = analysis.circuit(parts.circuit)
    drawing = circuit_svg(circuit, _labels(parts.features))
    if drawing:
        caption = "The strongest edges of the feature, by target layer, with the top genes of each."
        yield PageFigure("circuit", caption, drawing, circuit_frame(circuit), inline=True)
    if analysis.tail.degrees.size:
        yield drawn(
            "degree",
            "Share of sources with at least this out-degree. The fits are drawn on the tail only,"
            " to the right of the dotted line.",
            analysis.tail.plot,
        )
    frame = analysis.frames["hubs"]
    if (frame["firing_rate"] > 0).any() and known(analysis.hub_fit.rho):
        order = {rank: i for i, rank in enumerate(analysis.hub_fit.hub_rank.tolist())}
        labels = {order[i + 1]: str(address) for i, address in enumerate(frame["address"].head(6))}
        yield drawn(
            "hubs",
            "Out-degree against firing rate. Orange: the degree expected from the firing rate"
            " alone. The features with the largest residuals are named.",
            lambda ax: _legend_below(analysis.hub_fit.plot(ax, labels)),
            frame,
        )
    if analysis.bias.fisher:
        yield drawn(
            "annotation_bias",
            "Share annotated among hubs (blue) and among features with similar firing rates"
            " (orange, mean and two standard deviations over 2,000 draws). Dotted: all sources.",
            analysis.bias.plot,
            analysis.bias.frame,
        )
    pairs = analysis.pairs.frame
    if len(pairs) and pairs["edges"].sum():
        yield drawn(
            "signs",
            "Share of support among the edges, with 95 % intervals from resampling sources. Orange:"
            " share of edges with the same sign as the direct effect, which the residual stream"
            " alone carries.",
            analysis.pairs.plot_signs,
            pairs,
            (6.6, 2.2 + 0.34 * len(pairs)),
        )
        yield drawn(
            "attenuation",
            "Edges per source by pair of layers. The dark part: edges whose halves of the cells"
            " agree, of those that have enough cells.",
            analysis.pairs.plot_attenuation,
            pairs,
        )


def _legend_below(ax: Axes) -> None:
    """Move the legend out of the marks."""
    ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.13), ncols=3, fontsize=8.5)


def _labels(features: pd.DataFrame) -> dict[str, str]:
    """Address -> term, of the features that have one."""
    if not len(features) or "label" not in features or "id" not in features:
        return {}
    own = features.loc[features["label"].notna() & (features["label"] != ""), ["id", "label"]]
    return {str(i): str(label) for i, label in own.itertuples(index=False)}


def _of_layers(parts: ReportInput) -> Iterator[PageFigure]:
    analysis = parts.analysis
    frame = layer_frame(
        control_rows(parts.controls),
        analysis.pairs.frame if analysis is not None else None,
        str(analysis.findings["rule"]) if analysis is not None else "",
    )
    if len(frame) and classes_of(frame) and frame[classes_of(frame)].to_numpy(float).any():
        yield drawn_on_figure(
            "layers",
            "Effects that are not zero by layer and class; darker: more of them. Computed effects"
            " stand beside those that random directions have at the same threshold.",
            lambda figure: draw_layer_classes(figure, frame),
            frame,
            figure_size(frame),
        )


def _of_controls(parts: ReportInput) -> Iterator[PageFigure]:
    import pandas as pd

    rows = [
        r
        for r in control_rows(parts.controls)
        if known(r.get("control_edges")) and r["control"] != "zero_edit"
    ]
    if rows:
        pairs = len({r["pair"] for r in rows})
        yield drawn(
            "controls",
            "Effects of the sampled sources that are not zero (blue), and those of another"
            " direction of the same norm. If a control has about as many as the features, the size"
            " of the edit explains them, not the feature.",
            lambda ax: draw_controls(ax, rows),
            pd.DataFrame(rows).dropna(axis="columns", how="all"),
            (6.6, 1.6 + 0.62 * pairs),
        )


def _of_steering(parts: ReportInput, suffix: str) -> Iterator[PageFigure]:
    import numpy as np
    import pandas as pd

    rows = dose_rows(parts)
    doses, words = pd.DataFrame(rows), steering_words(rows)
    if len(doses):
        for column in ("effect_low", "effect_high", "control", "control_size"):
            if column not in doses:
                doses[column] = np.nan
            doses[column] = doses[column].astype(float)
        more = doses["feature"].nunique() - FEATURES
        yield drawn_on_figure(
            f"dose_response{suffix}",
            "Change of the readout against the coefficient; the blue band is the 95 % interval over"
            f" cells. {_size_of_random(doses)}"
            + (f" {more} further features are in the CSV." if more > 0 else ""),
            lambda figure: draw_steering(
                figure, doses, parts.readout, words.axis, words.one_is_clean
            ),
            doses.dropna(axis="columns", how="all"),
            steering_size(doses),
        )
    readouts = readout_frame(parts)
    if len(readouts):
        yield drawn_on_figure(
            f"steered_readouts{suffix}",
            "Change of the other readouts against the dose, with 95 % intervals over cells; grey:"
            " random directions of equal norm, mean and spread.",
            lambda figure: draw_readouts(figure, readouts, not words.one_is_clean),
            readouts,
            readout_size(readouts),
        )


def _of_ablation(parts: ReportInput, suffix: str) -> Iterator[PageFigure]:
    import pandas as pd

    shifts = shift_frame(parts)
    if len(shifts):
        yield drawn(
            f"interaction{suffix}",
            "Effect of ablating two features together against the sum of their single effects; on"
            f" the line the two only add up. Shown are {_selected(parts, len(shifts))}; the others"
            " are not stored, so these marks lie further from the line than all would.",
            lambda ax: draw_interaction(ax, shifts),
            shifts,
            (5.6, 5.4),
        )
    rows = [r for r in ablation_rows(parts) if known(r.get("ratio")) and known(r.get("ratio_null"))]
    if rows:
        frame = pd.DataFrame(rows).dropna(axis="columns", how="all")
        if "target_layer" in frame and frame["target_layer"].nunique() > 1:
            read = [f" in L{int(layer):02d}" for layer in frame["target_layer"]]
            frame["pair"] = frame["pair"] + read
        few = len(frame) <= _SETS or "order" not in frame
        shown = frame.head(_SETS)
        yield drawn(
            f"ablation_ratio{suffix}",
            "Ratio of joint to single effects for every set, and the same ratio for exactly"
            " additive effects, which is below 1 as well.",
            lambda ax: draw_ratios(ax, shown) if few else draw_ratio_cloud(ax, frame),
            frame,
            (6.6, 1.6 + 0.28 * len(shown)) if few else (6.0, 5.2),
        )


def _selected(parts: ReportInput, shown: int) -> str:
    """Which contrasts of pairs are drawn: those stored, of all that were tested."""
    pairs = rows_of(parts.interventions, "ablate")
    if "order" in pairs:
        pairs = pairs.loc[pairs["order"] == 2]
    of = f" of {int(pairs['tested'].sum()):,} tested" if "tested" in pairs else ""
    return (
        f"{shown:,}{of} contrasts of pairs: those with p ≤ {STORED_P:g}, of the effect or of its"
        " computed part"
    )


def _size_of_random(doses: pd.DataFrame) -> str:
    """What the figure shows of random directions, or why it shows nothing."""
    if doses["control_size"].notna().to_numpy().any():
        return (
            "The orange band is the size of the change by one random direction of equal norm (root"
            " mean square, drawn with either sign)."
        )
    if doses["control"].notna().to_numpy().any():
        return (
            "Random directions are not drawn: the run has only their mean and not their spread (an"
            " older run, or fewer than two directions), and a mean over signs is smaller than any"
            " of them."
        )
    return "No random direction was steered beside."


def _of_findings(parts: ReportInput) -> Iterator[PageFigure]:
    for stored in parts.stored:
        if stored.finding.drawn:
            yield drawn(
                stored.name, stored.finding.title, stored.finding.plot, stored.finding.frame
            )
        elif len(stored.finding.frame.columns):  # its rows alone, if only their names
            yield PageFigure(stored.name, stored.finding.title, "", stored.finding.frame)
        numbers = stored.finding.numbers
        circuit = stored.finding.name == BEHAVIOUR_CIRCUIT
        if circuit and len(frame := members_frame(numbers)):
            shown, size = frame["feature"].nunique(), numbers["size"]
            yield drawn(
                f"{stored.name}_features",
                f"Features of the circuit by layer{f', {shown} of {size}' * (shown != size)}, and"
                " the computed edges between them: blue with a head supports, orange with a bar"
                " suppresses; dark is the strongest of each feature. Dotted: no edge to another"
                " feature of the circuit.",
                partial(draw_members, numbers),
                frame,
                drawing_size(numbers),
            )


def _of_annotation(parts: ReportInput) -> Iterator[PageFigure]:
    import pandas as pd

    rates = [Rate(**r) for r in parts.annotate.get("rates", ())]
    if any(r.rule == "calibrated" for r in rates):
        rows = sum(r.rule == "calibrated" for r in rates)
        yield drawn(
            "annotation",
            "Share of features with a term at the calibrated threshold (blue) and share of matched"
            " random gene lists at the same threshold (orange).",
            lambda ax: plot_rates(rates, ax),
            pd.DataFrame([r._asdict() for r in rates]),
            (6.6, 1.4 + 0.62 * rows),
        )
    published = atlas_rows(parts.atlases)
    if published:
        yield drawn(
            "published_annotation",
            "Share of features annotated as published (blue), share of random gene lists that the"
            " published procedure annotates (orange, with the range over draws), and share by the"
            " calibrated rule in the same gene sets (black).",
            lambda ax: draw_published(ax, published),
            pd.DataFrame(published),
            (6.6, 1.6 + 0.34 * len(published)),
        )
