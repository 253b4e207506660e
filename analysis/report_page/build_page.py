"""Build the report page: every number comes from `ReportInput`; figures and styles are inside the
file, which loads nothing from elsewhere.

The order of the page: verdicts in words, a drawn circuit, the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from scircuit.analysis.enrichment.matched_null import RULES
from scircuit.analysis.report_page import number_text
from scircuit.analysis.report_page.annotation_claims import (
    atlas_rows,
    excess_sentence,
    published_claim,
    published_control,
)
from scircuit.analysis.report_page.control_rows import (
    NULL,
    audit_rows,
    control_rows,
    control_sentences,
    hub_replication,
    records,
    verdict,
)
from scircuit.analysis.report_page.figures.all_figures import report_figures
from scircuit.analysis.report_page.figures.page_figure import PageFigure
from scircuit.analysis.report_page.findings import Finding, findings
from scircuit.analysis.report_page.intervention_runs import runs_of
from scircuit.analysis.report_page.published_numbers import compared
from scircuit.analysis.report_page.report_input import ReportInput
from scircuit.analysis.report_page.table_rows import (
    ablation_rows,
    composition,
    dose_rows,
    hub_rows,
    null_rows,
    pair_rows,
    ratio_rows,
    readout_rows,
    run_row,
    steering_words,
)
from scircuit.analysis.report_page.verdicts import verdicts
from scircuit.core.glossary import PAGE as GLOSSARY_PAGE
from scircuit.core.glossary import TERMS

_FOLDER = Path(__file__).resolve().parent
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


class ReportPage(NamedTuple):
    """The page and its figures, each with an SVG and its numbers."""

    html: str
    figures: Mapping[str, PageFigure]


def build_report(parts: ReportInput) -> str:
    """The report as one HTML page.

    Parameters
    ----------
    parts
        What was run and found.

    Returns
    -------
    str
        A complete page without external resources; it links ``figures/NAME.svg`` and
        ``figures/NAME.csv`` beside it.
    """
    return report_page(parts).html


def report_page(parts: ReportInput) -> ReportPage:
    """The page of `build_report` together with its figures."""
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
        "fixed": number_text.fixed,
        "percent": number_text.percent,
        "p": number_text.p_value,
        "signed": number_text.signed,
        "seconds": number_text.seconds,
        "hash": number_text.short_hash,
        "typeset": number_text.typeset,
        "sentence": number_text.sentence,
    }
    environment.tests["known"] = number_text.known
    figures = report_figures(parts)
    html = environment.get_template("report.html.j2").render(
        parts=parts, figures=figures, **_words(parts), **_tables(parts)
    )
    return ReportPage(html, figures)


def _words(parts: ReportInput) -> dict[str, object]:
    """Verdicts, claims by section, and sentences."""
    claims: dict[str, list[Finding]] = {}
    for found in findings(parts):
        claims.setdefault(found.topic, []).append(found)
    analysis = parts.analysis
    has_sources = analysis is not None and len(analysis.frames["hubs"])
    controls = control_rows(parts.controls)
    return {
        "style": (_FOLDER / "report.css").read_text(),
        "verdicts": verdicts(parts),
        "claims": claims,
        "circuit": analysis.circuit(parts.circuit).sentences if analysis and has_sources else (),
        "control_sentences": control_sentences(controls),
        "verdict": verdict(controls),
        "hub_replication": hub_replication(parts.trace),
        "sentences": _annotation_sentences(parts),
        "rules": RULES,
        "glossary": GLOSSARY_PAGE,
        "terms": [t for t in TERMS if t.name in (_TERMS if parts.trace else _ATLAS_TERMS)],
    }


def _tables(parts: ReportInput) -> dict[str, object]:
    """Rows of the tables."""
    controls = control_rows(parts.controls)
    analysis = parts.analysis
    return {
        "null": null_rows(parts),
        "controls": controls,
        "directions": [c for c in controls if c.get("control") == NULL],
        "halves": [c for c in controls if c.get("control") == "split_half"],
        "chance": (parts.trace.get("controls") or {}).get("half_chance"),
        "audit": audit_rows(parts.controls),
        "by_rule": records(analysis.frames["rules"]) if analysis else [],
        "alternatives": analysis.tail.comparisons if analysis else (),
        "rates": list(parts.annotate.get("rates", ())),
        "atlas_rows": atlas_rows(parts.atlases),
        "hubs": hub_rows(parts),
        "pairs": pair_rows(parts),
        "ablated": [
            {
                "run": one,
                "ablations": ablation_rows(one.parts),
                "ratios": ratio_rows(one.parts),
            }
            for one in runs_of(parts, "ablate")
        ],
        "steered": [
            {
                "run": one,
                "doses": (doses := dose_rows(one.parts)),
                "steering": steering_words(doses),
                "readouts": readout_rows(one.parts),
            }
            for one in runs_of(parts, "steer")
        ],
        "published": compared(parts),
        "dictionaries": records(parts.dictionaries),
        "runs": [run_row(r) for r in parts.runs],
        "composition": composition(parts.cohort),
    }


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
