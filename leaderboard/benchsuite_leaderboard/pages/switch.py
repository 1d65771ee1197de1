"""The switch between boards: what distinguishes them, and which board each choice leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite_leaderboard.grouping import flat_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite_leaderboard.protocol import Protocol
    from benchsuite_leaderboard.report import BoardReport

_BUDGETS = {"macs": "MACs", "params": "parameters"}
_MOST_SETTINGS = 6


@dataclass(frozen=True)
class Choice:
    """One value of an axis, and the board that it leads to from the board that is shown.

    Attributes:
        is_exact: whether that board differs in this axis alone.
    """

    value: str
    board: BoardReport
    is_current: bool
    is_exact: bool


@dataclass(frozen=True)
class Axis:
    """A setting in which boards differ."""

    name: str
    choices: tuple[Choice, ...]


def switch(boards: Sequence[BoardReport], current: BoardReport) -> tuple[Axis, ...]:
    """The axes in which some of the boards differ; empty for a single board.

    Where no board differs from the current one in the chosen value alone, the value leads to the board with
    the fewest other differences.
    """
    described = differing_axes(boards)
    mine = described[current.anchor]
    found = []
    for axis in mine:
        values = sorted({each[axis] for each in described.values()}, key=_natural)
        choices = []
        for value in values:
            having = [b for b in boards if described[b.anchor][axis] == value]
            distances = [
                sum(described[b.anchor][other] != mine[other] for other in mine if other != axis)
                for b in having
            ]
            nearest = min(distances)
            board = current if value == mine[axis] else having[distances.index(nearest)]
            choices.append(Choice(value, board, value == mine[axis], value == mine[axis] or nearest == 0))
        found.append(Axis(axis, tuple(choices)))
    return tuple(found)


def differing_axes(boards: Sequence[BoardReport]) -> dict[str, dict[str, str]]:
    """For each board, by its anchor, the values of the axes in which the boards differ."""
    every = {board.anchor: _axes(board.board.protocol) for board in boards}
    names = list(dict.fromkeys(name for axes in every.values() for name in axes))
    # A setting that a board lacks is one that its version of benchsuite did not have.
    full = {anchor: {name: axes.get(name, "unset") for name in names} for anchor, axes in every.items()}
    differing = [n for n in names if len({axes[n] for axes in full.values()}) > 1]
    shown = [n for n in differing if "." not in n]
    settings = [n for n in differing if "." in n]
    if len(settings) <= _MOST_SETTINGS:
        shown += settings
        return {anchor: {name: axes[name] for name in shown} for anchor, axes in full.items()}
    found = {}
    for anchor, axes in full.items():
        together = ", ".join(f"{name} = {axes[name]}" for name in settings)
        found[anchor] = {name: axes[name] for name in shown} | {"settings": together}
    return found


def in_short(boards: Sequence[BoardReport]) -> dict[str, str]:
    """Each board, by its anchor, in the words that distinguish it from the others."""
    return {
        anchor: " · ".join(_phrase(name, value) for name, value in axes.items()) or "all trials"
        for anchor, axes in differing_axes(boards).items()
    }


def _phrase(axis: str, value: str) -> str:
    if axis in {"granularity", "scope"}:
        return f"{value} {axis}"
    if axis == "budget":
        return f"budget in {value}"
    return value if axis in {"schedule", "recovery"} else f"{axis} {value}"


def _axes(protocol: Protocol) -> Mapping[str, str]:
    settings = {
        name if "." in name else f"suite.{name}": value.strip('"')
        for name, value in flat_settings(protocol).items()
    }
    return {
        "granularity": protocol.granularity,
        "scope": protocol.scope,
        "budget": _BUDGETS.get(protocol.budget, protocol.budget),
        "schedule": protocol.schedule,
        "recovery": protocol.recovery,
    } | settings


def _natural(text: str) -> tuple[bool, float, str]:
    """Numbers at the beginning by size, then words; "no recovery" before all."""
    first = text.split()[0] if text.split() else ""
    try:
        return (True, float(first), text)
    except ValueError:
        return (first != "no", 0.0, text)
