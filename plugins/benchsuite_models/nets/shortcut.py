"""The shortcut without parameters, made so that channels can be removed on both of its sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class ChannelPadShortcut(nn.Module):
    """Every `stride`-th pixel of every channel, with channels of zeros before and after (He et al. 2016, A).

    Input and output channels are not coupled: where an input channel is removed its output channel becomes
    zero, and where an output channel is removed the input channel is not read. `keep_inputs` and
    `keep_outputs` do this, so that surgery can treat the two sides as independent layers.

    Attributes:
        source: for each output channel the input channel that it shows, or -1 for zeros.
    """

    source: Tensor

    def __init__(self, inputs: int, units: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (units - inputs) // 2
        source = torch.full((units,), -1)
        source[before : before + inputs] = torch.arange(inputs)
        # Not persistent: the published checkpoints of these networks hold nothing for the shortcut.
        self.register_buffer("source", source, persistent=False)
        self.inputs = inputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps of shape (samples, units, height / stride, width / stride), rounded up."""
        thinned = x[:, :, :: self.stride, :: self.stride]
        shown = (self.source >= 0).to(x.dtype)[:, None, None]
        return thinned.index_select(1, self.source.clamp(min=0)) * shown

    def keep_inputs(self, indices: Sequence[int]) -> None:
        """Expect only these input channels from now on, in this order."""
        position = torch.full((self.inputs + 1,), -1)  # the last stands for "zeros", which -1 picks
        position[list(indices)] = torch.arange(len(indices))
        self.source = position.to(self.source.device)[self.source]
        self.inputs = len(indices)

    def keep_outputs(self, indices: Sequence[int]) -> None:
        """Give only these output channels from now on, in this order."""
        self.source = self.source[list(indices)]
