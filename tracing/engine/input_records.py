"""What a trace run says about its inputs: the model, the dictionaries, the features that fire, and
the cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import dictionary_id
from scircuit.core.schema import conform

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.engine.tracer import Tracer


def describe(tracers: Sequence[Tracer]) -> dict[str, pa.Table]:
    """Model, dictionaries, features and cohort as tables by kind, of a run with one tracer a source
    layer.
    """
    import pyarrow as pa

    tracer = tracers[0]
    holder = {
        layer: t for t in tracers for layer in t.dictionaries
    }  # a tracer that knows the layer
    sources = {t.layer: t for t in tracers}
    layers = sorted(holder)
    model = tracer.adapter.record()
    for column in ("id", "name"):
        model = model.set_column(
            model.column_names.index(column), column, pa.array([tracer.model_name] * len(model))
        )
    dictionaries = pa.Table.from_pylist([_dictionary(holder[t], t) for t in layers])
    of = pa.table(
        {"source": dictionaries.column("id"), "target": [tracer.model_name] * len(layers)}
    )
    features = conform(
        "Feature", pa.concat_tables([_features(holder[t], t, sources.get(t)) for t in layers])
    )
    latents = pa.table({"source": features.column("id"), "target": features.column("dictionary")})
    return {
        "Model": conform("Model", model),
        "Dictionary": conform("Dictionary", dictionaries),
        "Dictionary-OF-Model": conform("Dictionary-OF-Model", of),
        "Feature": features,
        "Feature-OF-Dictionary": conform("Feature-OF-Dictionary", latents),
        "Cohort": tracer.cohort.record(),
    }


def _dictionary(tracer: Tracer, layer: int) -> dict[str, Any]:
    d = tracer.dictionaries[layer]
    known = dict(getattr(d, "provenance", None) or {})
    row = {
        "id": dictionary_id(tracer.model_name, tracer.set_name, layer),
        "name": f"{tracer.set_name} L{layer:02d}",
        "model": tracer.model_name,
        "set": tracer.set_name,
        "layer": layer,
        "features": d.n_features,
        "k": d.k,
        "rule": d.rule,
        "decoder_norm": d.decoder_norm,
        "sha256": d.sha256,
    }
    for name in ("variance_explained", "dead_share"):
        row[name] = float(known[name]) if isinstance(known.get(name), (int, float)) else None
    trained = known.get("trained_on")
    row["trained_on"] = str(trained) if trained is not None else "unknown"
    return row


def _features(tracer: Tracer, layer: int, source: Tracer | None) -> pa.Table:
    import pyarrow as pa

    summary = tracer.summaries[layer]
    # all of them: ablation can wake a feature that is silent in the clean pass, and its edges need
    # an end
    index = np.arange(len(summary.positions))
    addresses = [tracer.address(layer, int(i)) for i in index]
    traced = set(source.sources.tolist()) if source else set()
    return pa.table(
        {
            "id": [str(a) for a in addresses],
            "name": [a.short for a in addresses],
            "model": [tracer.model_name] * len(index),
            "dictionary": [dictionary_id(tracer.model_name, tracer.set_name, layer)] * len(index),
            "layer": np.full(len(index), layer),
            "index": index,
            "firing_rate": summary.firing_rate,
            "cells_active": summary.cells,
            "mean_activation": summary.mean_activation,
            "alive": summary.positions > 0,
            "traced": np.isin(index, source.sources) if source else np.zeros(len(index), bool),
            "context": (
                [source.context_of(i) if i in traced else None for i in index.tolist()]
                if source
                else pa.nulls(len(index), pa.string())
            ),
        }
    )
