"""Two LeNets of the pruning literature."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class LeNet5(ModelWithWeights):
    """LeNet-5 with ReLU and max-pooling, about 61,700 parameters (LeCun et al. 1998; du Toit 2024).

    The first convolution gives maps of 28 x 28: images of 28 x 28 are padded by 2, those of 32 x 32 are not.
    """

    name = "lenet5"
    recipe = benchsuite.TrainingRecipe(epochs=5, batch_size=128, learning_rate=0.05, weight_decay=5e-4)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for images of 28 x 28 or 32 x 32; raises `Unsupported` for others."""
        from torch import nn

        channels, height, width = image_shape(self.name, input_shape)
        if (height, width) not in ((28, 28), (32, 32)):
            raise benchsuite.Unsupported(
                f"{self.name} takes images of 28 x 28 or 32 x 32; these have {height} x {width}"
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            c1=nn.Conv2d(channels, 6, 5, padding=2 if height == 28 else 0),
            relu1=nn.ReLU(),
            s2=nn.MaxPool2d(2),
            c3=nn.Conv2d(6, 16, 5),
            relu3=nn.ReLU(),
            s4=nn.MaxPool2d(2),
            c5=nn.Conv2d(16, 120, 5),
            relu5=nn.ReLU(),
            flatten=nn.Flatten(),
            f6=nn.Linear(120, 84),
            relu6=nn.ReLU(),
            f7=nn.Linear(84, classes),
        )
        return nn.Sequential(layers)


class LeNet102010025(ModelWithWeights):
    """LeNet with layers of 10, 20, 100 and 25 units and batch norm after pooling (Adamczewski and Park 2019).

    In the published network the 25 units of the last hidden layer are themselves the class scores, without a
    non-linearity. `variant = "published"` is that network, for the authors' checkpoints: its output layer is
    initialised to select the first `classes` units, so that the 25 units are still a hidden layer that
    criteria can rank. The default is the trainable variant: ReLU after both fully connected layers, and a
    separate output layer.
    """

    name = "lenet-10-20-100-25"
    recipe = benchsuite.TrainingRecipe(epochs=5, batch_size=128, learning_rate=0.05, weight_decay=5e-4)
    variant: Literal["trainable", "published"] = "trainable"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for images of 16 x 16 or more; raises `Unsupported` for others."""
        from torch import nn

        channels, height, width = image_shape(self.name, input_shape, smallest=16)
        flat = 20 * _after_two_stages(height) * _after_two_stages(width)
        if self.variant == "published" and classes > 25:
            raise benchsuite.Unsupported(
                f'{self.name} with variant = "published" tells at most 25 classes apart; there are {classes}'
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            c1=nn.Conv2d(channels, 10, 5),
            s1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            bn1=nn.BatchNorm2d(10),
            c3=nn.Conv2d(10, 20, 5),
            s2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            bn2=nn.BatchNorm2d(20),
            flatten=nn.Flatten(),
            c5=nn.Linear(flat, 100),
            relu5=nn.ReLU(),
            f6=nn.Linear(100, 25),
            relu6=nn.ReLU(),
            output=nn.Linear(25, classes),
        )
        if self.variant == "published":
            del layers["relu5"], layers["relu6"]
        return nn.Sequential(layers)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network; see `ModelWithWeights.build`."""
        network = super().build(input_shape, classes)
        if self.variant == "published":
            # This also replaces a checkpoint's output layer: the authors neither trained nor used theirs.
            from torch import nn

            output = network.get_submodule("output")
            nn.init.eye_(output.get_parameter("weight"))
            nn.init.zeros_(output.get_parameter("bias"))
        return network


def _after_two_stages(size: int) -> int:
    """Height or width after applying a 5 x 5 convolution and pooling by 2, twice."""
    return ((size - 4) // 2 - 4) // 2
