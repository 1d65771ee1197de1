"""The networks of the papers: their sizes, counted by hand, and the inputs that they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import benchsuite
from benchsuite.training import on_device, train
from benchsuite_datasets.cifar import Cifar10
from benchsuite_datasets.digits import Digits
from benchsuite_datasets.mnist import FashionMnist, Mnist
from benchsuite_models.cifar_resnet import ResNet20, ResNet56
from benchsuite_models.lenet import LeNet5, LeNet102010025
from benchsuite_models.mlp import Mlp
from benchsuite_models.simple_cnn import SimpleCnn
from benchsuite_models.small_resnet import SmallResNet
from benchsuite_models.vgg import SmallVgg, Vgg16Bn, Vgg19Bn

if TYPE_CHECKING:
    from torch import Tensor

EVERY = (LeNet5, LeNet102010025, Mlp, SimpleCnn, SmallResNet, ResNet20, ResNet56, SmallVgg, Vgg16Bn, Vgg19Bn)


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("model", "shape", "classes", "parameters"),
    [
        # Weights and biases layer by layer, from the layers' published sizes.
        (LeNet5(), (1, 28, 28), 10, 156 + 2416 + 48120 + 10164 + 850),
        (LeNet5(), (3, 32, 32), 10, 456 + 2416 + 48120 + 10164 + 850),
        (LeNet102010025(), (1, 28, 28), 10, 260 + 20 + 5020 + 40 + 32100 + 2525 + 260),
        (Mlp(), (40,), 3, 41 * 50 + 51 * 3),
        (Mlp(hidden=(30, 20), activation="relu"), (1, 8, 8), 10, 65 * 30 + 31 * 20 + 21 * 10),
        (SimpleCnn(), (3, 32, 32), 10, 760 + 4016 + 401 * 120 + 121 * 84 + 85 * 10),
        # Pooled once: maps of 32, 28, 14 and 10 pixels.
        (
            SimpleCnn(convolutions=(16, 32), pooled="first", hidden=(64,)),
            (3, 32, 32),
            2,
            76 * 16 + 401 * 32 + (3200 + 1) * 64 + 65 * 2,
        ),
        (SimpleCnn(convolutions=(4,), kernel=3, hidden=(6, 5, 4)), (1, 9, 8), 3, 40 + 37 * 6 + 35 + 24 + 15),
        # 0.27 and 0.85 million in He et al. (2016), table 6; without parameters in the shortcuts.
        (ResNet20(), (3, 32, 32), 10, 269_722),
        (ResNet56(), (3, 32, 32), 10, 853_018),
        (ResNet20(shortcut="projection"), (3, 32, 32), 10, 269_722 + 16 * 32 + 64 + 32 * 64 + 128),
        # Convolutions without bias, batch norm, one linear layer.
        (SmallVgg(), (1, 28, 28), 10, 9 * (16 + 16 * 32 + 32 * 64 + 64 * 128) + 2 * 240 + 1290),
        (SmallVgg(widths=(8, 8)), (3, 4, 4), 5, 9 * (24 + 64) + 2 * 16 + 45),
        (Vgg16Bn(), (3, 32, 32), 10, 14_710_464 + 2 * 4224 + 5130),
        (Vgg16Bn(hidden=(512,)), (3, 32, 32), 10, 14_710_464 + 2 * 4224 + 513 * 512 + 5130),
        (Vgg19Bn(), (3, 32, 32), 100, 20_018_880 + 2 * 5504 + 51300),
    ],
    ids=repr,
)
def test_parameters_and_output(
    model: benchsuite.ModelPlugin, shape: tuple[int, ...], classes: int, parameters: int
) -> None:
    network = model.build(shape, classes)
    assert size(network) == parameters
    assert network(torch.rand(2, *shape)).shape == (2, classes)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32)])
def test_lenet5_has_the_published_maps(shape: tuple[int, ...]) -> None:
    network = LeNet5().build(shape, 10)
    maps: dict[str, tuple[int, ...]] = {}
    for name in ("relu1", "relu3", "relu5"):
        network.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: maps.__setitem__(name, tuple(out.shape[1:]))
        )
    network(torch.zeros(1, *shape))
    assert maps == {"relu1": (6, 28, 28), "relu3": (16, 10, 10), "relu5": (120, 1, 1)}


def test_mlp_computes_what_its_weights_say() -> None:
    network = Mlp(hidden=(4, 3)).build((2,), 2)
    x, state = torch.rand(5, 2), network.state_dict()
    expected = x
    for layer in ("hidden1", "hidden2"):
        expected = 1 / (1 + torch.exp(-(expected @ state[f"{layer}.weight"].T + state[f"{layer}.bias"])))
    expected = expected @ state["output.weight"].T + state["output.bias"]
    assert torch.allclose(network(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (LeNet5(), (1, 8, 8), "28 x 28 or 32 x 32; these have 8 x 8"),
        (LeNet102010025(), (1, 15, 20), "16 x 16 or more; these have 15 x 20"),
        (SimpleCnn(), (3, 8, 8), "16 x 16 or more"),
        (SimpleCnn(pooled="first"), (1, 13, 20), "14 x 14 or more; these have 13 x 20"),
        (SmallResNet(), (40,), r"takes images.* samples have shape \(40,\)"),
        (ResNet20(), (3, 4, 4), "8 x 8 or more"),
        (Vgg16Bn(), (3, 28, 28), "32 x 32 or more"),
        (SmallVgg(), (1, 15, 16), "16 x 16 or more"),
    ],
)
def test_inputs_that_do_not_fit(model: benchsuite.ModelPlugin, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(benchsuite.Unsupported, match=f"{model.name}.*{message}"):
        model.build(shape, 10)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (LeNet102010025(), (1, 16, 16)),
        (SimpleCnn(), (3, 16, 16)),
        (SimpleCnn(pooled="first"), (1, 14, 20)),
        (SimpleCnn(convolutions=(4, 4, 4), kernel=2), (1, 15, 15)),
        (SmallResNet(), (1, 4, 4)),
        (ResNet20(), (1, 8, 9)),
        (Vgg16Bn(), (1, 40, 33)),
    ],
)
def test_smallest_inputs_pass(model: benchsuite.ModelPlugin, shape: tuple[int, ...]) -> None:
    assert model.build(shape, 4)(torch.rand(3, *shape)).shape == (3, 4)


def test_simple_cnns_layers_keep_their_names() -> None:
    names = [name for name, _ in SimpleCnn().build((3, 32, 32), 10).named_children()]
    assert names == [
        *("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten"),
        *("fc1", "relu3", "fc2", "relu4", "fc3"),
    ]


@pytest.mark.parametrize(
    "wrong", [{"hidden": ()}, {"hidden": (0,)}, {"activation": "gelu"}, {"width": 3}], ids=str
)
def test_mlp_refuses_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(benchsuite.BenchsuiteError, match=next(iter(wrong))):
        Mlp(**wrong)


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.name)
def test_initialisation_follows_the_seed(model: type[benchsuite.ModelPlugin]) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(list(model().build((1, 32, 32), 5).state_dict().values()))
    assert all(map(torch.equal, states[0], states[1]))
    assert not all(map(torch.equal, states[0], states[2]))


# The published LeNet


def test_published_lenet_predicts_by_its_hidden_layer() -> None:
    network = LeNet102010025(variant="published").build((1, 28, 28), 10).eval()
    assert isinstance(network, nn.Sequential)
    x = torch.rand(6, 1, 28, 28)
    assert torch.equal(network(x), network[:-1](x)[:, :10])
    assert [type(m) for m in network[-4:]] == [nn.Flatten, nn.Linear, nn.Linear, nn.Linear]


def test_published_lenet_has_25_classes_at_most() -> None:
    model = LeNet102010025(variant="published")
    assert model.build((1, 28, 28), 25)(torch.rand(2, 1, 28, 28)).shape == (2, 25)
    with pytest.raises(benchsuite.Unsupported, match="at most 25"):
        model.build((1, 28, 28), 26)


# Real checkpoints


def accuracy(network: nn.Module, images: Tensor, data: benchsuite.Dataset, count: int) -> float:
    channels = (1, -1, 1, 1)
    mean, std = torch.tensor(data.mean).view(channels), torch.tensor(data.std).view(channels)
    network.eval()
    with torch.no_grad():
        right = [
            network((part.float() / 255 - mean) / std).argmax(1) == labels
            for part, labels in zip(
                images[:count].split(500), data.test.labels[:count].split(500), strict=True
            )
        ]
    return float(torch.cat(right).float().mean())


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "file", "expected"),
    [(Mnist, "lenet_mnist_acc99.27", 0.9927), (FashionMnist, "lenet_fashionmnist_acc90.04", 0.9004)],
)
def test_published_lenets_reach_their_accuracy(
    data_folder: Path, dataset: type[Mnist], file: str, expected: float
) -> None:
    weights = data_folder / "weights" / f"{file}.state_dict.pt"
    data = dataset(normalise="none").load(data_folder)
    network = LeNet102010025(variant="published", weights=str(weights)).build(data.input_shape, 10)
    assert accuracy(network, data.test.inputs, data, 10_000) == pytest.approx(expected, abs=5e-5)


@pytest.mark.data
@pytest.mark.parametrize(
    ("model", "file", "expected"),
    [
        (ResNet20, "resnet20-12fca82f", 0.9173),
        pytest.param(ResNet56, "resnet56-4bfd9763", 0.9339, marks=pytest.mark.slow),
    ],
)
def test_published_resnets_reach_their_accuracy(
    data_folder: Path, model: type[ResNet20], file: str, expected: float
) -> None:
    """On 2000 of the 10,000 test images, so within three standard errors."""
    data = Cifar10(normalise="imagenet").load(data_folder)
    network = model(weights=str(data_folder / "weights" / f"{file}.th")).build((3, 32, 32), 10)
    assert accuracy(network, data.test.inputs, data, 2000) == pytest.approx(expected, abs=0.018)


@pytest.mark.data
def test_published_resnet20_computes_what_its_weights_say(data_folder: Path) -> None:
    """Compared with a second computation directly from the checkpoint."""
    file = data_folder / "weights" / "resnet20-12fca82f.th"
    state = torch.load(file, weights_only=True, map_location="cpu")["state_dict"]
    network = ResNet20(weights=str(file)).build((3, 32, 32), 10).eval()
    x = torch.randn(4, 3, 32, 32)

    def normalised(x: Tensor, name: str) -> Tensor:
        mean, variance, scale, shift = (
            state[f"module.{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def convolved(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return functional.conv2d(x, state[f"module.{name}.weight"], stride=stride, padding=1)

    out = normalised(convolved(x, "conv1"), "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            inner = normalised(convolved(out, f"{name}.conv1", stride), f"{name}.bn1").clamp(min=0)
            inner = normalised(convolved(inner, f"{name}.conv2"), f"{name}.bn2")
            if stride == 2:
                quarter = torch.zeros_like(inner)[:, : inner.shape[1] // 4]
                out = torch.cat([quarter, out[:, :, ::2, ::2], quarter], 1)
            out = (inner + out).clamp(min=0)
    expected = out.mean((2, 3)) @ state["module.linear.weight"].T + state["module.linear.bias"]
    with torch.no_grad():
        assert torch.allclose(network(x), expected, atol=1e-4)


# Training


def test_recipes_train_on_digits_in_seconds() -> None:
    data = Digits().load(Path("/nonexistent"))
    for model in (SmallResNet(), Mlp()):
        torch.manual_seed(0)
        network = model.build(data.input_shape, 10)
        train(network, on_device(data, "cpu"), model.recipe, seed=0, device="cpu")
        assert accuracy(network, data.test.inputs, data, 359) > 0.94
