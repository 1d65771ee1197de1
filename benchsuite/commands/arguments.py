"""Arguments that several commands share. Nothing heavy is imported here: every command line needs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchsuite.commands.exit_codes import USAGE
from benchsuite.commands.nearest import did_you_mean, nearest
from benchsuite.commands.printing import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_THREADS = 1024
TIMEOUT = 24 * 3600.0
"""Seconds that one stage or trial may take unless the command says otherwise."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors have benchsuite's exit code."""

    takes_minus: frozenset[str] = frozenset()
    """Options whose value may begin with a minus, as in `--sort -accuracy/top1`."""

    def parse_known_args(  # type: ignore[override]  # the overloads of argparse are for namespaces of any class
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; what is left over is an error of the command that was given it."""
        words = self._joined(sys.argv[1:] if args is None else args)
        found, left = super().parse_known_args(words, namespace)
        if left:
            options = [name for action in self._actions for name in action.option_strings]
            near = [n for word in left if word.startswith("-") for n in nearest(word.split("=")[0], options)]
            meant = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(left)}{meant}")
        return found, left

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit."""
        tell(f"{self.format_usage()}{self.prog}: {message}")
        self.exit(USAGE)

    def _joined(self, words: Sequence[str]) -> list[str]:
        """The words with such options and their values as one."""
        joined: list[str] = []
        for word in words:
            if joined and joined[-1] in self.takes_minus and word[:1] == "-" != word[1:2]:
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return joined

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Raise an error with the nearest name for a value that is none of the choices."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        if action.dest == "command":
            raise argparse.ArgumentError(
                None, f"there is no command {value!r}{did_you_mean(str(value), names)}"
            )
        raise argparse.ArgumentError(
            action, f"{value!r} is not one of {', '.join(names)}{_near(value, names)}"
        )


def _near(value: object, names: Sequence[str]) -> str:
    return did_you_mean(str(value), names) if nearest(str(value), names) else ""


def add_suite(parser: argparse.ArgumentParser) -> None:
    """Add the suite file."""
    parser.add_argument("suite", type=Path, metavar="SUITE", help="a suite file, such as suites/quick.toml")


def add_run_directory(parser: argparse.ArgumentParser) -> None:
    """Add the run directory that a suite has or gets."""
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="run directory (default: runs/<suite name>)"
    )


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Add plugin files."""
    parser.add_argument(
        "--plugin",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="load a plugin file (repeatable)",
    )
    parser.add_argument(
        "--no-third-party",
        action="store_true",
        help="leave out installed plugins that do not come with benchsuite",
    )


def add_scorers(parser: argparse.ArgumentParser) -> None:
    """Add scorers that the suite has beside its own."""
    parser.add_argument(
        "--scorer",
        action="append",
        default=[],
        metavar="NAME",
        help="add a scorer to those of the suite, such as that of a plugin file (repeatable)",
    )


def add_signers(parser: argparse.ArgumentParser) -> None:
    """Add the list of those whose signatures are known."""
    parser.add_argument(
        "--signers",
        type=Path,
        metavar="FILE",
        help="whose key is whose, in OpenSSH's format of allowed signers; tells who signed a results file",
    )


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Add filters of trials."""
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="AXIS=VALUE,…",
        help="only these trials, by value or pattern (scorer=taylor*); several values mean any of them "
        "(scorer=snip,lamp), and AXIS!=VALUE leaves some out",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the data folder."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data folder (default: BENCHSUITE_DATA, else a cache folder)"
    )


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add devices, workers and limits."""
    parser.add_argument(
        "--devices",
        default="auto",
        metavar="LIST",
        help="auto (all GPUs, else the CPU), cpu, or cuda:0,cuda:1",
    )
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="trials at a time (default: one a GPU, or one a CPU core)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="S",
        help=f"seconds that one stage or trial may take (default: {TIMEOUT:g}, a day)",
    )
    parser.add_argument(
        "--memory",
        type=positive_number,
        metavar="GB",
        help="10^9 bytes of memory that a worker may hold, looked at twice a second; what processes share is "
        "divided among them (default: no limit)",
    )


def add_threads(parser: argparse.ArgumentParser, default: int | None = 1) -> None:
    """Add the number of CPU threads, which decides results; without a default, that of the file's records."""
    parser.add_argument(
        "--threads",
        type=threads,
        default=default,
        metavar="N",
        help=f"CPU threads of each worker (default: {default or 'as in the file'}); results on a CPU depend "
        "on it, so with another number trials have other keys",
    )


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def threads(text: str) -> int:
    """A number of CPU threads."""
    number = positive(text)
    if number > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_THREADS} threads")
    return number


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    return _above_zero(text, " of seconds")


def positive_number(text: str) -> float:
    """A number above 0."""
    return _above_zero(text)


def _above_zero(text: str, of: str = "") -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number{of} above 0")
    return number
