"""A pruned network's units are compared with the right ones of the dense network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from benchsuite.metrics.dissection.followed import unit_sources, units_left
from benchsuite.metrics.dissection.layers import MapReader
from benchsuite.metrics.dissection.measure import dissect
from benchsuite.metrics.dissection.packing import PackedConcepts, pack
from benchsuite.metrics.dissection.report import compare
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite.metrics.dissection.stages import choose_layers
from benchsuite.pruning.masked_reference import masked_output
from benchsuite.pruning.surgery import remove_units, removed_entries
from benchsuite.pruning.tracing.trace import trace
from benchsuite.trials.dissection import kept_in_outputs
from benchsuite_datasets.shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.trials.dense_model import DenseModel

SIZE = 32


class Mixed(nn.Module):
    """Residual additions, concatenation, a depthwise convolution and a padded shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.back, self.deep = nn.Conv2d(6, 8, 1), nn.Conv2d(14, 14, 3, padding=1, groups=14)
        self.down, self.skip = nn.Conv2d(14, 12, 3, 2, 1), nn.Conv2d(14, 12, 1, 2)
        self.out = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        side = self.side(x).relu()
        x = torch.cat([side, (x + self.back(side)).relu()], 1)
        x = self.deep(x).relu()
        x = (self.down(x) + self.skip(x)).relu()
        return self.out(x.mean((2, 3)))


def small_densenet() -> nn.Module:
    return torchvision.models.DenseNet(growth_rate=6, block_config=(2, 2), num_init_features=8, num_classes=5)


def small_vit() -> nn.Module:
    network: nn.Module = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=SIZE,
        patch_size=8,
        depth=2,
        embed_dim=16,
        num_heads=2,
        num_classes=5,
    )
    return network


def small_swin() -> nn.Module:
    network: nn.Module = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=SIZE,
        window_size=4,
        depths=(2, 2),
        embed_dim=12,
        num_heads=(2, 2),
        num_classes=5,
    )
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mixed": Mixed,
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "densenet": small_densenet,
    "shufflenet": lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5),
    "mobilenet": lambda: torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.25),
    "squeezenet": lambda: torchvision.models.squeezenet1_1(num_classes=5),
    "vit": small_vit,
    "swin": small_swin,
    "convnext": lambda: torchvision.models.ConvNeXt(
        [
            torchvision.models.convnext.CNBlockConfig(8, 16, 1),
            torchvision.models.convnext.CNBlockConfig(16, None, 1),
        ],
        num_classes=5,
    ),
}


def pruned(model: nn.Module, image: Tensor) -> tuple[PruningGraph, dict[str, tuple[int, ...]], nn.Module]:
    """Half of the positions of every group are removed, at random."""
    graph = trace(model, image)
    chance = np.random.default_rng(0)
    removed = {
        group.name: tuple(sorted(chance.permutation(group.size)[: group.size // 2].tolist()))
        for group in graph.groups
    }
    return graph, removed, remove_units(model, graph, removed)


def gone(graph: PruningGraph, removed: dict[str, tuple[int, ...]]) -> dict[str, set[int]]:
    """By layer, its removed units."""
    found: dict[str, set[int]] = {}
    for group in graph.groups:
        for member in group.members:
            for position in removed[group.name]:
                found.setdefault(member.layer, set()).update(member.units[position])
    return found


def maps_of(
    model: nn.Module, names: tuple[str, ...], inputs: Tensor, run: Callable[[], Any]
) -> dict[str, Tensor]:
    """The maps of some outputs while the network runs."""
    found: dict[str, Tensor] = {}
    reader = MapReader(model, names, inputs[:1])
    with torch.no_grad(), reader.reading(len(inputs), lambda n, maps: found.update({n: maps.clone()})):
        run()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_unit_left_has_the_maps_of_its_dense_unit(name: str) -> None:
    """The dense network in which nothing reads the removed units computes the pruned one's maps."""
    torch.manual_seed(0)
    model, inputs = NETWORKS[name]().eval().double(), torch.rand(2, 3, SIZE, SIZE, dtype=torch.float64)
    for parameter in model.parameters():  # so that no two units are alike
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    names = choose_layers(model, inputs)
    graph, removed, small = pruned(model, inputs)
    entries = removed_entries(graph, removed)
    masked = maps_of(model, names, inputs, lambda: masked_output(model, entries, inputs))
    left = maps_of(small, names, inputs, lambda: small(inputs))
    sources = unit_sources(model, names, inputs)
    fewer = 0
    for output in names:
        known = sources[output]
        assert known is not None
        kept = units_left(known, gone(graph, removed))
        assert kept is not None
        fewer += len(kept) < len(known)
        scale = left[output].abs().max()
        torch.testing.assert_close(
            masked[output][:, list(kept)] / scale, left[output] / scale, rtol=0, atol=1e-9
        )
        assert len({tuple(row) for row in left[output].transpose(0, 1).flatten(1).tolist()}) > len(kept) / 2
    assert fewer, "no output lost units: nothing was tried"


def test_layers_that_disagree_are_said_to_be_unknown() -> None:
    sources = (frozenset({("a", 0), ("b", 0)}), frozenset({("a", 1), ("b", 1)}), frozenset[tuple[str, int]]())
    assert units_left(sources, {"a": {0}, "b": {0}}) == (1, 2)
    assert units_left(sources, {"a": {0}, "b": {1}}) is None
    assert units_left(sources, {}) == (0, 1, 2)


class Shuffled(nn.Module):
    """Sorts its units, by which they can no longer be told from each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu().sort(1).values.relu()
        return self.out(x.mean((2, 3)))


def test_an_output_of_unknown_units_is_not_followed() -> None:
    model, image = Shuffled().eval(), torch.rand(1, 3, 8, 8)
    assert unit_sources(model, ("relu()#2", "first"), image)["relu()#2"] is None
    before, after = (_Dissected(("relu()#2", 6)), _Dissected(("relu()#2", 4)))
    graph = trace(Mixed().eval(), torch.rand(1, 3, 8, 8))
    dense = cast("DenseModel", _Dense(model, graph, image))
    assert kept_in_outputs(dense, cast("Any", before), cast("Any", after), {}) == {"relu()#2": None}


class _Layer:
    def __init__(self, name: str, units: int) -> None:
        self.name, self.units = name, units


class _Dissected:
    def __init__(self, *layers: tuple[str, int]) -> None:
        self.layers = [_Layer(*layer) for layer in layers]


class _Dense:
    def __init__(self, model: nn.Module, graph: PruningGraph, probe: Tensor) -> None:
        self.model, self.graph, self.probe = model, graph, probe


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> PackedConcepts:
    folder: Path = tmp_path_factory.mktemp("none")
    return pack(Shapes(size=SIZE, images=60).concepts(folder))


def test_the_pruned_network_has_the_counts_of_the_masked_one(shapes: PackedConcepts) -> None:
    """Dissected are the pruned network and the dense one whose removed units nothing reads."""
    torch.manual_seed(1)
    model, image = Mixed().eval(), torch.rand(1, 3, SIZE, SIZE)
    graph, removed, small = pruned(model, image)
    masked = copy.deepcopy(model)
    for axis, entries in removed_entries(graph, removed).items():
        if axis.side == "in":
            with torch.no_grad():
                masked.get_submodule(axis.name).get_parameter("weight")[:, torch.from_numpy(entries)] = 0
    whole, left = (
        dissect(
            network,
            shapes,
            DissectionSettings(),
            device="cpu",
            mean=(0,) * 3,
            std=(1,) * 3,
            input_shape=image.shape[1:],
        )
        for network in (masked, small)
    )
    kept = kept_in_outputs(cast("DenseModel", _Dense(model, graph, image)), whole, left, removed)
    for before, after in zip(whole.layers, left.layers, strict=True):
        units = kept[before.name]
        assert units is not None
        assert len(units) == after.units < before.units
        # Sums of floats in another order move a few pixels over a threshold.
        difference = np.abs(before.intersections[list(units)] - after.intersections)
        assert difference.sum() <= 0.001 * after.intersections.sum()
        other = before.intersections[list(reversed(units))]
        assert np.abs(other - after.intersections).sum() > 0.1 * after.intersections.sum()
    found = compare(whole, left, {name: units for name, units in kept.items() if units is not None})
    assert found.same_concept == pytest.approx(1, abs=0.1)
