"""``--memory``: what a run holds stays below the cap, the result stays, and a cap that cannot be
kept is refused with numbers.
"""

import os
import re
import subprocess
import sys

import pytest
import torch

from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.native import save_dictionary
from tests.support.study_runs import command, demo, edges, folder_of
from tests.support.tiny_models import tiny_model

WIDTH, LENGTH, LAYERS = 256, 1024, 6
CAP = 1.75


@pytest.fixture(scope="module")
def options(root, tmp_path_factory):
    """A random model large enough for batches to be what takes the memory."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model(
        layers=LAYERS,
        width=WIDTH,
        vocabulary=20275,
        positions=LENGTH + 2,
        spread=0.05,
        act="relu",
        ffn=4 * WIDTH,
    ).save_pretrained(folder / "model")
    for layer in range(1, LAYERS):
        weights = (
            torch.randn(512, WIDTH, generator=torch.Generator().manual_seed(layer)) / WIDTH**0.5
        )
        zero = torch.zeros(WIDTH)
        save_dictionary(
            Dictionary(layer, weights, torch.zeros(512), weights.clone(), zero, zero.clone(), k=8),
            folder / "dictionaries",
        )
    options = demo(
        root,
        source_layers=(1,),
        n_cells=12,
        features=(3,),
        control_features=1,
        max_length=LENGTH,
        untrained=True,
    )
    for name in ("batch_pairs", "batch_rows"):
        del options[name]
    return {**options, "model": str(folder / "model"), "dictionaries": str(folder / "dictionaries")}


MEASURED = """
import atexit
from pathlib import Path
from scircuit.cli.main import main
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    Path(PEAK).write_text(next(line for line in lines if line.startswith("VmHWM")))
atexit.register(peak)
main()
"""


def traced(options, study):
    """Trace in a process of its own; its exit code, its peak of resident memory in bytes, and what
    it said.

    Not ``ru_maxrss``: that of a child starts at what its parent held when it was forked.
    """
    study.mkdir()
    peak = study / "peak.txt"
    program = MEASURED.replace("PEAK", repr(str(peak)))
    arguments = [sys.executable, "-c", program, *command(options, study)[3:]]
    done = subprocess.run(
        arguments,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    return done.returncode, int(peak.read_text().split()[1]) * 1024, done.stderr


def test_a_run_stays_below_the_cap_and_finds_the_same(options, tmp_path):
    code, peak, said = traced({**options, "memory": f"{CAP}g"}, tmp_path / "capped")
    assert code == 0, said
    assert re.search(r"clean states of \d of 12 cells are in a temporary folder", said)
    free_code, free_peak, free_said = traced(options, tmp_path / "free")
    assert free_code == 0 and "temporary folder" not in free_said
    assert peak < CAP * 2**30 < free_peak, "the cap would have been exceeded without it"
    ours, theirs = (
        edges(folder_of(tmp_path / study)).to_pandas().set_index(["source", "target"])["mean"]
        for study in ("capped", "free")
    )
    both = ours.to_frame("ours").join(theirs.rename("theirs"), how="inner")
    assert len(both) >= 0.98 * max(len(ours), len(theirs)) > 20
    assert (both["ours"] - both["theirs"]).abs().max() < 5e-6


def test_a_cap_below_what_one_pair_needs_is_refused_with_numbers(options, tmp_path):
    code, _, said = traced({**options, "memory": "1.55g"}, tmp_path / "small")
    assert code == 2
    assert re.search(
        r"memory 1.55 GB leaves 0.\d\d GB beside the model \(0.\d\d GB\), .*; one pair of 1024"
        r" positions needs 0.\d\d GB",
        said,
    )
    assert "raise --memory, or shorten the cells with --max-length" in said
