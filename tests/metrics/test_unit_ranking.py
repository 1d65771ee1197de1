"""Both ends of a ranking, against Python's own sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.metrics.unit_ranking import both_ends


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_the_ends_are_those_of_a_sorted_list_and_ties_are_counted(
    values: list[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(values)))
    top, bottom = both_ends(np.array(values, np.float32), k)
    units = range(len(values))
    assert list(top.units) == sorted(units, key=lambda unit: (-values[unit], unit))[:k]
    assert list(bottom.units) == sorted(units, key=lambda unit: (values[unit], unit))[:k]
    for end in (top, bottom):
        rest = [values[unit] for unit in units if unit not in end.units]
        assert end.tied == rest.count(values[end.units[-1]])


def test_there_is_no_end_longer_than_the_layer() -> None:
    with pytest.raises(ValueError, match="from 1 to 2, got 3"):
        both_ends(np.zeros(2), 3)
