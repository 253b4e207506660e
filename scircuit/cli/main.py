"""The command line: verbs loaded on first use, one style of error, exit codes with a meaning.

Exit codes: 0 done, 1 a check failed, 2 bad input or usage, 3 unexpected error, 130 interrupted, 143
terminated (SIGTERM).
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from typing import NoReturn

import click

from scircuit.core.errors import Terminated, UserError
from scircuit.core.terminal import in_lines, one_line
from scircuit.core.version import __version__

VERBS = {
    "demo": "The whole job on the shipped cells and model: from cells to a graph and a report.",
    "check": "Check cells, model and dictionaries: everything that could invalidate a study.",
    "train": "Train TopK SAEs on the activations of your model and cells.",
    "trace": "Ablate every active feature of a layer and measure all later layers.",
    "import": "Import published results: feature atlases, maps, circuit edges, attribution graphs.",
    "load": "Load runs from disk into the graph, exactly once.",
    "null": "Trace scrambled models by the same settings: what would be found without learning.",
    "annotate": "Name features by GO, Reactome, TRRUST and your gene sets, beside a matched null.",
    "analyse": "Degrees, hubs, heavy tail and annotation bias of a trace run.",
    "genesets": "Fetch gene-set libraries, each with its licence.",
    "reproduce": "Recompute the published numbers of the circuit studies from their files.",
    "match": "Link features of other layers and models that fire on the same genes.",
    "compare": "What the circuits of two or more runs agree on, beside random ones.",
    "predict": "Pairs of genes that a circuit links, held against knock-outs and disease sets.",
    "ablate": "Ablate sets of features together and test their interaction.",
    "steer": "Scale a feature's activation and read what the model predicts.",
    "importance": "Masked-LM loss without hubs, beside features that fire as often.",
    "circuit": "Find the smallest set of features that keeps a behaviour of the model.",
    "attribute": "What transcoder features are made of, exactly, beside what ablation finds.",
    "report": "Write the report: one self-contained HTML page.",
    "query": "Ask a catalogue question, or Cypher of your own.",
    "export": "Write a run or a part of the graph for other tools.",
    "db": "Start, stop, dump, load and check the Neo4j of a study.",
    "runs": "List, show, compare and delete runs.",
}
_OWN_MODULE = ("query", "runs", "db")  # the commands of the others are in `scircuit.cli.verbs`


class LazyVerbs(click.Group):
    """A group whose commands are imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Verbs in the order of a study."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """Load one verb."""
        if cmd_name not in VERBS:
            return None
        module = cmd_name if cmd_name in _OWN_MODULE else "verbs"
        commands = importlib.import_module(f"scircuit.cli.{module}")
        return getattr(commands, {"import": "import_"}.get(cmd_name, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's interface
        """List verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the closest verb for a wrong one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"no verb {args[0]!r}{hint}. Verbs: {', '.join(VERBS)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyVerbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="scircuit")
def cli() -> None:
    """Trace the causal circuits inside single-cell foundation models and question them in a Neo4j
    graph.

    Start with `scircuit demo`. Every verb takes --study DIR (default ./scircuit-study) and --help.
    """


def main() -> None:
    """Run the command line and turn errors into one message and an exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):  # what the terminal's encoding lacks is shown escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        click.echo(in_lines(text.getvalue()), nl=False, err=True)
        sys.exit(2)
    except UserError as error:
        _refused(error.problem, error.fix)
    except (KeyboardInterrupt, click.exceptions.Abort) as stop:
        terminated = isinstance(stop.__cause__ or stop, Terminated)
        word = "terminated" if terminated else "interrupted"
        click.echo(f"\n{word}: what was finished is kept; the same command resumes it", err=True)
        sys.exit(143 if terminated else 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _environment(error)
    except Exception as error:
        _unexpected(error)


def _open_closed_streams() -> None:
    """Let a stream that the caller closed (``>&-``) lead to nothing: else the next file that is
    opened would get its number, and what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: PTH123, SIM115


def _refused(problem: str, fix: str) -> NoReturn:
    """Print what was found and what to do, each on one line."""
    text = one_line(problem) + (f"\n  fix: {one_line(fix)}" if fix else "")
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True)
    sys.exit(2)


def _environment(error: OSError) -> NoReturn:
    """A file, disk or network that did not do what it was asked for: no defect of the program."""
    from scircuit.core.errors import disk_full

    if os.environ.get("SCIRCUIT_DEBUG"):
        traceback.print_exception(error)
    place = error.filename or error.filename2
    if disk_full(error):
        _refused(
            f"the disk is full ({place or 'writing'})", "free space, then run the same command"
        )
    if error.errno is None:
        _unexpected(error)
    _refused(
        f"the system refused {f'to use {place}' if place else 'an operation'}: {error.strerror}",
        "mend that, or name another place, then run the same command (SCIRCUIT_DEBUG=1 shows where"
        " it happened)",
    )


def _unexpected(error: BaseException) -> NoReturn:
    if os.environ.get("SCIRCUIT_DEBUG"):
        traceback.print_exception(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    click.echo(
        one_line(f"unexpected error: {type(error).__name__}: {error}")
        + f"\n  at {where.filename}:{where.lineno}\n"
        "  fix: this is a defect of scircuit; run again with SCIRCUIT_DEBUG=1 and report the full"
        " traceback",
        err=True,
    )
    sys.exit(3)
