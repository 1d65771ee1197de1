"""A TOML file with the line of each of its keys, for messages that say file:line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KeyPath = tuple[str | int, ...]

_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_ARRAY_TABLE = re.compile(r"\s*\[\[\s*([^\[\]]+?)\s*\]\]\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-.\"']+)\s*=")
_LARGEST = 4 << 20
_ERROR_LINE = re.compile(r"\s*\(at line (\d+), column (\d+)\)")


@dataclass(frozen=True)
class TomlSource:
    """A parsed TOML file that knows the lines of its keys."""

    path: Path
    data: dict[str, Any]
    lines: tuple[str, ...]
    _positions: dict[KeyPath, int]

    def line_of(self, location: Sequence[str | int], value: object = None) -> int:
        """The 1-based line of the key at `location`, or of the nearest key above it.

        If `value` is a string or number on a later line of the same entry, the number of that line.
        """
        path = tuple(location)
        while path and path not in self._positions:
            path = path[:-1]
        start = self._positions.get(path, 1)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            literal = re.compile(rf"(?<![\w.-]){re.escape(str(value))}(?![\w.-])")
            end = min((n for n in self._positions.values() if n > start), default=len(self.lines) + 1)
            for number in range(start, end):
                if literal.search(self.lines[number - 1]):
                    return number
        return start


def read_toml(path: Path) -> TomlSource:
    """Parse a file; raises `UsageError` with file, line and column if it is not TOML."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file that can be read as a suite")
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST >> 20} MiB, which no suite is")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no suite file {path}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text file (in UTF-8), and a suite is one") from None
    except (OSError, ValueError) as error:  # a path may hold what no path can
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _ERROR_LINE.search(str(error))
        where = f":{match[1]}:{match[2]}" if match else f":{len(text.splitlines())}"
        reason = _ERROR_LINE.sub("", str(error))
        raise UsageError(f"{path}{where}: not valid TOML: {reason[:1].lower()}{reason[1:]}") from error
    except RecursionError:
        raise UsageError(f"{path}: brackets are nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    lines = tuple(text.splitlines())
    return TomlSource(path, data, lines, _positions(lines))


def _positions(lines: tuple[str, ...]) -> dict[KeyPath, int]:
    positions: dict[KeyPath, int] = {}
    prefix: KeyPath = ()
    counts: dict[str, int] = {}
    depth = 0
    for number, line in enumerate(lines, start=1):
        code = _without_strings(line)
        if depth == 0:
            if match := _ARRAY_TABLE.match(line):
                index = counts.get(match[1], 0)
                counts[match[1]] = index + 1
                prefix = (*match[1].split("."), index)
                positions[prefix] = number
                positions.setdefault(prefix[:-1], number)
            elif match := _TABLE.match(line):
                prefix = tuple(match[1].split("."))
                positions[prefix] = number
            elif match := _KEY.match(line):
                positions[(*prefix, *(part.strip("\"'") for part in match[1].split(".")))] = number
        depth += sum(code.count(c) for c in "[{") - sum(code.count(c) for c in "]}")
    return positions


def _without_strings(line: str) -> str:
    return re.sub(r"\"(\\.|[^\"\\])*\"|'[^']*'", "", line).split("#", 1)[0]
