"""Filters of trials by their axes, such as `scorer=taylor*,sparsity!=0.5`."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.commands.nearest import did_you_mean, nearest
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MOST_VALUES = 40


@dataclass(frozen=True)
class _Rule:
    """What one axis may be, and may not be."""

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]

    def holds(self, value: object) -> bool:
        return (not self.wanted or any(_matches(value, v) for v in self.wanted)) and not any(
            _matches(value, v) for v in self.unwanted
        )

    def words(self, axis: str) -> str:
        parts = [f"{axis}={value}" for value in self.wanted] + [f"{axis}!={v}" for v in self.unwanted]
        return ",".join(parts)


@dataclass(frozen=True)
class Filters:
    """Filters by axis: different axes must all hold, of one axis's values any."""

    rules: Mapping[str, _Rule]

    def holds(self, axes: Mapping[str, Any]) -> bool:
        """Whether a trial with these axes is selected."""
        return all(rule.holds(axes.get(axis, "")) for axis, rule in self.rules.items())

    def why_nothing(self, all_axes: Sequence[Mapping[str, Any]]) -> list[str]:
        """Sentences on the axes of which no trial has a value that is asked for, with the valid ones."""
        lines = []
        for axis, rule in self.rules.items():
            values = [axes.get(axis, "") for axes in all_axes]
            if not any(rule.holds(value) for value in values):
                there = list(dict.fromkeys(map(str, values)))
                near = [n for v in rule.wanted for n in nearest(v, there)]
                meant = f"; did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ";"
                lines.append(f"no trial has {rule.words(axis)}{meant} {axis} is one of: {_listed(there)}")
        return lines or ["each of the filters matches some trials, but none matches all of them"]


def parse_filters(texts: Iterable[str], axes: Sequence[str]) -> Filters:
    """Parse what `--filter` was given.

    Args:
        texts: such as `scorer=a,b,model!=c`; a value without an axis belongs to the axis before it.
        axes: the names that trials may be filtered by.

    Raises:
        UsageError: a part is no filter, or names no axis.
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    for text in texts:
        values: list[str] | None = None
        for part in _split_outside_brackets(text):
            axis, equals, value = _split(part)
            if not equals and values is not None and part:
                values.append(part)
                continue
            if not equals or not value:
                raise UsageError(
                    f"--filter {part!r} is not AXIS=VALUE or AXIS!=VALUE; the axes are: {', '.join(axes)}"
                )
            if axis not in axes:
                raise UsageError(f"--filter: there is no axis {axis!r}{did_you_mean(axis, axes)}")
            values = found.setdefault(axis, ([], []))[equals == "!="]
            values.append(value)
    return Filters({axis: _Rule(tuple(some), tuple(others)) for axis, (some, others) in found.items()})


def _split(part: str) -> tuple[str, str, str]:
    """Axis, sign and value; the sign is empty where there is none, or only inside a label's brackets."""
    axis, equals, value = part.partition("=")
    if not equals or "(" in axis:
        return part, "", ""
    if axis.endswith("!"):
        return axis[:-1].strip(), "!=", value.strip()
    return axis.strip(), "=", value.strip()


def _listed(values: Sequence[str]) -> str:
    left = len(values) - _MOST_VALUES
    return ", ".join(values[:_MOST_VALUES]) + (f" and {left} more" if left > 0 else "")


def _matches(value: object, pattern: str) -> bool:
    text = str(value)
    return text == pattern or fnmatch.fnmatchcase(text, pattern) or _same_number(text, pattern)


def _same_number(first: str, second: str) -> bool:
    try:
        return float(first) == float(second)
    except ValueError:
        return False


def _split_outside_brackets(text: str) -> list[str]:
    """Split at commas, but not inside a label's parentheses, as in reversed(mlp(a=1,b=2))."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in [*parts, text[start:]]]
