"""Records of joint ablations: a node for each set and layer read, one for each of its subsets, what
they shifted, and summaries of the features.

Contrasts with p of 0.1 or less, total or computed, are stored; all are counted and belong to the
family of their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import Address
from scircuit.core.schema import arrow_schema, conform
from scircuit.tracing.interventions.ablation.subset_tests import SubsetTest, median
from scircuit.tracing.interventions.intervention_tables import q_of, tables_of

if TYPE_CHECKING:
    import pyarrow as pa

ROLES = "ABCDEF"
_SHIFTED = "Intervention-SHIFTED-Feature"


def records_of(tests: Sequence[SubsetTest], run: str, threshold: float) -> dict[str, pa.Table]:
    """Tables by kind; `threshold` is the largest q of a significant contrast."""
    q, q_computed = (_families(tests, part) for part in ("p", "p_computed"))
    nodes, members, origins = [], [], []
    for test, of_total, of_computed in zip(tests, q, q_computed, strict=True):
        key = node_id(test, run)
        nodes.append(_node(test, key, run, of_total <= threshold, of_computed <= threshold))
        origins.append({"source": key, "target": run})
        members += [
            {"source": str(f), "target": key, "run": run, "role": role, "coefficient": 0.0}
            for role, f in zip(letters(test), test.members, strict=True)
        ]
    rows = {
        "Intervention": nodes,
        "Feature-PART_OF-Intervention": members,
        "Feature": _features(tests, [int((x <= threshold).sum()) for x in q]),
        "Intervention-FROM-Run": origins,
    }
    return {**tables_of(rows), _SHIFTED: _shifted(tests, q, q_computed, run)}


def letters(test: SubsetTest) -> str:
    """Roles of the members of a subset in its set, such as ``AC``."""
    return "".join(r for i, r in enumerate(ROLES) if test.subset >> i & 1)


def node_id(test: SubsetTest, run: str) -> str:
    """Id of the intervention; of a subset it names the set first."""
    part = "" if test.whole else f"/{letters(test)}"
    return f"{run}/ablate/{test.one.tag}{part}/L{test.layer:02d}"


def _families(tests: Sequence[SubsetTest], part: str) -> list[np.ndarray]:
    """Q of every test, within all tests of its order: every set, layer read and target."""
    p = [getattr(test, part) for test in tests]
    found: list[np.ndarray] = [np.zeros(0)] * len(tests)
    for order in sorted({test.order for test in tests}):
        own = [i for i, test in enumerate(tests) if test.order == order]
        q = q_of(np.concatenate([p[i] for i in own]))
        for i, of_test in zip(
            own, np.split(q, np.cumsum([len(p[i]) for i in own])[:-1]), strict=True
        ):
            found[i] = of_test
    return found


def _node(
    test: SubsetTest, key: str, run: str, total: np.ndarray, computed: np.ndarray
) -> dict[str, Any]:
    below, additive, above = test.counts
    null_below, null_additive, null_above = test.counts_null
    known = np.isfinite(test.p_computed)
    # a part of the tests is known only where the model says what its residual stream carries
    of_computed = (
        {"tested_computed": int(known.sum()), "significant_computed": int(computed.sum())}
        if known.any()
        else {"tested_computed": None, "significant_computed": None}
    )
    return {
        "id": key,
        "name": " + ".join(f.short for f in test.members),
        "verb": "ablate",
        "order": test.order,
        "coefficient": 0.0,
        "target_layer": test.layer,
        "cells": test.cells,
        "cells_together": test.together,
        "set": f"{run}/ablate/{test.one.tag}/L{test.layer:02d}",
        "set_class": test.one.kind,
        "pathway": test.one.pathway or None,
        "tested": int((~np.isnan(test.p)).sum()),
        "significant": int(total.sum()),
        **of_computed,
        "ratio": median(test.ratio),
        "ratio_null": median(test.ratio_null),
        "signed_ratio": test.signed.value,
        "signed_ratio_low": test.signed.low,
        "signed_ratio_high": test.signed.high,
        "higher_order": test.higher_order,
        "higher_order_null": test.higher_order_null,
        "marginal": test.marginal,
        "marginal_null": test.marginal_null,
        "subadditive": below,
        "additive": additive,
        "superadditive": above,
        "subadditive_null": null_below,
        "additive_null": null_additive,
        "superadditive_null": null_above,
        "run": run,
    }


def _shifted(
    tests: Sequence[SubsetTest],
    q: Sequence[np.ndarray],
    q_computed: Sequence[np.ndarray],
    run: str,
) -> pa.Table:
    """Stored contrasts, as columns: there may be a million."""
    import pyarrow as pa

    some = [i for i, test in enumerate(tests) if len(test.stored)]
    columns: dict[str, Any] = defaultdict(list)
    for i in some:
        test = tests[i]
        base, n = test.members[0]._replace(layer=test.layer), len(test.stored)
        columns["source"] += [node_id(test, run)] * n
        columns["target"] += [str(base._replace(index=int(j))) for j in test.stored]
        columns["order"] += [test.order] * n
    numbers: dict[str, list[np.ndarray]] = defaultdict(list)
    for i in some:
        test, at = tests[i], tests[i].stored
        unknown = np.full(len(at), np.nan)
        for name in ("effect", "interaction", "low", "high"):
            numbers[name].append(test.columns[name])
        for name in ("computed", "computed_low", "computed_high"):
            numbers[name].append(test.columns.get(name, unknown))
        for name, values in (
            ("p", test.p),
            ("q", q[i]),
            ("p_computed", test.p_computed),
            ("q_computed", q_computed[i]),
        ):
            numbers[name].append(values[at])
    size = len(columns["source"])
    table = {
        "source": columns["source"],
        "target": columns["target"],
        "order": pa.array(columns["order"], pa.int64()),
        "run": [run] * size,
        "dose": [-1.0] * size,
        **{
            name: pa.array(np.concatenate(parts), from_pandas=True)
            for name, parts in numbers.items()
        },
    }
    if not size:
        return conform(_SHIFTED, arrow_schema(_SHIFTED).empty_table())
    return conform(_SHIFTED, pa.table(table))


def _features(tests: Sequence[SubsetTest], significant: Sequence[int]) -> list[dict[str, Any]]:
    """What each feature did in its sets: of pairs of members the ratio and its null, of all subsets
    the interactions.
    """
    partners: Mapping[Address, dict[Address, int]] = defaultdict(lambda: defaultdict(int))
    ratios: dict[Address, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    interactions: dict[Address, int] = defaultdict(int)
    for test, count in zip(tests, significant, strict=True):
        for f in test.members:
            interactions[f] += count
            if test.order != 2:
                continue
            other = next(g for g in test.members if g != f)
            partners[f][other] += count
            ratios[f].append((test.ratio, test.ratio_null))
    rows = []
    for f, of in partners.items():
        best = max(of, key=lambda other: of[other])
        rows.append(
            {
                "id": str(f),
                "ablation_partners": len(of),
                "ablation_redundancy": median(np.concatenate([r for r, _ in ratios[f]])),
                "ablation_null": median(np.concatenate([n for _, n in ratios[f]])),
                "strongest_partner": str(best) if of[best] else None,
                "interactions": interactions[f],
            }
        )
    return rows
