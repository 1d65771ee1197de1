from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.switch import in_short, switch
from benchsuite_leaderboard.report import make_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchsuite.store.record import TrialRecord
    from benchsuite_leaderboard.report import BoardReport

    Make = Callable[..., TrialRecord]


def boards_of(records: Sequence[TrialRecord]) -> tuple[BoardReport, ...]:
    return make_report(records, title="demo", pending=0, notes=[]).boards


def test_a_single_board_has_no_switch(record: Make) -> None:
    boards = boards_of([record("a", 0.5, 0.9)])
    assert switch(boards, boards[0]) == ()
    assert in_short(boards) == {boards[0].anchor: "all trials"}


def test_each_choice_changes_one_setting(record: Make) -> None:
    boards = boards_of(
        [
            record("a", 0.5, 0.9, scope=scope, budget=budget, recovery_epochs=epochs)
            for scope in ("layer", "global")
            for budget in ("macs", "params")
            for epochs in (0, 2, 10)
        ]
    )
    assert len(boards) == 12
    for board in boards:
        axes = switch(boards, board)
        assert [axis.name for axis in axes] == ["scope", "budget", "recovery"]
        for axis in axes:
            (current,) = [choice for choice in axis.choices if choice.is_current]
            assert current.board is board
            for choice in axis.choices:
                assert choice.is_exact
                mine, other = board.board.protocol, choice.board.board.protocol
                fields = ("scope", "budget", "recovery_epochs")
                changed = [name for name in fields if getattr(mine, name) != getattr(other, name)]
                assert len(changed) == (0 if choice.is_current else 1)
    numbers = [choice.value for choice in switch(boards, boards[0])[2].choices]
    assert numbers == ["no recovery", "2 epochs of recovery", "10 epochs of recovery"]
    assert len(set(in_short(boards).values())) == 12


def test_where_nothing_differs_in_one_setting_alone_the_nearest_board_is_offered(record: Make) -> None:
    boards = boards_of(
        [record("a", 0.5, 0.9), record("a", 0.5, 0.9, scope="layer", budget="params", schedule="iterative")]
    )
    for axis in switch(boards, boards[0]):
        (other,) = [choice for choice in axis.choices if not choice.is_current]
        assert other.board is boards[1]
        assert not other.is_exact


def test_settings_of_the_suite_are_axes_too(record: Make) -> None:
    boards = boards_of(
        [record("a", 0.5, 0.9, settings={"pruning": {"normalise": n}}) for n in ("declared", "mean")]
    )
    (axis,) = switch(boards, boards[0])
    assert axis.name == "pruning.normalise"
    assert [choice.value for choice in axis.choices] == ["declared", "mean"]
    many = boards_of([record("a", 0.5, 0.9, settings={"x": dict.fromkeys("abcdefghij", v)}) for v in (1, 2)])
    (axis,) = switch(many, many[0])
    assert axis.name == "settings"
    assert len(axis.choices) == 2
