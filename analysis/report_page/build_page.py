"""Fill the page: every number comes from `ReportInput`, every figure and style is inside the file,
nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scircuit.analysis.enrichment.matched_null import RULES, Rate
from scircuit.analysis.plots import plot_rates
from scircuit.analysis.report_page import number_text
from scircuit.analysis.report_page.annotation_claims import (
    atlas_rows,
    draw_published,
    excess_words,
    published_claim,
    published_control,
)
from scircuit.analysis.report_page.control_rows import (
    audit_rows,
    control_rows,
    control_sentences,
    hub_replication,
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
from scircuit.analysis.report_page.report_input import ReportInput

_FOLDER = Path(__file__).resolve().parent
_HUBS = 15


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
        "nice": number_text.nice,
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
    )


def _tiles(parts: ReportInput) -> list[tuple[str, str, str]]:
    """Figure, what it counts, and what it stands beside."""
    t, a = parts.trace, parts.annotate
    atlases = [
        (
            number_text.percent(x["published"]["published"]),
            f"annotated as published, {x.get('name')}",
            f"random lists by the same procedure {number_text.percent(x['published']['random'])}",
        )
        for x in parts.atlases
        if x.get("published")
    ]
    if not t:
        return atlases
    tiles = [
        (
            number_text.count(t.get("edges_calibrated")),
            "edges",
            f"of {number_text.count(t.get('live_tests'))} live tests, q ≤ 0.05",
        ),
        (
            number_text.count(t.get("sources")),
            "features ablated",
            (
                f"layer {', '.join(map(str, t.get('source_layers', '?')))},"
                f" {number_text.count(t.get('cells'))} cells, every layer after it"
            ),
        ),
        (
            number_text.number(t.get("zero_edit_max"), 2),
            "largest zero-edit effect",
            "an edit that removes nothing",
        ),
    ]
    if a:
        tiles.append(
            (
                number_text.percent(a.get("annotation_rate")),
                "features annotated",
                f"random lists {number_text.percent(a.get('null_annotation_rate'), 2)}",
            )
        )
    return tiles + atlases


def _figures(parts: ReportInput) -> dict[str, str]:
    figures: dict[str, str] = {}
    analysis = parts.analysis
    if analysis is not None:
        marks = int(analysis.hub_fit.degree.size)
        frame = analysis.frames["hubs"]
        order = {rank: i for i, rank in enumerate(analysis.hub_fit.hub_rank.tolist())}
        labels = {order[i + 1]: str(address) for i, address in enumerate(frame["address"].head(6))}
        figures["tail"] = image(analysis.tail.plot, marks=marks)
        figures["hubs"] = image(lambda ax: analysis.hub_fit.plot(ax, labels), marks=marks)
        figures["bias"] = image(analysis.bias.plot)
        figures["signs"] = image(
            analysis.pairs.plot_signs, (6.6, 2.2 + 0.34 * len(analysis.pairs.frame))
        )
        figures["attenuation"] = image(analysis.pairs.plot_attenuation)
    rates = [Rate(**r) for r in parts.annotate.get("rates", ())]
    if rates:
        shown = sum(r.rule == "calibrated" for r in rates)
        figures["rates"] = image(lambda ax: plot_rates(rates, ax), (6.6, 1.4 + 0.62 * shown))
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
    """Own features first, then a sentence for each atlas."""
    own = excess_words(parts.annotate)
    return [
        *([own] if own else []),
        *(
            f"{published_claim(a)}; {published_control(a)}"
            for a in parts.atlases
            if a.get("published")
        ),
    ]


def _rates(annotate: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(r) for r in annotate.get("rates", ())]


def _hubs(parts: ReportInput) -> list[dict[str, Any]]:
    if parts.analysis is None:
        return []
    top = parts.analysis.frames["hubs"].head(_HUBS)
    wanted = [
        "random_degree",
        "swap_degree",
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


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(v) for v in value]
    return value if number_text.known(value) else None


def _pairs(parts: ReportInput) -> list[dict[str, Any]]:
    if parts.analysis is None:
        return []
    rows = records(parts.analysis.pairs.frame)
    for row in rows:
        row["pair"] = f"L{int(row['source_layer']):02d} → L{int(row['target_layer']):02d}"
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


def _ablations(parts: ReportInput) -> list[dict[str, Any]]:
    members = _members(parts)
    rows = records(rows_of(parts.interventions, "ablate"))
    rows = [r for r in rows if (r.get("order") or 2) >= 2]
    for row in rows:
        row["pair"] = " + ".join(members.get(str(row.get("id")), [])) or str(
            row.get("name") or row.get("id")
        )
    return sorted(
        rows, key=lambda r: (-(r.get("significant") or 0), r["pair"], str(r.get("target_layer")))
    )


def _doses(parts: ReportInput) -> list[dict[str, Any]]:
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
    return sorted(rows, key=lambda r: (r["feature"], r["coefficient"]))


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    def dump(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)

    known: Callable[[str], Any] = run.get
    return {
        **{k: known(k) for k in ("run", "verb", "started", "seconds", "version", "device", "seed")},
        "config": dump(run.get("config", "")),
        "inputs": dump(run.get("inputs", "")),
    }


def _composition(cohort: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Counts of the filtered obs columns, from the cohort's JSON or dict."""
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
