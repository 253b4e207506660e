"""The finding of joint ablations: one row per set, classes compared, and what cannot be."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")
from matplotlib.figure import Figure

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.interventions.class_medians import class_difference, class_median
from scircuit.analysis.interventions.set_classes import set_classes
from scircuit.execution.findings.finding_files import read_findings, write_findings


def nodes(signed, layers=(5,), order=2, seed=0):
    """Interventions of sets of three classes: class -> signed ratio of each of its sets."""
    rng, rows = np.random.default_rng(seed), []
    for kind, values in signed.items():
        for i, value in enumerate(values):
            for layer in layers:
                tag = f"run/ablate/{kind}{i}"
                noise = 0.01 * rng.normal()
                rows.append(
                    {
                        "id": f"{tag}/L{layer:02d}",
                        "name": f"{kind} {i}",
                        "set": f"{tag}/L{layer:02d}",
                        "set_class": kind,
                        "order": order,
                        "target_layer": layer,
                        "cells": 20,
                        "tested": 200,
                        "significant": 30 if kind == "same" else 10,
                        "ratio": np.nan if np.isnan(value) else value / np.sqrt(order) + noise,
                        "ratio_null": 1 / np.sqrt(order),
                        "signed_ratio": value,
                    }
                )
    return pd.DataFrame(rows)


def planted(seed, size=0.0, sets=12, layers=(5,)):
    """Same sets redundant by `size`, the others additive."""
    rng = np.random.default_rng(seed)
    means = {"same": 1 - size, "cross": 1.0, "random": 1.0}
    return nodes({k: rng.normal(m, 0.1, sets) for k, m in means.items()}, layers, seed=seed)


def plain(x):
    if isinstance(x, dict):
        return all(map(plain, x.values()))
    if isinstance(x, list):
        return all(map(plain, x))
    return x is None or isinstance(x, (str, int)) or (isinstance(x, float) and np.isfinite(x))


def test_every_number_is_that_of_the_rows():
    table = planted(0, 0.3)
    found = set_classes(table)
    frame = found.frame
    assert frame["set"].tolist() == table["name"].tolist() and len(frame) == 36
    np.testing.assert_allclose(frame["ratio_beyond_null"], table["ratio"] - table["ratio_null"])
    assert (frame["significant_share_2"] == frame["significant_share"]).all()
    assert frame.groupby("class")["significant_share"].first().to_dict() == {
        "same": 0.15, "cross": 0.05, "random": 0.05,
    }  # fmt: skip
    own = {
        k: table.loc[table["set_class"] == k, "signed_ratio"].to_numpy() for k in ("same", "cross")
    }
    medians = found.numbers["classes"]["same"]["signed_ratio"]
    assert medians == class_median(own["same"])._asdict()
    tests = found.numbers["class_differences"]
    assert len(tests) == 9 and {t["classes"] for t in tests} == {
        "same - cross", "same - random", "cross - random",
    }  # fmt: skip
    named = {(t["classes"], t["measure"]): t for t in tests}
    one = named["same - cross", "signed_ratio"]
    assert (one["difference"], one["p"]) == class_difference(own["same"], own["cross"])
    q = benjamini_hochberg(np.array([t["p"] for t in tests]))
    assert [t["q"] for t in tests] == pytest.approx(q.tolist())
    assert "same sets, 12 with a ratio" in found.sentence and "relabelling sets" in found.sentence
    assert f"additive effects would give {1 / np.sqrt(2):.2f}" in found.sentence
    assert "2,000 relabellings" in found.null and plain(found.numbers)


def test_a_planted_redundancy_is_found_and_chance_is_not():
    """Two standard deviations between sets, 12 sets a class."""
    hits, false = 0, 0
    for seed in range(20):
        tests = set_classes(planted(seed, 0.2)).numbers["class_differences"]
        same = [t for t in tests if t["measure"] == "signed_ratio" and "same" in t["classes"]]
        hits += sum(t["q"] <= 0.05 for t in same)
        none = set_classes(planted(100 + seed).assign(significant=10))
        false += any(t["q"] <= 0.05 for t in none.numbers["class_differences"])
    assert hits >= 34  # power 0.85, of 40
    assert false <= 4  # 20 runs at 0.05: five or more have probability 0.003


def test_a_set_that_is_read_at_more_layers_is_still_one_unit():
    """Otherwise the p of a difference would fall with the number of layers read."""
    once, often = set_classes(planted(3, 0.1)), set_classes(planted(3, 0.1, layers=(4, 5, 6)))
    assert often.frame["layers_read"].eq(3).all() and len(often.frame) == len(once.frame)
    for a, b in zip(*(f.numbers["class_differences"] for f in (once, often)), strict=True):
        if a["measure"] == "signed_ratio":
            assert a["p"] == b["p"] and a["difference"] == pytest.approx(b["difference"])
    wide = planted(3, 0.1, layers=(4, 5))
    wide.loc[wide["target_layer"] == 4, ["tested", "significant"]] = (100, 40)
    share = set_classes(wide).frame.groupby("class")["significant_share"].first()
    assert share["cross"] == pytest.approx(50 / 300)


def test_shares_of_every_order_and_sizes_apart():
    table = nodes({"given": [0.9, 1.0]}, order=3)
    pairs = pd.concat([table] * 3, ignore_index=True).assign(order=2, tested=100, significant=5)
    pairs["id"] = pairs["id"] + [f"/part{i}" for i in range(len(pairs))]
    frame = set_classes(pd.concat([table, pairs], ignore_index=True)).frame
    assert frame["significant_share_3"].tolist() == [0.05, 0.05]
    assert frame["significant_share_2"].tolist() == [0.05, 0.05] and len(frame) == 2
    mixed = pd.concat([table, nodes({"hubs": [1.0, 1.1, 0.9]})], ignore_index=True)
    assert list(set_classes(mixed).numbers["classes"]) == ["given of 3", "hubs of 2"]


@pytest.mark.parametrize(
    ("signed", "words"),
    [
        ({"hubs": [0.9, 1.0, 1.1]}, "there are no other classes to compare with"),
        ({"same": [0.9], "cross": [1.0]}, "no two classes of two or more sets"),
        ({"same": [np.nan] * 3, "cross": [np.nan]}, "none of 4 sets has a joint effect"),
        ({"same": [1.0] * 4, "cross": [1.0] * 4}, "same - cross: +0.000, p = 1 by"),
    ],
)
def test_what_cannot_be_compared_is_said_without_nan(signed, words, tmp_path):
    found = set_classes(nodes(signed))
    assert words in found.sentence and plain(found.numbers)
    assert "nan" not in found.sentence.lower()
    found.plot(Figure().subplots())
    write_findings(tmp_path, [found])
    (back,) = read_findings(tmp_path)
    assert back.sentence == found.sentence and json.dumps(back.numbers) and back.drawn


def test_the_plot_shows_each_set_beside_its_null(tmp_path):
    write_findings(tmp_path, [set_classes(planted(1, 0.3))])
    (back,) = read_findings(tmp_path)
    ax = Figure().subplots()
    back.plot(ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "same\n12 sets", "cross\n12 sets", "random\n12 sets",
    ]  # fmt: skip
    offsets = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 12]
    assert len(offsets) == 6
    drawn = np.sort(np.asarray(offsets[0])[:, 1])
    wanted = back.frame.loc[back.frame["class"] == "same", "ratio"].sort_values()
    np.testing.assert_allclose(drawn, wanted)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["measured", "additive effects on the same cells"]
