"""Whatever data holds, a terminal shows it and does not obey it, and no value passes for a line of
the program; JSON and files keep it.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys

import click
import pandas as pd
import pytest

from scircuit.cli import command, tables
from scircuit.cli.main import cli
from scircuit.core import progress
from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine, printed
from scircuit.core.progress import Progress, heading, say, say_lines, show_checks, styled
from scircuit.core.run_files.manifest import Manifest
from scircuit.core.study import Study
from scircuit.core.terminal import in_lines, one_line
from scircuit.execution.run_result import RunResult
from scircuit.workflows.check import CheckResult, Section
from scircuit.workflows.exporting import ExportResult
from scircuit.workflows.report import ReportResult
from tests.support.cli_process import PROGRAM, scircuit

HOSTILE = {
    "escape": "T cell\x1b[2J\x1b[1;1H",
    "title": "T\x1b]0;owned\x07cell",
    "C1": "T\x9b31mcell",
    "delete": "T\x7f\x08\x08cell",
    "return": "T cell\rerror: all is well",
    "line": "T cell\n  fix: run rm -rf .",
    "other lines": "T\x0b\x0c\x85\u2028\u2029cell",
    "direction": "T \u202ellec\u202c \u2066x\u2069 \u200f",
    "surrogate": "T\udc80cell",
    "zero": "T\0cell",
    "tab": "T\tcell",
}
HARMLESS = "Zellen für T-Zelle, α/β, 細胞, é, 🧬, naïve\u200dT"


def harmless(text, lines=1):
    """Whether a terminal shows the text as it is, on so many lines."""
    body = text.removesuffix("\n")
    assert body.count("\n") == lines - 1, repr(text)
    assert all(c == "\n" or (c.isprintable() or c == "\u200d") for c in body), repr(text)
    assert not any(0xD800 <= ord(c) < 0xE000 for c in body)
    return True


@pytest.fixture(params=HOSTILE.values(), ids=list(HOSTILE))
def value(request):
    return request.param


def test_only_what_harms_is_changed(value):
    assert one_line(HARMLESS) == in_lines(HARMLESS) == HARMLESS
    assert harmless(one_line(value)) and one_line(value) != value
    assert in_lines("a\nb") == "a\nb" and one_line("a\nb") == r"a\nb"
    assert one_line("\x1b\u202e\udc80\x85") == r"\x1b\u202e\udc80\x85"
    for number in [*range(32), *range(127, 160), 0x2028, 0x202E, 0x2067, 0xD800, 0xDFFF]:
        assert harmless(one_line(f"a{chr(number)}b"))


def test_own_colours_stay_and_those_of_data_go(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    text = styled(one_line("bold \x1b[31mdata"), "bold", "red")
    assert text == "\x1b[1;31mbold \\x1b[31mdata\x1b[0m"
    assert in_lines(text, styles=True) == text
    assert "\x1b" not in in_lines(text)


def test_messages(value, capsys):
    say(f"  cells of {value}")
    heading(f"Cells of {value}")
    show_checks([CheckLine(value, False, value, "x")])
    say_lines(f"one\n{one_line(value)}")
    out, err = capsys.readouterr()
    assert out == "" and harmless(err, 6)
    assert harmless(printed([CheckLine("cells", False, value, value)]))


def test_progress_with_and_without_a_terminal(value, monkeypatch, capsys):
    Progress(f"loading {value}", 1, value).update(1, value)
    assert harmless(capsys.readouterr().err)
    screen = io.StringIO()
    screen.isatty = lambda: True  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(sys, "stderr", screen)
    shown = []
    monkeypatch.setattr(
        progress,
        "_start_bar",
        lambda: type(
            "Bar",
            (),
            {
                "add_task": lambda _s, *_a, **named: 0,
                "update": lambda _s, _task, completed, text: shown.append(text),
            },
        )(),
    )
    Progress(f"loading {value}", 2).update(1, value)
    assert len(shown) == 1 and harmless(shown[0])


@pytest.mark.parametrize("section", [False, True])
def test_tables(value, section, monkeypatch):
    frame = pd.DataFrame({"name": [value, "b"], value: [1, 2], "list": [[value, "x"], []]})
    if section:
        frame.insert(0, "section", value)
    text = tables.render(frame, "table")
    assert harmless(text, len(text.splitlines())) and one_line(value)[:4] in text
    same = pd.concat([frame] * 40, axis=1)
    same.columns = [f"{value}{i}" for i in range(same.shape[1])]
    wide = tables.render(same, "table")
    assert harmless(wide, wide.count("\n") + 1)
    # programs get what is there; a terminal does not
    assert json.loads(tables.render(frame, "json"))[0]["name"] == value
    if "\udc80" not in value:
        assert tables.render(frame, "csv") == frame.to_csv(index=False).rstrip("\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    shown = tables.render(frame, "csv")
    assert harmless(shown, shown.count("\n") + 1)


def results(value, folder):
    """A result of each kind, all of whose texts are the value."""
    line = CheckLine(value, False, value, value, value)
    return {
        "check": CheckResult((Section("Cells", (line._replace(name="cells"),)),)),
        "run": RunResult("trace-1", folder, {}, (value, value), value),
        "report": ReportResult(folder / "index.html", (value,)),
        "export": ExportResult(folder, "graphml", value, 1, 2, {value: 3}, ("a", "b"), (value,)),
    }


@pytest.mark.parametrize("kind", ["check", "run", "report", "export"])
@pytest.mark.parametrize("terminal", [False, True])
def test_results(value, kind, terminal, tmp_path, monkeypatch, capsys):
    found = results(value, tmp_path)[kind]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    lines = len(str(results("plain", tmp_path)[kind]).split("\n"))
    command.show_result(found, False)
    shown = capsys.readouterr().out
    for style in ("1", "31;1", "31", "32", "33", "2", "0"):
        shown = shown.replace(f"\x1b[{style}m", "")
    assert harmless(shown, lines)
    command.show_result(found, True)
    printed_json = capsys.readouterr().out
    assert value in str(json.loads(printed_json).values()) or repr(value)[1:-1] in str(
        json.loads(printed_json)
    )


def test_errors_of_every_kind(value, monkeypatch):
    for error, code, lines in (
        (UserError(f"cell type {value}", f"choose {value}"), 2, 2),
        (click.UsageError(f"no option {one_line(value)}"), 2, None),
        (click.BadParameter(value.replace("\n", "")), 2, None),
        (OSError(13, "Permission denied", value), 2, 2),
        (RuntimeError(value), 3, 3),
    ):

        def fail(error=error, **_named):
            raise error

        monkeypatch.setattr(cli, "main", fail)
        ended = scircuit("runs")
        assert ended.code == code, ended
        assert harmless(ended.err, lines or ended.err.count("\n"))


def test_a_study_with_hostile_names(value, tmp_path, capsys):
    text = value.replace("\udc80", "\\udc80")
    study = Study(tmp_path / "study")
    folder = study.runs / "import-0123456789"
    Manifest(
        folder.name, "import", {}, {"format": text, "name": text}, text, "complete", text
    ).save(folder)
    for arguments in (("runs",), ("runs", "show", folder.name), ("report",)):
        ended = scircuit(*arguments, "--study", study.root)
        assert harmless(ended.out + "x", ended.out.count("\n") + 1)
        assert harmless(ended.err + "x", ended.err.count("\n") + 1)
    assert scircuit("runs", "--study", study.root).out.count("\n") == 2
    assert (
        json.loads(scircuit("runs", "show", folder.name, "--study", study.root).out)["version"]
        == text
    )


def test_a_stream_that_lacks_letters_is_no_defect(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stderr", narrow)

    def fail(**_named):
        raise UserError("cells of Zürich \udc80", "choose 細胞")

    monkeypatch.setattr(cli, "main", fail)
    from scircuit.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main()
    narrow.flush()
    assert stop.value.code == 2
    assert b"Z\xfcrich \\udc80\n  fix: choose \\u7d30\\u80de" in narrow.buffer.getvalue()


@pytest.mark.parametrize(("line", "code"), [("runs >&-", 0), ("runs delete {} <&- 2>&-", 2)])
def test_a_stream_that_the_caller_closed_is_no_defect(line, code, tmp_path):
    """The file that is opened next must not get the number of the stream, and what is printed."""
    run = "trace-0123456789"
    study = Study(tmp_path / "scircuit-study")
    study.run_folder(run).mkdir(parents=True)
    Manifest(run, "trace", {}, {}, "0", status="complete").save(study.run_folder(run))
    before = (study.run_folder(run) / "manifest.json").read_bytes()
    ended = subprocess.run(
        ["sh", "-c", f"{shlex.join(PROGRAM)} {line.format(run)}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code and ended.stdout + ended.stderr == ""
    assert (study.run_folder(run) / "manifest.json").read_bytes() == before


def test_an_interruption_is_told_without_loading_anything():
    """Ctrl-C may come in the middle of loading a library, which can then not be loaded again."""
    program = (
        "import sys, scircuit.cli.main as cli\n"
        "def stop(**_): raise KeyboardInterrupt\n"
        "cli.cli.main = stop\n"
        "try: cli.main()\n"
        "except SystemExit as end: sys.exit(end.code if 'numpy' not in sys.modules else 1)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 130 and "interrupted: " in ended.stderr
