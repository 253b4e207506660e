"""A model of cell sentences and its transcoders through the verbs: train, check, trace, attribute,
and what is refused.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import scircuit as sc
from scircuit.core.errors import UserError
from tests.support.cli_process import scircuit
from tests.support.sentence_study import CELLS, SentenceStudy

QUIET = {"database": False, "quiet": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory, examples):
    return SentenceStudy(tmp_path_factory.mktemp("Sentence Study"), examples)


@pytest.fixture(scope="module")
def attributed(made):
    return sc.attribute(study=made.study, targets=12, **QUIET)


def test_transcoders_are_trained_and_checked(made):
    assert [r.layer for r in made.reports.reports] == [0, 1, 2]
    found = sc.check(dictionaries=str(made.transcoders), **made.inputs)
    lines = {line.name: line for line in found.lines}
    text = " | ".join(f"{line.name}: {line.found}" for line in lines.values())
    assert "genes" in text and "tokens" in text and "prompt_template.json" in text
    assert "MLP" in text


def test_ablation_edges_join_the_features_of_later_layers(made):
    edges = made.trace.edges()
    assert len(edges) > 100
    assert {name.split("/")[-2] for name in edges["source"].astype(str)} == {"L00"}
    assert {name.split("/")[-2] for name in edges["target"].astype(str)} == {"L01", "L02"}


def test_attribution_adds_up_and_names_the_same_features(made, attributed):
    edges = attributed.table("Feature-ATTRIBUTES_TO-Feature")
    parts = attributed.table("Feature")
    assert len(parts) == attributed.findings["targets"] <= 12
    assert attributed.findings["gap"] < 1e-6
    names = ["edges", "remainder", "errors", "embeddings", "biases"]
    whole = parts[[f"attribution_{name}" for name in names]].sum(axis=1)
    np.testing.assert_allclose(whole, parts["attributed"], atol=1e-4)
    assert (edges["n"] == edges["n_pos"] + edges["n_neg"]).all()
    assert edges["n"].max() <= CELLS
    assert edges["q"].dropna().between(0, 1).all() and (edges["q"] >= edges["p"] - 1e-9).all()
    assert set(edges["source"]) | set(edges["target"]) <= set(made.features()["id"])


def test_an_edge_by_autograd(made, attributed):
    """The strongest edge of a target, from the library's own modules: attention patterns and norms
    held, MLP outputs leaves.
    """
    from scircuit.core.study import Study
    from scircuit.execution.load_inputs import inputs_of_run

    study = Study(made.study)
    _, inputs = inputs_of_run(study.manifest(made.trace.run))
    adapter, used = inputs.adapter, inputs.used
    edges = attributed.table("Feature-ATTRIBUTES_TO-Feature")
    edge = edges.loc[edges["weight"].abs().idxmax()]
    (source_layer, source), (target_layer, target) = (
        (int(name.split("/")[-2][1:]), int(name.split("/")[-1][1:]))
        for name in (edge["source"], edge["target"])
    )
    values = []
    for cell in inputs.cohort.tokens:
        found = _by_autograd(adapter, used, cell, (source_layer, source), (target_layer, target))
        if found is not None and found != 0:
            values.append(found)
    assert len(values) == edge["n"]
    np.testing.assert_allclose(np.mean(values), edge["weight"], rtol=2e-4)


def _by_autograd(adapter, used, cell, source, target):
    """Contribution of one feature to another in a cell, None where the target does not fire."""
    leaves, codes = {}, {}
    with torch.no_grad():
        clean = adapter.clean_mlp(cell)
        for layer, dictionary in used.items():
            codes[layer] = dictionary.encode(clean[layer][0])
    spelled = torch.from_numpy(cell["gene"] >= 0)
    fires = ((codes[target[0]][:, target[1]] > 0) & spelled).nonzero()[:, 0]
    if not len(fires):
        return None
    with torch.enable_grad():
        h = adapter.embed(cell)
        for layer in range(target[0] + 1):
            w = adapter.layers[layer]
            read = _frozen_norm(w.norm_2, h)
            if layer == target[0]:
                row = used[layer].encoder[target[1]]
                (read[fires] @ row).mean().backward()
                break
            x = _frozen_norm(w.norm_1, h)
            with torch.no_grad():
                places = torch.arange(len(h))
                query, key, _ = adapter.project(layer, h, places)
                q, k = adapter.heads(query), adapter.heads(key)
                scores = q @ k.transpose(-1, -2) * adapter.head_size**-0.5
                hidden = torch.ones(len(h), len(h), dtype=torch.bool).triu(1)
                pattern = scores.masked_fill(hidden, float("-inf")).softmax(-1)
            attended = (pattern @ adapter.heads(w.value(x))).transpose(0, 1).flatten(1)
            leaves[layer] = clean[layer][1].clone().requires_grad_(True)
            h = h + w.out(attended) + leaves[layer]
    column = used[source[0]].columns(torch.tensor([source[1]]))[0]
    along = leaves[source[0]].grad @ column
    return float((codes[source[0]][:, source[1]] * along).sum())


def _frozen_norm(norm, x):
    """Norm of rows, dividing by what it divides them by now."""
    centred = x - x.mean(-1, keepdim=True)
    with torch.no_grad():
        sigma = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    return centred / sigma * norm.weight + norm.bias


def test_attribution_is_held_against_ablation(attributed):
    numbers = attributed.findings
    assert numbers["pairs"] > 20
    assert numbers["same_sign"] > numbers["by_chance"] + 0.2
    assert numbers["rho"] > 0.5
    assert "ablation takes away what attribution adds" in attributed.sentences[1]


def test_again_is_the_same_run(made, attributed):
    again = sc.attribute(study=made.study, targets=12, **QUIET)
    assert again.run == attributed.run and not again.new


def test_the_command_line_takes_such_names(made, attributed):
    words = ("attribute", "--study", made.study, "--targets", "12", "--no-database", "--json")
    ended = scircuit(*words)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["run"] == attributed.run


def test_targets_are_chosen_by_address(made):
    edges = made.trace.edges()
    wanted = str(edges["target"].iloc[0])
    found = sc.attribute(study=made.study, features=(wanted,), **QUIET)
    assert set(found.table("Feature")["id"]) <= {wanted}
    first = str(edges["source"].iloc[0])
    with pytest.raises(UserError, match="of the first layer"):
        sc.attribute(study=made.study, features=(first,), **QUIET)
    for wrong in ({"targets": 0}, {"share": 0.0}):
        with pytest.raises(UserError, match="the defaults are 100 and"):
            sc.attribute(study=made.study, **wrong, **QUIET)


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("steer", {"features": ("L00/F0001",)}, "one token a gene"),
        ("circuit", {"behaviour": "mlm"}, "one token a gene"),
        ("ablate", {"features": ("L00/F0001", "L00/F0002")}, "needs dictionaries of layer outputs"),
    ],
)
def test_verbs_that_read_gene_tokens_are_refused_by_name(made, verb, options, said):
    features = made.features()
    alive = features.loc[features["alive"] & features["layer"].eq(0), "id"]
    alive = ["/".join(name.split("/")[-2:]) for name in alive]
    if "features" in options:
        options = {"features": tuple(alive[: len(options["features"])])}
    with pytest.raises(UserError, match=said):
        getattr(sc, verb)(study=made.study, **options, **QUIET)
