"""Torchvision's window attention, made of layers that are called.

Its own gives the weights of the layers to a function, so that they have no activations and no units to score.
"""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST_SCALE = log(100)
"""Of cosines, as a logarithm (Liu et al. 2022, section 3.2)."""
_FORBIDDEN = -100.0
"""What is added to the product of two tokens that a shift has made neighbours (Liu et al. 2021, figure 4)."""


class CalledWindowAttention(ShiftedWindowAttention):  # type: ignore[misc]  # torchvision gives no types
    """Attention within windows (Liu et al. 2021), by calls of its layers `qkv` and `proj`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the windows' attentions give, in the shape of the input.

        Args:
            x: (samples, height, width, channels).
        """
        samples, height, width, _ = x.shape
        rows, columns = self.window_size
        padded = functional.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        tall, wide = padded.shape[1:3]
        # A window that holds the whole map is not shifted.
        shift = [
            0 if window >= size else step
            for window, size, step in zip((rows, columns), (tall, wide), self.shift_size, strict=True)
        ]
        rolled = padded.roll((-shift[0], -shift[1]), (1, 2))
        found = self._attend(self._windows(rolled), self._apart(tall, wide, shift, x))
        maps = found.unflatten(0, (samples, tall // rows, wide // columns)).unflatten(3, (rows, columns))
        whole = maps.transpose(2, 3).reshape(samples, tall, wide, -1)
        back: Tensor = whole.roll((shift[0], shift[1]), (1, 2))
        return back[:, :height, :width].contiguous()

    def _windows(self, maps: Tensor) -> Tensor:
        """(samples, height, width, channels) as (samples * windows, tokens of a window, channels)."""
        rows, columns = self.window_size
        parts: Tensor = maps.unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
        return parts.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def _attend(self, tokens: Tensor, apart: Tensor | None) -> Tensor:
        q, k, v = self._made(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        products = self._products(q, k) + self.get_relative_position_bias()
        if apart is not None:
            by_window = products.unflatten(0, (-1, len(apart)))
            products = (by_window + apart.unsqueeze(1)).flatten(0, 1)
        weights = functional.dropout(products.softmax(-1), self.attention_dropout, self.training)
        found: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return functional.dropout(found, self.dropout, self.training)

    def _made(self, tokens: Tensor) -> Tensor:
        """Queries, keys and values, (windows, tokens, 3 * width)."""
        made: Tensor = self.qkv(tokens)
        return made

    def _products(self, q: Tensor, k: Tensor) -> Tensor:
        return q / sqrt(q.shape[-1]) @ k.transpose(-2, -1)

    def _apart(self, height: int, width: int, shift: Sequence[int], like: Tensor) -> Tensor | None:
        """What is added so that tokens that a shift brought together do not look at each other.

        Returns:
            (windows, tokens, tokens), or None where nothing is shifted.
        """
        if not any(shift):
            return None
        sides = [
            sum((torch.arange(size) >= size - edge).long() for edge in (window, step) if step)
            * torch.ones(size, dtype=torch.long)
            for size, window, step in zip((height, width), self.window_size, shift, strict=True)
        ]
        region = (3 * sides[0][:, None] + sides[1]).to(like.device)
        of_window = self._windows(region[None, :, :, None]).squeeze(2)
        differs = of_window[:, :, None] != of_window[:, None, :]
        return torch.zeros(differs.shape, dtype=like.dtype, device=like.device).masked_fill(
            differs, _FORBIDDEN
        )


class CalledCosineAttention(CalledWindowAttention, ShiftedWindowAttentionV2):  # type: ignore[misc]  # likewise
    """The second version (Liu et al. 2022): cosines with a scale for each head, and keys without a bias."""

    def _made(self, tokens: Tensor) -> Tensor:
        made = super()._made(tokens)
        if self.qkv.bias is None:
            return made
        bias = self.qkv.bias.chunk(3)[1]
        # Its own value, so that it has no part in what the network computes and learns.
        return made - functional.pad(bias, (len(bias), len(bias)))

    def _products(self, q: Tensor, k: Tensor) -> Tensor:
        cosines = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
        scale: Tensor = self.logit_scale.clamp(max=_LARGEST_SCALE)
        return cosines * scale.exp()


def call_window_attentions(network: nn.Module) -> None:
    """Let the window attentions of a Swin transformer call their layers, in place; nothing else changes."""
    for module in network.modules():
        if type(module) is ShiftedWindowAttention:
            module.__class__ = CalledWindowAttention
        elif type(module) is ShiftedWindowAttentionV2:
            module.__class__ = CalledCosineAttention
