"""What a metric leaves for people beside its numbers: tables, curves, pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING

from benchsuite.errors import PluginError
from benchsuite.scoring.reports import NAME, Reports
from benchsuite.store.texts import printable, without_controls

if TYPE_CHECKING:
    from collections.abc import Sequence

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_PICTURE = 2 << 20
MOST_PICTURES = 20
MOST_LINES = 12
MOST_PLACES = 10_000
MOST = 50
"""Tables, curves and pictures of one measurement together."""
_ENDLESS = 1e100
"""Numbers beyond it have no place on an axis."""
_LONGEST = 80
"""Letters of an axis' title or a line's name."""


@dataclass(frozen=True)
class Curve:
    """Lines over one horizontal axis.

    Attributes:
        x: places on it.
        y: by the name of a line, as many values; None where there is none.
        axes: titles of the horizontal and the vertical axis.
    """

    x: list[float]
    y: dict[str, list[float | None]]
    axes: tuple[str, str]


@dataclass(frozen=True)
class Showpieces:
    """What one measurement left; names are those of all kinds together.

    Attributes:
        tables: as CSV with a first line of column names.
        curves: lines.
        pictures: as the bytes of PNG files.
    """

    tables: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def add_table(self, name: str, value: object) -> None:
        """Add an array or a table; see `MetricContext.report`."""
        self._check(name)
        reports = Reports()
        reports.add(name, value)
        if reports.numbers:
            raise PluginError(f"report {name}: a number of the network is returned by measure()")
        self.tables.update(reports.tables)

    def add_csv(self, name: str, table: str) -> None:
        """Add a table that is CSV already, such as one from another process."""
        self._check(name)
        self.tables[name] = without_controls(table)

    def add_curve(
        self, name: str, x: Sequence[float], y: Mapping[str, Sequence[float]], axes: tuple[str, str]
    ) -> None:
        """Add lines; see `MetricContext.curve`."""
        self._check(name)
        places = [_finite(name, place) for place in x]
        if not 0 < len(places) <= MOST_PLACES or not isinstance(y, Mapping) or not 0 < len(y) <= MOST_LINES:
            raise PluginError(
                f"curve {name}: it has 1 to {MOST_PLACES} places and 1 to {MOST_LINES} lines, not "
                f"{len(places)} and {len(y)}"
            )
        lines = {}
        for title, values in y.items():
            if len(values) != len(places):
                raise PluginError(
                    f"curve {name}: the line {str(title)[:40]} has {len(values)} values for "
                    f"{len(places)} places"
                )
            lines[printable(str(title), _LONGEST)] = [
                None if math.isnan(value) else _finite(name, value) for value in map(float, values)
            ]
        horizontal, vertical = axes
        titles = printable(str(horizontal), _LONGEST), printable(str(vertical), _LONGEST)
        self.curves[name] = Curve(places, lines, titles)

    def add_picture(self, name: str, picture: object) -> None:
        """Add a picture; see `MetricContext.picture`."""
        self._check(name)
        if hasattr(picture, "savefig"):
            file = io.BytesIO()
            picture.savefig(file, format="png", dpi=100, bbox_inches="tight")
            picture = file.getvalue()
        if not isinstance(picture, bytes) or not picture.startswith(PNG) or len(picture) > LARGEST_PICTURE:
            raise PluginError(
                f"picture {name}: it must be a figure of matplotlib or the bytes of a PNG file, at most "
                f"{LARGEST_PICTURE >> 20} MiB"
            )
        if len(self.pictures) >= MOST_PICTURES:
            raise PluginError(f"picture {name}: {MOST_PICTURES} pictures are the most")
        self.pictures[name] = picture

    def _check(self, name: object) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise PluginError(
                f"{name!r:.60} is no name of a table, curve or picture: a lower-case letter and at most 39 "
                "lower-case letters, digits and underscores"
            )
        names = {*self.tables, *self.curves, *self.pictures}
        if name in names:
            raise PluginError(f"{name}: there is a table, curve or picture of that name already")
        if len(names) >= MOST:
            raise PluginError(f"{name}: {MOST} tables, curves and pictures are the most")


def _finite(name: str, value: object) -> float:
    if not isinstance(value, Real) or not abs(float(value)) < _ENDLESS:
        raise PluginError(f"curve {name}: {value!r:.40} is no finite number below {_ENDLESS:g}")
    return float(value)
