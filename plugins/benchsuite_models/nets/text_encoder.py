"""A small transformer encoder for texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TextEncoder(nn.Module):
    """Classifies texts by the mean over their tokens of what blocks of attention make of them.

    Token and position embeddings are added up; each block adds an attention and two linear layers to what it
    is given, normalised before each of them (Xiong et al. 2020, "pre-LN"). Padding is neither attended to nor
    part of the mean.

    Args:
        vocabulary: how many token ids there are.
        steps: the longest text.
        classes: how many classes.
        width: features of a token between the blocks.
        heads: heads of an attention; they divide the width.
        hidden: units between a block's two linear layers.
        blocks: how many blocks.
    """

    def __init__(
        self, vocabulary: int, steps: int, classes: int, width: int, heads: int, hidden: int, blocks: int
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(steps, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the classes' scores from ids (samples, steps) and a mask that is 0 at padding."""
        kept = attention_mask != 0
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        values = self.tokens(input_ids) + self.positions(places)
        for block in self.blocks:
            values = block(values, kept)
        share = kept.to(values.dtype) / kept.sum(1, keepdim=True)
        scores: Tensor = self.classifier((self.norm(values) * share[:, :, None]).sum(1))
        return scores


class Block(nn.Module):
    """An attention over the tokens that count, and two linear layers with GELU between them."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)

    def forward(self, values: Tensor, kept: Tensor) -> Tensor:
        """Return (samples, steps, width) from the same, and which positions count, bool (samples, steps)."""
        values = values + self.attention(self.attention_norm(values), kept)
        added: Tensor = self.output(functional.gelu(self.hidden(self.norm(values))))
        return values + added


class Attention(nn.Module):
    """Attention with several heads (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, values: Tensor, kept: Tensor) -> Tensor:
        """Return (samples, steps, width) from the same, and which positions count, bool (samples, steps)."""
        samples, steps, _ = values.shape
        query, key, value = (
            layer(values).view(samples, steps, self.num_heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        given = functional.scaled_dot_product_attention(query, key, value, attn_mask=kept[:, None, None, :])
        mixed: Tensor = self.output(given.transpose(1, 2).flatten(2))
        return mixed
