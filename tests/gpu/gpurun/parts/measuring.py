"""Latency and energy, and what cuDNN's search for kernels costs and brings."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchsuite.hardware.devices import searched_convolutions
from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import measure_latency
from gpurun.parts.training import DEVICE, resnet20, seconds_of

if TYPE_CHECKING:
    from gpurun.figures import Figures


def odd_network(share: float) -> nn.Sequential:
    """Convolutions of the widths that pruning leaves: a share of the usual ones."""
    torch.manual_seed(0)
    widths = [3, *(max(1, int(share * width)) for width in (64, 64, 128, 128, 256, 256, 256))]
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, 2 if number in (2, 4) else 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def run(found: Figures) -> None:
    """Measure."""
    shares = (0.93, 0.71, 0.47)[: found.size(3, 1)]
    with found.attempt("the search for kernels"):
        for searched in (False, True):  # pays for what is loaded
            _steps(odd_network(0.5), found, searched=searched, steps=2)
        for share in shares:
            _search(found, share)
    for size in (1, found.size(128, 2)):
        with found.attempt(f"latency and energy at batch size {size}"):
            _latency(found, size)
    with found.attempt("latency on kernels for 2:4"):
        _two_four(found)


def _steps(model: nn.Module, found: Figures, *, searched: bool, steps: int) -> tuple[float, float]:
    """Seconds of the first step and of each later one, of training in bfloat16.

    A kernel that the rules have found is kept for its shape, so the two ways have batches of two sizes. The
    later steps are replayed as a CUDA graph, so that the kernels decide how long they take.
    """
    model = model.to(DEVICE, memory_format=torch.channels_last).train()
    batch = found.size(512, 2) - searched, 3, found.size(32, 8), found.size(32, 8)
    inputs = torch.randn(batch).to(DEVICE, memory_format=torch.channels_last)

    def step() -> None:
        model.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(inputs).square().mean()
        loss.backward()

    with searched_convolutions(DEVICE, None if searched else 0):
        first = seconds_of(step)
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(DEVICE)
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.synchronize(DEVICE)
        with torch.cuda.graph(graph, stream=side):
            step()
        rest = seconds_of(lambda: [graph.replay() for _ in range(steps)])
    return first, rest / steps


def _search(found: Figures, share: float) -> None:
    steps = found.size(100, 2)
    rules = _steps(odd_network(share), found, searched=False, steps=steps)
    search = _steps(odd_network(share), found, searched=True, steps=steps)
    what = f"convolutions of {share:.0%} of the usual widths"
    found.ratio(f"first step, {what}", ("cuDNN searches", search[0]), ("by its rules", rules[0]))
    found.ratio(f"later steps, {what}", ("by cuDNN's rules", rules[1]), ("after a search", search[1]))
    gain = rules[1] - search[1]
    cost = max(0.0, search[0] - rules[0])
    paid = f"{cost / gain:.0f}" if gain > 0 else "never"
    found.fact(f"steps until a search has paid for itself, {what}", paid)


def _latency(found: Figures, size: int) -> None:
    dense, example = resnet20().eval(), torch.randn(8, 3, 32, 32)
    latency = measure_latency(dense, dense, example, size, DEVICE, seconds=found.size(500, 0) / 100)
    times = (latency.dense.median_ms, latency.pruned.median_ms)
    found.ratio(
        f"ResNet-20 beside itself, batch size {size}", ("first", times[0]), ("second", times[1]), "ms"
    )
    energy = measure_energy(dense, dense, example, latency, DEVICE, seconds=found.size(200, 1) / 100)
    if energy is None:
        found.left_out(f"energy at batch size {size}", "the device counts none, or only for a whole board")
        return
    found.ratio(
        f"energy of ResNet-20 beside itself, a sample at batch size {size}",
        ("first", energy.dense_mj),
        ("second", energy.pruned_mj),
        "mJ",
    )


def _two_four(found: Figures) -> None:
    torch.manual_seed(0)
    width = found.size(4096, 64)
    dense = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)).eval()
    with torch.no_grad():
        for layer in (dense[0], dense[2]):
            layer.weight.view(-1, 4)[:, 2:] = 0
    for size in (1, found.size(1024, 8)):
        found_latency = measure_latency(
            dense, dense, torch.randn(1, width), size, DEVICE, sparse_kernels=True, seconds=1
        )
        found.fact(f"layers on 2:4 kernels at batch size {size}, of 2", found_latency.sparse_layers)
        found.ratio(
            f"two linear layers in half precision, batch size {size}",
            ("dense kernels", found_latency.dense.median_ms),
            ("2:4 kernels", found_latency.pruned.median_ms),
            "ms",
        )
