"""A small study for the queries: every kind of record, drawn at random with a seed, as the tables
that runs would write.

Two complete trace runs (layer 1 to layers 2 and 3; layer 2 to layer 3, the newer one), which found
different things about the features that both used, an interrupted one newer still, and the runs of
annotate, analyse, ablate, steer and attribute; beside them an imported atlas of another model with
published annotations, what an imported map and an attribution graph leave (edges without counts),
and a matching of features. The expected answers are computed from these tables by pandas.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scircuit.core import schema as records
from scircuit.core.study import Manifest
from scircuit.ingest.graph.connection import Connection
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.queries import (
    small_attributions,
    small_findings,
    small_imported,
    small_interventions,
    small_traces,
)
from tests.queries.small_names import (
    ANALYSE,
    ANALYSE_OLD,
    ANNOTATE,
    ATLAS,
    ATTRIBUTE,
    BROKEN,
    CELL_TYPES,
    COMPARE,
    EARLIER,
    MODEL,
    NEW,
    OLD,
    PREDICT,
    REATTRIBUTE,
    SIZES,
    STEER,
    address,
)


def frames(seed: int = 0, sizes: dict[int, int] | None = None) -> dict[str, pd.DataFrame]:
    """All records of the study, one frame for each kind; node frames first."""
    rng = np.random.default_rng(seed)
    sizes = sizes or SIZES
    edges = pd.concat(
        [
            small_traces.edges(rng, sizes, OLD, 1, (2, 3), 0.75),
            small_traces.edges(rng, sizes, NEW, 2, (3,), 0.9),
            small_traces.edges(rng, sizes, BROKEN, 1, (2,), 0.05),
        ],
        ignore_index=True,
    )
    features = small_traces.features(rng, sizes, edges)
    ill = np.random.default_rng([seed, 4])
    has = (ill.random(len(features)) < 0.4) & features.id.str.startswith(MODEL)
    features["prediction_run"] = np.where(has, PREDICT, None)
    features["disease"] = np.where(has, ill.choice(["anaemia", "lupus"], len(features)), None)
    features["disease_q"] = np.where(has, ill.uniform(0, 0.08, len(features)), np.nan)
    more = np.random.default_rng([seed, 4])  # coherence of some, replicated degrees of some
    for name in ("coherence", "coherence_expected"):
        known = more.random(len(features)) < 0.7
        features[name] = np.where(known, more.random(len(features)).round(6), np.nan)
    has = more.random(len(features)) < 0.6
    compared = more.integers(1, 30, len(features))
    features["compare_run"] = np.where(has, COMPARE, None)
    features["compared_degree"] = np.where(has, compared, np.nan)
    features["replicated_degree"] = np.where(has, more.integers(0, compared + 1), np.nan)
    interventions = small_interventions.interventions(rng, sizes)
    attributed = small_attributions.parts(features, np.random.default_rng([seed, 5]))
    features[attributed.columns] = attributed
    features.loc[features.id == address(2, 0), ["steering_slope", "steering_control"]] = [0.4, 0.02]
    found = {
        "Feature": features,
        **small_findings.runs(),
        **small_findings.annotation(rng, sizes),
        **small_findings.predictions(),
        **small_findings.findings(),
        **interventions,
        "Feature-AFFECTS-Feature": edges,
        "Feature-ATTRIBUTES_TO-Feature": small_attributions.edges(
            np.random.default_rng([seed, 6]), sizes
        ),
    }
    found["Feature-CONTROL_AFFECTS-Feature"] = small_traces.control_edges(
        np.random.default_rng([seed, 1]), edges
    )
    calibrate = np.random.default_rng([seed, 3])
    enriched = found["Feature-ENRICHED_FOR-Term"]
    enriched["q_calibrated"] = np.where(
        calibrate.random(len(enriched)) < 0.9,
        enriched.q * calibrate.uniform(0.5, 2, len(enriched)),
        np.nan,
    )
    enriched.loc[enriched.q_calibrated.isna(), "test"] = "weighted"  # that test is not calibrated
    for kind, frame in small_imported.imported(np.random.default_rng([seed, 2]), sizes).items():
        found[kind] = (
            pd.concat(
                [found[kind].dropna(axis=1, how="all"), frame.dropna(axis=1, how="all")],
                ignore_index=True,
            )
            if kind in found
            else frame
        )
    return dict(sorted(found.items(), key=lambda item: item[0] in records.RELATIONSHIPS))


def tables(found: dict[str, pd.DataFrame]) -> dict[str, pa.Table]:
    """The frames as declared tables."""
    result = {}
    for kind, frame in found.items():
        schema = records.arrow_schema(kind, frame.columns)
        columns = [
            pa.array(
                [None if _missing(v) else v for v in frame[f.name].tolist()],
                type=f.type,
                from_pandas=True,
            )
            for f in schema
        ]
        result[kind] = records.conform(kind, pa.table(columns, schema=schema))
    return result


def earlier(found: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What the replaced annotation left beside `found`: other genes, terms and cell types for every
    feature, all of them better than those of today.

    No answer shows any of it unless it is asked for by the run. A second library of regulons has
    every regulation the other way round."""
    keys = found["Feature"].id.tolist()
    own = [k for k in keys if k.startswith(MODEL)]
    pair = ["source", "target"]
    swapped = {"Activation": "Repression", "Repression": "Activation"}
    return {
        "Feature-LOADS_ON-Gene": (
            pd.DataFrame(
                [
                    (k, f"ENSG{(7 * i + 3 * r) % 40:011d}", r, 99.0 - r, 999)
                    for i, k in enumerate(own)
                    for r in range(1, 13)
                ],
                columns=[*pair, "rank", "mean_activation", "fire_count"],
            ).assign(run=EARLIER)
        ),
        "Feature-ENRICHED_FOR-Term": (
            pd.DataFrame(
                [
                    (k, t)
                    for k in keys
                    for t in ("GO:0", "GO:1", "GO:5", "KEGG_2021_Human:Ribosome", "TRRUST:G1")
                ],
                columns=pair,
            ).assign(
                run=EARLIER,
                p=1e-9,
                q=1e-8,
                q_calibrated=1e-7,
                odds_ratio=99.0,
                overlap=12,
                test="hypergeometric",
                origin="own",
            )
        ),
        "Feature-ACTIVE_IN-CellType": (
            pd.DataFrame([(k, c) for k in keys for c in CELL_TYPES], columns=pair).assign(
                run=EARLIER, q=1e-6, difference=9.0, origin="own"
            )
        ),
        "Feature": found["Feature"][["id", *records.IDENTITY]].assign(
            name=lambda x: x["name"].str[:9] + " of earlier days",
            annotation_run=EARLIER,
            label="of earlier days",
            label_library="earlier",
            label_q=1e-12,
            label_null=1e-12,
            annotated=True,
            annotatable_genes=99,
            best_tf="G39",
            best_tf_q=1e-12,
            tf_share=1.0,
            tf_share_q=1e-12,
        ),
        "Gene-REGULATES-Gene": (
            found["Gene-REGULATES-Gene"].assign(
                library="collectri", mode=lambda x: x["mode"].replace(swapped), pmids=None
            )
        ),
    }


def load(connection: Connection, folder: Path, found: dict[str, pd.DataFrame]) -> None:
    """Write the frames as run folders, each run its own records, and load them as any run is
    loaded.
    """
    whole = tables(found)
    for row in found["Run"].sort_values("started").itertuples():
        mine = {}
        for kind, table in whole.items():
            # Records without a run of their own came with the first trace.
            column = (
                "id"
                if kind == "Run"
                else (
                    "run"
                    if "run" in table.column_names
                    else (
                        "source"
                        if kind.startswith("Run-")
                        else "target"
                        if kind.endswith("-FROM-Run")
                        else ""
                    )
                )
            )
            if kind == "Feature":
                given = tables({kind: small_traces.older(found[kind])})[kind]
                by_older = row.id in (OLD, ANALYSE_OLD)
                mine |= of_run(given if by_older else table, str(row.id))
                if row.id == OLD:  # it brings the ends of all relationships without a run
                    others = table.filter(pc.not_equal(table.column("model"), MODEL))
                    parts = [mine[kind], others.select(["id", *records.IDENTITY])]
                    mine[kind] = pa.concat_tables(parts, promote_options="default")
            elif column:
                mine[kind] = table.filter(pc.equal(table.column(column), row.id))
            elif row.id == OLD:
                mine[kind] = table
        if row.id == EARLIER:
            mine |= tables(earlier(found))
        target = folder / str(row.id)
        store = ShardStore(
            target,
            Manifest(
                run=str(row.id),
                verb=str(row.verb),
                config={},
                inputs={},
                version="0.1.0",
                started=str(row.started),
            ),
        )
        store.add("all", mine)
        store.finish(str(row.status), seconds=1.5)
        load_run(connection, target)


def of_run(table: pa.Table, run: str) -> dict[str, pa.Table]:
    """Features as this run writes them: identity and clean pass by the traces, labels by the
    annotation, degrees by the analyses, what was published by the atlas, steering by its run.
    """
    blocks = records.FINDING_BLOCKS
    annotated, traced, degrees = (
        [n for n in blocks[mark] if n in table.column_names]
        for mark in ("annotation_run", "activation_run", "analysis_run")
    )
    identity = [*records.IDENTITY]
    rest = [n for n in table.column_names if n.startswith("steering_")]
    own = pc.equal(table.column("model"), MODEL)
    layers = {OLD: (1, 2, 3), NEW: (2, 3)}
    if run in layers:
        some = pc.and_(own, pc.is_in(table.column("layer"), pa.array(layers[run])))
        return {"Feature": table.filter(some).select(["id", *identity, *traced])}
    if run in (ANALYSE, ANALYSE_OLD):
        return {"Feature": table.filter(own).select(["id", *degrees])}
    if run == ANNOTATE:
        return {"Feature": table.select(["id", "name", *annotated])}
    if run == STEER:
        return {"Feature": table.filter(own).select(["id", *rest])}
    judged: list[str] = []
    for mark, by in (
        ("prediction_run", PREDICT),
        ("compare_run", COMPARE),
        ("attribution_run", ATTRIBUTE),
        ("attribution_run", REATTRIBUTE),
    ):
        mine = [n for n in blocks[mark] if n in table.column_names]
        judged += mine
        if run == by:
            some = pc.equal(table.column(mark), by)
            return {"Feature": table.filter(some).select(["id", *mine])}
    if run == ATLAS:
        own_results = {*annotated, *degrees, *rest, *traced, *judged} - {"alive"}
        published = {*table.column_names} - own_results
        names = [n for n in table.column_names if n in published]
        return {"Feature": table.filter(pc.invert(own)).select(names)}
    return {}


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)
