"""What features are made of, and whether ablation takes it away, against pandas on the records."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scircuit.queries.api import query
from tests.queries.expected import same
from tests.queries.small_names import (
    ATTRIBUTE,
    BROKEN,
    IMPORTED,
    NEW,
    OLD,
    REATTRIBUTE,
    address,
)

pytestmark = pytest.mark.server
KIND = "Feature-ATTRIBUTES_TO-Feature"


def attributions(study, q: float = 0.05, run: str = "") -> pd.DataFrame:
    """Own attributions with captions, the largest first."""
    e, names = study.frames[KIND], study.features["name"]
    e = e[e.run.isin([run] if run else [ATTRIBUTE, REATTRIBUTE]) & (e.q <= q)]
    return e.assign(
        size=e.weight.abs(),
        source_name=names.loc[e.source].values,
        target_name=names.loc[e.target].values,
    ).sort_values(["size", "source", "target", "run"], ascending=[False, True, True, True])


@pytest.mark.parametrize("run", ["", ATTRIBUTE, REATTRIBUTE])
@pytest.mark.parametrize("q", [0.05, 1.0])
def test_attributed_edges(study, run, q):
    expected = attributions(study, q, run)
    answer = query(study.connection, "attributed_edges", run=run, q=q, limit=1000)
    same(answer, expected)
    assert set(answer.run) == ({run} if run else {ATTRIBUTE, REATTRIBUTE})
    few = query(study.connection, "attributed_edges", run=run, q=q, limit=5)
    same(few, expected.head(5))


def test_attributed_edges_of_a_target(study):
    expected = attributions(study, 1.0).query("target == @address(2, 1)")
    for target in (address(2, 1), address(2, 1)[-9:]):
        answer = query(study.connection, "attributed_edges", target=target, q=1.0)
        same(answer, expected)
    assert set(answer.run) == {ATTRIBUTE, REATTRIBUTE}  # a pair of both has a row of each
    assert answer.sd.isna().equals(answer.n == 1) and answer.factor.isna().equals(
        answer.invariant == 0
    )


def test_imported_attributions_are_left_out(study):
    imported = study.frames[KIND].query("run == @IMPORTED")
    assert len(imported) and imported.n.isna().all()
    for name in ("attributed_edges", "attribution_against_ablation"):
        everything = query(study.connection, name, q=1.0, limit=1000)
        assert not set(everything.source) & set(imported.source)
        assert query(study.connection, name, q=1.0, run=IMPORTED).empty
    assert query(study.connection, "attributed_features", run=IMPORTED).empty


@pytest.mark.parametrize("run", ["", ATTRIBUTE, REATTRIBUTE])
@pytest.mark.parametrize("trace", ["", OLD, NEW, BROKEN])
def test_attribution_against_ablation(study, run, trace):
    a = study.frames["Feature-AFFECTS-Feature"]
    a = a[a.run.isin([trace] if trace else [OLD, NEW]) & a.direct.notna() & a.computed.notna()]
    layer = study.features.layer
    rows = []
    for e in attributions(study, 1.0, run).itertuples():
        for x in a[(a.source == e.source) & (a.target == e.target)].itertuples():
            effect = x.direct + x.computed
            opposite = (e.weight > 0 and effect < 0) or (e.weight < 0 and effect > 0)
            rows.append(
                {
                    "source": e.source,
                    "source_name": e.source_name,
                    "target": e.target,
                    "target_name": e.target_name,
                    "weight": e.weight,
                    "ablation": effect,
                    "agrees": opposite,
                    "layers": layer[e.target] - layer[e.source],
                    "n": e.n,
                    "n_ablation": x.n,
                    "q": e.q,
                    "q_ablation": x.q,
                    "run": e.run,
                    "trace": x.run,
                }
            )
    answer = query(
        study.connection, "attribution_against_ablation", run=run, trace=trace, q=1.0, limit=1000
    )
    if not rows:
        # the second trace has edges between other layers than the first attribution
        assert (run, trace) == (ATTRIBUTE, NEW) and answer.empty
        return
    by = ["size", "source", "target", "run", "trace"]
    expected = pd.DataFrame(rows).assign(size=lambda x: x.weight.abs())
    expected = expected.sort_values(by, ascending=[False, True, True, True, True])
    same(answer, expected)
    if not (run or trace):
        assert set(answer.agrees) == {True, False} and set(answer.layers) == {1, 2}
        assert set(zip(answer.run, answer.trace, strict=True)) == {
            (ATTRIBUTE, OLD),
            (REATTRIBUTE, OLD),
            (REATTRIBUTE, NEW),
        }
        strict = query(study.connection, "attribution_against_ablation", limit=1000)
        same(strict, expected[expected.q <= 0.05])


def test_a_pair_of_several_runs_has_a_row_of_every_two(study):
    pair = ["source", "target"]
    answer = query(study.connection, "attribution_against_ablation", q=1.0, limit=1000)
    twice = answer[answer.duplicated(pair, keep=False)]
    assert len(twice)
    assert (twice.groupby(pair).run.nunique() == 2).all()
    assert not answer.duplicated([*pair, "run", "trace"]).any()


@pytest.mark.parametrize("run", ["", ATTRIBUTE, REATTRIBUTE])
def test_attributed_features(study, run):
    f = study.features
    f = f[f.attribution_run.isin([run] if run else [ATTRIBUTE, REATTRIBUTE])]
    short = {"id": "feature"} | {
        n: n.removeprefix("attribution_") for n in f.columns if n.startswith("attribution_")
    }
    expected = f.reset_index(drop=True).rename(columns=short)
    expected = expected.sort_values(["attributed", "feature"], ascending=[False, True])
    answer = query(study.connection, "attributed_features", run=run)
    same(answer, expected)
    parts = answer[["edges", "remainder", "errors", "embeddings", "biases"]].sum(axis=1)
    np.testing.assert_allclose(parts, answer.attributed, rtol=1e-12)
    same(query(study.connection, "attributed_features", run=run, limit=3), expected.head(3))
