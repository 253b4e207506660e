"""What a verb returns can be looked at whether its run was computed now or before."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pandas as pd
import pytest

import scircuit

PLACE = {"database": False}
VERBS = {
    "analyse": {},
    "ablate": {"quiet": True},
    "steer": {"quiet": True},
    "importance": {"quiet": True},
    "circuit": {"quiet": True},
    "predict": {"quiet": True},
}


@pytest.fixture(scope="module")
def study(named_base, tmp_path_factory):
    path = tmp_path_factory.mktemp("again") / "study"
    shutil.copytree(named_base.study, path)
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_the_second_call_shows_what_the_first_showed(named_base, study, verb):
    options = named_base.verbs()[verb] | VERBS[verb] | PLACE
    if verb == "analyse":
        options["seed"] = 3  # a new run
    first = getattr(scircuit, verb)(study=study, **options)
    again = getattr(scircuit, verb)(study=study, **options)
    assert first.new and not again.new and first.sentences == again.sentences
    assert first.stored and first.stored.keys() == again.stored.keys()
    for name, finding in first.stored.items():
        other = again.stored[name]
        assert (finding.sentence, finding.null) == (other.sentence, other.null)
        pd.testing.assert_frame_equal(finding.frame, other.frame)
        assert finding.drawn == other.drawn
        if other.drawn:
            axes = finding.plot(), other.plot()
            assert axes[0].get_ylabel() == axes[1].get_ylabel()
            for ax in axes:
                ax.figure.clear()
    if verb != "analyse":
        assert again.detail is again.stored
        return
    for name, frame in first.detail.frames.items():
        pd.testing.assert_frame_equal(frame, again.detail.frames[name])
    assert again.detail.sentences == first.detail.sentences
    drawn = first.detail.hub_fit.plot(), again.detail.hub_fit.plot()
    assert drawn[0].get_ylabel() == drawn[1].get_ylabel()


def test_nothing_is_read_unless_it_is_asked_for(tmp_path):
    """A folder that is not there, and no table or drawing library in memory."""
    script = (
        "import sys; from pathlib import Path;"
        "from scircuit.execution.run_result import RunResult;"
        f"str(RunResult('ablate-1', Path({str(tmp_path / 'none')!r}), {{}}));"
        "print(sorted({'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
