"""What inputs that come by name are like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


@dataclass(frozen=True)
class Tokens:
    """What a data set of texts says of its inputs.

    Positions that do not count hold `padding`. They are left out of everything that criteria read.

    Attributes:
        vocabulary: how many token ids there are, numbered from 0.
        padding: the id at positions that do not count.
        ids: the name of the input with the ids, int64 (samples, steps).
        mask: the name of the input that is 1 where a position counts and 0 where it does not, int64 or bool,
            (samples, steps).
        words: what each id stands for, one for each, for whoever uses a network on other texts; or empty.
    """

    vocabulary: int
    padding: int = 0
    ids: str = "input_ids"
    mask: str = "attention_mask"
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedInputs:
    """What inputs by name are like, for whoever builds a network for them.

    Attributes:
        shapes: by name, one sample's shape.
        types: by name, the type of its numbers.
        tokens: what the data set says of its token ids, if it has any.
    """

    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, torch.dtype]
    tokens: Tokens | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
