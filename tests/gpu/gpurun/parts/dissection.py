"""Dissection, beside the forward passes that it needs, and on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchsuite.metrics.dissection.measure import dissect
from benchsuite.metrics.dissection.packing import pack
from benchsuite.metrics.dissection.settings import DissectionSettings
from gpurun.parts.training import DEVICE, seconds_of

if TYPE_CHECKING:
    from torch import nn

    from gpurun.figures import Figures


def run(found: Figures) -> None:
    """Measure."""
    import torchvision

    from benchsuite_datasets.shapes import Shapes

    torch.manual_seed(0)
    size, count = found.size(112, 32), found.size(500, 16)
    model = torchvision.models.resnet18(num_classes=8).eval()
    concepts = pack(Shapes(size=size, images=count).concepts(Path()))
    settings = DissectionSettings(batch_size=32)

    def dissection(device: str) -> float:
        model.to(device)
        return seconds_of(
            lambda: dissect(
                model,
                concepts,
                settings,
                device=device,
                input_shape=(3, size, size),
                mean=(0.5,) * 3,
                std=(0.25,) * 3,
            )
        )

    first, there = dissection(DEVICE), dissection(DEVICE)
    found.fact("the first dissection on the device, s", first)
    plain = seconds_of(lambda: _plain_pass(model, concepts.images))
    what = f"dissection of ResNet-18, {count} images at {size} pixels"
    found.ratio(what, ("dissection", there), ("one plain forward pass", plain))
    if found.seconds_left() > 20 * there or found.dry:
        found.ratio(what, ("on the CPU", dissection("cpu")), ("on the device", there))
    else:
        found.left_out("dissection on the CPU", "there was no time left for it")


def _plain_pass(model: nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        for part in images.split(32):
            model((part.to(DEVICE).float() / 255 - 0.5) / 0.25)
