"""Degrees of imported edges against a plain count, and comparisons that missing values forbid."""

from __future__ import annotations

import pyarrow as pa
import pytest

from scircuit.analysis.circuits.imported_edges import analyse_imported
from scircuit.core import schema
from scircuit.core.errors import UserError


def name(layer, index):
    return f"m/d/L{layer:02d}/F{index:04d}"


ROWS = [  # source, target, n, n_pos, n_neg, d
    (0, 0, 20, 18, 2, 1.0),
    (0, 1, 20, 2, 18, -1.0),
    (
        0,
        2,
        20,
        0,
        5,
        -0.6,
    ),  # zeros count as negative: an edge by the published rule, and by the symmetric one
    (
        1,
        0,
        20,
        5,
        0,
        0.6,
    ),  # the mirror of it: 15 of 20 count as negative, so the published rule takes it too
    (1, 1, 20, 8, 0, 0.6),  # its larger mirror: 12 of 20, no edge; the symmetric rule takes it
    (1, 2, 20, 20, 0, 0.5),  # d not above 0.5
    (2, 0, 20, 11, 9, 2.0),
]
PUBLISHED = {name(5, 0): 3, name(5, 1): 1, name(5, 2): 0, name(5, 3): 0}


def features(**more):
    ids = [name(5, i) for i in range(4)] + [name(6, i) for i in range(3)]
    return schema.conform(
        "Feature", pa.table({"id": ids, "traced": [True] * 4 + [None] * 3, **more})
    )


def edges(counts=True):
    s, t, n, up, down, d = (list(c) for c in zip(*ROWS, strict=True))
    columns = {"source": [name(5, i) for i in s], "target": [name(6, i) for i in t], "d": d}
    consistency = [max(u, c - u) / c for u, c in zip(up, n, strict=True)]
    columns |= {"n": n, "n_pos": up, "n_neg": down} if counts else {"consistency": consistency}
    return schema.conform("Feature-AFFECTS-Feature", pa.table(columns))


def degrees(found):
    return dict(
        zip(
            found.features.column("id").to_pylist(),
            found.features.column("out_degree_legacy").to_pylist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("counts", [True, False])
def test_degrees_are_counted_by_the_published_rule(counts):
    found = analyse_imported(features(), edges(counts), ("p",), sources=4)
    assert degrees(found) == PUBLISHED
    assert found.findings["edges_legacy"] == 4
    assert found.findings["sources_without_edge"] == 2
    assert not {"out_degree", "hub_rank", "in_degree"} & set(found.features.column_names)


def test_signs_need_counts():
    found = analyse_imported(features(), edges(True), ("p",))
    assert (found.findings["edges_symmetric_stored"], found.findings["support_share"]) == (
        5,
        0.4,
    )  # two of five are negative
    without = analyse_imported(features(), edges(False), ("p", "counts"))
    assert "support_share" not in without.findings
    assert any("signs were not counted" in s for s in without.sentences)


def test_cut_edges_give_the_stated_degrees_or_none():
    with pytest.raises(UserError, match="gives the degrees of 0 of 4 sources"):
        analyse_imported(features(), edges(), ("all_edges",))
    stated = [30, 2, 0, 7, None, None, None]
    found = analyse_imported(features(out_degree_legacy=stated), edges(), ("all_edges",), sources=4)
    assert list(degrees(found).values()) == stated[:4]
    assert found.findings["degrees"] == "stated by the source"
    with pytest.raises(UserError, match="gives the degrees of 3 of 4"):
        analyse_imported(
            features(out_degree_legacy=[30, 2, None, 7, None, None, None]), edges(), ("all_edges",)
        )


def test_degrees_of_some_sources_are_no_distribution():
    with pytest.raises(UserError, match="degrees of 4 of 4,065 traced sources"):
        analyse_imported(features(), edges(), (), sources=4065)
