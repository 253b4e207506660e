"""Attribution graphs of circuit-tracer and Neuronpedia against a plain loop over their matrix, and
files that must not be read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import types
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import pytest
import torch

from scircuit.core.config import ImportGraphConfig
from scircuit.core.errors import UserError
from scircuit.ingest.importers.attribution_graph import graph_source as importer

LAYERS, TOKENS, LOGITS = 3, 4, 2
FEATURES = [
    (0, 1, 5),
    (0, 2, 5),
    (0, 1, 7),
    (1, 1, 2),
    (1, 3, 2),
    (1, 3, 9),
    (2, 3, 5),
]  # layer, position, index


def matrix(seed=0):
    """Target by source, strictly from earlier to later layers, some effects exactly 0."""
    rng = np.random.default_rng(seed)
    n = len(FEATURES)
    size = n + LAYERS * TOKENS + TOKENS + LOGITS
    layer = (
        [f[0] for f in FEATURES]
        + [t for t in range(LAYERS) for _ in range(TOKENS)]
        + [-1] * TOKENS
        + [LAYERS] * LOGITS
    )
    a = np.zeros((size, size), np.float32)
    for target in [*range(n), *range(size - LOGITS, size)]:
        for source in range(size - LOGITS):
            if layer[source] < layer[target] and rng.random() < 0.7:
                a[target, source] = rng.normal()
    return a


def oracle(a):
    """Source and target feature -> summed weight and pairs of positions."""
    found = defaultdict(lambda: [0.0, 0])
    for target, (tl, _, ti) in enumerate(FEATURES):
        for source, (sl, _, si) in enumerate(FEATURES):
            if a[target, source] != 0:
                found[(sl, si), (tl, ti)][0] += float(a[target, source])
                found[(sl, si), (tl, ti)][1] += 1
    return found


@pytest.fixture
def classes(monkeypatch):
    """The classes of the tool, under their own names, as far as a saved graph names them."""

    class LogitTarget(NamedTuple):
        token_str: str
        vocab_idx: int

    @dataclasses.dataclass
    class UnifiedConfig:
        n_layers: int
        model_name: str
        dtype: torch.dtype

    for cls, name in (
        (LogitTarget, "circuit_tracer.attribution.targets"),
        (UnifiedConfig, "circuit_tracer.utils.tl_nnsight_mapping"),
    ):
        module = types.ModuleType(name)
        cls.__module__, cls.__qualname__ = name, cls.__name__
        setattr(module, cls.__name__, cls)
        parts = name.split(".")
        for i in range(1, len(parts)):
            monkeypatch.setitem(
                sys.modules, ".".join(parts[:i]), types.ModuleType(".".join(parts[:i]))
            )
        monkeypatch.setitem(sys.modules, name, module)
    return LogitTarget, UnifiedConfig


def content(a, classes=None, **more):
    """What Graph.to_pt saves."""
    target, config = classes or (None, None)
    active = torch.tensor([(0, 0, 99), *FEATURES])  # the first is active and was not selected
    return {
        "input_string": "GATA1 HBB",
        "adjacency_matrix": torch.tensor(a),
        "active_features": active,
        "selected_features": torch.arange(1, len(active)),
        "cfg": (
            config(LAYERS, "vendor/Some-Model", torch.bfloat16)
            if config
            else {"n_layers": LAYERS, "model_name": "vendor/Some-Model"}
        ),
        "logit_targets": (
            [target("x", i) for i in range(LOGITS)] if target else torch.arange(LOGITS)
        ),
        "logit_probabilities": torch.ones(LOGITS),
        "vocab_size": 10,
        "input_tokens": torch.arange(TOKENS),
        "activation_values": torch.ones(len(active)),
        "scan_name": "Tiny TC",
        **more,
    }


def viewer(a, cantor=True):
    """The viewer JSON of the same graph, uncut: nodes and links one by one."""
    nodes, names, sorts = [], [], []

    def add(node_id, feature, layer, position, sort):
        names.append(node_id)
        sorts.append(sort)
        nodes.append(
            {
                "node_id": node_id,
                "feature": feature,
                "layer": layer,
                "ctx_idx": position,
                "feature_type": sort,
                "jsNodeId": node_id,
                "clerp": "",
                "influence": None,
                "activation": None,
            }
        )

    for layer, position, index in FEATURES:
        paired = (layer + index) * (layer + index + 1) // 2 + index
        add(
            f"{layer}_{index}_{position}",
            paired if cantor else index,
            str(layer),
            position,
            "cross layer transcoder",
        )
    for layer in range(LAYERS):
        for position in range(TOKENS):
            add(f"{layer}_-1_{position}", -1, str(layer), position, "mlp reconstruction error")
    for position in range(TOKENS):
        add(f"E_{position}_{position}", position, "E", position, "embedding")
    for i in range(LOGITS):
        add(f"{LAYERS + 1}_{i}_{TOKENS - 1}", i, str(LAYERS + 1), TOKENS - 1, "logit")
    links = [
        {"source": names[s], "target": names[t], "weight": float(a[t, s])}
        for t, s in zip(*np.nonzero(a), strict=True)
    ]
    metadata = {
        "slug": "gata",
        "scan": "some-model",
        "prompt_tokens": ["a"] * TOKENS,
        "prompt": "GATA1 HBB",
        "node_threshold": 0.8,
        "feature_details": {"neuronpedia_source_set": "tiny-tc"},
    }
    return {
        "metadata": metadata,
        "qParams": {
            "pinnedIds": [],
            "supernodes": [],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": nodes,
        "links": links,
    }


def load(path, **more):
    return importer.read(ImportGraphConfig(path=path, **more), {})


def compare(source, a):
    tables = {k: t.to_pandas() for k, t in source.units["graph"]().items()}
    edges = tables["Feature-ATTRIBUTES_TO-Feature"]
    wanted = oracle(a)
    prefix = "some-model/tiny-tc"
    found = {
        (r.source, r.target): (r.weight, r.count_)
        for r in edges.rename(columns={"count": "count_"}).itertuples()
    }
    name = lambda f: f"{prefix}/L{f[0]:02d}/F{f[1]:04d}"  # noqa: E731
    assert set(found) == {(name(s), name(t)) for s, t in wanted}
    for (s, t), (weight, count) in wanted.items():
        assert found[name(s), name(t)] == (pytest.approx(weight, rel=1e-6), count)
    assert set(tables["Feature"]["id"]) == {name((layer, index)) for layer, _, index in FEATURES}
    assert source.findings["nodes"] == {"feature": 7, "error": 12, "embedding": 4, "logit": 2}
    n = len(FEATURES)
    total = np.abs(a[:n]).sum()
    shares = {
        "feature": np.abs(a[:n, :n]).sum(),
        "error": np.abs(a[:n, n : n + 12]).sum(),
        "embedding": np.abs(a[:n, n + 12 : n + 16]).sum(),
    }
    assert source.findings["share_of_effect_on_features"] == pytest.approx(
        {k: v / total for k, v in shares.items()}, rel=1e-6
    )


def test_links_of_no_weight_are_counted(tmp_path):
    a = matrix()
    data = viewer(a)
    missing = [
        (s, t)
        for t in range(len(FEATURES))
        for s in range(len(FEATURES))
        if FEATURES[s][0] < FEATURES[t][0] and a[t, s] == 0
    ]
    assert missing
    name = lambda i: data["nodes"][i]["node_id"]  # noqa: E731
    data["links"] += [{"source": name(s), "target": name(t), "weight": 0} for s, t in missing]
    (tmp_path / "g.json").write_text(json.dumps(data))
    source = load(tmp_path / "g.json")
    compare(source, a)
    assert [n for n in source.notes if "weight" in n] == [
        f"{len(missing):,} links between features with weight 0 were left out"
    ]


def test_what_scircuit_wrote_names_the_run_to_bring(tmp_path):
    data = viewer(matrix())
    data["metadata"]["info"] = {"generator": {"name": "scircuit", "version": "1"}}
    (tmp_path / "g.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"a view of its run(.|\n)*runs/RUN(.|\n)*scircuit load"):
        load(tmp_path / "g.json")
    for link in data["links"]:
        link["run"] = "trace-0123456789"
    (tmp_path / "g.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"a view of trace-0123456789(.|\n)*runs/trace-0123456789"):
        load(tmp_path / "g.json")
    data["metadata"]["info"]["generator"]["name"] = "another tool"
    (tmp_path / "g.json").write_text(json.dumps(data))
    assert load(tmp_path / "g.json").name.startswith("some-model/tiny-tc")


def test_the_graph_is_worth_testing():
    assert any(count > 1 for _, count in oracle(matrix()).values())


def test_a_saved_graph(tmp_path, classes):
    a = matrix()
    torch.save(content(a, classes, scan_name="tiny-tc"), tmp_path / "g.pt")
    source = load(tmp_path / "g.pt", model_name="some-model")
    compare(source, a)
    assert {"n", "p", "cells", "all_edges"} <= set(source.lacks)
    assert "7 of 8 active features" in source.rule


def test_names_come_from_the_file_where_it_states_them(tmp_path, classes):
    torch.save(content(matrix(), classes), tmp_path / "g.pt")
    assert load(tmp_path / "g.pt").name == "some-model/tiny-tc g"
    torch.save(content(matrix(), classes, scan_name=["a", "b"]), tmp_path / "g.pt")
    with pytest.raises(UserError, match=r"not name its dictionary set [\s\S]*--dictionary-name"):
        load(tmp_path / "g.pt")


@pytest.mark.parametrize("cantor", [True, False])
def test_viewer_json(tmp_path, cantor):
    a = matrix()
    path = tmp_path / "g.json"
    path.write_text(json.dumps(viewer(a, cantor)))
    source = load(path)
    compare(source, a)
    assert source.name == "some-model/tiny-tc gata"


def test_older_files_with_tensors_only(tmp_path):
    a = matrix()
    data = content(a)
    data["scan"] = data.pop("scan_name")
    torch.save(data, tmp_path / "g.pt")
    compare(load(tmp_path / "g.pt"), a)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save(content(matrix(), scan_name=Evil()), tmp_path / "g.pt")
    with pytest.raises(UserError, match=r"could run code.*mkdir"):
        load(tmp_path / "g.pt")
    assert not (tmp_path / "ran").exists()


def test_the_configuration_record_runs_nothing(tmp_path, classes):
    """Even a class that is let through is never the tool's own: calling it with a state sets fields
    of an empty record.
    """
    torch.save(content(matrix(), classes), tmp_path / "g.pt")
    before = set(vars(classes[1]))
    load(tmp_path / "g.pt")
    assert set(vars(classes[1])) == before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"adjacency_matrix": torch.zeros(5, 5)}, "the matrix is"),
        ({"selected_features": torch.arange(90)}, "are inconsistent"),
        ({"cfg": {"n_layers": None}}, "n_layers"),
        ({"adjacency_matrix": [1, 2]}, "expected a dense tensor"),
        ({"adjacency_matrix": torch.full((25, 25), float("nan"))}, "not finite"),
        ({"adjacency_matrix": torch.zeros(25, 25)}, "no link between two features"),
        ({"adjacency_matrix": torch.tensor(matrix().T)}, "swapped"),
    ],
)
def test_bad_saved_graphs(tmp_path, change, what):
    torch.save({**content(matrix()), **change}, tmp_path / "g.pt")
    with pytest.raises(UserError, match=what):
        load(tmp_path / "g.pt")


def test_files_that_are_no_graph(tmp_path):
    torch.save({"W_enc": torch.ones(2)}, tmp_path / "sae.pt")
    with pytest.raises(UserError, match="has no input_string"):
        load(tmp_path / "sae.pt")
    torch.save(content(matrix()), tmp_path / "g.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "g.pt").read_bytes()[:-700])
    with pytest.raises(
        UserError, match=r"cut\.pt (cannot be read|could run code when it is read, or is damaged)"
    ):
        load(tmp_path / "cut.pt")
    with pytest.raises(UserError, match="is not a file"):
        load(tmp_path)
    with pytest.raises(UserError, match="is not a file"):
        load(tmp_path / "absent.json")


def changed(**paths):
    data = viewer(matrix())
    for change in paths.values():
        change(data)
    return data


def first_feature_link(data):
    names = {n["node_id"] for n in data["nodes"] if n["feature_type"] == "cross layer transcoder"}
    return next(x for x in data["links"] if x["source"] in names and x["target"] in names)


def swap(data):
    link = first_feature_link(data)
    link["source"], link["target"] = link["target"], link["source"]


BAD = {
    "no qParams": (lambda d: d.pop("qParams"), "has no qParams"),
    "no slug": (lambda d: d["metadata"].pop("slug"), "metadata has no slug"),
    "no ctx_idx": (lambda d: d["nodes"][0].pop("ctx_idx"), "a node has no ctx_idx"),
    "no weight": (lambda d: d["links"][0].pop("weight"), "a link has no weight"),
    "text weight": (lambda d: d["links"][0].update(weight="1"), "expected a finite number"),
    "NaN": (lambda d: d["links"][0].update(weight=float("nan")), "contains NaN"),
    "lost node": (lambda d: d["nodes"].pop(0), "a link names the node 0_5_1, which does not exist"),
    "twice": (lambda d: d["links"].append(dict(first_feature_link(d))), "listed more than once"),
    "backwards": (swap, "do not lead to a later layer"),
    "unknown type": (lambda d: d["nodes"][0].update(feature_type="neuron"), "of the type 'neuron'"),
    "other index": (lambda d: d["nodes"][0].update(feature=4711), "is stated to be feature 4711"),
    "other layer": (lambda d: d["nodes"][0].update(layer="2"), "its name gives layer 0"),
    "same name": (
        lambda d: d["nodes"].append(dict(d["nodes"][0])),
        "two feature nodes have the name 0_5_1",
    ),
    "no feature": (lambda d: d.update(nodes=[], links=[]), "no feature node"),
    "list": (lambda d: d.update(links={}), "expected a list"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_json(tmp_path, case):
    change, what = BAD[case]
    path = tmp_path / "g.json"
    path.write_text(json.dumps(changed(one=change)))
    with pytest.raises(UserError, match=what):
        load(path)


def test_a_scan_alone_names_neither_model_nor_dictionary(tmp_path):
    """Neuronpedia puts the model there, circuit-tracer the transcoders."""
    data = viewer(matrix())
    del data["metadata"]["feature_details"]
    (tmp_path / "g.json").write_text(json.dumps(data))
    with pytest.raises(
        UserError, match=r"not name its model \(scan 'some-model'\)[\s\S]*--model-name"
    ):
        load(tmp_path / "g.json")
    assert load(tmp_path / "g.json", model_name="a", dictionary_name="b").name == "a/b gata"
    data["metadata"]["info"] = {"transcoder_set": "vendor/Set/width_16k"}
    (tmp_path / "g.json").write_text(json.dumps(data))
    assert load(tmp_path / "g.json").name == "some-model/vendor-set-width_16k gata"


def test_truncated_json(tmp_path):
    text = json.dumps(viewer(matrix()))
    (tmp_path / "g.json").write_text(text[:-30])
    with pytest.raises(UserError, match="truncated"):
        load(tmp_path / "g.json")


def test_an_error_called_like_a_feature_is_told_apart_and_its_links_left_out(tmp_path):
    """Older files name an error 0_layer_position, which is also feature `layer` of layer 0."""
    data = viewer(matrix())
    error = next(n for n in data["nodes"] if n["node_id"] == "2_-1_1")
    touched = [
        x
        for x in data["links"]
        if "0_5_1" in (x["source"], x["target"]) or error["node_id"] in (x["source"], x["target"])
    ]
    for link in data["links"]:
        for end in ("source", "target"):
            link[end] = "0_5_1" if link[end] == error["node_id"] else link[end]
    error["node_id"] = "0_5_1"
    (tmp_path / "g.json").write_text(json.dumps(data))
    source = load(tmp_path / "g.json")
    ambiguous = f"{len(touched):,} links of 1 names that two nodes share"
    assert any(ambiguous in note for note in source.notes)
    assert source.findings["nodes"]["error"] == 12


def test_attention_features_have_addresses_of_their_own(tmp_path):
    data = viewer(matrix())
    data["nodes"].append(
        {
            **data["nodes"][3],
            "node_id": "1_2_2",
            "ctx_idx": 2,
            "feature_type": "lorsa",
            "clerp": " copies the previous token ",
        }
    )
    data["links"].append({"source": "1_2_2", "target": "1_9_3", "weight": 0.5})
    (tmp_path / "g.json").write_text(json.dumps(data))
    tables = {k: t.to_pandas() for k, t in load(tmp_path / "g.json").units["graph"]().items()}
    row = tables["Feature"].set_index("id").loc["some-model/tiny-tc-attention/L01/F0002"]
    assert row["published_label"] == "copies the previous token"
    assert len(tables["Model"]) == 1
    assert ("some-model/tiny-tc-attention/L01/F0002", "some-model/tiny-tc/L01/F0009") in set(
        zip(
            tables["Feature-ATTRIBUTES_TO-Feature"]["source"],
            tables["Feature-ATTRIBUTES_TO-Feature"]["target"],
            strict=True,
        )
    )
