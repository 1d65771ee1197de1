"""Networks with known units: built by hand, or random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from benchsuite.metrics.dissection.measure import dissect
from benchsuite.metrics.dissection.packing import PackedConcepts, pack
from benchsuite.metrics.dissection.report import dissection_metrics
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite_datasets.shapes import Shapes

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.metrics.dissection.result import Dissection

SIZE = 64
PURE = {"red-c": (1, -1, -1), "green-c": (-1, 1.3, -1), "blue-c": (-1, -1, 1.2), "yellow-c": (1, 1, -2.2)}
EDGES = ("striped", "banded")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> PackedConcepts:
    folder: Path = tmp_path_factory.mktemp("none")
    return pack(Shapes(size=SIZE, images=400).concepts(folder))


def run(net: nn.Module, concepts: PackedConcepts, layer: str) -> Dissection:
    settings = DissectionSettings(layers=(layer,))
    return dissect(
        net, concepts, settings, device="cpu", mean=(0, 0, 0), std=(1, 1, 1), input_shape=(3, SIZE, SIZE)
    )


def built_by_hand() -> nn.Module:
    """Units for four colours, for vertical edges only, for horizontal edges only, and a dead unit."""
    colors = len(PURE)
    first, second = nn.Conv2d(3, colors + 4, 3, padding=1), nn.Conv2d(colors + 4, colors + 3, 9, padding=4)
    with torch.no_grad():
        for parameter in (*first.parameters(), *second.parameters()):
            parameter.zero_()
        for unit, weights in enumerate(PURE.values()):
            first.weight[unit, :, 1, 1] = torch.tensor(weights)
            second.weight[unit, unit, 4, 4] = 1
        for place, (row, column) in enumerate([(0, 1), (0, -1), (1, 0), (-1, 0)]):
            first.weight[colors + place, :, 1 + row, 1 + column] = 1
            first.weight[colors + place, :, 1 - row, 1 - column] = -1
        across, down = slice(colors, colors + 2), slice(colors + 2, colors + 4)
        second.weight[colors, across], second.weight[colors, down] = 1, -3
        second.weight[colors + 1, across], second.weight[colors + 1, down] = -3, 1
        second.bias[colors + 2] = -1
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


def test_known_detectors_get_their_labels(shapes: PackedConcepts) -> None:
    found = run(built_by_hand(), shapes, "2")
    concepts, values = found.best(found.layers[0])
    names = [found.concepts[c].name if c >= 0 else None for c in concepts]
    assert names == [*PURE, *EDGES, None]
    assert (values[:-1] > 0.1).all()
    metrics = dissection_metrics(found)
    assert metrics["interpretability/detectors"] == 6
    assert metrics["interpretability/color/detectors"] == 4
    assert metrics["interpretability/texture/detectors"] == 2
    assert metrics["interpretability/null_detectors"] < 1


def test_a_random_network_is_near_the_null(shapes: PackedConcepts) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, 2, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3),
    )
    metrics = dissection_metrics(run(net, shapes, "4"))
    assert metrics["interpretability/null_detectors"] < 1
    # A random filter prefers some colour, but detects nothing that needs structure to recognise.
    for category in ("texture", "part", "object"):
        assert metrics[f"interpretability/{category}/detectors"] <= 1
    assert metrics["interpretability/color/detectors"] < 0.2 * 64
