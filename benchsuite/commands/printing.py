"""What a command prints: printable whatever it holds, and no reason to lose what the command does.

Nothing heavy is imported here: every command line needs it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, cast

from benchsuite.store.texts import without_controls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from rich.console import Console


class Output:
    """Standard output that goes on where it cannot be written: a command may have worked for hours.

    Args:
        stream: where to write until that fails.

    Attributes:
        failure: the first error; nothing is written after it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, in the characters that the stream has."""
        if self.failure is None:
            try:
                self._write(text)
            except OSError as error:
                self.failure = error
        return len(text)

    def flush(self) -> None:
        """Pass on what is held back."""
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self.failure = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "replace").decode(encoding))


@contextlib.contextmanager
def steady_output() -> Iterator[Output]:
    """Standard output as an `Output` within."""
    _open_standard_streams()
    before = sys.stdout
    if before is None:
        before = sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open as long as the process
    output = Output(before)
    sys.stdout = cast("TextIO", output)
    try:
        yield output
    finally:
        output.flush()
        sys.stdout = before
        if output.failure is not None:
            _write_to_nowhere(before)


def _open_standard_streams() -> None:
    """Give a closed standard stream a place: else the next file that is opened gets its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def _write_to_nowhere(stream: TextIO) -> None:
    """Let what a stream still holds back go nowhere, and not fail when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _PrintableLines(logging.Formatter):
    """Log lines without the signs that control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return without_controls(super().format(record))


def print_warnings_printable() -> None:
    """Let warnings that are logged, and go to standard error, be printable too."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_PrintableLines())


def put(text: str) -> None:
    """Print a line, or several, without the signs that control a terminal."""
    print(without_controls(text))  # noqa: T201 - the command line speaks


def tell(text: str) -> None:
    """Print a line on standard error, likewise; where that cannot be written, the exit code says it alone."""
    with contextlib.suppress(OSError, ValueError):
        print(without_controls(text), file=sys.stderr, flush=True)  # noqa: T201 - the command line speaks


def check_output() -> None:
    """Raise the `OSError` that standard output has met, for a command that is nothing without it."""
    sys.stdout.flush()
    if isinstance(sys.stdout, Output) and sys.stdout.failure is not None:
        raise sys.stdout.failure


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a text as it is, without markup; lines are not broken."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def size(count: int) -> str:
    """A number of bytes as a person says it, in powers of 1000."""
    number, units = float(count), ["kB", "MB", "GB", "TB"]
    if number < 1000:
        return f"{count} B"
    while number >= 1000 and units:
        number, unit = number / 1000, units.pop(0)
    return f"{number:.1f} {unit}"
