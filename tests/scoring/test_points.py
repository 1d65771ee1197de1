from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchsuite.contracts.layers import Layer
from benchsuite.errors import Unsupported
from benchsuite.scoring.points import as_maps, find_points
from benchsuite.testing import TinyResidual, context_for, simple_layers, tiny_convnet, tiny_samples


def test_points_of_modules_are_behind_norm_and_activation() -> None:
    model = tiny_convnet()
    points = find_points(model, simple_layers(model, classifier=True), tiny_samples(2)[0])
    assert {name: (point.stage, point.function) for name, point in points.items()} == {
        "0": ("activation", "relu"),
        "4": ("activation", "relu"),
        "7": ("activation", "relu"),
        "9": ("output", None),
    }


def test_points_in_functional_code_pass_residual_sums() -> None:
    model = TinyResidual()
    points = find_points(model, simple_layers(model), tiny_samples(2)[0])
    assert {name: (point.stage, point.function) for name, point in points.items()} == {
        "stem": ("activation", "relu"),
        "branch": ("activation", "relu"),
        "shortcut": ("activation", "relu"),
        "depthwise": ("activation", "relu6"),
        "bare": ("output", None),
    }


def test_pooling_before_the_activation_is_passed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2))
    inputs, labels = tiny_samples(4, (1, 8, 8), 2)
    table = context_for(model, inputs, labels, batch_size=4, seed=0).activations("mean")["0"]
    expected = torch.tanh(functional.max_pool2d(model[0](inputs), 2)).mean((2, 3))
    torch.testing.assert_close(table.sort(0).values, expected.detach().sort(0).values)


def test_residual_activation_belongs_to_every_summand() -> None:
    model = TinyResidual()
    inputs, labels = tiny_samples(6)
    context = context_for(model, inputs, labels, batch_size=4)
    tables = context.activations("mean")
    batch = torch.cat([inputs for inputs, _ in context.batches()])
    with torch.no_grad():
        stem = torch.relu(model.stem(batch))
        total = torch.relu(model.norm(model.branch(stem)) + model.shortcut(stem))
    torch.testing.assert_close(tables["branch"], total.mean((2, 3)))
    torch.testing.assert_close(tables["shortcut"], total.mean((2, 3)))
    torch.testing.assert_close(
        tables["bare"], model.bare(functional.relu6(model.depthwise(total))).mean((2, 3))
    )


def test_concatenation_ends_a_chain_at_the_norm() -> None:
    class DenseModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.last = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(torch.cat([x, self.norm(self.conv(x))], 1)).mean((2, 3)))

    model = DenseModel().eval()
    points = find_points(model, simple_layers(model), torch.randn(2, 2, 4, 4))
    assert points["conv"].stage == "norm"


def test_a_layer_used_twice_is_read_at_its_first_use() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.tanh(self.shared(torch.relu(self.shared(x)))))

    model = Twice()
    inputs, labels = tiny_samples(5, (4,), 2)
    context = context_for(model, inputs, labels)
    assert context.activation_function("shared") == "relu"
    batch = next(iter(context.batches()))[0]
    torch.testing.assert_close(
        context.activations("mean")["shared"], torch.relu(model.shared(batch)).detach()
    )


def test_maps_put_units_second() -> None:
    linear = Layer("l", "linear", nn.Linear(3, 5))
    conv = Layer("c", "conv", nn.Conv2d(3, 5, 1))
    assert as_maps(linear, torch.zeros(4, 5), 4).shape == (4, 5, 1)
    assert as_maps(linear, torch.zeros(4, 7, 5), 4).shape == (4, 5, 7)
    assert as_maps(conv, torch.zeros(4, 5, 2, 3), 4).shape == (4, 5, 2, 3)
    windows = torch.arange(8 * 7 * 5.0).reshape(8, 7, 5)
    maps = as_maps(linear, windows, 4)
    assert maps.shape == (4, 5, 14)
    torch.testing.assert_close(maps[1, 3], torch.cat([windows[2, :, 3], windows[3, :, 3]]))
    with pytest.raises(Unsupported, match="8 rows for 3 samples"):
        as_maps(linear, windows, 3)
