"""Padding counts in nothing that is read: each sample is read as if it were alone and had no padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchsuite import TensorMap
from benchsuite.errors import Unsupported
from benchsuite.scoring.padding import alike, counted, kept_positions, mean_over_positions, without_padding
from benchsuite.scoring.reductions import find_reduction

READS = nn.Linear(3, 2)
REDUCTIONS = ("mean", "max", "variance", "zero-fraction", "top-2-mean")


def batch(lengths: list[int], steps: int, gaps: bool = False) -> TensorMap:
    generator = torch.Generator().manual_seed(sum(lengths))
    mask = torch.zeros(len(lengths), steps, dtype=torch.int64)
    for row, length in enumerate(lengths):
        places = torch.randperm(steps, generator=generator)[:length] if gaps else torch.arange(length)
        mask[row, places] = 1
    return TensorMap({"input_ids": mask * 3, "attention_mask": mask}, "attention_mask")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.booleans())
def test_a_reduction_is_that_of_each_sample_without_its_padding(
    reduction: str, lengths: list[int], gaps: bool
) -> None:
    inputs = batch(lengths, 6, gaps)
    maps = torch.randn(len(lengths), 3, 6, generator=torch.Generator().manual_seed(0)).relu()
    reduce = find_reduction(reduction)
    found = torch.zeros(len(lengths), 3)
    for rows, some in alike(maps, kept_positions(inputs)):
        found[rows] = reduce(some)
    for row, sample in enumerate(maps):
        alone = sample[:, inputs["attention_mask"][row] == 1]
        assert torch.allclose(found[row], reduce(alone[None])[0], atol=1e-6)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_the_mean_over_positions_is_that_of_those_that_count(lengths: list[int]) -> None:
    inputs = batch(lengths, 6)
    maps = torch.randn(len(lengths), 3, 6)
    found = mean_over_positions(maps, kept_positions(inputs))
    expected = torch.stack([sample[:, :length].mean(1) for sample, length in zip(maps, lengths, strict=True)])
    assert torch.allclose(found, expected, atol=1e-6)


def test_maps_without_steps_are_read_whole() -> None:
    inputs = batch([2, 3], 4)
    pooled = torch.randn(2, 5, 1)
    kept = counted(READS, pooled.shape[2:], kept_positions(inputs))
    assert kept is None
    ((rows, some),) = alike(pooled, kept)
    assert rows == slice(None)
    assert some is pooled
    assert torch.equal(mean_over_positions(pooled, kept), pooled[:, :, 0])
    assert torch.equal(without_padding(nn.Linear(5, 2), pooled[:, :, 0], inputs), pooled[:, :, 0])


def test_without_padding_nothing_changes() -> None:
    full = batch([4, 4], 4)
    values = torch.randn(2, 4, 3)
    assert kept_positions(full) is None
    assert kept_positions(torch.randn(2, 3)) is None
    assert without_padding(READS, values, full) is values
    assert without_padding(READS, values, values) is values


def test_what_is_at_padding_is_zero() -> None:
    inputs, values = batch([1, 3], 4), torch.ones(2, 4, 3)
    found = without_padding(READS, values, inputs)
    assert found.sum((1, 2)).tolist() == [3, 9]
    assert torch.equal(found, values * inputs["attention_mask"][:, :, None])


@pytest.mark.parametrize("channels", [3, 5])
def test_of_convolutions_the_last_dimension_is_that_of_steps(channels: int) -> None:
    inputs, values = batch([1, 3], 4), torch.ones(2, channels, 4)
    found = without_padding(nn.Conv1d(channels, 2, 3), values, inputs)
    assert torch.equal(found, values * inputs["attention_mask"][:, None])


@pytest.mark.parametrize(
    ("module", "values"),
    [
        (nn.Conv1d(4, 2, 3), torch.ones(2, 4, 4)),  # channels or steps
        (nn.Linear(4, 2), torch.ones(2, 4, 4)),
        (nn.Linear(4, 2), torch.ones(2, 3, 4)),  # it mixes steps
        (nn.Linear(3, 2), torch.ones(2, 5, 3)),  # a token more
        (nn.Conv1d(3, 2, 3), torch.ones(2, 3, 2)),  # behind a stride
        (nn.Conv2d(1, 2, 3), torch.ones(2, 1, 4, 3)),
        (nn.Linear(3, 2), torch.ones(8, 3)),  # steps as samples
    ],
)
def test_where_padding_is_not_known_it_is_refused(module: nn.Module, values: Tensor) -> None:
    with pytest.raises(Unsupported, match="which positions are padding is not known in a layer"):
        without_padding(module, values, batch([1, 3], 4))
    assert without_padding(module, values, batch([4, 4], 4)) is values
