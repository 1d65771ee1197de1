"""A residual network small enough for a laptop's CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt  # noqa: TC002 - annotations of parameters are evaluated

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class SmallResNet(ModelWithWeights):
    """Residual network of three stages with batch norm and projection shortcuts, after He et al. (2016).

    The stages have `width`, 2 `width` and 4 `width` units; each except the first halves height and width.
    """

    name = "small-resnet"
    recipe = benchsuite.TrainingRecipe(epochs=10, batch_size=64, learning_rate=0.1, weight_decay=5e-4)
    width: PositiveInt = 16
    """Units of the first stage."""
    blocks: PositiveInt = 1
    """Residual blocks of each stage."""

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network for images of 4 x 4 or more; raises `Unsupported` for others."""
        from benchsuite_models.nets.residual import ResidualNetwork

        channels, _, _ = image_shape(self.name, input_shape, smallest=4)
        widths = (self.width, 2 * self.width, 4 * self.width)
        return ResidualNetwork(channels, widths, self.blocks, classes, shortcut="projection")
