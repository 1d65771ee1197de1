"""The command line: parses and calls. What is heavy is imported inside the commands."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchsuite._version import __version__
from benchsuite.errors import BenchsuiteError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OK, FAILED, INTERRUPTED, INTERNAL, USAGE, NOTHING = range(6)
"""Exit codes: all have an outcome, some failed, interrupted, internal error, bad usage, none selected."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors have benchsuite's exit code."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = _Parser(
        prog="benchsuite",
        description="Runs every pruning criterion on the same networks and ranks them.",
        epilog="Exit codes: 0 every trial has its outcome, 1 some failed, 2 interrupted, 3 internal error, "
        "4 bad usage or bad suite, 5 nothing selected.",
    )
    parser.add_argument("--version", action="version", version=f"benchsuite {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    run = _command(commands, "run", "run a suite; resumes what is there", "run:run")
    _suite(run)
    run.add_argument("--output", type=Path, metavar="DIR", help="run directory (default: runs/<suite name>)")
    _plugins(run)
    _filter(run)
    _data(run)
    _machine(run)
    run.add_argument(
        "--retry-failed", action="store_true", help="run trials again that failed, timed out or were killed"
    )
    run.add_argument("--executor", default="local", metavar="NAME", help="where trials run (default: local)")

    plan = _command(commands, "plan", "show what a suite would run; runs nothing", "plan:plan")
    _suite(plan)
    plan.add_argument("--output", type=Path, metavar="DIR", help="run directory (default: runs/<suite name>)")
    _plugins(plan)
    _filter(plan)
    _data(plan)
    plan.add_argument("--retry-failed", action="store_true", help="count failed trials as to run")

    validate = _command(commands, "validate", "check a suite file and list every error", "plan:validate")
    _suite(validate)
    _plugins(validate)

    results = _command(commands, "results", "print a run's records, one row a trial", "results:results")
    results.add_argument("run", type=Path, metavar="DIR")
    results.add_argument("--format", choices=("table", "csv", "json"), default="table")

    leaderboard = _command(
        commands, "leaderboard", "render runs and results files as one static site", "results:leaderboard"
    )
    leaderboard.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="run directory or results file"
    )
    leaderboard.add_argument("--output", type=Path, required=True, metavar="SITE")

    export = _command(commands, "export", "hand out a trial's pruned network", "export:export")
    export.add_argument("run", type=Path, metavar="RUN")
    export.add_argument("key", metavar="KEY", help="the trial's key, or enough of its beginning")
    export.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write it (default: RUN/exports/KEY)"
    )
    _plugins(export)
    _data(export)

    ui = _command(commands, "ui", "open a run in the MLflow UI", "results:ui")
    ui.add_argument("run", type=Path, metavar="DIR")
    ui.add_argument("--port", type=_positive, default=5000)

    sync = _command(
        commands,
        "mlflow-sync",
        "show in MLflow what of a run is not there yet, such as after its server was down",
        "tracking:sync",
    )
    sync.add_argument("run", type=Path, metavar="DIR")
    _plugins(sync)

    submit = _command(commands, "submit", "pack a run's records as a file to send", "publishing:submit")
    submit.add_argument("run", type=Path, metavar="DIR")
    submit.add_argument(
        "--output", type=Path, metavar="FILE", help="default: <suite name>.jsonl.gz; .gz compresses"
    )

    verify = _command(
        commands, "verify", "check a results file, and run some of its trials again", "publishing:verify"
    )
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument("--rerun", type=_positive, default=0, metavar="N", help="run N random trials again")
    _plugins(verify)
    _data(verify)
    _machine(verify)

    plugins = _command(
        commands, "plugins", "list every plugin, the broken ones with their error", "plugins:plugins"
    )
    plugins.add_argument("--format", choices=("table", "json"), default="table")
    _plugins(plugins)

    new = _command(commands, "new-plugin", "write the scaffold of a scorer plugin", "plugins:new_plugin")
    new.add_argument("name", help="the scorer's name, such as weight-entropy")
    new.add_argument(
        "--package", action="store_true", help="a whole package with an entry point, not one file"
    )
    new.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where to write it (default: here)"
    )

    check = _command(
        commands, "check-plugin", "run the conformance checks on a plugin file", "plugins:check_plugin"
    )
    check.add_argument("file", type=Path, metavar="FILE")

    _command(commands, "doctor", "show what this machine offers and what is missing", "doctor:doctor")

    schema = _command(commands, "schema", "print the JSON Schema of suite files", "plan:schema")
    _plugins(schema)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = build_parser().parse_args(arguments)
    module, function = options.call.split(":")
    try:
        command: Callable[[argparse.Namespace], int] = getattr(
            import_module(f"benchsuite.commands.{module}"), function
        )
        return command(options)
    except UsageError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command line speaks
        return USAGE
    except BenchsuiteError as error:
        print(f"benchsuite: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has seen enough; Python would complain once more while it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception:  # noqa: BLE001 - the last line of defence, shown in full
        traceback.print_exc()
        print(  # noqa: T201 - the command line speaks
            "benchsuite: an internal error; what was stored is safe, and the same command resumes",
            file=sys.stderr,
        )
        return INTERNAL


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, text: str, call: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
    parser.set_defaults(call=call)
    return parser


def _suite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", type=Path, metavar="SUITE", help="a suite file, such as suites/quick.toml")


def _plugins(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plugin",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="load a plugin file (repeatable)",
    )


def _filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="AXIS=VALUE,…",
        help="only these trials, by value or pattern (scorer=taylor*); an axis given twice means either",
    )


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data folder (default: BENCHSUITE_DATA, else a cache folder)"
    )


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--devices",
        default="auto",
        metavar="LIST",
        help="auto (all GPUs, else the CPU), cpu, or cuda:0,cuda:1",
    )
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="trials at a time (default: one a GPU, or one a CPU core)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, metavar="S", help="seconds that one stage or trial may take"
    )


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
