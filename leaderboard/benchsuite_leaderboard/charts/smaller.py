"""The marks of a rendered drawing written with fewer letters: the same picture, at a third of the size."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PART = re.compile(r"<(circle|line|path|rect|text)((?: [\w:-]+=\"[^\"]*\")*)(?:/>|>(.*?)</\1>)|<[^>]*>", re.S)
_ATTRIBUTE = re.compile(r' ([\w:-]+)="([^"]*)"')
_TAG = re.compile(r"<[^<>]*>")
_SUPERFLUOUS = re.compile(r"(?<=\d)\.0\d*|(?<=\.[1-9])\d+|(?<![\d.\w])0(?=\.[1-9])")
"""Digits that are not needed where one decimal is enough: 16.04, 1.57 and 0.5 are 16, 1.5 and .5."""
_SHIFT = re.compile(r"translate\(([-\d.]+),([-\d.]+)\)")
_INHERITED = frozenset(
    ("fill", "stroke", "stroke-width", "stroke-linecap", "stroke-dasharray", "font-size", "text-anchor")
)
"""What a group can say for all marks in it; opacity is not among them, since it would mix them first."""
_FEWEST = 3
"""A group for fewer marks saves nothing."""


@dataclass(frozen=True)
class _Mark:
    """One element without children except a title or a text; a tag of a group has no attributes here."""

    tag: str
    attributes: dict[str, str]
    inner: str

    def __str__(self) -> str:
        if not self.tag:
            return self.inner
        written = "".join(f' {name}="{value}"' for name, value in self.attributes.items())
        return f"<{self.tag}{written}" + (f">{self.inner}</{self.tag}>" if self.inner else "/>")

    def __getitem__(self, name: str) -> str:
        return self.attributes.get(name, "")

    def without(self, *names: str) -> dict[str, str]:
        return {name: value for name, value in self.attributes.items() if name not in names}


def smaller(body: str) -> str:
    """The elements of a drawing, those that look alike and follow each other as one.

    Lines become paths; paths with the same look, and dots with the same look and title, become one path.
    Numbers keep one decimal, without zeros that say nothing, and groups carry what all of their marks share.
    """
    marks = [_as_path(mark) for mark in _marks(_short_numbers(body))]
    merged = [_merged(list(alike)) for _, alike in groupby(marks, key=_look)]
    return "".join(_in_groups([mark for part in merged for mark in part]))


def _short_numbers(body: str) -> str:
    """Numbers in tags, not in texts, with one decimal and without zeros that say nothing: 16 and .5."""
    return _TAG.sub(_with_short_numbers, body)


def _with_short_numbers(tag: re.Match[str]) -> str:
    # Tag by tag, since a search for the end of the tag from each number takes long in a long path.
    return _SUPERFLUOUS.sub("", tag[0])


def _marks(body: str) -> Iterator[_Mark]:
    for match in _PART.finditer(body):
        if match[1]:
            yield _Mark(match[1], dict(_ATTRIBUTE.findall(match[2])), match[3] or "")
        else:
            yield _Mark("", {}, match[0])


def _as_path(mark: _Mark) -> _Mark:
    """A line as a path, without the default width."""
    if mark.tag == "line":
        shift = _SHIFT.fullmatch(mark["transform"])
        x, y = shift.groups() if shift else ("0", "0")
        path = f"M{x},{y}l{mark['x2'] or 0},{mark['y2'] or 0}"
        mark = _Mark("path", {"d": path, **mark.without("transform", "x2", "y2")}, mark.inner)
    if mark.tag == "path" and mark["stroke-width"] == "1":
        mark = replace(mark, attributes=mark.without("stroke-width"))
    return mark


def _look(mark: _Mark) -> object:
    """Equal for marks that can be one path."""
    if mark.tag == "circle":
        return ("circle", mark.without("cx", "cy"), mark.inner)
    if mark.tag == "path" and mark["stroke"] and not mark["fill"] and not mark["transform"]:
        return ("path", mark.without("d"), mark.inner)
    return mark if mark.tag else object()


def _merged(alike: Sequence[_Mark]) -> Sequence[_Mark]:
    if len(alike) == 1 or alike[0].tag not in ("circle", "path"):
        return alike
    first = alike[0]
    if first.tag == "path":
        joined = "".join(mark["d"] for mark in alike)
        return [_Mark("path", {"d": joined, **first.without("d")}, first.inner)]
    # A line of no length with round ends is a dot.
    dots = "".join(f"M{mark['cx']},{mark['cy']}h0" for mark in alike)
    look = {
        "stroke": first["fill"],
        "stroke-width": f"{2 * float(first['r']):g}",
        "stroke-linecap": "round",
    }
    rest = first.without("cx", "cy", "r", "fill", "stroke", "stroke-width")
    return [_Mark("path", {"d": dots, **look, **rest}, first.inner)]


def _in_groups(marks: Sequence[_Mark]) -> Iterator[str]:
    """The marks as text, neighbours that share attributes inside a group that has these."""
    at = 0
    while at < len(marks):
        shared = _inherited(marks[at])
        end = at + 1
        while end < len(marks) and (common := shared & _inherited(marks[end])):
            # A longer run with less in common is worth it only while it is short.
            if end - at >= _FEWEST and common != shared:
                break
            shared = common
            end += 1
        if end - at < _FEWEST or not shared:
            yield str(marks[at])
            at += 1
            continue
        written = "".join(f' {name}="{value}"' for name, value in sorted(shared))
        names = [name for name, _ in shared]
        inside = "".join(str(replace(mark, attributes=mark.without(*names))) for mark in marks[at:end])
        yield f"<g{written}>{inside}</g>"
        at = end


def _inherited(mark: _Mark) -> frozenset[tuple[str, str]]:
    return frozenset(pair for pair in mark.attributes.items() if pair[0] in _INHERITED)
