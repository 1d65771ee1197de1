"""Criteria of which a board has several settings of one parameter, or several thresholds."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.pruning.threshold import threshold_of
from benchsuite_leaderboard.board import RANDOM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchsuite_leaderboard.board import Board, BoardTrial, Criterion, Workload
    from benchsuite_leaderboard.protocol import Sparsity

FEWEST = 3
"""Values of a parameter that make it an axis."""
MOST_LINES = 7
"""Amounts that have a line each; a chart with more cannot be read."""


@dataclass(frozen=True)
class Place:
    """A cell of a workload, and where it stands on the axis."""

    x: float
    criterion: Criterion
    sparsity: Sparsity


@dataclass(frozen=True)
class SweptLine:
    """Cells that differ in the parameter alone, in its order; or those of the control random beside them.

    Attributes:
        sparsity: of all of them; None where it is the axis.
    """

    sparsity: Sparsity | None
    places: tuple[Place, ...]
    is_random: bool = False


@dataclass(frozen=True)
class Sweep:
    """A criterion with several values of one parameter, all else equal.

    Attributes:
        label: the criterion, with what is equal in all.
        parameter: its name; None for thresholds.
        unplaced: settings whose value no record says: that of a default.
        left_out: amounts without a line.
    """

    label: str
    parameter: str | None
    lines: tuple[SweptLine, ...]
    unplaced: tuple[Criterion, ...] = ()
    left_out: tuple[Sparsity, ...] = ()


@dataclass(frozen=True)
class _Setting:
    """A criterion by its scorer's name and parameters: those that are no defaults, and where known, all."""

    criterion: Criterion
    scorer: str
    set: Mapping[str, Any]
    known: Mapping[str, Any]

    def value(self, parameter: str) -> float | None:
        """A number that a parameter has; None where it is none, or the record does not say it."""
        value = self.set.get(parameter, self.known.get(parameter))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number and math.isfinite(value) else None

    def others(self, parameter: str) -> str:
        """What it sets beside a parameter."""
        return json.dumps({n: v for n, v in self.set.items() if n != parameter}, sort_keys=True, default=str)


def sweeps_of(board: Board, pair: Workload) -> tuple[Sweep, ...]:
    """The parameters and thresholds of a workload that have enough values for an axis, by criterion."""
    trials = {
        criterion: found for criterion in board.criteria if (found := board.of_criterion(criterion, pair))
    }
    amounts = {
        criterion: {trial.block.sparsity for trial in of_criterion}
        for criterion, of_criterion in trials.items()
    }
    random = next((criterion for criterion in trials if criterion.scorer == RANDOM), None)
    swept = [*_of_thresholds(board, amounts, random), *_of_parameters(board, trials, amounts, random)]
    return tuple(sorted(swept, key=lambda sweep: (sweep.label, sweep.parameter or "")))


def _of_thresholds(
    board: Board, amounts: Mapping[Criterion, set[Sparsity]], random: Criterion | None
) -> Iterator[Sweep]:
    for criterion, asked in amounts.items():
        thresholds = _thresholds(board, asked)
        if criterion.is_control or len(thresholds) < FEWEST:
            continue
        lines = [SweptLine(None, tuple(Place(x, criterion, s) for s, x in thresholds.items()))]
        if random is not None and (shared := [s for s in thresholds if s in amounts[random]]):
            places = tuple(Place(thresholds[s], random, s) for s in shared)
            lines.append(SweptLine(None, places, is_random=True))
        yield Sweep(criterion.label, None, tuple(lines))


def _thresholds(board: Board, asked: set[Sparsity]) -> dict[Sparsity, float]:
    """In order, the thresholds of those amounts."""
    return {s: x for s in board.sparsities if s in asked and (x := threshold_of(s)) is not None}


def _of_parameters(
    board: Board,
    trials: Mapping[Criterion, Sequence[BoardTrial]],
    amounts: Mapping[Criterion, set[Sparsity]],
    random: Criterion | None,
) -> Iterator[Sweep]:
    groups: dict[tuple[str, str, str], list[_Setting]] = defaultdict(list)
    by_scorer: dict[str, list[_Setting]] = defaultdict(list)
    for criterion, of_criterion in trials.items():
        if not criterion.is_control:
            setting = _setting(criterion, of_criterion)
            by_scorer[setting.scorer].append(setting)
    for scorer, settings in by_scorer.items():
        for parameter in sorted({name for setting in settings for name in setting.set}):
            for setting in settings:
                groups[scorer, parameter, setting.others(parameter)].append(setting)
    for (scorer, parameter, others), settings in groups.items():
        placed: dict[float, Criterion] = {}
        unplaced = []
        for setting in settings:
            x = setting.value(parameter)
            if x is None or x in placed:
                unplaced.append(setting.criterion)
            else:
                placed[x] = setting.criterion
        if len(placed) >= FEWEST:
            fixed = ", ".join(f"{name}={value}" for name, value in json.loads(others).items())
            label = f"{scorer}({fixed})" if fixed else scorer
            lines, rest = _lines(board, dict(sorted(placed.items())), amounts, random)
            if lines:
                yield Sweep(label, parameter, lines, tuple(unplaced), rest)


def _lines(
    board: Board,
    placed: Mapping[float, Criterion],
    amounts: Mapping[Criterion, set[Sparsity]],
    random: Criterion | None,
) -> tuple[tuple[SweptLine, ...], tuple[Sparsity, ...]]:
    """One line for each amount with enough values, each with that of random; and the amounts without one."""
    every = set().union(*(amounts[criterion] for criterion in placed.values()))
    # Thresholds that are an axis of their own have a chart of their own.
    own = _thresholds(board, every)
    asked = [s for s in board.sparsities if s in every and not (s in own and len(own) >= FEWEST)]
    lines: list[SweptLine] = []
    drawn = 0
    rest = []
    for sparsity in asked:
        places = tuple(Place(x, c, sparsity) for x, c in placed.items() if sparsity in amounts[c])
        if len(places) < FEWEST:
            continue
        if drawn == MOST_LINES:
            rest.append(sparsity)
            continue
        drawn += 1
        lines.append(SweptLine(sparsity, places))
        if random is not None and sparsity in amounts[random]:
            beside = tuple(Place(place.x, random, sparsity) for place in places)
            lines.append(SweptLine(sparsity, beside, is_random=True))
    return tuple(lines), tuple(rest)


def _setting(criterion: Criterion, trials: Sequence[BoardTrial]) -> _Setting:
    """What the records of a criterion say of its parameters; nothing where they disagree."""
    set_ = trials[0].record.axes.get("scorer_params")
    known = [trial.record.provenance.get("scorer_parameters") for trial in trials]
    alike = known and isinstance(known[0], dict) and all(each == known[0] for each in known)
    own = set_ if isinstance(set_, dict) else {}
    scorer = criterion.scorer.partition("(")[0] if own else criterion.scorer
    return _Setting(criterion, scorer, own, known[0] if alike and isinstance(known[0], dict) else {})
