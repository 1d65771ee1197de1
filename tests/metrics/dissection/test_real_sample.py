"""A CIFAR network dissected with real photographs in Broden's format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import nn

from benchsuite.metrics.dissection.layers import MapReader
from benchsuite.metrics.dissection.measure import dissect
from benchsuite.metrics.dissection.packing import PackedConcepts, open_concepts
from benchsuite.metrics.dissection.report import detectors, dissection_metrics
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite_datasets.broden import Broden
from benchsuite_models.cifar_resnet import ResNet20

pytestmark = [pytest.mark.data, pytest.mark.slow]

MEAN, STD, SIZE, BATCH = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 64, 32
LAYERS = ("layer2", "layer3")


@pytest.fixture(scope="module")
def data_folder() -> Path:
    if "BENCHSUITE_DATA" not in os.environ:
        pytest.skip("set BENCHSUITE_DATA to a folder with the real data sets")
    return Path(os.environ["BENCHSUITE_DATA"])


@pytest.fixture(scope="module")
def concepts(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedConcepts:
    plugin = Broden(path="broden-format_sample/broden1_224")
    return open_concepts(plugin, data_folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def network(data_folder: Path) -> nn.Module:
    weights = next((data_folder / "weights").glob("resnet20-*.th"))
    return ResNet20(weights=str(weights)).build((3, 32, 32), 10).eval()


def every_iou(network: nn.Module, concepts: PackedConcepts, name: str) -> np.ndarray:
    """IoUs by a second method: all maps in memory, dense masks, one-hot labels, floating-point products."""
    inputs = F.interpolate(
        concepts.images.float() / 255, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True
    )
    inputs = (inputs - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    reader, found = MapReader(network, (name,), inputs[:1]), []
    with torch.no_grad():
        for batch in inputs.split(BATCH):
            with reader.reading(len(batch), lambda _, maps: found.append(maps.clone())):
                network(batch)
    maps = torch.cat(found)
    levels = np.quantile(maps.numpy().astype(np.float64), 0.995, axis=(0, 2, 3))
    number = len(concepts.concepts)
    shared = np.zeros((maps.shape[1], number))
    total = np.zeros(number)
    area = np.zeros((maps.shape[1], number))
    categories = np.array([concept.category for concept in concepts.concepts])
    for n in range(len(maps)):
        upsampled = F.interpolate(maps[n : n + 1], concepts.mask_size, mode="bilinear", align_corners=False)[
            0
        ]
        mask = (upsampled.numpy() > levels[:, None, None].astype(np.float32)).reshape(len(levels), -1)
        own = concepts.masks[concepts.first_mask[n] : concepts.first_mask[n + 1]].numpy()
        label = np.zeros((number + 1, own[0].size), bool)
        for layer in own:
            label[layer.ravel(), np.arange(layer.size)] = True
        label = label[1:]
        for concept in concepts.labelled[concepts.labelled[:, 0] == n, 1].tolist():
            label[concept] = True
        shared += mask.astype(np.float64) @ label.T.astype(np.float64)
        total += label.sum(1)
        present = set(categories[label.any(1)])
        area += mask.sum(1)[:, None] * np.array([category in present for category in categories])
    return shared / (area + total - shared)


def test_the_sample_gives_the_ious_of_a_second_computation(
    network: nn.Module, concepts: PackedConcepts
) -> None:
    assert len(concepts) == 160
    assert concepts.mask_size == (112, 112)
    assert len(concepts.concepts) == 53
    settings = DissectionSettings(layers=LAYERS, input_size=SIZE, batch_size=BATCH)
    found = dissect(network, concepts, settings, device="cpu", mean=MEAN, std=STD, input_shape=(3, 32, 32))
    assert [layer.units for layer in found.layers] == [32, 64]
    for layer in found.layers:
        np.testing.assert_allclose(found.ious(layer), every_iou(network, concepts, layer.name), rtol=1e-12)
    metrics = dissection_metrics(found)
    assert metrics["interpretability/detectors"] == len(detectors(found)) > 0
    assert metrics["interpretability/null_mean_best_iou"] < metrics["interpretability/mean_best_iou"]
