from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite_leaderboard.board import Block, Criterion, DenseModel, Workload
from benchsuite_leaderboard.contention import SHARE, Contention, _leads, contention

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCKS = [Block(DenseModel(Workload("d", model), str(seed)), 0.5) for model in "mn" for seed in range(5)]
NAMES = [Criterion(name, name) for name in "abcd"]


def compared(values: dict[Criterion, list[Block]], least: int = 2) -> Contention:
    """The contention of criteria whose values are equal in each cell."""
    return chosen({c: dict.fromkeys(blocks, 0.5) for c, blocks in values.items()}, least)


def chosen(values: dict[Criterion, dict[Block, float]], least: int = 2) -> Contention:
    return contention(values, BLOCKS, lambda block: block.dense_model.workload, least)


def test_all_with_everything_are_compared() -> None:
    found = compared(dict.fromkeys(NAMES, BLOCKS))
    assert found == Contention(tuple(NAMES), (), frozenset(BLOCKS), 10)


def test_one_workload_of_two_is_a_part() -> None:
    found = compared({NAMES[0]: BLOCKS, NAMES[1]: BLOCKS[:5]})
    assert (found.criteria, found.partial, found.blocks) == ((NAMES[0],), (NAMES[1],), frozenset(BLOCKS))


LACKING = [[0, 5], [1, 6], [2, 7], [3, 8]]
"""Of five networks of each workload each criterion lacks another: three in common are left to two of them."""


def with_leads(names: Sequence[Criterion], leads: Sequence[float]) -> dict[Criterion, dict[Block, float]]:
    """Values of which each is a lead and the level of its network."""
    return {
        name: {b: lead + 0.05 * i for i, b in enumerate(BLOCKS) if i not in lacking}
        for name, lead, lacking in zip(names, leads, LACKING, strict=True)
    }


@pytest.mark.parametrize("leads", list(itertools.permutations([0.30, 0.31, 0.29, 0.10])))
def test_where_not_all_can_be_compared_those_with_the_highest_leads_are(leads: tuple[float, ...]) -> None:
    """Levels differ by more than the leads, so that means over other cells would have another order."""
    found = chosen(with_leads(NAMES, leads), least=3)
    wanted = sorted(NAMES, key=lambda name: -leads[NAMES.index(name)])[:2]
    assert set(found.criteria) == set(wanted)
    assert len(found.blocks) == 6


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_names_decide_nothing(order: tuple[int, ...]) -> None:
    """Neither with different leads nor with equal ones."""
    for leads in ([0.3, 0.2, 0.1, 0.4], [0.3] * 4):
        found = chosen(with_leads(NAMES, leads), least=3)
        renamed = chosen(with_leads([NAMES[i] for i in order], leads), least=3)
        assert renamed.blocks == found.blocks
        new = dict(zip(NAMES, (NAMES[i] for i in order), strict=True))
        assert set(renamed.criteria) == {new[c] for c in found.criteria}


def test_the_leads_are_those_of_ordinary_least_squares() -> None:
    """The second computation: one column for each criterion and each cell."""
    generator = np.random.default_rng(0)
    values = {
        name: {b: float(generator.normal()) for i, b in enumerate(BLOCKS) if i not in lacking}
        for name, lacking in zip(NAMES, LACKING, strict=True)
    }
    rows, seen = [], []
    for c, of in values.items():
        for b, value in of.items():
            rows.append([float(c == other) for other in NAMES] + [float(b == other) for other in BLOCKS])
            seen.append(value)
    known = np.linalg.lstsq(np.array(rows), np.array(seen), rcond=None)[0][: len(NAMES)]
    found = np.array(_leads(values, {c: frozenset(of) for c, of in values.items()}, NAMES))
    assert found - found.mean() == pytest.approx(known - known.mean(), abs=1e-8)


@given(st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(BLOCKS))), st.integers(1, 3))
def test_the_compared_have_all_common_cells_and_these_cover_every_workload(
    having: dict[Criterion, set[Block]], least: int
) -> None:
    found = compared({c: sorted(blocks) for c, blocks in having.items()}, least)
    assert set(found.criteria) | set(found.partial) == {c for c, blocks in having.items() if blocks}
    assert not set(found.criteria) & set(found.partial)
    for c in found.criteria:
        assert found.blocks <= having[c]
        assert len(having[c]) >= SHARE * len(BLOCKS)
    if found.criteria:
        assert found.blocks == set.intersection(*(having[c] for c in found.criteria))
        for model in "mn":
            assert sum(b.dense_model.workload.model == model for b in found.blocks) >= least
    else:
        assert not found.blocks
