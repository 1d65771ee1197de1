from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.pair import pair_data
from benchsuite_leaderboard.report import make_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.store.record import TrialRecord


def test_a_mean_over_draws_is_equal_to_no_value_that_it_is_not(record: Callable[..., TrialRecord]) -> None:
    """Of three draws one has one more sample right: a third of the hundredth of a percent of a sample."""
    records = [record("a", 0.5, 0.9338, seed=seed) for seed in range(2)]
    draws = {0: (0.9338, 0.9338, 0.9338), 1: (0.9338, 0.9338, 0.9339)}
    records += [
        record("random", 0.5, value, seed=seed, draw=draw)
        for seed, values in draws.items()
        for draw, value in enumerate(values)
    ]
    (board,) = pair_data(make_report(records, title="", pending=0, notes=[]))["boards"]
    values = dict(zip(board["criteria"], board["values"]["after"], strict=True))
    assert values == {"a": [9338, 9338], "random": [9338, 9338.333]}
    # Written as short as they can be: there are many.
    assert json.dumps(values["random"]) == "[9338, 9338.333]"
