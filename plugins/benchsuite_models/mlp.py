"""Fully connected networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

import benchsuite
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class Mlp(ModelWithWeights):
    """Fully connected network, by default with one hidden layer of 50 sigmoid units.

    On the 40 attributes of `waveform` it is the 40-50-3 network on which distinctiveness pruning was tested.
    Images are flattened.
    """

    name = "mlp"
    recipe = benchsuite.TrainingRecipe(epochs=30, batch_size=64, learning_rate=0.2, weight_decay=1e-4)
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (50,)
    """Units of each hidden layer."""
    activation: Literal["sigmoid", "relu", "tanh"] = "sigmoid"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for images or features of any size."""
        from torch import nn

        activations = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if len(input_shape) > 1:
            layers["flatten"] = nn.Flatten()
        inputs = math.prod(input_shape)
        for number, units in enumerate(self.hidden, start=1):
            layers[f"hidden{number}"] = nn.Linear(inputs, units)
            layers[f"{self.activation}{number}"] = activations[self.activation]()
            inputs = units
        layers["output"] = nn.Linear(inputs, classes)
        return nn.Sequential(layers)
