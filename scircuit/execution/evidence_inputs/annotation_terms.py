"""Terms that an annotate run gave to features, and the ontology over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.core.study import Manifest, Study


def terms_of(study: Study, annotation: Manifest) -> pd.DataFrame:
    """Terms that an annotate run gave to features: feature (address), term, name, library, q."""
    from scircuit.ingest.shards.shard_store import ShardStore

    store = ShardStore(study.run_folder(annotation.run))
    found = store.tables("Feature-ENRICHED_FOR-Term").to_pandas()
    names = store.tables("Term").to_pandas().drop_duplicates("id").set_index("id")["name"]
    frame = found.rename(columns={"source": "feature", "target": "term"})
    frame["q"] = frame["q_calibrated"].fillna(frame["q"])
    frame["name"] = frame["term"].map(names)
    return frame[["feature", "term", "name", "library", "q"]]


def parents_of(study: Study, annotation: Manifest) -> dict[str, list[str]]:
    """Term -> its direct parents; empty where the annotate run had no ontology."""
    from scircuit.ingest.shards.shard_store import ShardStore

    table = ShardStore(study.run_folder(annotation.run)).tables("Term-IS_A-Term")
    found: dict[str, list[str]] = {}
    for child, parent in zip(
        table.column("source").to_pylist(), table.column("target").to_pylist(), strict=True
    ):
        found.setdefault(child, []).append(parent)
    return found
