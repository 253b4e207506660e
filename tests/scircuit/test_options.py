import dataclasses
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from scircuit.cli.main import VERBS, cli
from scircuit.cli.options import options_of
from scircuit.core import config as settings
from scircuit.core.build_config import build, plain
from scircuit.core.config import MatchConfig, TraceConfig
from scircuit.core.errors import UserError
from tests.support.cli_process import scircuit

CONFIGS = [c for c in vars(settings).values() if dataclasses.is_dataclass(c)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.__name__)
def test_every_option_says_what_it_is(config):
    assert all(f.metadata.get("help") for f in dataclasses.fields(config))


def test_build_converts_and_refuses():
    config = build(
        TraceConfig,
        {
            "model": "m",
            "dictionaries": "d",
            "cells": "c.h5ad",
            "target_layers": ["3", 4],
            "source_layers": ["2"],
        },
    )
    assert config.target_layers == (3, 4)
    assert config.source_layers == (2,)
    assert build(TraceConfig, plain(config)) == config
    with pytest.raises(UserError, match="unknown option sourcelayer"):
        build(TraceConfig, {"model": "m", "dictionaries": "d", "cells": "c", "sourcelayer": 2})
    with pytest.raises(UserError, match="'cells' is missing"):
        build(TraceConfig, {"model": "m", "dictionaries": "d"})
    with pytest.raises(UserError, match="expected int"):
        build(
            TraceConfig, {"model": "m", "dictionaries": "d", "cells": "c", "source_layers": "two"}
        )


def test_what_is_on_by_default_can_be_turned_off():
    seen = []
    command = click.command()(
        options_of(MatchConfig)(lambda **values: seen.append(values["within_model"]))
    )
    for arguments in ([], ["--within-model"], ["--no-within-model"]):
        assert CliRunner().invoke(command, arguments).exit_code == 0
    assert seen == [True, True, False]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output
    context = click.Context(cli)
    command = cli.get_command(context, verb)
    parts = (
        [[verb, name] for name in command.list_commands(context)]
        if isinstance(command, click.Group)
        else [[verb]]
    )
    for part in parts:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # click warns of options that shadow each other
            result = CliRunner().invoke(cli, [*part, "--help"])
        assert result.exit_code == 0, result.output
        shown = CliRunner().invoke(cli, [verb, "--help"]).output + result.output
        assert "--study" in shown or part in (["genesets", "fetch"], ["reproduce"])  # no study


@pytest.mark.parametrize(
    "given", [["--source-layers", "0,5,11"], ["--source-layers", "0", "--source-layers", "5, 11"]]
)
def test_lists_of_numbers_with_commas_or_repeated(given):
    @click.command()
    @options_of(TraceConfig)
    def command(**values):
        click.echo(build(TraceConfig, values).source_layers)

    needed = ["--model", "m", "--dictionaries", "d", "--cells", "c"]
    assert CliRunner().invoke(command, [*needed, *given]).output.strip() == "(0, 5, 11)"
    assert CliRunner().invoke(command, needed).output.strip() == "(1,)"
    wrong = CliRunner().invoke(command, [*needed, "--source-layers", "0,five"])
    assert wrong.exit_code == 2 and "not a list of whole numbers such as 0,5,11" in wrong.output


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "seed": (-1, 2**32, 1.5, "nan", float("inf"), "", None, [1], True),
        "n_cells": (-1, "1e3", 10**40, "x\x1b"),
        "gate_p": (float("nan"), "inf", -0.1, 1.01, "0,1", ()),
        "mixed": ("false", "no", 2, None, [], float("nan")),
        "model": (b"m", ["m"], {"m": 1}, "a\0b"),
        "cells": (["c"], "c\0.h5ad", None),
        "source_layers": ("1.5", [1.5], [None], [[1]], "a", [10**40]),
        "null_draws": (float("nan"), "-inf", "0x10"),
    }.items(),
)
def test_a_value_that_is_none_of_its_kind_is_refused_by_name(name, values):
    given = {"model": "m", "dictionaries": "d", "cells": "c"}
    for value in values:
        with pytest.raises(UserError, match=rf"option '{name}' is ") as refused:
            build(TraceConfig, {**given, name: value})
        assert refused.value.fix


def test_values_of_numpy_and_whole_floats_are_taken():
    import numpy as np

    config = build(
        TraceConfig,
        {
            "model": Path("m"),
            "dictionaries": "d",
            "cells": "c",
            "seed": np.int64(3),
            "n_cells": 4.0,
            "mixed": np.bool_(True),
            "source_layers": np.array([1, 2]),
            "gate_p": np.float32(0.5),
        },
    )
    assert (config.seed, config.n_cells, config.mixed) == (3, 4, True)
    assert config.source_layers == (1, 2) and config.gate_p == 0.5 and config.model == "m"


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-inf", "-1", "9" * 30, "1e400", "", "\x1b[2J", "."]
)
@pytest.mark.parametrize(
    ("verb", "option"), [("analyse", "seed"), ("trace", "n-cells"), ("match", "q")]
)
def test_no_value_of_an_option_is_a_defect(verb, option, value, tmp_path, monkeypatch):
    monkeypatch.setenv("NEO4J_URI", "")
    needed = ("--model", "m", "--dictionaries", "d", "--cells", "c") if verb == "trace" else ()
    ended = scircuit(
        verb, *needed, "--no-database", f"--{option}={value}", "--study", tmp_path / "s"
    )
    assert ended.code == 2 and "\x1b" not in ended.err, ended
    assert not list(tmp_path.iterdir())
