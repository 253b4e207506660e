"""``scircuit import graph``: an attribution graph of circuit-tracer (``.pt`` or JSON) or
Neuronpedia (JSON) as features and ``ATTRIBUTES_TO``.

One relationship per pair of features: the direct effects summed over all pairs of positions, and
the number of pairs. Errors, tokens and logits are not features. A graph is of one input: it has no
cells, no p values and no controls.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address
from scircuit.core.config import ImportGraphConfig
from scircuit.core.errors import UserError
from scircuit.core.schema import conform
from scircuit.ingest.importers.attribution_graph.attribution_nodes import (
    AttributionGraph,
    check_graph,
    sum_over_positions,
)
from scircuit.ingest.importers.attribution_graph.torch_format import read_graph_pt
from scircuit.ingest.importers.attribution_graph.viewer_json import read_graph_json
from scircuit.ingest.importers.feature_nodes import Key, feature_tables, used_nodes
from scircuit.ingest.importers.source import Source
from scircuit.ingest.importers.strict_files import check_names, hashes

if TYPE_CHECKING:
    import pyarrow as pa

_LACKS = ("n", "counts", "sd", "p", "computed", "null", "cells")


def read(config: ImportGraphConfig, gene_ids: Mapping[str, str]) -> Source:  # noqa: ARG001 - graphs name no gene
    """Read and check one attribution graph.

    Raises
    ------
    UserError
        If the file is of another format, damaged or could run code, its model or dictionary is
        unknown, or it contradicts itself.
    """
    path = Path(config.path)
    if not path.is_file():
        raise UserError(f"{path} is not a file", "give one graph: a .pt or .json file")
    graph = read_graph_pt(path) if path.suffix == ".pt" else read_graph_json(path)
    check_graph(graph, path.name)
    model, dictionary = config.model_name or graph.model, config.dictionary_name or graph.dictionary
    for name, option, what in (
        (model, "--model-name", "model"),
        (dictionary, "--dictionary-name", "dictionary set"),
    ):
        if not name:
            raise UserError(
                f"{path.name} does not name its {what} (scan {graph.findings.get('scan')!r})",
                f"give {option}",
            )
    check_names(model, dictionary)
    tables = _tables(graph, model, dictionary)
    edges = tables["Feature-ATTRIBUTES_TO-Feature"]
    total = max(sum(graph.incoming.values()), 1e-300)
    shares = {node_type: value / total for node_type, value in graph.incoming.items()}
    others = ", ".join(
        f"{n:,} {kind} nodes" for kind, n in graph.nodes.items() if kind != "feature"
    )
    return Source(
        format="attribution-graph",
        name=f"{model}/{dictionary} {graph.title}",
        files=hashes([path], path.parent),
        units={"graph": lambda: tables},
        uses=used_nodes(tables),
        origin=path.name,
        lacks=(*_LACKS, *(("all_edges",) if graph.cut else ())),
        rule=graph.rule,
        notes=graph.notes,
        findings={
            **graph.findings,
            "nodes": dict(graph.nodes),
            "share_of_effect_on_features": shares,
            "edges": edges.num_rows,
            "features": tables["Feature"].num_rows,
        },
        sentences=(
            (
                f"{edges.num_rows:,} attributions between {tables['Feature'].num_rows:,} features"
                f" ({graph.nodes['feature']:,} at single positions, {len(graph.weight):,} links)"
            ),
            (
                f"of the effect on features (sum of |weight|) {shares['feature']:.1%} comes from"
                f" features, {shares['error']:.1%} from reconstruction errors,"
                f" {shares['embedding']:.1%} from tokens; {others} are not features and were only"
                " counted"
            ),
        ),
    )


def _tables(graph: AttributionGraph, model: str, dictionary: str) -> dict[str, pa.Table]:
    import pyarrow as pa

    features, source, target, weight, count = sum_over_positions(graph)
    sets = (dictionary, f"{dictionary}-attention")
    labels: dict[tuple[int, int, int], str] = {}
    for node, label in graph.labels.items():
        labels.setdefault(
            (int(graph.part[node]), int(graph.layer[node]), int(graph.index[node])), label
        )
    parts = []
    for part, name in enumerate(sets):
        rows: dict[Key, dict[str, object]] = {
            (int(t), int(i)): {"published_label": labels.get((part, int(t), int(i)))}
            for p, t, i in features.T
            if p == part
        }
        if rows:
            parts.append(feature_tables(model, name, rows))
    tables = {
        k: pa.concat_tables([p[k] for p in parts], promote_options="default") for k in parts[0]
    }
    tables["Model"] = parts[0]["Model"]
    printed = np.array(
        [str(Address(model, sets[p], int(t), int(i))) for p, t, i in features.T], dtype=object
    )
    kind = "Feature-ATTRIBUTES_TO-Feature"
    tables[kind] = conform(
        kind,
        pa.table(
            {
                "source": printed[source].tolist(),
                "target": printed[target].tolist(),
                "weight": weight,
                "count": count.astype(np.int64),
            }
        ),
    )
    return tables
