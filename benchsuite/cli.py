"""The command line: finds the command, which parses its own arguments and does the work.

Only the module of the command that was asked for is imported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from benchsuite._version import __version__
from benchsuite.commands.arguments import Parser
from benchsuite.commands.exit_codes import FAILED, INTERNAL, INTERRUPTED, OK, USAGE
from benchsuite.commands.interruption import was_interrupted
from benchsuite.commands.printing import Output, print_warnings_printable, steady_output, tell
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.store.files import described

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
    "completion": "print what a shell needs to complete commands, options and names at the Tab key",
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
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    print_warnings_printable()
    with steady_output() as output:
        try:
            code = _run(words)
        except SystemExit:  # of the parser, which has printed its help or its error
            output.flush()
            if not _is_lost(output):
                raise
            code = OK
        output.flush()
    if _is_lost(output):
        assert output.failure is not None
        tell(f"benchsuite: standard output: {output.failure.strerror or output.failure}")
        return code or FAILED
    return code


def _complete() -> None:
    """Answer a shell that asks what could come next, and end; an argument is offered nothing at worst."""
    from benchsuite.commands.completers import complete, words_before_the_cursor

    named = [word for word in words_before_the_cursor() if word in COMMANDS][:1]
    complete(build_parser(named))


def _is_lost(output: Output) -> bool:
    """Whether what was printed did not arrive; the reader of a pipe who has seen enough misses nothing."""
    return output.failure is not None and not isinstance(output.failure, BrokenPipeError)


def _require_folder() -> None:
    """An error where the current folder was deleted: nobody can say what a relative path means then."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder does not exist any more; go to one that does (cd)") from None


def _allow_files() -> None:
    """Raise this process's limit of open files as far as it may; an error where even that is too low.

    Libraries that find no file descriptor left end in many ways, few of which say so.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _OPEN_FILES:
        return
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < _FEWEST_FILES:
        raise BenchsuiteError(
            f"this process may open {most} files and needs {_FEWEST_FILES}; raise the limit (ulimit -n)"
        )


def _run(words: Sequence[str]) -> int:
    named = [word for word in words if word in COMMANDS][:1]
    resumes = "; what was stored is safe, and the same command resumes" if named == ["run"] else ""
    try:
        _require_folder()
        _allow_files()
        options = build_parser(named).parse_args(words)
        return _module(options.command).run(options)
    except UsageError as error:
        tell(str(error))
        return USAGE
    except BenchsuiteError as error:
        tell(f"benchsuite: {error}")
        return FAILED
    except KeyboardInterrupt:
        tell(f"benchsuite: interrupted{resumes}")
        return INTERRUPTED
    except OSError as error:
        tell(f"benchsuite: {described(error)}")
        return USAGE if error.filename is not None and error.errno in _OF_THE_PATH else FAILED
    except MemoryError:
        tell("benchsuite: there is not enough memory")
        return FAILED
    except Exception:  # noqa: BLE001 - the last line of defence, shown in full
        if was_interrupted():  # such as in C code, which makes its own error of it
            tell(f"benchsuite: interrupted{resumes}")
            return INTERRUPTED
        tell(f"{traceback.format_exc()}benchsuite: an internal error{resumes}")
        return INTERNAL


_OPEN_FILES, _FEWEST_FILES = 4096, 128
_OF_THE_PATH = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
        *(errno.EINVAL, errno.ENOTEMPTY, errno.EACCES, errno.EPERM, errno.EROFS),
    }
)
"""What the system says of a path that is the wrong one; everything else is the machine's failure."""


def _module(command: str) -> _Command:
    return cast("_Command", import_module(f"benchsuite.commands.{command.replace('-', '_')}"))


if __name__ == "__main__":
    sys.exit(main())
