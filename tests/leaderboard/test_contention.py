from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchsuite_leaderboard.board import Block, Criterion, DenseModel, Workload
from benchsuite_leaderboard.contention import SHARE, Contention, contention

BLOCKS = [Block(DenseModel(Workload("d", model), str(seed)), 0.5) for model in "mn" for seed in range(5)]
NAMES = [Criterion(name, name) for name in "abcd"]


def compared(values: dict[Criterion, list[Block]], least: int = 2) -> Contention:
    return contention(values, BLOCKS, lambda block: block.dense_model.workload, least)


def test_all_with_everything_are_compared() -> None:
    found = compared(dict.fromkeys(NAMES, BLOCKS))
    assert found == Contention(tuple(NAMES), (), frozenset(BLOCKS), 10)


def test_one_workload_of_two_is_a_part() -> None:
    found = compared({NAMES[0]: BLOCKS, NAMES[1]: BLOCKS[:5]})
    assert (found.criteria, found.partial, found.blocks) == ((NAMES[0],), (NAMES[1],), frozenset(BLOCKS))


def test_what_none_has_in_common_leaves_out_the_one_with_the_fewest() -> None:
    found = compared({NAMES[0]: BLOCKS[:8], NAMES[1]: BLOCKS[:3] + BLOCKS[5:], NAMES[2]: BLOCKS[2:]})
    assert len(found.criteria) >= 2
    assert all(found.blocks <= set(values) for c, values in zip(NAMES, [BLOCKS[:8]], strict=False))


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
