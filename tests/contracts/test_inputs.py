"""Inputs by name: they do for all tensors what is asked of one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

import benchsuite
from benchsuite.contracts.inputs import (
    TensorMap,
    another,
    blank,
    example_of,
    from_names,
    joined,
    random_like,
    shape_of,
    take_by_name,
    tensors_of,
    twice,
    under_names,
)


def some(samples: int, steps: int = 4) -> TensorMap:
    generator = torch.Generator().manual_seed(samples)
    parts = {
        "input_ids": torch.randint(9, (samples, steps), generator=generator),
        "attention_mask": torch.ones(samples, steps, dtype=torch.int64),
        "weights": torch.randn(samples, 3, 2, generator=generator),
    }
    return TensorMap(parts, "attention_mask")


def same(one: TensorMap, other: dict[str, Tensor]) -> bool:
    return list(one.parts) == list(other) and all(torch.equal(one[name], other[name]) for name in other)


@given(st.integers(1, 12), st.integers(1, 5), st.data())
def test_rows_are_those_of_each_tensor(samples: int, size: int, data: st.DataObject) -> None:
    inputs = some(samples)
    numbers = data.draw(st.lists(st.integers(0, samples - 1), min_size=1, max_size=7))
    index = torch.tensor(numbers)
    assert same(inputs[index], {n: part[index] for n, part in inputs.parts.items()})
    assert same(inputs.index_select(0, index), {n: part[index] for n, part in inputs.parts.items()})
    pieces = inputs.split(size)
    assert [len(piece) for piece in pieces] == [len(part) for part in torch.zeros(samples).split(size)]
    assert same(joined(pieces), inputs.parts)
    assert all(piece.mask == "attention_mask" for piece in pieces)
    assert len(inputs[1:3]) == len(torch.zeros(samples)[1:3])


def test_only_floats_change_their_precision() -> None:
    found = some(3).to(torch.float64)
    assert [part.dtype for part in tensors_of(found)] == [torch.int64, torch.int64, torch.float64]
    assert found.to("cpu").device == torch.device("cpu")


def test_one_sample_is_a_slice_and_nobody_goes_through_them_by_chance() -> None:
    with pytest.raises(TypeError, match="a slice of one"):
        some(3)[0]
    with pytest.raises(TypeError, match="slices"):
        list(some(3))


def test_it_is_a_tree_of_its_tensors() -> None:
    inputs = some(5)
    leaves, spec = pytree.tree_flatten(inputs)
    again = pytree.tree_unflatten(leaves, spec)
    assert same(again, inputs.parts)
    assert again.mask == inputs.mask
    sums = vmap(lambda sample: sample["weights"].sum() + sample["input_ids"].sum())(inputs)
    expected = inputs["weights"].sum((1, 2)) + inputs["input_ids"].sum(1)
    assert torch.allclose(sums, expected)


def test_a_file_gives_back_names_order_and_mask() -> None:
    inputs = some(3)
    kept = under_names(inputs, "train/inputs")
    shuffled = dict(sorted(kept.items()))
    found = from_names(shuffled, "train/inputs", tuple(inputs.parts), inputs.mask)
    assert isinstance(found, TensorMap)
    assert same(found, inputs.parts)
    assert found.mask == inputs.mask
    tensor = torch.randn(3, 2)
    assert from_names(under_names(tensor, "x"), "x", ()) is tensor


class ByName(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, weights: Tensor) -> Tensor:
        scores: Tensor = self.linear((input_ids * attention_mask).float())
        return scores + weights.mean((1, 2))[:, None]


def test_a_network_gets_them_as_keyword_arguments_also_its_copies() -> None:
    network, inputs = ByName(), some(3)
    expected = network(**inputs.parts)
    with pytest.raises(TypeError):
        network(inputs)
    take_by_name(network)
    for each in (network, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(each(inputs), expected)
        assert torch.equal(each(**inputs.parts), expected)
        assert torch.equal(each(*inputs.parts.values()), expected)
    values = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    found = benchsuite.functional_call(network, values, (inputs,))
    assert torch.equal(found, inputs["weights"].mean((1, 2))[:, None].expand(3, 2))


def test_an_example_has_two_samples_that_differ() -> None:
    inputs = joined([some(4)[:1]] * 3 + [some(4)])
    example = example_of(inputs)
    assert len(example) == 2
    assert same(example[:1], inputs[:1].parts)
    assert same(another(example), some(4)[1:2].parts)
    with pytest.raises(benchsuite.Unsupported, match="two samples that differ"):
        another(inputs[:1])
    with pytest.raises(benchsuite.Unsupported, match="two samples that differ"):
        example_of(inputs[:3])


def test_an_example_of_a_tensor_is_its_first_sample() -> None:
    tensor = torch.randn(4, 3)
    assert torch.equal(example_of(tensor), tensor[:1])
    assert torch.equal(another(tensor), 0.5 * tensor[:1].flip(-1) + 0.1)
    assert torch.equal(twice(tensor), torch.cat([tensor, -tensor]))


def test_random_inputs_keep_ids_and_masks() -> None:
    inputs = some(2)
    found = random_like(inputs, seed=3)
    assert torch.equal(found["input_ids"], inputs["input_ids"])
    assert torch.equal(found["attention_mask"], inputs["attention_mask"])
    assert not torch.equal(found["weights"], inputs["weights"])
    assert torch.equal(random_like(inputs, seed=3)["weights"], found["weights"])
    assert len(twice(inputs)) == 4


def test_blank_samples_have_the_shapes_that_a_model_is_built_for() -> None:
    inputs = some(5)
    shape = shape_of(inputs, benchsuite.Tokens(9))
    assert isinstance(shape, benchsuite.NamedInputs)
    assert shape.shapes == {"input_ids": (4,), "attention_mask": (4,), "weights": (3, 2)}
    made = blank(shape, 2)
    assert shape_of(made, shape.tokens) == shape
    assert blank((3, 8), 2).shape == (2, 3, 8)  # type: ignore[union-attr]  # a tensor
