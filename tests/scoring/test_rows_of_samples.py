"""What is read of a network is given to the sample that it is of, or to none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from benchsuite.contracts.other_parameters import functional_call
from benchsuite.errors import Unsupported
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import tiny_trace
from benchsuite.testing.conformance import context_for
from benchsuite.trials.usable_model import place_of_class_scores
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = 16


class Encoder(nn.Module):
    """As many tokens as there are samples in a batch, in torch's default order: tokens first."""

    def __init__(self, *, tokens_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens_first = tokens_first
        self.make, self.head = nn.Conv2d(1, 6, 2, 2), nn.Linear(6, 3)
        self.first, self.second = nn.Linear(6, 9), nn.Linear(9, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.make(x).flatten(2).permute(2, 0, 1)
        x = x if self.tokens_first else x.transpose(0, 1)
        x = x + self.second(self.first(x).relu())
        return self.head(x.mean(0 if self.tokens_first else 1))  # type: ignore[no-any-return]


class TwoViews(nn.Module):
    """Each image and its mirror image, all images first or each image beside its mirror image."""

    def __init__(self, *, views_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.views_first = views_first
        self.first, self.second, self.head = nn.Conv2d(1, 5, 3), nn.Conv2d(5, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        both = torch.stack((x, x.flip(3)), 0 if self.views_first else 1).flatten(0, 1)
        found = self.second(self.first(both).relu()).relu().mean((2, 3))
        pairs = found.unflatten(0, (2, count) if self.views_first else (count, 2))
        return self.head(pairs.mean(0 if self.views_first else 1))  # type: ignore[no-any-return]


class OneByOne(nn.Module):
    """Each sample by itself, with or without a dimension of samples."""

    def __init__(self, *, batched: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.batched = batched
        self.first, self.second, self.head = nn.Conv2d(1, 5, 3), nn.Conv2d(5, 5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self._maps(image[None] if self.batched else image) for image in x]
        return self.head(torch.stack([each.mean((-1, -2)).flatten() for each in maps]))  # type: ignore[no-any-return]

    def _maps(self, image: Tensor) -> Tensor:
        return self.second(self.first(image).relu()).relu()  # type: ignore[no-any-return]


class Whole(OneByOne):
    """All samples at once, as most networks are."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self._maps(x).mean((2, 3)))  # type: ignore[no-any-return]


PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "tokens first": (lambda: Encoder(tokens_first=True), lambda: Encoder(tokens_first=False)),
    "views first": (lambda: TwoViews(views_first=True), lambda: TwoViews(views_first=False)),
    "one by one": (lambda: OneByOne(batched=True), lambda: Whole(batched=True)),
    "one by one without a batch": (lambda: OneByOne(batched=False), lambda: Whole(batched=True)),
}
INDIFFERENT = {"thinet"}
"""What draws places of maps, which have another order."""


def scores_of(network: nn.Module, scorer: type) -> dict[str, Tensor] | None:
    inputs = torch.randn(SAMPLES, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(SAMPLES) % 3
    graph = trace(network, inputs)
    context = context_for(
        network,
        inputs,
        labels,
        layers=graph.layers,
        groups=graph.groups,
        batch_size=SAMPLES,
        trace=tiny_trace(network) if scorer.needs_training_trace else None,
        target=0.4 if scorer.needs_target else None,
    )
    try:
        return run_scorer(scorer(), context).scores
    except Unsupported:
        return None


@pytest.mark.parametrize("kind", PAIRS)
def test_the_order_of_a_network_moves_no_score(kind: str) -> None:
    other, plain = (build().eval() for build in PAIRS[kind])
    other.load_state_dict(plain.state_dict())
    inputs = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(other(inputs), plain(inputs))
    compared = 0
    for scorer in SCORERS:
        found = scores_of(other, scorer)
        if found is None or scorer.name in INDIFFERENT:
            continue
        expected = scores_of(plain, scorer)
        assert expected is not None
        for name, score in found.items():
            torch.testing.assert_close(
                score.double(), expected[name].double(), rtol=2e-3, atol=1e-5, msg=f"{scorer.name} {name}"
            )
        compared += 1
    assert compared >= 10


class Named(nn.Module):
    """A layer with two names, a weight of two layers, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = self.same = nn.Linear(4, 4)
        self.tied, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.inner, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.tied.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.tied(self.same(self.one(x.flatten(1))).relu()).relu()
        return self.head(self.inner(self.norm(x)).relu())  # type: ignore[no-any-return]


def test_a_call_with_other_parameters_leaves_the_network_as_it_is() -> None:
    network, inputs = Named().eval(), torch.randn(5, 4)
    before = [*network.parameters(), *network.buffers()]
    values = {name: 2 * value.detach() for name, value in network.named_parameters()}
    found = functional_call(network, values, (inputs,))
    assert [a is b for a, b in zip(before, [*network.parameters(), *network.buffers()], strict=True)]
    place_of_class_scores(network, inputs, 3)
    after = [*network.parameters(), *network.buffers()]
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert all(isinstance(parameter, nn.Parameter) for parameter in network.parameters())
    assert network.tied.weight is network.one.weight
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
        torch.testing.assert_close(found, network(inputs))


def test_criteria_leave_a_layer_with_two_names_as_it_is() -> None:
    network = Named().eval()
    before = [*network.parameters()]
    inputs, labels = torch.randn(12, 4), torch.arange(12) % 3
    graph = trace(network, inputs)
    for scorer in SCORERS:
        context = context_for(
            network,
            inputs,
            labels,
            layers=graph.layers,
            groups=graph.groups,
            trace=tiny_trace(network) if scorer.needs_training_trace else None,
            target=0.4 if scorer.needs_target else None,
        )
        try:
            run_scorer(scorer(), context)
        except Unsupported:
            continue
        assert all(a is b for a, b in zip(before, network.parameters(), strict=True)), scorer.name
