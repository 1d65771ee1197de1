"""The command line: finds the command, which parses its own arguments and does the work.

Only the module of the command that was asked for is imported.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from benchsuite._version import __version__
from benchsuite.commands.arguments import Parser
from benchsuite.commands.exit_codes import FAILED, INTERNAL, INTERRUPTED, OK, USAGE
from benchsuite.errors import BenchsuiteError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

COMMANDS = {
    "run": "run a suite; resumes what is there",
    "plan": "show what a suite would run; runs nothing",
    "validate": "check a suite file and list every error",
    "results": "print a run's records, one row a trial",
    "leaderboard": "render runs and results files as one static site",
    "export": "hand out a trial's pruned network",
    "ui": "open a run in the MLflow UI",
    "mlflow-sync": "show in MLflow what of a run is not there yet, such as after its server was down",
    "submit": "pack a run's records as a file to send",
    "verify": "check a results file, and run some of its trials again",
    "plugins": "list every plugin, the broken ones with their error",
    "new-plugin": "write the scaffold of a scorer plugin",
    "check-plugin": "run the conformance checks on a plugin file",
    "doctor": "show what this machine offers and what is missing, or check and repair a run directory",
    "clean": "free what of a run directory can be made again",
    "schema": "print the JSON Schema of suite files",
}
"""What each command does. Its module in `benchsuite.commands` has its name."""


class _Command(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None: ...

    def run(self, options: argparse.Namespace, /) -> int: ...


def build_parser(with_arguments: Collection[str]) -> argparse.ArgumentParser:
    """The parser of the whole command line.

    Args:
        with_arguments: names of the commands whose arguments it knows; their modules are imported.
    """
    parser = Parser(
        prog="benchsuite",
        description="Runs every pruning criterion on the same networks and ranks them.",
        epilog="Exit codes: 0 every trial has its outcome, 1 some failed, 2 interrupted, 3 internal error, "
        "4 bad usage or bad suite, 5 nothing selected.",
    )
    parser.add_argument("--version", action="version", version=f"benchsuite {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, text in COMMANDS.items():
        own = commands.add_parser(
            name, help=text, description=f"{text[:1].upper()}{text[1:]}.", allow_abbrev=False
        )
        if name in with_arguments:
            _module(name).add_arguments(own)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = build_parser([word for word in words if word in COMMANDS][:1]).parse_args(words)
        return _module(options.command).run(options)
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
    except OSError as error:
        print(f"benchsuite: {_said(error)}", file=sys.stderr)  # noqa: T201 - the command line speaks
        return FAILED
    except Exception:  # noqa: BLE001 - the last line of defence, shown in full
        traceback.print_exc()
        print(  # noqa: T201 - the command line speaks
            "benchsuite: an internal error; what was stored is safe, and the same command resumes",
            file=sys.stderr,
        )
        return INTERNAL


def _said(error: OSError) -> str:
    """What the system said, with the path that it was about."""
    where = "" if error.filename is None else f"{os.fspath(error.filename)}: "
    return f"{where}{error.strerror or error}"


def _module(command: str) -> _Command:
    return cast("_Command", import_module(f"benchsuite.commands.{command.replace('-', '_')}"))


if __name__ == "__main__":
    sys.exit(main())
