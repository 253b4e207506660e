"""Answers about predicted pairs of genes and disease sets, against pandas."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.queries.api import query
from tests.queries.expected import same
from tests.queries.small_names import NEW

pytestmark = pytest.mark.server


@pytest.mark.parametrize("gene", ["", "G2"])
def test_gene_predictions(study, gene):
    symbol = study.frames["Gene"].set_index("id").symbol
    frame = study.frames["Gene-PREDICTS-Gene"].query("q <= 0.05")
    frame = frame.assign(
        source=symbol[frame.source].values,
        target=symbol[frame.target].values,
        size=frame.z.abs(),
        effect=np.where(frame.score > 0, "support", "suppress"),
        known=frame.known.fillna(""),
    )
    if gene:
        frame = frame[(frame.source == gene) | (frame.target == gene)]
    frame = frame.sort_values(["size", "source", "target"], ascending=[False, True, True]).head(20)
    answer = query(study.connection, "gene_predictions", gene=gene, limit=20)
    same(
        answer,
        frame,
        ["source", "target", "effect", "score", "edges", "z", "q", "known", "observed",
         "observed_q", "strongest_source", "strongest_target"],
    )  # fmt: skip
    agrees = [
        None if not q <= 0.05 else (s > 0) == (o < 0)
        for s, o, q in zip(frame.score, frame.observed, frame.observed_q, strict=True)
    ]
    assert [None if v is None or v != v else bool(v) for v in answer.sign_agrees] == agrees
    assert {True, False} & set(agrees)


def test_disease_features(study):
    f = study.features.reset_index(drop=True)
    mine = f[(f.disease_q <= 0.05) & (f.disease == "anaemia")].sort_values(["disease_q", "id"])
    answer = query(study.connection, "disease_features", disease="Anaem")
    same(
        answer.rename(columns={"feature": "id", "q": "disease_q", "run": "prediction_run"}),
        mine,
        ["id", "name", "model", "layer", "disease", "disease_q", "prediction_run"],
    )
    assert len(query(study.connection, "disease_features")) > len(answer)
    assert query(study.connection, "disease_features", run=NEW).empty
