"""Criteria that are slow as they are defined: HRank's ranks and Shapley values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite.hardware.devices import exact_float32
from benchsuite.scoring.reductions import Rank
from benchsuite.testing import context_for
from gpurun.parts.training import DEVICE, resnet20, seconds_of

if TYPE_CHECKING:
    from benchsuite import ScoringContext
    from gpurun.figures import Figures


def images(count: int, shape: tuple[int, int, int]) -> Tensor:
    """Smooth noise, so that maps look like those of pictures."""
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
    kernel = torch.ones(shape[0], 1, 5, 5) / 5
    return nn.functional.conv2d(noise, kernel, padding=2, groups=shape[0])


def run(found: Figures) -> None:
    """Measure."""
    with found.attempt("HRank"):
        _ranks(found)
    for size in (8, 16, 32, 33, 56)[:: found.size(1, 3)]:
        with found.attempt(f"eigenvalues of {size} x {size}"):
            _eigenvalues(found, size)
    with found.attempt("Shapley values"):
        _shapley(found)


def _ranks(found: Figures) -> None:
    maps: list[Tensor] = []
    model = resnet20().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _module, _inputs, output: maps.append(output.relu()))
    with torch.no_grad():
        model(images(found.size(128, 2), (3, 32, 32)))
    reduction = Rank()
    there = [part.to(DEVICE) for part in maps]
    reduction(there[0])
    ranks: dict[str, list[Tensor]] = {}
    gpu = seconds_of(lambda: ranks.update(gpu=[reduction(part).cpu() for part in there]))
    cpu = seconds_of(lambda: ranks.update(cpu=[reduction(part) for part in maps]))
    found.ratio("HRank's ranks on ResNet-20", ("on the CPU", cpu), ("on the device", gpu))
    same = sum(int((a == b).sum()) for a, b in zip(ranks["cpu"], ranks["gpu"], strict=True))
    found.fact("share of ranks that agree", same / sum(part.numel() for part in ranks["cpu"]))
    few = [part[:1, : found.size(16, 2)] for part in there[:: len(there) // 3]]

    def loop() -> None:
        for part in few:
            for plane in part.flatten(0, 1):
                torch.linalg.matrix_rank(plane)

    planes = sum(part.shape[0] * part.shape[1] for part in few)
    everything = sum(part.shape[0] * part.shape[1] for part in maps)
    one_by_one = seconds_of(loop) / planes * everything
    found.ratio("HRank's ranks on ResNet-20", ("a rank per map in a loop", one_by_one), ("ours", gpu))


def _eigenvalues(found: Figures, size: int) -> None:
    """Both ways of `Rank` for matrices of one size, whichever it takes."""
    count = found.size(1024, 4)
    maps = torch.randn(count, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grams = (maps @ maps.mT).to(DEVICE)
    torch.linalg.eigvalsh(grams[:2])
    there = seconds_of(lambda: torch.linalg.eigvalsh(grams))
    here = seconds_of(lambda: torch.linalg.eigvalsh(grams.cpu()))
    what = f"eigenvalues of {count} matrices of {size} x {size}, {torch.get_num_threads()} threads"
    found.ratio(what, ("through the CPU", here), ("on the device", there))


def _lenet5() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    ).eval()


def _shapley(found: Figures) -> None:
    from benchsuite.pruning.tracing.trace import trace
    from benchsuite_scorers.shapley import Shapley

    count, permutations = found.size(2000, 16), found.size(20, 2)
    inputs, labels = images(count, (1, 32, 32)), torch.arange(count) % 10
    scorer = Shapley(method="permutations", permutations=permutations, stable=1.0)
    took: dict[str, float] = {}
    values: dict[str, Tensor] = {}
    for device in ("cpu", DEVICE):
        model = _lenet5()
        groups = trace(model, inputs[:1]).groups
        context = context_for(model, inputs, labels, batch_size=128, device=device, groups=groups)
        with exact_float32():
            estimate = scorer.estimate(context, groups[1])  # also pays for what is loaded
            context.restart()
            took[device] = seconds_of(lambda c=context, g=groups[1]: scorer.estimate(c, g))
            values[device] = estimate.values.cpu().double()
            full = _full_pass(context) * estimate.coalitions
    what = f"Shapley values of LeNet-5's second convolution, {permutations} permutations"
    found.ratio(what, ("on the CPU", took["cpu"]), ("on the device", took[DEVICE]))
    found.ratio(what, ("a full pass for each coalition, on the device", full), ("ours", took[DEVICE]))
    found.fact(
        "largest difference of a value, CPU and device", float((values["cpu"] - values[DEVICE]).abs().max())
    )


def _full_pass(context: ScoringContext) -> float:
    def one() -> None:
        with torch.no_grad():
            for batch, _ in context.batches():
                context.model(batch)

    return min(seconds_of(one) for _ in range(3))
