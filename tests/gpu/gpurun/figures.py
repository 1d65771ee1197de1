"""What a part has found, written line by line, so that a part that is cut off or dies loses nothing."""

from __future__ import annotations

import json
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAST_LINES = 15
"""Lines of an error that a report shows."""


@dataclass(frozen=True)
class Figures:
    """Where a part puts its figures, and under which conditions it works.

    Attributes:
        file: JSON lines.
        dry: whether sizes are tiny and the device is a stand-in.
        scratch: a folder for files that nobody keeps.
        data: a folder with data sets, or None.
        seconds: how long the part may take.
        started: when it began, by the monotonic clock.
    """

    file: Path
    dry: bool
    scratch: Path
    data: Path | None
    seconds: float
    started: float = field(default_factory=time.monotonic)

    def seconds_left(self) -> float:
        """Seconds until the part is cut off."""
        return self.seconds - (time.monotonic() - self.started)

    def size(self, real: int, dry: int) -> int:
        """A size for a real device, or the tiny one."""
        return dry if self.dry else real

    def fact(self, name: str, value: Any) -> None:
        """A number or a text."""
        self._write(kind="fact", name=name, value=value)

    def ratio(self, name: str, above: tuple[str, float], below: tuple[str, float], unit: str = "s") -> None:
        """Two numbers, each with what it is, and how many times the second the first is."""
        self._write(
            kind="ratio",
            name=name,
            above=list(above),
            below=list(below),
            unit=unit,
            ratio=above[1] / below[1] if below[1] else None,
        )

    def test(self, name: str, outcome: str, text: str = "", seconds: float = 0.0) -> None:
        """How a test ended (passed, failed, skipped or error), and how long it took."""
        self._write(kind="test", name=name, outcome=outcome, text=last_lines(text), seconds=seconds)

    def cell(self, name: str, values: dict[str, Any]) -> None:
        """One line of a table."""
        self._write(kind="cell", name=name, values=values)

    def left_out(self, what: str, why: str) -> None:
        """Something that was not done."""
        self._write(kind="left out", name=what, text=why)

    def failure(self, name: str, text: str) -> None:
        """Something that went wrong."""
        self._write(kind="failure", name=name, text=last_lines(text))

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Report what is raised inside and go on after it."""
        try:
            yield
        except Exception:  # noqa: BLE001 - the rest of the report is wanted whatever happens here
            self.failure(name, traceback.format_exc())

    def _write(self, **line: Any) -> None:
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


def say(text: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def last_lines(text: str) -> str:
    """The end of a text, where errors say what they are."""
    return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])


def read_figures(file: Path) -> list[dict[str, Any]]:
    """What a part has written; a line that was cut off is passed over."""
    lines = []
    for text in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            lines.append({"kind": "failure", "name": "a line was cut off", "text": text[:200]})
    return lines
