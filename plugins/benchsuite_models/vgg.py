"""VGG with batch norm, in the variant for CIFAR."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt  # noqa: TC002 - annotations of parameters are evaluated

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
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

        inputs, _, _ = image_shape(self.name, input_shape, smallest=32)
        features: list[nn.Module] = []
        for units, count in zip((64, 128, 256, 512, 512), self.convolutions, strict=True):
            for _ in range(count):
                convolution = nn.Conv2d(inputs, units, 3, padding=1, bias=False)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                features += [convolution, nn.BatchNorm2d(units), nn.ReLU(inplace=True)]
                inputs = units
            features.append(nn.MaxPool2d(2))
        classifier: list[nn.Module] = []
        for units in self.hidden:
            classifier += [nn.Linear(inputs, units), nn.ReLU(inplace=True)]
            inputs = units
        network = nn.Sequential()
        network.add_module("features", nn.Sequential(*features))
        network.add_module("pool", nn.AdaptiveAvgPool2d(1))
        network.add_module("flatten", nn.Flatten())
        network.add_module("classifier", nn.Sequential(*classifier, nn.Linear(inputs, classes)))
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
