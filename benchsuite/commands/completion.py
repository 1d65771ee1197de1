"""`completion`: what a shell needs to complete benchsuite's commands, options and values at the Tab key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.commands.exit_codes import OK
from benchsuite.commands.printing import put

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that will read it")


def run(options: Namespace) -> int:
    """Print the code; the shell that reads it asks benchsuite itself at each Tab."""
    from argcomplete.shell_integration import shellcode

    put(shellcode(["benchsuite"], shell=options.shell).rstrip("\n"))
    return OK
