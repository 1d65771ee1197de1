"""Accuracy against the remaining cost, with the Pareto front."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite_leaderboard.charts.layout import spread_apart
from benchsuite_leaderboard.charts.theme import share_format, shorten
from benchsuite_leaderboard.charts.vegalite import (
    as_is,
    axis,
    dash,
    end,
    labels,
    layer,
    lines,
    position,
    text,
    to_svg,
)
from benchsuite_leaderboard.statistics.pareto import pareto_front

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Criterion
    from benchsuite_leaderboard.charts.theme import Look
    from benchsuite_leaderboard.charts.vega import Layer
    from benchsuite_leaderboard.protocol import Sparsity

_CROSS = "M-1,-1L1,1M1,-1L-1,1"
_WIDTH, _HEIGHT, _LINE = 460, 340, 13.5
_WIDTH_OF_LINES = 1.2
_NAMED_CONTROLS = 3
_DIGITS = 6
"""Means of equal costs differ in later digits, which must not make one of them better."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One criterion at one sparsity.

    Attributes:
        cost: the remaining fraction of the dense network's cost.
        is_compared: whether its accuracy is over the same networks as that of the others.
    """

    criterion: Criterion
    sparsity: Sparsity
    cost: float
    accuracy: float
    is_compared: bool = True

    @property
    def point(self) -> tuple[float, float]:
        """Cost and accuracy, equal for choices that differ in rounding alone."""
        return round(self.cost, _DIGITS), round(self.accuracy, _DIGITS)


def front(choices: Sequence[Choice]) -> list[Choice]:
    """The choices that no other choice beats, the cheapest first; controls are left out.

    So are criteria that lack cells. Of equal choices all are in it.
    """
    candidates = [choice for choice in choices if choice.is_compared and not choice.criterion.is_control]
    unbeaten = {candidates[i].point for i in pareto_front([c.point for c in candidates])}
    return sorted(
        (c for c in candidates if c.point in unbeaten), key=lambda c: (c.point[0], c.criterion.label)
    )


def hidden(choices: Sequence[Choice]) -> list[tuple[Choice, ...]]:
    """Groups of choices that have the same place in the drawing."""
    groups: dict[tuple[float, float], list[Choice]] = defaultdict(list)
    for choice in choices:
        groups[choice.point].append(choice)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def trade_off(
    choices: Sequence[Choice], looks: Mapping[Criterion, Look], *, cost_title: str, label: str
) -> Markup | None:
    """A scatter of all choices as SVG, the front drawn as steps; None without choices.

    Criteria that have a colour, and some controls, are joined over the sparsities and named at the end that
    leaves least of the cost; all others are pale dots, unless they are on the front.
    """
    if not choices:
        return None
    costs = _range([c.cost for c in choices], None)
    # As sparsity grows to the right on the other charts, what is left shrinks.
    across = (costs[1], costs[0])
    x = axis("x", across, cost_title, format=share_format(costs, 5), tickCount=5, grid=False)
    accuracies = _range([c.accuracy for c in choices], 1.0)
    y = axis("y", accuracies, "test accuracy (top-1)", format=share_format(accuracies, 6), tickCount=6)
    best = front(choices)
    together = {group[0].point: group for group in hidden(choices)}
    notes = {criterion: _note(choices, criterion) for criterion in {c.criterion for c in choices}}
    rows = [_row(c, looks, together, notes, is_best=c in best) for c in choices]
    marks = {"x": x, "y": y, "color": as_is("colour"), "description": text("note")}
    steps = [{"x": c.cost, "y": c.accuracy} for c in best]
    named = _named(choices, looks)
    series = [
        {
            "x": c.cost,
            "y": c.accuracy,
            "colour": looks[criterion].colour,
            "width": _WIDTH_OF_LINES,
            "dash": dash(looks[criterion].dash),
            "series": str(i),
        }
        for i, criterion in enumerate(named)
        for c in _along(choices, criterion)
    ]
    joined = {"x": x, "y": y, "color": as_is("colour"), "detail": text("series")}
    layers: list[Layer] = [
        layer(
            "line", steps, {"x": x, "y": y}, interpolate="step-before", color="var(--ink-3)", strokeWidth=1
        ),
        lines(series, joined, opacity=0.75),
    ]
    pale = [r for r in rows if r["kind"] == "pale"]
    layers += [
        layer("point", pale, marks, filled=True, size=26, opacity=0.7),
        layer("point", [r for r in rows if r["kind"] == "control"], marks, shape=_CROSS, size=30),
        layer("point", [r for r in rows if r["kind"] == "drawn"], marks, filled=True, size=46, opacity=1),
    ]
    layers += _names(choices, named, looks, across, accuracies)
    return to_svg(layers, width=_WIDTH, height=_HEIGHT, label=label)


def _row(
    choice: Choice,
    looks: Mapping[Criterion, Look],
    together: Mapping[tuple[float, float], Sequence[Choice]],
    notes: Mapping[Criterion, str],
    *,
    is_best: bool,
) -> Row:
    look = looks[choice.criterion]
    note = notes[choice.criterion]
    if choice.point in together:
        names = ", ".join(shorten(c.criterion.label, 60) for c in together[choice.point])
        note = f"{names}: {_said(choice)}"
    kind = "control" if choice.criterion.is_control else "drawn" if look.is_leader or is_best else "pale"
    colour = "var(--ink-2)" if kind == "drawn" and not look.is_leader else look.colour
    return {
        "x": choice.cost,
        "y": choice.accuracy,
        "colour": colour,
        "kind": kind,
        "note": note,
    }


def _note(choices: Sequence[Choice], criterion: Criterion) -> str:
    """All choices of a criterion: their dots are one mark, unless others lie at the same place."""
    found = [_said(choice) for choice in choices if choice.criterion == criterion]
    return f"{shorten(criterion.label, 60)}: {', '.join(found)} left"


def _said(choice: Choice) -> str:
    return f"{_percent(choice.accuracy)} at {_percent(choice.cost)}"


def _named(choices: Sequence[Choice], looks: Mapping[Criterion, Look]) -> list[Criterion]:
    """The criteria with a colour and the first controls, random before others."""
    present = list(dict.fromkeys(c.criterion for c in choices))
    controls = [c for c in present if c.is_control]
    controls.sort(key=lambda c: (c.wrapper is not None, c.label))
    return [c for c in present if not c.is_control and looks[c].is_leader] + controls[:_NAMED_CONTROLS]


def _along(choices: Sequence[Choice], criterion: Criterion) -> list[Choice]:
    return sorted((c for c in choices if c.criterion == criterion), key=lambda c: c.cost)


def _names(
    choices: Sequence[Choice],
    named: Sequence[Criterion],
    looks: Mapping[Criterion, Look],
    across: tuple[float, float],
    accuracies: tuple[float, float],
) -> list[Layer]:
    """Names at the right, moved apart, each joined to its cheapest dot."""
    low, high = accuracies
    ends = [_along(choices, criterion)[0] for criterion in named]
    wanted = [_HEIGHT * (high - c.accuracy) / (high - low) for c in ends]
    rows = [
        {
            "x": c.cost,
            "y": c.accuracy,
            "right": across[1],
            "label": high - pixel / _HEIGHT * (high - low),
            "name": shorten(c.criterion.label, 24),
            "colour": looks[c.criterion].colour,
            "ink": "var(--ink-2)" if c.criterion.is_control else "var(--ink)",
        }
        for c, pixel in zip(ends, spread_apart(wanted, _LINE, _HEIGHT), strict=True)
    ]
    leader = {
        "x": position("x", across),
        "y": position("y", accuracies),
        "x2": end("right"),
        "y2": end("label"),
        "color": as_is("colour"),
    }
    at = {
        "x": position("right", across),
        "y": position("label", accuracies),
        "text": text("name"),
        "color": as_is("ink"),
    }
    return [
        layer("rule", rows, leader, strokeWidth=0.7, opacity=0.6, x2Offset=6),
        labels(rows, at, dx=9),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _range(values: Sequence[float], highest: float | None) -> tuple[float, float]:
    margin = max(0.01, (max(values) - min(values)) * 0.06)
    top = max(values) + margin
    return (max(0.0, min(values) - margin), top if highest is None else min(highest, top))
