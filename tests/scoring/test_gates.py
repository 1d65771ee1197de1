"""Gates at the readers of coupled groups, each compared with factors that are written into the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.contracts.layers import CoupledGroup, GroupMember, GroupReader, Layer
from benchsuite.scoring.backward import gradient_batches
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite_scorers.registration import Fisher

if TYPE_CHECKING:
    from collections.abc import Callable


def one_each(size: int) -> tuple[tuple[int, ...], ...]:
    return tuple((i,) for i in range(size))


def context_of(model: nn.Module, inputs: Tensor, *readers: str, units: int = 4) -> ScoringContext:
    """A context with one group, the units of `first`, that these layers read one for one."""
    group = CoupledGroup(
        "first",
        (GroupMember("first", one_each(units)),),
        units,
        tuple(GroupReader(name, one_each(units)) for name in readers),
    )
    layers = [Layer("first", "linear", model.get_submodule("first"))]
    labels = torch.arange(len(inputs)) % 3
    return ScoringContext(model.double(), layers, inputs.double(), labels, groups=[group], batch_size=4)


def gates(context: ScoringContext) -> Tensor:
    batches = list(gradient_batches(context, activations=False, gates=True))
    return torch.cat([batch.gates["first"] for batch in batches])


def expected(context: ScoringContext, forward: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each sample's own derivative, sample by sample, of a forward pass with a gate."""
    found = []
    for inputs, labels in context.batches(1):
        gate = torch.ones(4, dtype=torch.float64, requires_grad=True)
        loss = functional.cross_entropy(forward(inputs, gate), labels)
        found.append(torch.autograd.grad(loss, gate)[0])
    return torch.stack(found)


class Shared(nn.Module):
    """A tensor with two readers, one of them called twice, the second time by keyword; and a skip path."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.one = nn.Linear(5, 4), nn.Linear(4, 4)
        self.two, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, z: Tensor | float = 1.0) -> Tensor:
        x = torch.tanh(self.first(x))
        y = torch.tanh(self.one(x * z)) + x
        return self.last(torch.tanh(self.two(y * z)) + torch.tanh(self.two(input=y * 2 * z)))


def test_readers_add_up_each_with_its_own_use() -> None:
    model = Shared()
    context = context_of(model, torch.randn(10, 5), "one", "two")
    torch.testing.assert_close(gates(context), expected(context, model), rtol=1e-9, atol=1e-12)
    assert context.ungated == {}


class Tokens(nn.Module):
    """A reader of several tokens, and one whose windows have been moved into the first dimension."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.one, self.last = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, z: Tensor | float = 1.0) -> Tensor:
        x = torch.tanh(self.first(x.unflatten(1, (6, 5))))
        y = torch.tanh(self.one((x * z).reshape(-1, 2, 4))).reshape(len(x), 6, 4)
        return self.last((y + x) * z).mean(1)


def test_tokens_and_windows_belong_to_their_sample() -> None:
    model = Tokens()
    context = context_of(model, torch.randn(10, 30), "one", "last")
    torch.testing.assert_close(gates(context), expected(context, model), rtol=1e-9, atol=1e-12)


class SequenceFirst(Tokens):
    """A reader whose first dimension is that of tokens, of which there are as many as samples in a batch."""

    def forward(self, x: Tensor, z: Tensor | float = 1.0) -> Tensor:
        x = torch.tanh(self.first(x.unflatten(1, (4, 5)))).transpose(0, 1)
        return self.last(torch.tanh(self.one(x)).mean(0))


class Detached(Tokens):
    def forward(self, x: Tensor, z: Tensor | float = 1.0) -> Tensor:
        x = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.one(x.detach())) + x)


class Functional(Tokens):
    def forward(self, x: Tensor, z: Tensor | float = 1.0) -> Tensor:
        return self.last(torch.tanh(functional.linear(torch.tanh(self.first(x)), self.one.weight)))


class CalledAndFunctional(Tokens):
    def forward(self, x: Tensor, z: Tensor | float = 1.0) -> Tensor:
        x = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.one(x)) + x @ self.one.weight.T)


@pytest.mark.parametrize(
    ("network", "width", "reason"),
    [
        (SequenceFirst, 20, "what one reads cannot be given to samples"),
        (Detached, 5, "no gradient reaches what one reads"),
        (Functional, 5, "one reads its units without being called as a module"),
        (CalledAndFunctional, 5, "one reads its units without being called as a module"),
    ],
)
def test_what_cannot_be_gated_is_skipped_with_the_reason(
    network: type[Tokens], width: int, reason: str
) -> None:
    model = network()
    inputs = torch.randn(10, width)
    context = context_of(model, inputs, "one")
    assert context.ungated["first"].startswith(reason)
    with_another = context_of(model, inputs, "last", "one")
    assert with_another.ungated == context.ungated
    scorer = Fisher()
    assert scorer.score(context) == {}
    assert context.skipped == {"first": context.ungated["first"]}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.unflatten(1, (4, 5)))
        return self.last((self.attention(x, x, x)[0] + x).mean(1))


def test_the_output_layer_of_an_attention_is_noticed() -> None:
    context = context_of(Attention(), torch.randn(10, 20), "attention.out_proj")
    assert "attention.out_proj reads its units without being called" in context.ungated["first"]


def test_a_group_without_readers_is_skipped() -> None:
    context = context_of(Shared(), torch.randn(10, 5))
    reason = "no layer is known that reads its units, or a recurrent one does, which hides how"
    assert context.ungated == {"first": reason}


def test_one_group_that_cannot_be_gated_does_not_spoil_the_others() -> None:
    model = Functional().double()
    layers = [Layer("first", "linear", model.first), Layer("one", "linear", model.one)]
    groups = [
        CoupledGroup("first", (GroupMember("first", one_each(4)),), 4, (GroupReader("one", one_each(4)),)),
        CoupledGroup("one", (GroupMember("one", one_each(4)),), 4, (GroupReader("last", one_each(4)),)),
    ]
    inputs = torch.randn(10, 5, dtype=torch.float64)
    context = ScoringContext(model, layers, inputs, torch.arange(10) % 3, groups=groups)
    result = run_scorer(Fisher(), context)
    assert list(result.scores) == ["one"]
    assert list(result.skipped) == ["first"]


def test_a_layer_with_a_group_that_is_not_scored_is_skipped_as_a_whole() -> None:
    """Its other units would be compared with units that only seem to score 0."""
    model = Shared()
    groups = [
        CoupledGroup("first", (GroupMember("first", ((0,), (1,))),), 2),
        CoupledGroup("first#2", (GroupMember("first", ((2,), (3,))),), 2),
    ]
    layers = [Layer("first", "linear", model.first)]
    context = ScoringContext(model, layers, torch.zeros(3, 5), torch.arange(3), groups=groups)
    assert context.spread({"first": torch.ones(2)}, {"first#2": "because"}) == {}
    assert context.skipped == {"first": "because"}


def test_weights_need_no_gates() -> None:
    context = context_of(Functional(), torch.randn(10, 5), "one")
    context.granularity = "weight"
    assert context.gradient_statistic("squared-gate") == {}
    assert "ungated" not in vars(context)
