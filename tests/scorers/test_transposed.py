"""Every criterion scores units of a transposed convolution like those of the convolution that it is.

A transposed convolution is a convolution with its kernel turned around, of a map with zeros between its
places. Two networks of which one has the former and one the latter compute the same, so that each criterion
must say the same of both.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import tiny_trace
from benchsuite.testing.conformance import context_for
from benchsuite.training.trace import TrainingTrace
from benchsuite_scorers._curvature import hessian_products
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from benchsuite import Scorer, ScoringContext

CLASSES, SAMPLES = 5, 30


class Spread(nn.Module):
    """Puts zeros between the places of a map."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        wide = nn.functional.pad(x[:, :, :, None, :, None], (0, self.step - 1, 0, 0, 0, self.step - 1))
        samples, channels, height, _, width, _ = wide.shape
        whole = wide.reshape(samples, channels, height * self.step, width * self.step)
        return whole[:, :, : whole.shape[2] - self.step + 1, : whole.shape[3] - self.step + 1]


class Network(nn.Module):
    """A convolution, a transposed one, a norm, another transposed one and a classifier."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, 2, 1)
        self.up, self.norm = nn.ConvTranspose2d(6, 8, 4, 2, 1, groups=groups), nn.BatchNorm2d(8)
        self.same, self.head = nn.ConvTranspose2d(8, 7, 3, 1, 1), nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.up(torch.relu(self.first(x)))))
        scores: Tensor = self.head(torch.relu(self.same(x)).mean((2, 3)))
        return scores


class Spreading(nn.Module):
    """The same of convolutions."""

    def __init__(self, like: Network) -> None:
        super().__init__()
        self.first, self.norm, self.head = (copy.deepcopy(m) for m in (like.first, like.norm, like.head))
        self.spread = Spread(2)
        self.up, self.same = as_convolution(like.up), as_convolution(like.same)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.up(self.spread(torch.relu(self.first(x))))))
        scores: Tensor = self.head(torch.relu(self.same(x)).mean((2, 3)))
        return scores


def as_convolution(layer: nn.ConvTranspose2d) -> nn.Conv2d:
    """The convolution that it is of a map with zeros between its places, made of torch's own weight."""
    size, groups = layer.kernel_size[0], layer.groups
    padding = size - 1 - int(layer.padding[0])
    made = nn.Conv2d(layer.in_channels, layer.out_channels, size, padding=padding, groups=groups)
    with torch.no_grad():
        parts = [part.transpose(0, 1) for part in layer.weight.chunk(groups)]
        made.weight.copy_(turned(torch.cat(parts)))
        assert made.bias is not None
        made.bias.copy_(layer.bias)
    return made


def turned(weight: Tensor) -> Tensor:
    return weight.flip(2, 3)


TURNED = ("up.weight", "same.weight")


def networks(groups: int) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    one = Network(groups).double()
    inputs = torch.randn(SAMPLES, 1, 8, 8, dtype=torch.float64)
    for _ in range(20):
        one(inputs)  # the norm's statistics
    other, one = Spreading(one).double().eval(), one.eval()
    with torch.no_grad():
        torch.testing.assert_close(other(inputs), one(inputs))
    make_plain(one, inputs)
    return one, other, inputs, torch.arange(SAMPLES) % CLASSES


def scores(
    scorer: type[Scorer], model: nn.Module, like: nn.Module, granularity: Any, *samples: Tensor
) -> dict[str, Tensor] | str:
    """The scores of one of the networks, or why it has none; `like` has the layers and groups."""
    context = context_of(
        model,
        like,
        granularity,
        *samples,
        trace=recorded(like, turn=model is not like) if scorer.needs_training_trace else None,
        target=0.4 if scorer.needs_target else None,
    )
    try:
        return run_scorer(scorer(), context).scores
    except Unsupported as error:
        return str(error)


def context_of(
    model: nn.Module, like: nn.Module, granularity: Any, *samples: Tensor, **settings: Any
) -> ScoringContext:
    graph = trace(like, samples[0])
    of_graph = graph.of(model)
    layers = of_graph.layers if granularity == "unit" else of_graph.weight_layers
    settings |= {"granularity": granularity, "batch_size": 8}
    return context_for(model, *samples, layers=layers, groups=graph.groups, **settings)


def recorded(model: nn.Module, *, turn: bool) -> TrainingTrace:
    """A made-up training of the network, or the same of the one of convolutions."""
    made = tiny_trace(model)
    parts = [
        {name: turned(value) if turn and name in TURNED else value for name, value in values.items()}
        for values in (made.initial, made.squared_updates, made.squared_epoch_updates)
    ]
    return TrainingTrace(parts[0], parts[1], parts[2], {}, made.learning_rates)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("granularity", ["unit", "weight"])
@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_both_are_scored_alike(scorer: type[Scorer], granularity: Any, groups: int) -> None:
    if granularity == "weight" and scorer.granularity == "unit":
        pytest.skip("it scores units")
    if scorer.name == "obd" or (scorer.name, granularity) == ("random", "weight"):
        pytest.skip("it draws numbers in the shape of a weight, others for a kernel that is turned around")
    one, other, *samples = networks(groups)
    found = scores(scorer, one, one, granularity, *samples)
    expected = scores(scorer, other, one, granularity, *samples)
    assert not isinstance(found, str), found
    assert not isinstance(expected, str), expected
    assert found.keys() >= ({"up"} if scorer.name == "bn-scale" else {"up", "same"})
    assert found.keys() == expected.keys()
    for name, score in found.items():
        alike = expected[name]
        if granularity == "weight" and f"{name}.weight" in TURNED:
            alike = turned(alike)
        torch.testing.assert_close(score, alike, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2])
def test_products_with_the_curvature_are_alike(groups: int) -> None:
    """What obd estimates from random signs, and others from gradients."""
    one, other, *samples = networks(groups)
    layers = ("first", "up", "same")
    vectors = {name: torch.randn(3, *one.get_submodule(name).weight.shape).double() for name in layers}
    turned_ones = {name: v if name == "first" else v.flip(3, 4) for name, v in vectors.items()}
    found = hessian_products(context_of(one, one, "unit", *samples), vectors)
    expected = hessian_products(context_of(other, one, "unit", *samples), turned_ones)
    for name in layers:
        alike = expected[name] if name == "first" else expected[name].flip(3, 4)
        torch.testing.assert_close(found[name], alike, rtol=1e-9, atol=1e-12)


class Sized(nn.Module):
    """A transposed convolution that is called with the size of its output, and so stays as torch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv2d(1, 6, 3, 2, 1), nn.ConvTranspose2d(6, 7, 3, 2, 1)
        self.head = nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.up(torch.relu(self.first(x)), output_size=x.shape[2:])
        scores: Tensor = self.head(torch.relu(maps).mean((2, 3)))
        return scores


@pytest.mark.parametrize("name", ["thinet", "shapley"])
def test_what_a_layer_of_a_given_size_computes_is_not_computed_without_it(name: str) -> None:
    (scorer,) = (each for each in SCORERS if each.name == name)
    model = Sized().double().eval()
    samples = torch.randn(SAMPLES, 1, 8, 8, dtype=torch.float64), torch.arange(SAMPLES) % CLASSES
    make_plain(model, samples[0])
    found = scores(scorer, model, model, "unit", *samples)
    assert isinstance(found, str)
    assert "a layer that reads its units is called with more than its input" in found
