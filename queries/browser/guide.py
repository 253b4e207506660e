"""The Browser's guide: terms, the best questions as queries to run, and where to find each control.

A page in the classic Browser's guide format: ``<slide>`` elements, and ``<pre class="pre-scroll
code runnable">`` blocks that a click puts into the editor.
"""

from __future__ import annotations

from pathlib import Path

from scircuit.core import glossary
from scircuit.queries.browser.literal import filled
from scircuit.queries.browser.style import style
from scircuit.queries.catalogue import load_catalogue

BEST = {
    "Hubs": ("top_hubs", "hubs_without_annotation"),
    "One feature": ("feature_circuit", "feature_annotation"),
    "Everything about a feature": ("knowledge_graph", "feature_knowledge"),
    "Published and own annotation": ("compare_annotation", "counterparts"),
    "Paths": ("strongest_paths", "term_circuit"),
    "Edges you can trust": ("compare_rules", "edge_evidence"),
    "Sign and halves": ("strict_edges", "sign_by_layer"),
    "Regulation and interventions": ("trrust_share", "interactions"),
}
CONTROLS = (
    (
        "the effect is larger than numerical noise",
        "Run.numeric_floor beside Run.zero_edit_max; zero_edit in the controls",
    ),
    (
        "the model's blocks compute the effect",
        "computed beside direct on every edge: direct is what the residual stream alone carries",
    ),
    (
        "the edge is specific to this feature",
        "z_computed and q_computed on every edge, against random directions;"
        " random_direction and feature_swap: control_edges / edges",
    ),
    (
        "few computed edges are false",
        "expected_false in the direction_null control, beside the number of edges",
    ),
    (
        "the null itself fits",
        "sigma_ratio in the direction_null control: near 1 where single draws agree with it",
    ),
    (
        "the edge replicates in other cells",
        "split_half in the controls: found in one half of the cells, tested in the other",
    ),
    (
        "the hub has more edges than its firing rate explains",
        "expected_degree, random_degree and swap_degree beside out_degree",
    ),
    (
        "the annotation is better than chance",
        "Run.null_annotation_rate beside annotation_rate; q_calibrated on every own term",
    ),
    (
        "a published term is better than chance",
        "q_calibrated beside q_published; empty where the term did not pass",
    ),
    (
        "a counterpart shares more genes than expected",
        "p and q of SAME_GENES, against random lists of equally frequent genes",
    ),
    ("a knock-down changes the feature", "control_firings and degenerate on RESPONDS_TO"),
    (
        "joint ablations are not additive",
        "ratio_null: the ratio for exactly additive effects on the same cells",
    ),
    ("steering changes these genes", "steering_control: a random direction of equal norm"),
    ("edges follow known regulation", "expected_share and agree_expected beside the shares"),
)
COLOURS = (
    "Feature",
    "Gene",
    "Term",
    "Module",
    "CellType",
    "Tissue",
    "Perturbation",
    "Intervention",
    "Control",
    "Run",
    "Cohort",
    "Dictionary",
    "Model",
)


def guide() -> str:
    """The guide as HTML."""
    import jinja2
    import markupsafe

    catalogue = load_catalogue()
    rules = style()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )

    def ask(name: str) -> markupsafe.Markup:
        query = catalogue[name]
        text = markupsafe.escape(f"// {query.title}\n{filled(query)}")
        shown = "picture" if query.graph else "table"
        return markupsafe.Markup(
            '<p style="margin-top:14px"><b>{question}</b> <small>({shown})</small></p>'
            '<figure><pre class="pre-scroll code runnable" style="max-height:96px;'
            'overflow:auto;font-size:11px;line-height:1.35">{text}</pre></figure>'
        ).format(question=query.question, shown=shown, text=text)

    template = environment.from_string(
        Path(__file__).with_name("guide.html.j2").read_text(encoding="utf-8")
    )
    colours = [
        (label, rules[f"node.{label}"]["color"], rules[f"node.{label}"]["text-color-internal"])
        for label in COLOURS
    ]
    return (
        template.render(
            ask=ask,
            slides=BEST.items(),
            controls=CONTROLS,
            colours=colours,
            terms=glossary.TERMS,
            glossary=glossary.PAGE,
        )
        + "\n"
    )
