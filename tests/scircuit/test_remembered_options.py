"""What a study remembers of a call: never what loosens a guard or leaves something out, and
whatever it does remember can be taken back.
"""

from __future__ import annotations

import dataclasses
import tomllib

import pytest
from click.testing import CliRunner

from scircuit.cli.command import verb_command
from scircuit.core import config as settings
from scircuit.core.build_config import plain
from scircuit.core.config import AnnotateConfig, CheckConfig, TraceConfig, TrainConfig

NEEDED = ["--model", "m", "--dictionaries", "d", "--cells", "c.h5ad"]
LOOSE = {
    "mixed": ["--mixed"],
    "panel": ["--panel"],
    "legacy": ["--legacy"],
    "features": ["--features", "3,5,7"],
    "where": ["--where", "cell_line=K562"],
    "min_mapped": ["--min-mapped", "0.1"],
    "min_tokens": ["--min-tokens", "1"],
    "max_length": ["--max-length", "64"],
    "target_layers": ["--target-layers", "4"],
    "control_features": ["--control-features", "1"],
    "audit": ["--audit", "0"],
}


class Done(str):
    def to_json(self):
        return {}


@pytest.fixture
def call(tmp_path):
    """Call a verb that does nothing; the options that reached it."""

    def invoke(config, *arguments):
        seen = []

        def verb(chosen, study):
            study.mkdir(exist_ok=True)
            seen.append(chosen)
            return Done()

        result = CliRunner().invoke(
            verb_command("verb", config, verb, database=False),
            [*arguments, "--study", str(tmp_path / "study")],
        )
        assert result.exit_code == 0, result.output
        return seen[0], result.output

    return invoke


@pytest.mark.parametrize("name", LOOSE)
def test_what_loosens_or_leaves_out_holds_for_one_call(call, tmp_path, name):
    default = {f.name: f.default for f in dataclasses.fields(TraceConfig)}[name]
    pilot, _ = call(TraceConfig, *NEEDED, "--n-cells", "30", "--device", "cpu", *LOOSE[name])
    assert getattr(pilot, name) != default
    assert name not in tomllib.loads((tmp_path / "study" / "study.toml").read_text())["verb"]
    again, said = call(TraceConfig)
    assert getattr(again, name) == default and name not in said
    assert (again.model, again.n_cells, again.device) == (
        "m",
        30,
        "cpu",
    ) and "n_cells = 30; " in said


def test_a_file_that_holds_such_options_does_not_give_them(call, tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    study.joinpath("study.toml").write_text(
        '[verb]\nmodel = "m"\ndictionaries = "d"\ncells = "c.h5ad"\nmixed = true\nfeatures ='
        ' [3]\nwhere = ["a=b"]\nlegacy = true\nseed = 4\n'
    )
    found, _ = call(TraceConfig)
    assert (found.mixed, found.features, found.where, found.legacy, found.seed) == (
        False,
        (),
        (),
        False,
        4,
    )


def test_cells_left_out_of_a_check_or_a_training_are_not_left_out_of_the_next(call):
    for config, needed in (
        (CheckConfig, ["--cells", "c.h5ad"]),
        (TrainConfig, ["--model", "m", "--out", "o", "--cells", "c.h5ad"]),
    ):
        assert call(config, *needed, "--n-cells", "5")[0].n_cells == 5
        assert call(config, *needed)[0].n_cells == 0


def test_whatever_is_remembered_can_be_taken_back(call):
    assert call(AnnotateConfig, "--weighted")[0].weighted
    found, said = call(AnnotateConfig)
    assert found.weighted and "weighted = True" in said
    assert not call(AnnotateConfig, "--no-weighted")[0].weighted
    assert not call(AnnotateConfig)[0].weighted


@pytest.mark.parametrize(
    "config",
    [c for c in vars(settings).values() if dataclasses.is_dataclass(c)],
    ids=lambda c: c.__name__,
)
def test_every_switch_has_both_forms(config):
    from scircuit.cli.options import options_of

    command = options_of(config)(lambda **_values: None)
    switches = {f.name for f in dataclasses.fields(config) if f.type in ("bool", bool)}
    made = {o.name: o for o in getattr(command, "__click_params__", [])}
    assert all(made[name].secondary_opts == [f"--no-{name.replace('_', '-')}"] for name in switches)


def test_a_run_is_chosen_anew_each_time(call):
    call(AnnotateConfig, "--run", "trace-1", "--top-genes", "30")
    found, _ = call(AnnotateConfig)
    assert (found.run, found.top_genes) == ("", 30) and "run" in plain(found)
