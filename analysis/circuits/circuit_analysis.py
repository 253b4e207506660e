"""Everything ``scircuit analyse`` finds in one trace run: degrees, hubs, tail, annotation bias,
signs, replication, attenuation, modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scircuit.analysis.circuit_inputs import (
    CircuitInputs,
    annotation_frame,
    annotation_of,
    genes_of,
    half_degrees_of,
    terms_of,
)
from scircuit.analysis.circuits.annotation_bias import AnnotationBias, annotation_bias
from scircuit.analysis.circuits.degree import (
    Degrees,
    EdgeArrays,
    FeatureArrays,
    degrees,
    edges_by,
    legacy,
    read_edges,
    read_features,
    rule_for,
)
from scircuit.analysis.circuits.feature_circuit import FeatureCircuit, feature_circuit
from scircuit.analysis.circuits.heavy_tail import TailFit, fit_tail
from scircuit.analysis.circuits.hubs import HubFit, fit_hubs
from scircuit.analysis.circuits.layer_pairs import LayerPairs, layer_pairs
from scircuit.analysis.circuits.regulation_signs import TrrustAgreement, trrust_agreement
from scircuit.analysis.circuits.rule_comparison import compare_rules
from scircuit.core.address import parse
from scircuit.core.schema import conform

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

    from scircuit.analysis.genesets.regulons import Regulons
    from scircuit.core.edge_rules import EdgeRule


class AnalyseOptions(Protocol):
    """What is read of the configuration (`scircuit.core.config.AnalyseConfig`)."""

    @property
    def rule(self) -> str: ...  # noqa: D102
    @property
    def q(self) -> float: ...  # noqa: D102
    @property
    def min_support(self) -> int: ...  # noqa: D102
    @property
    def min_effect(self) -> float: ...  # noqa: D102
    @property
    def hubs(self) -> int: ...  # noqa: D102
    @property
    def bootstrap(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Analysis:
    """Findings of one analyse run.

    Parameters
    ----------
    features
        Kind ``Feature``: degrees, expectation, residual, ranks and support share per feature.
    frames
        ``hubs`` (one row a source, best hub first), ``layer_pairs``, ``bias``, ``tail``
        (alternatives) and ``trrust`` (edges with evidence).
    findings
        Numbers for the manifest.
    sentences
        The findings in words, each with its control.
    degree, hub_fit, tail, bias, pairs
        The single results, each with a sentence and `plot`.
    edges_of
        Address of a source -> its edges: target, effect and strength.
    genes
        Address -> top genes, where the features were annotated.
    inputs
        The circuit as arrays: what further analyses read (`scircuit.analysis.circuit_findings`).
    trrust
        Agreement of the edges with TRRUST; None without annotation.
    """

    features: pa.Table
    frames: dict[str, pd.DataFrame]
    findings: dict[str, object]
    sentences: tuple[str, ...]
    degree: Degrees
    hub_fit: HubFit
    tail: TailFit
    bias: AnnotationBias
    pairs: LayerPairs
    edges_of: Callable[[str], pd.DataFrame]
    genes: Mapping[str, Sequence[str]]
    inputs: CircuitInputs
    trrust: TrrustAgreement | None = None

    def circuit(self, address: str = "") -> FeatureCircuit:
        """The strongest edges of a feature; of the source with the most edges when none is named.

        Raises
        ------
        ValueError
            If the feature was not ablated.
        """
        hubs = self.frames["hubs"].set_index("id")
        address = address or str(hubs.sort_values("degree_rank").index[0])
        if address not in hubs.index:
            raise ValueError(f"{address} was not ablated in this run")
        label, rule = str(hubs.loc[address, "label"] or ""), str(self.findings["rule"])
        return feature_circuit(address, self.edges_of(address), self.genes, label, rule)

    def plots(self) -> dict[str, Callable[..., Axes]]:
        """Name -> function that draws on given or new Axes."""
        return {
            "tail": self.tail.plot,
            "hubs": self.hub_fit.plot,
            "bias": self.bias.plot,
            "signs": self.pairs.plot_signs,
            "attenuation": self.pairs.plot_attenuation,
        }


def analyse(
    features: pa.Table,
    edges: pa.Table,
    annotation: pa.Table | None,
    config: AnalyseOptions,
    run: str,
    regulons: Regulons | None = None,
    terms: pd.DataFrame | None = None,
    parents: Mapping[str, Sequence[str]] | None = None,
    control_edges: pa.Table | None = None,
) -> Analysis:
    """Analyse a trace run.

    Parameters
    ----------
    features
        Kind ``Feature`` of the trace run: id, layer, firing_rate, traced.
    edges
        Kind ``Feature-AFFECTS-Feature`` of the trace run, with q.
    annotation
        Kind ``Feature`` of an annotate run (annotated, annotatable_genes, label), or None.
    config
        `scircuit.core.config.AnalyseConfig`.
    run
        Id of this run, named in the findings.
    regulons
        TRRUST, with which the signs of the edges are compared where there is annotation.
    terms
        Terms of the annotate run: feature (address), term, name, library, q.
    parents
        Term -> its direct parents in the ontology of the annotate run.
    control_edges
        Kind ``Feature-CONTROL_AFFECTS-Feature`` of the trace run, with the halves of the cells.

    Raises
    ------
    UserError
        If a column is missing, no feature was traced, or an edge has an unknown end.
    """
    nodes = read_features(features)
    links = read_edges(edges, nodes)
    rule = rule_for(links, config.rule)
    thresholds = (config.q, config.min_support, config.min_effect)
    good, published = edges_by(links, rule, *thresholds), legacy(links)
    called = links.keep(good)
    found = degrees(
        nodes,
        links,
        rule=rule,
        q=config.q,
        min_support=config.min_support,
        min_effect=config.min_effect,
    )
    at = nodes.sources
    hub_fit = fit_hubs(found.out[at], nodes.firing_rate[at])
    tail = fit_tail(found.out[at], seed=config.seed, bootstrap=config.bootstrap)
    named = annotation_of(annotation, nodes)
    bias = _bias(named, found, hub_fit, nodes, config)
    pairs = layer_pairs(
        nodes, links._replace(mean=getattr(links, rule.effect)), good, published, seed=config.seed
    )
    rules = compare_rules(
        nodes, links, named["annotated"] if named else None, thresholds, config.hubs
    )
    frames = {
        "hubs": _hub_frame(nodes, found, hub_fit, named),
        "layer_pairs": pairs.frame,
        "bias": bias.frame,
        "tail": _tail_frame(tail),
        "rules": rules.frame,
    }
    sentences = (
        _edges_sentence(links, rule.name, good, published, at.size, config),
        tail.sentence,
        hub_fit.sentence,
        bias.sentence,
        *pairs.sentences,
        *rules.sentences,
    )
    findings = _findings(
        run, config, rule.name, links, good, published, found, at, hub_fit, tail, bias, pairs
    )
    findings["rules"] = rules.findings
    findings["hubs_without_annotation"] = rules.hubs_without_annotation(rule.name)
    genes = genes_of(annotation)
    trrust = _trrust(genes, regulons, nodes, called, rule.effect, config.seed)
    if trrust:
        frames["trrust"], sentences = trrust.frame, (*sentences, trrust.sentence)
        findings["trrust"] = {
            k: _number(v) if isinstance(v, float) else v for k, v in trrust.findings().items()
        } | {"sentence": trrust.sentence}
    return Analysis(
        _feature_table(nodes, found, hub_fit),
        frames,
        findings,
        sentences,
        found,
        hub_fit,
        tail,
        bias,
        pairs,
        partial(_edges_of, nodes, called, rule),
        genes,
        CircuitInputs(
            run,
            nodes,
            links,
            good,
            rule,
            annotation_frame(named, nodes),
            terms_of(terms, nodes),
            genes,
            regulons,
            parents or {},
            half_degrees_of(control_edges, nodes),
        ),
        trrust,
    )


def _edges_of(
    nodes: FeatureArrays, edges: EdgeArrays, rule: EdgeRule, address: str
) -> pd.DataFrame:
    import pandas as pd

    own = edges.keep(nodes.id[edges.source] == address)
    return pd.DataFrame(
        {
            "target": nodes.id[own.target],
            "effect": getattr(own, rule.effect),
            "strength": getattr(own, rule.strength),
        }
    )


def _trrust(
    genes: Mapping[str, Sequence[str]],
    regulons: Regulons | None,
    nodes: FeatureArrays,
    edges: EdgeArrays,
    effect: str,
    seed: int,
) -> TrrustAgreement | None:
    """Agreement of the edges with TRRUST by the sign of `effect`; None without genes."""
    import pandas as pd

    if regulons is None or not genes:
        return None
    frame = pd.DataFrame(
        {
            "source": nodes.id[edges.source],
            "target": nodes.id[edges.target],
            "mean": getattr(edges, effect),
        }
    )
    return trrust_agreement(frame, genes, regulons, seed=seed)


def _bias(
    named: dict[str, np.ndarray] | None,
    found: Degrees,
    hub_fit: HubFit,
    nodes: FeatureArrays,
    config: AnalyseOptions,
) -> AnnotationBias:
    at = nodes.sources
    annotated = named["annotated"][at] if named else np.zeros(at.size, dtype=bool)
    annotatable = named["annotatable_genes"][at] if named else None
    result = annotation_bias(
        found.out[at],
        hub_fit.degree_rank,
        hub_fit.hub_rank,
        nodes.firing_rate[at],
        annotated,
        annotatable,
        hubs=config.hubs,
        seed=config.seed,
    )
    if named is None:
        from dataclasses import replace

        return replace(
            result,
            sentence="annotation bias of hubs: not tested, because the features were not annotated",
        )
    return result


def _hub_frame(
    nodes: FeatureArrays, found: Degrees, hub_fit: HubFit, named: dict[str, np.ndarray] | None
) -> pd.DataFrame:
    import pandas as pd

    at = nodes.sources
    frame = pd.DataFrame(
        {
            "id": nodes.id[at],
            "address": [parse(str(i)).short for i in nodes.id[at]],
            "label": named["label"][at] if named else "",
            "annotated": named["annotated"][at] if named else False,
            "firing_rate": nodes.firing_rate[at],
            "out_degree": found.out[at],
            "expected_degree": hub_fit.expected,
            "residual_degree": hub_fit.residual,
            "hub_rank": hub_fit.hub_rank,
            "degree_rank": hub_fit.degree_rank,
            "out_degree_legacy": found.legacy[at],
            "support_share": found.support_share[at],
        }
    )
    return frame.sort_values("hub_rank", ignore_index=True)


def _tail_frame(tail: TailFit) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{**c._asdict(), "favoured": c.favoured} for c in tail.comparisons])


def _feature_table(nodes: FeatureArrays, found: Degrees, hub_fit: HubFit) -> pa.Table:
    import pyarrow as pa

    size, at = nodes.id.size, nodes.sources
    is_source = nodes.traced

    def spread(values: np.ndarray, type: pa.DataType) -> pa.Array:
        """Values of the sources, null for all other features (and for NaN)."""
        column = np.full(size, None, dtype=object)
        column[at] = values
        return pa.array([None if v is None or v != v else v for v in column.tolist()], type=type)

    layers = [row.tolist() if s else None for row, s in zip(found.by_layer, is_source, strict=True)]
    return conform(
        "Feature",
        pa.table(
            {
                "id": pa.array(nodes.id.tolist(), type=pa.string()),
                "in_degree": pa.array(found.into.tolist(), type=pa.int64()),
                "out_degree": spread(found.out[at], pa.int64()),
                "out_degree_legacy": spread(found.legacy[at], pa.int64()),
                "out_degree_by_layer": pa.array(layers, type=pa.list_(pa.int64())),
                "expected_degree": spread(hub_fit.expected, pa.float64()),
                "residual_degree": spread(hub_fit.residual, pa.float64()),
                "hub_rank": spread(hub_fit.hub_rank, pa.int64()),
                "degree_rank": spread(hub_fit.degree_rank, pa.int64()),
                "support_share": spread(found.support_share[at], pa.float64()),
            }
        ),
    )


def _edges_sentence(
    edges: EdgeArrays,
    rule: str,
    good: np.ndarray,
    published: np.ndarray,
    sources: int,
    config: AnalyseOptions,
) -> str:
    return (
        f"{int(good.sum()):,} {rule} edges from {sources:,} sources at q <= {config.q:g} with at"
        f" least {config.min_support} cells; the published rule selects {int(published.sum()):,}"
        f" of the {edges.source.size:,} stored tests"
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _findings(
    run: str,
    config: AnalyseOptions,
    rule: str,
    edges: EdgeArrays,
    good: np.ndarray,
    published: np.ndarray,
    found: Degrees,
    at: np.ndarray,
    hub_fit: HubFit,
    tail: TailFit,
    bias: AnnotationBias,
    pairs: LayerPairs,
) -> dict[str, object]:
    import json

    out = found.out[at]
    return {
        "run": run,
        "rule": rule,
        "q": config.q,
        "min_support": config.min_support,
        "min_effect": config.min_effect,
        "edges_stored": int(edges.source.size),
        f"edges_{rule}": int(good.sum()),
        "edges_legacy": int(published.sum()),
        "sources": int(at.size),
        "mean_degree": _number(float(out.mean())) if out.size else None,
        "median_degree": float(np.median(out)) if out.size else None,
        "max_degree": int(out.max(initial=0)),
        "sources_without_edge": int((out == 0).sum()),
        "target_layers": list(found.layers),
        **tail.findings(),
        "tail_sentence": tail.sentence,
        "degree_rate_spearman": _number(hub_fit.rho),
        "degree_rate_spearman_p": _number(hub_fit.rho_p),
        "degree_rate_r2": _number(hub_fit.r2),
        "expectation": hub_fit.method,
        "bias": {
            "features": bias.features,
            "annotated": bias.annotated,
            "fisher": [
                {k: _number(v) if isinstance(v, float) else v for k, v in t._asdict().items()}
                for t in bias.fisher
            ],
            "matched": [
                {k: _number(v) if isinstance(v, float) else v for k, v in t._asdict().items()}
                for t in bias.matched
            ],
            "logistic": {
                k: _number(v) if isinstance(v, float) else list(v) if isinstance(v, tuple) else v
                for k, v in bias.logistic._asdict().items()
            },
        },
        "layer_pairs": (
            json.loads(pairs.frame.to_json(orient="records") or "[]") if len(pairs.frame) else []
        ),
    }
