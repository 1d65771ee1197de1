"""Curves for MLflow, read from a stage's files, which may be incomplete or damaged.

A file that is absent, a link, or has other content gives no curve: only a picture is missing, not a result.
"""

from __future__ import annotations

import csv
import errno
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from benchsuite.store import metric_names
from benchsuite.store.files import open_regular
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

RECOVERY_LOSS = "recovery/loss"

_MOST_RECOVERY_POINTS = 100
_MOST_TRAINING_POINTS = 400
_MOST_SAMPLES = 400

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """One value of a curve.

    Attributes:
        name: the metric.
        step: epoch or round, counted from 1, or seconds since the start for samples of the system load.
        value: finite.
        milliseconds: the time since 1970, if the file has it.
    """

    name: str
    step: int
    value: float
    milliseconds: int | None = None


def trial_curves(folder: Path) -> list[Point]:
    """The recovery's loss by epoch, the rounds of an iterative schedule, and the system's load."""
    return [*_recovery(folder), *_rounds(folder), *system_load(folder)]


def dense_curves(folder: Path, ended: float, seconds: float) -> list[Point]:
    """A dense training's loss and learning rate by epoch, and the system's load.

    Args:
        folder: the training's stage.
        ended: when it ended, in seconds since 1970; epochs are assumed to be equally long.
        seconds: how long it took.
    """
    course = _json(folder / "training.json")
    points = []
    for name, key in ((metric_names.TRAINING_LOSS, "losses"), (metric_names.LEARNING_RATE, "learning_rates")):
        values = _by_epoch(course, key)
        last = values[-1][0] if values else 1
        points += [
            Point(name, epoch, value, round(1000 * (ended - seconds * (1 - epoch / last))))
            for epoch, value in _thinned(values, _MOST_TRAINING_POINTS)
        ]
    return [*points, *system_load(folder)]


def system_load(folder: Path) -> list[Point]:
    """Samples of the load of processor, memory and GPU while the stage was made."""
    try:
        with io.TextIOWrapper(_open(folder / "system.csv"), "utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, ValueError, csv.Error):
        return []
    points = []
    for row in _thinned(rows, _MOST_SAMPLES):
        moment, step = _number(row.pop("unix_s", None)), _number(row.pop("seconds", None))
        if moment is None or step is None:
            continue
        for name, text in row.items():
            if name and (value := _number(text)) is not None:
                points.append(Point(f"{metric_names.SYSTEM}{name}", round(step), value, round(1000 * moment)))
    return points


def _recovery(folder: Path) -> Iterator[Point]:
    losses = _by_epoch(_json(folder / "recovery.json"), "losses")
    for epoch, loss in _thinned(losses, _MOST_RECOVERY_POINTS):
        yield Point(RECOVERY_LOSS, epoch, loss)


def _rounds(folder: Path) -> Iterator[Point]:
    rounds = _json(folder / "rounds.json")
    for entry in rounds if isinstance(rounds, list) else ():
        number = _number(entry.get("round")) if isinstance(entry, dict) else None
        if number is None:
            continue
        for name, found in entry.items():
            if name != "round" and (value := _number(found)) is not None:
                yield Point(f"{metric_names.ROUNDS}{name}", round(number), value)


def _open(path: Path) -> BinaryIO:
    """Open a stage's own file; a link leads to another's."""
    if path.parent.is_symlink():
        raise OSError(errno.EINVAL, "is a link", str(path.parent))
    return open_regular(path, follow=False)


def _json(path: Path) -> Any:
    try:
        with _open(path) as file:
            return read_json(file.read())
    except (OSError, ValueError):
        return None


def _by_epoch(course: Any, key: str) -> list[tuple[int, float]]:
    """The finite values of one list of a training history, with their epochs."""
    values = course.get(key) if isinstance(course, dict) else None
    numbers = [_number(value) for value in values] if isinstance(values, list) else []
    return [(epoch, value) for epoch, value in enumerate(numbers, start=1) if value is not None]


def _number(value: object) -> float | None:
    """The value as a finite number, if it is one or can be read as one."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _thinned(points: list[T], most: int) -> list[T]:
    """At most that many points, equally spaced, counted from the end so that the last is included."""
    stride = math.ceil(len(points) / most) or 1
    return points[::-stride][::-1]
