"""Accuracy against the remaining cost, with the Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.theme import shorten
from benchsuite_leaderboard.charts.vegalite import as_is, axis, layer, text, to_svg
from benchsuite_leaderboard.statistics.pareto import pareto_front

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Criterion, Sparsity
    from benchsuite_leaderboard.charts.theme import Look

_CROSS = "M-1,-1L1,1M1,-1L-1,1"


@dataclass(frozen=True)
class Choice:
    """One criterion at one sparsity.

    Attributes:
        cost: the remaining fraction of the dense network's cost.
    """

    criterion: Criterion
    sparsity: Sparsity
    cost: float
    accuracy: float


def front(choices: Sequence[Choice]) -> list[Choice]:
    """The choices that no other choice beats, the cheapest first; controls are left out."""
    candidates = [choice for choice in choices if not choice.criterion.is_control]
    return [candidates[i] for i in pareto_front([(c.cost, c.accuracy) for c in candidates])]


def trade_off(
    choices: Sequence[Choice], looks: Mapping[Criterion, Look], *, cost_title: str, label: str
) -> Markup | None:
    """A scatter of all choices as SVG, the front drawn as steps; None without choices."""
    if not choices:
        return None
    costs = _range([c.cost for c in choices], None)
    x = axis("x", costs, cost_title, format=".0%", tickCount=5, grid=False)
    accuracies = _range([c.accuracy for c in choices], 1.0)
    y = axis("y", accuracies, "test accuracy (top-1)", format=".0%", tickCount=6)
    rows = [
        {
            "x": c.cost,
            "y": c.accuracy,
            "colour": looks[c.criterion].colour,
            "control": c.criterion.is_control,
            "note": f"{shorten(c.criterion.label, 60)}: {_percent(c.accuracy)} with {_percent(c.cost)} left",
        }
        for c in choices
    ]
    marks = {"x": x, "y": y, "color": as_is("colour"), "description": text("note")}
    steps = [{"x": c.cost, "y": c.accuracy} for c in front(choices)]
    layers = [
        layer("line", steps, {"x": x, "y": y}, interpolate="step-after", color="var(--ink-3)", strokeWidth=1),
        layer("point", [r for r in rows if r["control"]], marks, shape=_CROSS, size=30, strokeWidth=1.2),
        layer("point", [r for r in rows if not r["control"]], marks, filled=True, size=46, opacity=1),
    ]
    return to_svg(layers, width=400, height=320, label=label)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _range(values: Sequence[float], highest: float | None) -> tuple[float, float]:
    margin = max(0.01, (max(values) - min(values)) * 0.06)
    top = max(values) + margin
    return (max(0.0, min(values) - margin), top if highest is None else min(highest, top))
