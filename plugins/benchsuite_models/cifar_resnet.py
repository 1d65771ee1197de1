"""The residual networks that He et al. (2016) trained on CIFAR-10."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class _CifarResNet(ModelWithWeights):
    """Three stages of 16, 32 and 64 units for images of about 32 x 32."""

    recipe = benchsuite.TrainingRecipe(epochs=60, batch_size=128, learning_rate=0.2, weight_decay=5e-4)
    blocks: ClassVar[int]
    shortcut: Literal["A", "projection"] = "A"
    """The shortcut where a stage changes the shape: "A" takes every second pixel and fills the new channels
    with zeros, as published; "projection" is a 1 x 1 convolution with batch norm (the paper's option B)."""

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for images of 8 x 8 or more; raises `Unsupported` for others."""
        from benchsuite_models.nets.residual import ResidualNetwork

        channels, _, _ = image_shape(self.name, input_shape, smallest=8)
        return ResidualNetwork(channels, (16, 32, 64), self.blocks, classes, shortcut=self.shortcut)


class ResNet20(_CifarResNet):
    """ResNet-20 for CIFAR, 0.27 million parameters (He et al. 2016, section 4.2)."""

    name = "resnet20"
    blocks = 3


class ResNet56(_CifarResNet):
    """ResNet-56 for CIFAR, 0.85 million parameters (He et al. 2016, section 4.2)."""

    name = "resnet56"
    blocks = 9
