"""What each job pays before its work begins: a process, a CUDA context, its libraries and the data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpurun.figures import Figures


def run(found: Figures) -> None:
    """Measure, in the order in which a worker does it; this process has touched no GPU yet."""
    import torch

    from benchsuite.hardware.devices import prepare
    from benchsuite.pruning.tracing.trace import trace
    from benchsuite.training import on_device
    from gpurun.parts.training import DEVICE, made_up, resnet20, seconds_of

    dataset = made_up(found.size(45_000, 64))
    start = time.perf_counter()
    prepare(DEVICE, 1)
    torch.zeros(1, device=DEVICE).add_(1).cpu()
    context = time.perf_counter() - start
    model = resnet20().to(DEVICE).eval()
    inputs = torch.zeros(1, 3, 32, 32, device=DEVICE)
    first = seconds_of(lambda: model(inputs))
    later = seconds_of(lambda: model(inputs))
    data = seconds_of(lambda: on_device(dataset, DEVICE))
    graph = seconds_of(lambda: trace(model, inputs))
    found.fact("CUDA context, s", context)
    found.fact("first forward pass (libraries and kernels are loaded), s", first)
    found.fact("a later forward pass, s", later)
    found.fact("data of CIFAR-10's size to the device, s", data)
    found.fact("finding the pruning graph of ResNet-20, s", graph)
    work = seconds_of(lambda: [model(inputs.expand(found.size(128, 2), -1, -1, -1)) for _ in range(80)])
    found.ratio(
        "what a job pays beside one evaluation of 10,000 images",
        ("context, libraries, data and graph", context + first + data + graph),
        ("evaluation", work),
    )
