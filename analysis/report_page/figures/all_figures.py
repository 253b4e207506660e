"""All figures of a report by name, out of its parts; where there is nothing to draw there is none,
and the page has a sentence in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from scircuit.analysis.report_page.number_text import known
from scircuit.analysis.report_page.table_rows import (
    ablation_rows,
    dose_rows,
    readout_frame,
    shift_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuits.circuit_analysis import Analysis
    from scircuit.analysis.report_page.report_input import ReportInput

_SETS = 20  # joint ablations that are drawn; all are in the CSV


def report_figures(parts: ReportInput) -> dict[str, PageFigure]:
    """Name -> figure, in the order of the page."""
    figures = [
        *(_of_circuit(parts, parts.analysis) if parts.analysis is not None else ()),
        *_of_layers(parts),
        *_of_controls(parts),
        *_of_interventions(parts),
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


def _of_interventions(parts: ReportInput) -> Iterator[PageFigure]:
    import numpy as np
    import pandas as pd

    doses = pd.DataFrame(dose_rows(parts))
    if len(doses):
        for column in ("effect_low", "effect_high", "control"):
            if column not in doses:
                doses[column] = np.nan
            doses[column] = doses[column].astype(float)
        more = doses["feature"].nunique() - FEATURES
        yield drawn_on_figure(
            "dose_response",
            "Change of the readout against the coefficient; the band is the 95 % interval over"
            " cells, the orange line a random direction of equal norm."
            + (f" {more} further features are in the CSV." if more > 0 else ""),
            lambda figure: draw_steering(figure, doses, parts.readout),
            doses.dropna(axis="columns", how="all"),
            steering_size(doses),
        )
    shifts = shift_frame(parts)
    if len(shifts):
        yield drawn(
            "interaction",
            "Effect of ablating two features together on each stored target, against the sum of"
            " their single effects. On the line the two only add up.",
            lambda ax: draw_interaction(ax, shifts),
            shifts,
            (5.6, 5.4),
        )
    rows = [r for r in ablation_rows(parts) if known(r.get("ratio")) and known(r.get("ratio_null"))]
    if rows:
        frame = pd.DataFrame(rows).dropna(axis="columns", how="all")
        few = len(frame) <= _SETS or "order" not in frame
        shown = frame.head(_SETS)
        yield drawn(
            "ablation_ratio",
            "Ratio of joint to single effects for every set, and the same ratio for exactly"
            " additive effects, which is below 1 as well.",
            lambda ax: draw_ratios(ax, shown) if few else draw_ratio_cloud(ax, frame),
            frame,
            (6.6, 1.6 + 0.28 * len(shown)) if few else (6.0, 5.2),
        )
    readouts = readout_frame(parts)
    if len(readouts):
        yield drawn_on_figure(
            "steered_readouts",
            "Change of the other readouts against the dose, with 95 % intervals over cells; grey:"
            " random directions of equal norm, mean and spread.",
            lambda figure: draw_readouts(figure, readouts),
            readouts,
            readout_size(readouts),
        )


def _of_findings(parts: ReportInput) -> Iterator[PageFigure]:
    for stored in parts.stored:
        if stored.finding.drawn:
            yield drawn(
                stored.name, stored.finding.title, stored.finding.plot, stored.finding.frame
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
