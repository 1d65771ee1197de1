"""A small convolutional network, by default that of Khanal (2018)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class SimpleCnn(ModelWithWeights):
    """Convolutions with ReLU and max-pooling, then fully connected layers.

    By default convolutions of 10 and 16 units, each pooled, then 120-84-classes (Khanal 2018). The network of
    the study "The Pruning Methods for feed-forward network and Convolutional Neural Network" has a first
    convolution of 16 units and is pooled once: `convolutions = [16, 32]` with `pooled = "first"`, where 32 is
    a guess, as the study does not say how many units its other layers have.
    """

    name = "simple-cnn"
    recipe = benchsuite.TrainingRecipe(epochs=15, batch_size=128, learning_rate=0.05, weight_decay=5e-4)
    convolutions: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (10, 16)
    """Units of each convolution."""
    kernel: Annotated[int, Field(ge=1, le=11)] = 5
    """Height and width of the filters; maps are not padded."""
    pooled: Literal["each", "first"] = "each"
    """Behind which convolutions maps are pooled by 2."""
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (120, 84)
    """Units of each fully connected hidden layer."""

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network, by default for images of 16 x 16 or more; raises `Unsupported` for smaller."""
        from torch import nn

        pools = [self.pooled == "each" or number == 0 for number in range(len(self.convolutions))]
        smallest = 1
        for pool in reversed(pools):
            smallest = smallest * (2 if pool else 1) + self.kernel - 1
        inputs, *sides = image_shape(self.name, input_shape, smallest)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (units, pool) in enumerate(zip(self.convolutions, pools, strict=True), start=1):
            layers[f"conv{number}"] = nn.Conv2d(inputs, units, self.kernel)
            layers[f"relu{number}"] = nn.ReLU()
            if pool:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
            sides = [(side - self.kernel + 1) // (2 if pool else 1) for side in sides]
            inputs = units
        layers["flatten"] = nn.Flatten()
        inputs *= sides[0] * sides[1]
        for number, units in enumerate(self.hidden, start=1):
            layers[f"fc{number}"] = nn.Linear(inputs, units)
            layers[f"relu{len(pools) + number}"] = nn.ReLU()
            inputs = units
        layers[f"fc{len(self.hidden) + 1}"] = nn.Linear(inputs, classes)
        return nn.Sequential(layers)
