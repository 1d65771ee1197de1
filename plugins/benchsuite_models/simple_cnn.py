"""The small convolutional network of Khanal (2018)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class SimpleCnn(ModelWithWeights):
    """Convolutions of 10 and 16 units, each pooled, then fully connected 120-84-classes (Khanal 2018)."""

    name = "simple-cnn"
    recipe = benchsuite.TrainingRecipe(epochs=15, batch_size=128, learning_rate=0.05, weight_decay=5e-4)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for images of 16 x 16 or more; raises `Unsupported` for others."""
        from torch import nn

        channels, height, width = image_shape(self.name, input_shape, smallest=16)
        flat = 16 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(channels, 10, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(10, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(flat, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, classes),
        )
        return nn.Sequential(layers)
