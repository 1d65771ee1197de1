"""The generated images of objects and their concepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchsuite.metrics.dissection.packing import PackedConcepts, pack
from benchsuite_datasets._shapes_drawing import COLORS, OBJECTS
from benchsuite_datasets.shapes import Shapes

NOWHERE = Path("nowhere")


def test_shapes_are_the_same_every_time_and_differ_between_splits() -> None:
    plugin = Shapes(samples=256, images=64)
    first, again = plugin.load(NOWHERE), plugin.load(NOWHERE)
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(first, name).inputs, getattr(again, name).inputs)
        assert torch.equal(getattr(first, name).labels, getattr(again, name).labels)
    one, other = plugin.concepts(NOWHERE), plugin.concepts(NOWHERE)
    for a, b in zip(one.samples, other.samples, strict=True):
        assert (a.image == b.image).all()
        assert (a.masks == b.masks).all()
    everything = [first.train.inputs, first.validation.inputs, first.test.inputs]
    pictures = torch.cat([*everything, torch.from_numpy(np.stack([s.image for s in one.samples]))])
    assert len(torch.unique(pictures.flatten(1), dim=0)) == len(pictures) == 256 + 32 + 64 + 64


def test_shapes_have_balanced_classes_and_the_asked_size() -> None:
    dataset = Shapes(samples=128, size=48).load(NOWHERE)
    assert dataset.input_shape == (3, 48, 48)
    assert dataset.classes == tuple(OBJECTS)
    assert torch.bincount(dataset.train.labels).tolist() == [16] * 8
    assert (len(dataset.validation), len(dataset.test)) == (16, 32)


def shapes_by_name(concepts: PackedConcepts, name: str) -> torch.Tensor:
    """Where a concept is, (images, h, w)."""
    number = 1 + [concept.name for concept in concepts.concepts].index(name)
    maps: torch.Tensor = (concepts.label_maps(torch.arange(len(concepts))) == number).any(1)
    return maps


def test_color_labels_lie_on_that_color() -> None:
    concepts = pack(Shapes(size=64, images=200).concepts(NOWHERE))
    # A label map pixel covers two image pixels in each direction.
    images = torch.nn.functional.avg_pool2d(concepts.images.float() / 255, 2)
    for name, tone in COLORS.items():
        pixels = images.permute(0, 2, 3, 1)[shapes_by_name(concepts, f"{name}-c")]
        bright = pixels[pixels.sum(1) > 0.8 * sum(tone)]  # without pixels that textures darken
        assert (bright.median(0).values - torch.tensor(tone)).abs().max() < 0.1, name
    for name, low, high in (("black-c", 0.0, 0.3), ("grey-c", 0.3, 0.7), ("white-c", 0.7, 1.0)):
        level = images.mean(1)[shapes_by_name(concepts, name)]
        assert (level > low - 0.1).float().mean() > 0.97
        assert (level < high + 0.1).float().mean() > 0.97


def test_parts_lie_in_their_objects_and_textures_darken() -> None:
    concepts = pack(Shapes(size=64, images=200).concepts(NOWHERE))
    wheel, car = shapes_by_name(concepts, "wheel"), shapes_by_name(concepts, "car")
    assert wheel.any()
    assert (wheel & ~car).sum() == 0
    objects = torch.stack([shapes_by_name(concepts, name) for name in OBJECTS]).any(0)
    colored = torch.stack([shapes_by_name(concepts, f"{name}-c") for name in COLORS]).any(0)
    assert torch.equal(objects, colored)
    images = concepts.images.float() / 255
    across, down = (images.diff(dim=dim).abs().mean(1) for dim in (3, 2))
    for name, along in (("striped", 1.5), ("banded", 1 / 1.5)):
        inside = shapes_by_name(concepts, name).repeat_interleave(2, 1).repeat_interleave(2, 2)
        ratio = across[inside[:, :, 1:]].sum() / down[inside[:, 1:]].sum()
        assert ratio > along if along > 1 else ratio < along, name


def test_every_concept_occurs_and_is_rare_enough_to_be_detected() -> None:
    plugin = Shapes()
    concepts = pack(plugin.concepts(NOWHERE))
    share = concepts.pixels / (len(concepts) * 16 * 16)
    for concept, covered in zip(concepts.concepts, share.tolist(), strict=True):
        # A unit's mask has about 0.5% of all pixels, so its IoU is at most 0.005 / covered.
        if concept.name not in ("black-c", "grey-c", "white-c"):
            assert 0 < covered < 0.05, concept
    assert concepts.categories == ("color", "texture", "part", "object")
    assert set(concepts.images_with.tolist()) >= {62, 63}


@pytest.mark.slow
def test_a_small_network_learns_shapes_in_six_epochs() -> None:
    dataset = Shapes().load(NOWHERE)
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), torch.nn.BatchNorm2d(outputs)]
        layers += [torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(64 * 16, 8))
    epochs, steps = 6, len(dataset.train) // 64
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=epochs * steps)
    for _ in range(epochs):
        for index in torch.randperm(len(dataset.train))[: steps * 64].split(64):
            inputs = (dataset.train.inputs[index].float() / 255 - 0.5) / 0.27
            loss = torch.nn.functional.cross_entropy(net(inputs), dataset.train.labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        found = net((dataset.test.inputs.float() / 255 - 0.5) / 0.27).argmax(1)
    assert (found == dataset.test.labels).float().mean() > 0.9
