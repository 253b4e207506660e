"""Records of the inputs of a trace run: model, dictionaries, their features, and the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import dictionary_id
from scircuit.core.schema import conform

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.engine.tracer import Tracer
    from scircuit.tracing.interfaces import RecordedCells


def describe(tracers: Sequence[Tracer], cohort: RecordedCells) -> dict[str, pa.Table]:
    """Model, dictionaries, features and cohort as tables by kind.

    Parameters
    ----------
    tracers
        Tracers of the run, one for each source layer.
    cohort
        The cells they trace.
    """
    import pyarrow as pa

    tracer = tracers[0]
    model_name = tracer.settings.model_name
    owner = {layer: t for t in tracers for layer in t.dictionaries}  # a tracer with the layer
    sources = {t.layer: t for t in tracers}
    layers = sorted(owner)
    model = tracer.adapter.record()
    for column in ("id", "name"):
        model = model.set_column(
            model.column_names.index(column), column, pa.array([model_name] * len(model))
        )
    dictionaries = pa.Table.from_pylist([_dictionary(owner[t], t) for t in layers])
    of = pa.table({"source": dictionaries.column("id"), "target": [model_name] * len(layers)})
    features = conform(
        "Feature", pa.concat_tables([_features(owner[t], t, sources.get(t)) for t in layers])
    )
    latents = pa.table({"source": features.column("id"), "target": features.column("dictionary")})
    return {
        "Model": conform("Model", model),
        "Dictionary": conform("Dictionary", dictionaries),
        "Dictionary-OF-Model": conform("Dictionary-OF-Model", of),
        "Feature": features,
        "Feature-OF-Dictionary": conform("Feature-OF-Dictionary", latents),
        "Cohort": cohort.record(),
    }


def _dictionary(tracer: Tracer, layer: int) -> dict[str, Any]:
    d, settings = tracer.dictionaries[layer], tracer.settings
    provenance = dict(getattr(d, "provenance", None) or {})
    row = {
        "id": dictionary_id(settings.model_name, settings.dictionary_name, layer),
        "name": f"{settings.dictionary_name} L{layer:02d}",
        "model": settings.model_name,
        "set": settings.dictionary_name,
        "layer": layer,
        "features": d.n_features,
        "k": d.k,
        "rule": d.rule,
        "decoder_norm": d.decoder_norm,
        "sha256": d.sha256,
    }
    for name in ("variance_explained", "dead_share"):
        value = provenance.get(name)
        row[name] = float(value) if isinstance(value, (int, float)) else None
    trained = provenance.get("trained_on")
    row["trained_on"] = str(trained) if trained is not None else "unknown"
    return row


def _features(tracer: Tracer, layer: int, source: Tracer | None) -> pa.Table:
    import pyarrow as pa

    summary, settings = tracer.summaries[layer], tracer.settings
    # all of them: ablation can wake a feature that is silent in the clean pass, and its edges need
    # an end
    index = np.arange(len(summary.positions))
    addresses = [tracer.address(layer, int(i)) for i in index]
    traced = set(source.sources.tolist()) if source else set()
    dictionary = dictionary_id(settings.model_name, settings.dictionary_name, layer)
    return pa.table(
        {
            "id": [str(a) for a in addresses],
            "name": [a.short for a in addresses],
            "model": [settings.model_name] * len(index),
            "dictionary": [dictionary] * len(index),
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
