"""Files of edges that are damaged, mixed or contradictory are refused, and nothing is written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.importers.gaps import MEANING, refuse_if_missing
from tests.support import edges_files as files
from tests.support.edges_files import frames, load

HEADER = (
    "src_layer,src_feature,tgt_layer,tgt_feature,cohens_d,consistency,sign,mean_delta,"
    "n_pos,n_neg,n_zero\n"
)
BAD = {
    "no row": (HEADER, "has no edges"),
    "empty": ("", "is empty"),
    "twice": (
        HEADER + "5,1,6,2,0.9,0.75,1,0.1,15,5,0\n" * 2,
        "more than once: 1 of 2 edges, the first is L5 F1 -> L6 F2",
    ),
    "backwards": (HEADER + "5,1,4,2,0.9,0.75,1,0.1,15,5,0\n", "same or an earlier layer: 1 of 1"),
    "same layer": (HEADER + "5,1,5,2,0.9,0.75,1,0.1,15,5,0\n", "same or an earlier layer"),
    "nan": (
        HEADER + "5,1,6,2,NaN,0.75,1,0.1,15,5,0\n",
        "cohens_d is empty or not a number in 1 of 1",
    ),
    "infinity": (HEADER + "5,1,6,2,inf,0.75,1,0.1,15,5,0\n", "infinite"),
    "text": (HEADER + "5,1,6,2,high,0.75,1,0.1,15,5,0\n", "cannot be read as a table of numbers"),
    "short row": (HEADER + "5,1,6,2,0.9\n", "cannot be read as a table of numbers"),
    "cut row": (HEADER + "5,1,6,2,0.9,0.75,1,0.1,15,5", "does not end with a line end"),
    "no column": (
        "src_layer,src_feature,tgt_layer,tgt_feature,d,consistency\n5,1,6,2,0.9,0.8\n",
        "has no column cohens_d",
    ),
    "sign": (HEADER + "5,1,6,2,0.9,0.75,-1,0.1,15,5,0\n", "sign and cohens_d contradict"),
    "mean": (HEADER + "5,1,6,2,0.9,0.75,1,-0.1,15,5,0\n", "opposite signs"),
    "counts": (
        HEADER + "5,1,6,2,0.9,0.95,1,0.1,15,5,0\n",
        r"consistency is not max\(n_pos, n - n_pos\) / n",
    ),
    "share": (HEADER + "5,1,6,2,0.9,75,1,0.1,15,5,0\n", "expected shares from 0 to 1"),
    "no count": (HEADER + "5,1,6,2,0.9,0.75,1,0.1,15.5,4.5,0\n", "n_pos is not a count"),
    "half index": (HEADER + "5,1.5,6,2,0.9,0.75,1,0.1,15,5,0\n", "expected integers"),
    "below 0": (HEADER + "5,-1,6,2,0.9,0.75,1,0.1,15,5,0\n", "below 0"),
    "too large": (HEADER + "5,99999999,6,2,0.9,0.75,1,0.1,15,5,0\n", "is not a valid address"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_csv_is_refused(tmp_path, case):
    text, what = BAD[case]
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(UserError, match=what):
        load(tmp_path / "e.csv")


def test_csv_of_several_conditions(tmp_path):
    text = (
        "src_layer,src_feature,tgt_layer,tgt_feature,cohens_d,consistency,condition\n"
        "5,1,6,2,0.9,0.75,a\n5,1,6,2,0.8,0.75,b\n"
    )
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(UserError, match="2 conditions: a, b"):
        load(tmp_path / "e.csv")
    assert frames(load(tmp_path / "e.csv", condition="b"))["Feature-AFFECTS-Feature"][
        "d"
    ].tolist() == [0.8]
    with pytest.raises(UserError, match="no condition 'c'"):
        load(tmp_path / "e.csv", condition="c")


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


BAD_LAYERS = {
    "d is not mean / sd": (
        lambda e: [x.update(mean_delta=x["mean_delta"] * 3) for x in e],
        "d is not mean / sd",
    ),
    "lists more": (
        lambda e: e.extend([{**e[0], "target_feature_idx": 1000 + i} for i in range(100)]),
        "lists .* and counts",
    ),
    "twice": (lambda e: e.__setitem__(1, dict(e[0])), "more than once"),
    "text": (lambda e: e[0].update(cohens_d="0.9"), "expected a finite number"),
    "infinite": (lambda e: e[0].update(cohens_d=1e999), "Infinity"),
    "nothing": (lambda e: e[0].pop("std_delta"), "has no std_delta"),
}


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_bad_files_of_layers_are_refused(tmp_path, pairs, case):
    change, what = BAD_LAYERS[case]

    def one(data):
        for feature in data["features"]:
            for effects in feature["downstream_effects"].values():
                if len(effects["top_effects"]) > 1:
                    change(effects["top_effects"])
                    if case != "d is not mean / sd":
                        return

    edit(files.write_layers(tmp_path, pairs), one)
    with pytest.raises(UserError, match=what):
        load(tmp_path)


def test_two_models_in_one_folder_are_refused(tmp_path, pairs):
    files.write_layers(tmp_path, pairs, model="scgpt").rename(
        tmp_path / "circuit_L00_features.json"
    )
    files.write_layers(tmp_path, pairs)
    with pytest.raises(UserError, match="different models or thresholds"):
        load(tmp_path)


def test_mixed_formats_and_unknown_files_are_refused(tmp_path, pairs):
    files.write_features(tmp_path, pairs)
    files.write_graph(tmp_path, pairs)
    with pytest.raises(UserError, match="2 formats: features, graph"):
        load(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match="has no JSON, CSV or npz"):
        load(other)
    (other / "x.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="not a supported format of edges"):
        load(other)
    (other / "x.json").write_text('{"source_layer": 5, "accumulator_state": []}')
    with pytest.raises(UserError, match="run that was not finished"):
        load(other)
    with pytest.raises(UserError, match="there is no file or folder"):
        load(tmp_path / "absent")


def test_a_truncated_file_is_refused(tmp_path, effects, pairs):
    path = files.write_layers(tmp_path, pairs)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match="truncated"):
        load(path)
    path.unlink()
    files.write_deltas(tmp_path, effects)
    cut = tmp_path / "deltas" / "feature_0008.npz"
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"feature_0008\.npz cannot be read"):
        load(tmp_path, source_layer=5)


def test_a_pickled_array_is_never_read(tmp_path):

    np.savez(tmp_path / "feature_0001.npz", dl6=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path, source_layer=5)


def test_what_a_source_lacks_forbids_what_needs_it(tmp_path, pairs):
    files.write_layers(tmp_path, pairs)
    source = load(tmp_path)
    assert set(source.lacks) <= set(MEANING)
    with pytest.raises(UserError, match="all edges: it keeps only the strongest"):
        refuse_if_missing(
            "import-x", source.lacks, ("all_edges",), "a fit of the tail of its degrees"
        )
    refuse_if_missing("import-x", source.lacks, ("n", "sd"), "an interval of d")
    refuse_if_missing("trace-x", (), tuple(MEANING), "anything")
