from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.contracts.layers import CoupledGroup, GroupMember
from benchsuite.scoring.controls import reversed_scores, shuffled_scores


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_reversed_turns_the_order_and_keeps_the_values(values: list[int]) -> None:
    scores = torch.tensor(values, dtype=torch.float32)
    turned = reversed_scores({"a": scores})["a"]
    assert sorted(turned.tolist()) == sorted(scores.tolist())
    for i in range(len(values)):
        for j in range(len(values)):
            if values[i] < values[j]:
                assert turned[i] >= turned[j]
    assert torch.equal(reversed_scores({"a": turned})["a"].sort().values, scores.sort().values)


def test_reversed_keeps_shapes_and_layers_apart() -> None:
    turned = reversed_scores(
        {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([10.0, 30.0, 20.0])}
    )
    assert turned["a"].tolist() == [[4.0, 3.0], [2.0, 1.0]]
    assert turned["b"].tolist() == [30.0, 10.0, 20.0]


def test_shuffled_permutes_within_layers() -> None:
    scores = {"a": torch.arange(50.0), "b": torch.arange(100.0, 120.0).reshape(4, 5)}
    once = shuffled_scores(scores, torch.Generator().manual_seed(0))
    again = shuffled_scores(scores, torch.Generator().manual_seed(0))
    other = shuffled_scores(scores, torch.Generator().manual_seed(1))
    for name, score in scores.items():
        assert once[name].shape == score.shape
        assert sorted(once[name].flatten().tolist()) == score.flatten().tolist()
        assert not torch.equal(once[name], score)
        assert torch.equal(once[name], again[name])
        assert not torch.equal(once[name], other[name])


def test_shuffled_keeps_coupled_units_together() -> None:
    # Position i of the group couples unit i of "a" with unit 4 - i of "b".
    members = (
        GroupMember("a", tuple((i,) for i in range(5))),
        GroupMember("b", tuple((4 - i,) for i in range(5))),
    )
    scores = {"a": torch.arange(5.0), "b": torch.arange(5.0).flip(0) * 10}
    shuffled = shuffled_scores(scores, torch.Generator().manual_seed(0), [CoupledGroup("a", members, 5)])
    assert not torch.equal(shuffled["a"], scores["a"])
    torch.testing.assert_close(shuffled["a"] * 10, shuffled["b"].flip(0))
