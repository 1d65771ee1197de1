"""Criteria that are slow when implemented directly from their definition, compared with doing so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.reductions import Rank
from benchsuite.testing import context_for
from benchsuite_models.cifar_resnet import ResNet20
from benchsuite_scorers.chip import NuclearNormChange
from benchsuite_scorers.registration import Shapley

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite import ScoringContext

pytestmark = pytest.mark.slow


def images(count: int, shape: tuple[int, ...]) -> Tensor:
    """Smooth noise, so that maps look like those of real images."""
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
    kernel = torch.ones(shape[0], 1, 5, 5) / 5
    return functional.conv2d(noise, kernel, padding=2, groups=shape[0])


def resnet_maps(samples: int) -> list[Tensor]:
    torch.manual_seed(0)
    model = ResNet20().build((3, 32, 32), 10).eval()
    maps: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _module, _inputs, output: maps.append(output.relu()))
    with torch.no_grad():
        model(images(samples, (3, 32, 32)))
    return maps


def rank_loop(maps: Tensor) -> Tensor:
    return torch.tensor([[float(torch.linalg.matrix_rank(plane)) for plane in sample] for sample in maps])


def chip_loop(maps: Tensor) -> Tensor:
    changes = []
    for sample in maps.flatten(2):
        whole = torch.linalg.matrix_norm(sample, "nuc")
        for unit in range(len(sample)):
            without = sample.clone()
            without[unit] = 0
            changes.append(whole - torch.linalg.matrix_norm(without, "nuc"))
    return torch.stack(changes).reshape(maps.shape[:2])


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("reduction", "loop", "tolerance"), [(Rank(), rank_loop, 0.0), (NuclearNormChange(), chip_loop, 1e-4)]
)
def test_batched_decompositions_on_resnet20(
    reduction: Callable[[Tensor], Tensor],
    loop: Callable[[Tensor], Tensor],
    tolerance: float,
    benchmark: Any,
) -> None:
    """256 images: all at once, and with the loop as many as are needed for its time per image."""
    looped = 4
    maps = resnet_maps(256)
    for part in maps[:: len(maps) // 3]:
        expected = loop(part[:looped])
        found = reduction(part[:looped])
        assert float((found - expected).abs().max()) <= tolerance * float(expected.max())
    batched = benchmark.pedantic(lambda: seconds(lambda: [reduction(part) for part in maps]), rounds=1)
    one_by_one = seconds(lambda: [loop(part[:looped]) for part in maps]) * 256 / looped
    benchmark.extra_info["ratio"] = round(one_by_one / batched, 1)
    assert one_by_one / batched >= 3


def lenet5() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    ).eval()


def test_shapley_by_permutations_on_lenet5(benchmark: Any) -> None:
    """200 permutations of the second convolution on 2,000 images, against a full pass per coalition."""
    model, inputs = lenet5(), images(2000, (1, 32, 32))
    groups = trace(model, inputs[:1]).groups
    context = context_for(model, inputs, torch.arange(2000) % 10, batch_size=128, groups=groups)
    scorer = Shapley(method="permutations", permutations=200, stable=1.0)
    coalitions = scorer.estimate(context, groups[1]).coalitions
    fast = benchmark.pedantic(lambda: seconds(lambda: scorer.estimate(context, groups[1])), rounds=1)
    full = full_pass(model, context) * coalitions
    benchmark.extra_info["ratio"] = round(full / fast, 1)
    assert full / fast >= 10


def test_every_coalition_of_ten_units(benchmark: Any) -> None:
    """All 2^10 coalitions of a first convolution on 5,000 images, against a full pass per coalition."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.BatchNorm2d(10)),
        *(nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(), nn.BatchNorm2d(20), nn.Flatten()),
        *(nn.Linear(320, 100), nn.ReLU(), nn.Linear(100, 25), nn.ReLU(), nn.Linear(25, 10)),
    ).eval()
    inputs = images(5000, (1, 28, 28))
    groups = trace(model, inputs[:1]).groups
    context = context_for(model, inputs, torch.arange(5000) % 10, groups=groups)
    exact = Shapley(method="exact")
    fast = benchmark.pedantic(lambda: seconds(lambda: exact.estimate(context, groups[0])), rounds=1)
    full = full_pass(model, context) * 2**10
    benchmark.extra_info["ratio"] = round(full / fast, 1)
    assert full > fast


def full_pass(model: nn.Module, context: ScoringContext) -> float:
    """Seconds of one forward pass over the context's samples, the quickest of three."""

    def run() -> None:
        with torch.no_grad():
            for batch, _ in context.batches():
                model(batch)

    return min(seconds(run) for _ in range(3))
