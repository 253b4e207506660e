"""Build the report page: every number comes from `ReportInput`; figures and styles are inside the
file, which loads nothing from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.enrichment.matched_null import RULES, Rate
from scircuit.analysis.enrichment.rate_plot import plot_rates
from scircuit.analysis.report_page import number_text
from scircuit.analysis.report_page.annotation_claims import (
    atlas_rows,
    draw_published,
    excess_sentence,
    published_claim,
    published_control,
)
from scircuit.analysis.report_page.control_rows import (
    NULL,
    Row,
    audit_rows,
    control_rows,
    control_sentences,
    hub_replication,
    layer_pair,
    records,
    verdict,
)
from scircuit.analysis.report_page.findings import findings, rows_of
from scircuit.analysis.report_page.page_figures import (
    draw_ablation,
    draw_controls,
    draw_steering,
    image,
)
from scircuit.analysis.report_page.report_input import (
    AnnotateFindings,
    RateRow,
    ReportInput,
    TraceFindings,
)
from scircuit.core.glossary import PAGE as GLOSSARY_PAGE
from scircuit.core.glossary import TERMS

if TYPE_CHECKING:
    pass

_FOLDER = Path(__file__).resolve().parent
_HUBS = 15
_TERMS = (
    "feature",
    "ablation",
    "effect",
    "edge",
    "support",
    "suppress",
    "live test",
    "q",
    "random direction",
    "feature swap",
    "zero edit",
    "direct",
    "computed",
    "carried",
    "generic",
    "direction null",
    "expected false",
    "halves",
    "hub",
    "top genes",
    "null",
)
_ATLAS_TERMS = ("feature", "top genes", "library", "term", "background", "q", "null")


def build_report(parts: ReportInput) -> str:
    """The report as one HTML page.

    Parameters
    ----------
    parts
        What was run and found.

    Returns
    -------
    str
        A complete page without external resources.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": number_text.count,
        "number": number_text.number,
        "percent": number_text.percent,
        "p": number_text.p_value,
        "signed": number_text.signed,
        "seconds": number_text.seconds,
        "hash": number_text.short_hash,
        "typeset": number_text.typeset,
        "sentence": number_text.sentence,
    }
    environment.tests["known"] = number_text.known
    page = environment.get_template("report.html.j2")
    controls = control_rows(parts.controls)
    return page.render(
        parts=parts,
        findings=findings(parts),
        style=(_FOLDER / "report.css").read_text(),
        tiles=_tiles(parts),
        figures=_figures(parts),
        circuit=parts.analysis.circuit(parts.circuit).sentences if parts.analysis else (),
        null=_null(parts),
        directions=[c for c in controls if c.get("control") == NULL],
        by_rule=records(parts.analysis.frames["rules"]) if parts.analysis else [],
        halves=[c for c in controls if c.get("control") == "split_half"],
        chance=(parts.trace.get("controls") or {}).get("half_chance"),
        controls=controls,
        control_sentences=control_sentences(controls),
        verdict=verdict(controls),
        audit=audit_rows(parts.controls),
        hub_replication=hub_replication(parts.trace),
        rates=_rates(parts.annotate),
        atlas_rows=atlas_rows(parts.atlases),
        sentences=_annotation_sentences(parts),
        rules=RULES,
        hubs=_hubs(parts),
        pairs=_pairs(parts),
        ablations=_ablations(parts),
        doses=_doses(parts),
        dictionaries=records(parts.dictionaries),
        runs=[_run(r) for r in parts.runs],
        composition=_composition(parts.cohort),
        alternatives=parts.analysis.tail.comparisons if parts.analysis else (),
        glossary=GLOSSARY_PAGE,
        terms=[t for t in TERMS if t.name in (_TERMS if parts.trace else _ATLAS_TERMS)],
    )


def _tiles(parts: ReportInput) -> list[tuple[str, str, str]]:
    """Number, what it counts, and what to compare it with."""
    t, a = parts.trace, parts.annotate
    atlases = [
        (
            number_text.percent(published.get("published")),
            f"annotated as published, {x.get('name')}",
            f"random lists, same procedure: {number_text.percent(published.get('random'))}",
        )
        for x in parts.atlases
        if (published := x.get("published"))
    ]
    if not t:
        return atlases
    tiles = [
        *_edge_tiles(t),
        (
            number_text.count(t.get("sources")),
            "features ablated",
            (
                f"layer {', '.join(map(str, t.get('source_layers', '?')))},"
                f" {number_text.count(t.get('cells'))} cells, measured in all later layers"
            ),
        ),
        (
            number_text.number(t.get("zero_edit_max"), 2),
            "largest zero-edit effect",
            (
                "control: an edit that removes nothing; numeric floor"
                f" {number_text.number(t.get('numeric_floor'), 2)}"
            ),
        ),
    ]
    if a:
        tiles.append(
            (
                number_text.percent(a.get("annotation_rate")),
                "features annotated",
                f"random gene lists: {number_text.percent(a.get('null_annotation_rate'), 2)}",
            )
        )
    return tiles + atlases


def _edge_tiles(t: TraceFindings) -> list[tuple[str, str, str]]:
    """Computed edges beside random directions, where these were drawn; all effects that are not
    zero.
    """
    total = (
        number_text.count(t.get("edges_calibrated")),
        "effects that are not zero",
        f"of {number_text.count(t.get('live_tests'))} live tests, q ≤ 0.05",
    )
    if not t.get("directions"):
        return [total]
    expected = number_text.number(t.get("expected_false"))
    computed = (
        number_text.count(t.get("edges_computed")),
        "computed edges",
        f"random directions in place of the features: {expected}",
    )
    return [computed, total]


def _figures(parts: ReportInput) -> dict[str, str]:
    figures: dict[str, str] = {}
    analysis = parts.analysis
    if analysis is not None:
        marks = int(analysis.hub_fit.degree.size)
        frame = analysis.frames["hubs"]
        order = {rank: i for i, rank in enumerate(analysis.hub_fit.hub_rank.tolist())}
        labels = {order[i + 1]: str(address) for i, address in enumerate(frame["address"].head(6))}
        drawn = analysis.circuit(parts.circuit)
        height = 1.6 + 0.3 * max(len(drawn.targets), 4)
        figures["circuit"] = image(drawn.plot, (7.6, height))
        figures["tail"] = image(analysis.tail.plot, marks=marks)
        figures["hubs"] = image(lambda ax: analysis.hub_fit.plot(ax, labels), marks=marks)
        figures["bias"] = image(analysis.bias.plot)
        figures["signs"] = image(
            analysis.pairs.plot_signs, (6.6, 2.2 + 0.34 * len(analysis.pairs.frame))
        )
        figures["attenuation"] = image(analysis.pairs.plot_attenuation)
    rates = [Rate(**r) for r in parts.annotate.get("rates", ())]
    if rates:
        rows = sum(r.rule == "calibrated" for r in rates)
        figures["rates"] = image(lambda ax: plot_rates(rates, ax), (6.6, 1.4 + 0.62 * rows))
    published = atlas_rows(parts.atlases)
    if published:
        figures["published"] = image(
            lambda ax: draw_published(ax, published), (6.6, 1.6 + 0.34 * len(published))
        )
    controls = [
        r
        for r in control_rows(parts.controls)
        if number_text.known(r.get("control_edges")) and r["control"] != "zero_edit"
    ]
    if controls:
        pairs = len({r["pair"] for r in controls})
        figures["controls"] = image(
            lambda ax: draw_controls(ax, controls), (6.6, 1.6 + 0.62 * pairs)
        )
    figures |= _intervention_figures(parts)
    return figures


def _intervention_figures(parts: ReportInput) -> dict[str, str]:
    import pandas as pd

    figures = {}
    ablations = [
        r
        for r in _ablations(parts)
        if number_text.known(r.get("ratio")) and number_text.known(r.get("ratio_null"))
    ]
    if ablations:
        frame = pd.DataFrame(ablations[:20])
        figures["ablation"] = image(
            lambda ax: draw_ablation(ax, frame), (6.6, 1.5 + 0.3 * len(frame))
        )
    doses = pd.DataFrame(_doses(parts))
    if len(doses):
        for column in ("effect_low", "effect_high", "control"):
            if column not in doses:
                doses[column] = np.nan
        figures["steering"] = image(lambda ax: draw_steering(ax, doses, parts.readout), (6.6, 4.7))
    return figures


def _annotation_sentences(parts: ReportInput) -> list[str]:
    """One sentence for the features of the run, then one for each atlas."""
    own = excess_sentence(parts.annotate)
    return [
        *([own] if own else []),
        *(
            f"{published_claim(a, published)}; {published_control(a, published)}"
            for a in parts.atlases
            if (published := a.get("published"))
        ),
    ]


def _null(parts: ReportInput) -> list[tuple[str, list[str]]]:
    """Headline numbers in words, then the run's own and those of each kind of scrambled copy."""
    kinds = parts.null.get("kinds", [])
    rows = []
    for row in parts.null.get("table", ()):
        values = [number_text.number(row["trained"])]
        for kind in kinds:
            found = row.get(kind)
            known = [v for v in found if number_text.known(v)] if isinstance(found, list) else []
            ends = [number_text.number(v) for v in (min(known), max(known))] if known else ["–"]
            values.append(" to ".join(dict.fromkeys(ends)))
        rows.append((str(row["words"]), values))
    return rows


def _rates(annotate: AnnotateFindings) -> list[RateRow]:
    return list(annotate.get("rates", ()))


def _hubs(parts: ReportInput) -> list[Row]:
    if parts.analysis is None:
        return []
    top = parts.analysis.frames["hubs"].head(_HUBS)
    wanted = [
        "ablation_redundancy",
        "ablation_null",
        "steering_gene",
        "steering_slope",
        "top_genes",
    ]
    extra = (
        parts.features.set_index("id") if len(parts.features) and "id" in parts.features else None
    )
    rows = []
    for row in records(top):
        more = (
            extra.loc[row["id"]].to_dict() if extra is not None and row["id"] in extra.index else {}
        )
        rows.append({**{k: _plain(more.get(k)) for k in wanted}, **row})
    return rows


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(v) for v in value]
    return value if number_text.known(value) else None


def _pairs(parts: ReportInput) -> list[Row]:
    if parts.analysis is None:
        return []
    rows = records(parts.analysis.pairs.frame)
    for row in rows:
        row["pair"] = layer_pair(row)
    return rows


def _members(parts: ReportInput) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if len(parts.members):
        order = [c for c in ("target", "role") if c in parts.members]
        for row in parts.members.sort_values(order).to_dict("records"):
            found.setdefault(str(row["target"]), []).append(
                "/".join(str(row["source"]).split("/")[-2:])
            )
    return found


def _ablations(parts: ReportInput) -> list[Row]:
    members = _members(parts)
    rows = records(rows_of(parts.interventions, "ablate"))
    rows = [r for r in rows if number_text.as_float(r.get("order") or 2) >= 2]
    for row in rows:
        row["pair"] = " + ".join(members.get(str(row.get("id")), [])) or str(
            row.get("name") or row.get("id")
        )
    return sorted(
        rows,
        key=lambda r: (
            -number_text.as_float(r.get("significant") or 0),
            str(r["pair"]),
            str(r.get("target_layer")),
        ),
    )


def _doses(parts: ReportInput) -> list[Row]:
    members = _members(parts)
    rows = [
        r
        for r in records(rows_of(parts.interventions, "steer"))
        if number_text.known(r.get("effect")) and number_text.known(r.get("coefficient"))
    ]
    for row in rows:
        row["feature"] = " + ".join(members.get(str(row.get("id")), [])) or str(
            row.get("name") or row.get("id")
        )
    return sorted(rows, key=lambda r: (str(r["feature"]), number_text.as_float(r["coefficient"])))


def _run(run: Mapping[str, object]) -> Row:
    def dump(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)

    return {
        **{
            k: run.get(k)
            for k in ("run", "verb", "started", "seconds", "version", "device", "seed")
        },
        "config": dump(run.get("config", "")),
        "inputs": dump(run.get("inputs", "")),
    }


def _composition(cohort: Mapping[str, object]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Counts of the filtered obs columns, largest first."""
    value = cohort.get("composition")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return []
    if not isinstance(value, Mapping):
        return []
    return [
        (str(column), sorted(groups.items(), key=lambda g: (-g[1], str(g[0])))[:8])
        for column, groups in value.items()
        if isinstance(groups, Mapping) and all(isinstance(v, (int, float)) for v in groups.values())
    ]
