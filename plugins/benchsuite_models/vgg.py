"""VGG with batch norm, in the variant for CIFAR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveInt

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


class _VggBn(ModelWithWeights):
    """Five stages of 3 x 3 convolutions, each ending in max-pooling, then a linear classifier."""

    recipe = benchsuite.TrainingRecipe(epochs=60, batch_size=128, learning_rate=0.1, weight_decay=5e-4)
    convolutions: ClassVar[tuple[int, int, int, int, int]]
    """Convolutions of each stage."""
    hidden: tuple[PositiveInt, ...] = ()
    """Units of fully connected layers before the classifier; some papers have (512,) or (512, 512)."""

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for images of 32 x 32 or more; raises `Unsupported` for others."""
        from torch import nn

        channels, _, _ = image_shape(self.name, input_shape, smallest=32)
        features = _features(channels, (64, 128, 256, 512, 512), self.convolutions)
        inputs = 512
        classifier: list[nn.Module] = []
        for units in self.hidden:
            classifier += [nn.Linear(inputs, units), nn.ReLU(inplace=True)]
            inputs = units
        network = nn.Sequential()
        network.add_module("features", features)
        network.add_module("pool", nn.AdaptiveAvgPool2d(1))
        network.add_module("flatten", nn.Flatten())
        network.add_module("classifier", nn.Sequential(*classifier, nn.Linear(inputs, classes)))
        return network


def _features(channels: int, widths: Sequence[int], convolutions: Sequence[int]) -> nn.Sequential:
    """Return stages of so many 3 x 3 convolutions of a width, each with batch norm, ending in max-pooling."""
    from torch import nn

    layers: list[nn.Module] = []
    for units, count in zip(widths, convolutions, strict=True):
        for _ in range(count):
            convolution = nn.Conv2d(channels, units, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, nn.BatchNorm2d(units), nn.ReLU(inplace=True)]
            channels = units
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class SmallVgg(ModelWithWeights):
    """One 3 x 3 convolution with batch norm a stage, and a linear classifier: a VGG that trains on a CPU.

    98 thousand parameters for grey images and 10 classes, whose last layer has 500 times the weights of the
    first: what layer collapse shows on (Tanaka et al. 2020).
    """

    name = "small-vgg"
    recipe = benchsuite.TrainingRecipe(epochs=6, batch_size=128, learning_rate=0.1, weight_decay=5e-4)
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (16, 32, 64, 128)
    """Units of each stage."""

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network; raises `Unsupported` for images that its pooling leaves nothing of."""
        from torch import nn

        channels, _, _ = image_shape(self.name, input_shape, smallest=2 ** len(self.widths))
        network = nn.Sequential()
        network.add_module("features", _features(channels, self.widths, (1,) * len(self.widths)))
        network.add_module("pool", nn.AdaptiveAvgPool2d(1))
        network.add_module("flatten", nn.Flatten())
        network.add_module("classifier", nn.Linear(self.widths[-1], classes))
        return network


class Vgg16Bn(_VggBn):
    """VGG-16 with batch norm and one linear classifier, for 32 x 32, 14.7 million parameters.

    Simonyan and Zisserman (2015), configuration D, without the two hidden layers of 4096 units.
    """

    name = "vgg16-bn"
    convolutions = (2, 2, 3, 3, 3)


class Vgg19Bn(_VggBn):
    """VGG-19 with batch norm and one linear classifier, for 32 x 32, 20.0 million parameters.

    Simonyan and Zisserman (2015), configuration E, without the two hidden layers of 4096 units.
    """

    name = "vgg19-bn"
    convolutions = (2, 2, 4, 4, 4)
