"""Which sets `scircuit ablate` chooses: given, of hubs, drawn in classes, or by the published
recipes; what it refuses; and which run it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from scircuit.core.address import Address
from scircuit.core.config import AblateConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.execution.ablation_sets.chosen_sets import chosen_sets
from scircuit.execution.ablation_sets.keyword_pathways import pathway_of
from scircuit.execution.ablation_sets.set_findings import summarise_sets
from scircuit.execution.intervention_run import identity_of
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.tracing.interventions.ablation.ablation_records import records_of
from scircuit.tracing.interventions.ablation.subset_tests import LayerInputs, set_tests

TRACE, ANALYSE, ANNOTATE = "trace-0000000001", "analyse-000000001", "annotate-00000001"
COUNTED = ("subadditive", "additive", "superadditive")
RATIOS = (
    *("ratio", "ratio_null", "signed_ratio"),
    *("higher_order", "higher_order_null", "marginal", "marginal_null"),
)
LABELS = ("Spindle assembly", "DNA repair", "Golgi transport", "mRNA splicing", "")


def store(place, run, verb, table, parents=(), **config):
    manifest = Manifest(run=run, verb=verb, config=config, inputs={}, version="0", parents=parents)
    shards = ShardStore(place.run_folder(run), manifest)
    shards.add("all", {"Feature": table})
    shards.finish("complete")


def study_of(path, *, annotated=True, features=40):
    place = Study(path / "study")
    rng = np.random.default_rng(0)
    ids = [str(Address("m", "s", t, i)) for t in (0, 2, 4) for i in range(features)]
    cells = np.where(np.arange(len(ids)) % features == features - 1, 3, 9)  # the last one: too few
    rates = np.exp(rng.normal(-3, 1, len(ids)))
    store(
        place,
        TRACE,
        "trace",
        pa.table(
            {"id": ids, "alive": [True] * len(ids), "firing_rate": rates, "cells_active": cells}
        ),
        source_layers=[0, 2],
    )
    hubs = [str(Address("m", "s", t, i)) for i in range(6) for t in (2, 0)]
    ranks = pa.array(range(1, len(hubs) + 1), pa.int64())
    store(place, ANALYSE, "analyse", pa.table({"id": hubs, "hub_rank": ranks}), (TRACE,))
    if annotated:
        labels = [LABELS[i % len(LABELS)] or None for i in range(len(ids))]
        store(place, ANNOTATE, "annotate", pa.table({"id": ids, "label": labels}), (TRACE,))
    return place


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("sets"))


def choose(study, **options):
    return chosen_sets(study, study.latest("trace"), AblateConfig(**options))


def names(chosen):
    return [s.name for s in chosen.sets]


def test_all_pairs_of_the_top_hubs_are_the_default(study):
    chosen = choose(study, hubs=3)
    assert names(chosen) == [
        "L00/F0000 + L02/F0000", "L02/F0000 + L02/F0001", "L00/F0000 + L02/F0001",
    ]  # fmt: skip
    assert {s.kind for s in chosen.sets} == {"hubs"} and chosen.parents == (TRACE, ANALYSE)
    assert chosen.features == ["m/s/L02/F0000", "m/s/L00/F0000", "m/s/L02/F0001"]
    assert len(choose(study, hubs=5, order=3).sets) == 10


def test_hubs_by_layer(study):
    chosen = choose(study, hubs=2, order=3, layers=(0, 2, 2))
    assert names(chosen) == [
        "L00/F0000 + L02/F0000 + L02/F0001", "L00/F0001 + L02/F0000 + L02/F0001",
    ]  # fmt: skip


def test_given_sets_and_given_features(study):
    chosen = choose(study, features=("L00/F0003+L02/F0001", "L02/F0004+L00/F0003+L02/F0002"))
    assert names(chosen) == ["L00/F0003 + L02/F0001", "L00/F0003 + L02/F0002 + L02/F0004"]
    alone = choose(study, features=("L00/F0003,L02/F0001", "L02/F0004"))
    assert len(alone.sets) == 3 and {s.kind for s in alone.sets} == {"given"}
    assert alone.features[2] == "m/s/L02/F0004"


def test_classes_by_label(study):
    chosen = choose(study, sampler="pathway", sets=6, order=2)
    kinds = [s.kind for s in chosen.sets]
    assert {k: kinds.count(k) for k in kinds} == {"same": 6, "cross": 6, "random": 6}
    assert {f.layer for s in chosen.sets for f in s.members} == {0, 2}  # the source layers
    assert {s.pathway for s in chosen.sets if s.kind == "same"} == set(LABELS) - {""}
    assert not any(f.index == 39 for s in chosen.sets for f in s.members)
    assert chosen.parents == (TRACE, ANNOTATE) and len(chosen.notes) == 3
    assert chosen == choose(study, sampler="pathway", sets=6, order=2)
    three = choose(study, sampler="pathway", sets=2, order=3)
    assert all([f.layer for f in s.members] == [0, 2, 2] for s in three.sets)
    few = choose(study, sampler="pathway", sets=100, order=3)
    assert "of 100 same sets drawn: 4 of 4 groups" in few.notes[0]


def test_random_sets_need_no_labels(tmp_path):
    place = study_of(tmp_path, annotated=False)
    chosen = choose(place, sampler="random", sets=4, layers=(0, 4))
    assert {s.kind for s in chosen.sets} == {"random"} and len(chosen.sets) == 4
    assert chosen.parents == (TRACE,)
    with pytest.raises(UserError, match="has no annotation"):
        choose(place, sampler="pathway")


def test_the_published_recipes(study):
    chosen = choose(study, sampler="published", order=3, layers=(0, 2, 4))
    by_kind = {k: [s for s in chosen.sets if s.kind == k] for k in ("same", "cross", "random")}
    assert [s.pathway for s in by_kind["same"]] == ["mitosis", "vesicle", "rna"]
    assert by_kind["cross"][0].pathway == "ddr + mitosis + mitosis"
    assert 2 <= len(by_kind["cross"]) <= 6 and len(by_kind["random"]) == 4
    taken = {f for k in ("same", "cross") for s in by_kind[k] for f in s.members}
    assert not taken & {f for s in by_kind["random"] for f in s.members}


@pytest.mark.parametrize(
    ("label", "pathway"),
    [
        ("Mitotic spindle organization", "mitosis"),
        ("DNA metabolic process", "ddr"),
        ("lipid metabolic process", "metabolism"),
        ("RNA metabolic process", ""),
        ("protein lipidation", ""),
        ("Nucleosome assembly", "chromatin"),
        ("", ""),
    ],
)
def test_keywords(label, pathway):
    assert pathway_of(label) == pathway


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 7}, "expected 2 to 6"),
        ({"order": 1}, "expected 2 to 6"),
        ({"order": 3, "layers": (0, 2)}, r"2 layer\(s\) for sets of 3"),
        ({"order": 4, "hubs": 3}, "features chosen: 3; expected 4"),
        ({"layers": (0, 4)}, "no hub is in layer 4"),
        ({"hubs": 1, "layers": (2, 2)}, "make no set of 2"),
        ({"features": ("L00/F0003+L02/F0001", "L02/F0002")}, "and single features such as L02"),
        ({"features": ("L00/F0003+L00/F0003",)}, "expected 2 or more"),
        ({"features": ("L00/F0003+L00/F0003+L00/F0001",)}, "3 features, 2 of them different"),
        ({"features": ("+".join(f"L00/F{i:04d}" for i in range(7)),)}, "127 conditions"),
        ({"features": ("L00/F9999+L00/F0003",)}, "does not fire"),
        ({"sampler": "random", "sets": 0}, "expected 1 or more"),
        ({"sampler": "random", "layers": (0, 3)}, r"layer 3 has 0 feature\(s\)"),
        ({"sampler": "published", "layers": (1, 3)}, "no published pathway"),
    ],
)
def test_what_does_not_fit_is_one_sentence(study, options, message):
    with pytest.raises(UserError, match=message) as refused:
        choose(study, **options)
    assert refused.value.fix


def test_too_many_sets_are_refused_before_anything_is_computed(tmp_path):
    place = study_of(tmp_path, annotated=False, features=90)
    given = ",".join(f"L00/F{i:04d}" for i in range(60))
    with pytest.raises(UserError, match="60 features make 34,220 sets of 3; at most 20,000"):
        choose(place, features=(given,), order=3)


def test_older_runs_keep_their_ids(study):
    """Pairs within one layer: no option that is newer than them is part of what they are."""
    config = AblateConfig(features=("L02/F0004,L02/F0001",))
    chosen = chosen_sets(study, study.latest("trace"), config)
    features = ["m/s/L02/F0004", "m/s/L02/F0001"]
    assert identity_of(config, chosen) == {"features": features, "q": 0.05}
    hubs = replace(config, features=(), hubs=1, device="cpu")
    assert identity_of(hubs, chosen) == {"features": [], "q": 0.05}
    frozen = identity_of(replace(config, context="frozen"), chosen)
    assert frozen == {"features": features, "q": 0.05, "context": "frozen"}
    across = replace(config, features=("L02/F0004,L00/F0001",))
    assert identity_of(across, chosen_sets(study, study.latest("trace"), across)).keys() == {
        "features", "q", "removed",
    }  # fmt: skip
    drawn = replace(config, features=(), sampler="random", sets=3, seed=1)
    found = identity_of(drawn, chosen_sets(study, study.latest("trace"), drawn))
    assert found.keys() == {"features", "q", "sampler", "sets", "seed", "removed"}


def test_findings_hold_no_nan_and_compare_classes(study):
    """Same sets are redundant, the others additive: the difference is found with sets as units."""
    chosen = choose(study, sampler="pathway", sets=8, order=2)
    rng, tests = np.random.default_rng(0), []
    import torch

    inputs = LayerInputs(4, 1e-6, 1e-6, torch.eye(12), np.ones(12, bool))
    for one in chosen.sets:
        single = rng.normal(1.0, 0.3, (2, 10, 12))
        joint = single.sum(0) * (0.6 if one.kind == "same" else 1.0)
        joint += 0.01 * rng.normal(size=joint.shape)
        effects = np.concatenate([single, joint[None]]).astype(np.float32)
        tests += set_tests(one, 10, effects, effects, inputs)
    numbers, sentences, (finding,) = summarise_sets(records_of(tests, "r", 0.05), chosen)
    classes = numbers["classes"]
    assert classes["same"]["signed_ratio"]["median"] == pytest.approx(0.6, abs=0.02)
    assert classes["cross"]["signed_ratio"]["low"] > 0.95
    found = {(d["classes"], d["measure"]): d for d in numbers["class_differences"]}
    assert found["same - cross", "signed_ratio"]["p"] <= 0.005
    assert found["cross - random", "signed_ratio"]["p"] > 0.05
    assert numbers["orders"][0]["order"] == 2 and numbers["pairs"] == 24
    assert any("relabelling sets" in s for s in sentences) and finding.sentence in sentences
    assert len(finding.frame) == 24 and finding.numbers["classes"] == classes

    def plain(x):
        if isinstance(x, dict):
            return all(map(plain, x.values()))
        if isinstance(x, list):
            return all(map(plain, x))
        return x is None or isinstance(x, (str, int)) or (isinstance(x, float) and np.isfinite(x))

    assert plain(numbers)


def test_sets_that_are_never_active_together(study):
    """Across layers a joint effect is possible all the same."""
    chosen = choose(study, features=("L00/F0003+L02/F0001", "L02/F0004+L02/F0002"))
    nodes = pa.table(
        {
            "id": ["a/L04", "b/L04"],
            "set": ["a/L04", "b/L04"],
            "name": names(chosen),
            "set_class": ["given"] * 2,
            "order": [2, 2],
            "cells": [5, 5],
            "cells_together": [0, 0],
            **{k: [3, 3] for k in ("tested", "significant")},
            **{k: [None, None] for k in ("tested_computed", "significant_computed")},
            **{f"{k}{n}": [1, 1] for n in ("", "_null") for k in COUNTED},
            **{k: [0.6, 0.6] for k in RATIOS},
        }
    )
    _, sentences, _ = summarise_sets({"Intervention": nodes}, chosen)
    [sentence] = [s for s in sentences if "no cell has all features active" in s]
    assert sentence.startswith("in 2 of 2 sets ")
    assert "1 within one layer, which have no joint effect" in sentence
    assert "1 across layers, whose later features can become active" in sentence
