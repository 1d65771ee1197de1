"""A non-linearity as a network calls it, and what it does to negative input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class NonLinearity:
    """A call of a non-linearity, with its arguments."""

    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name in torch, without underscores around it."""
        name: str = self.function.__name__
        return name.strip("_")

    def zero_below(self, like: Tensor) -> bool:
        """Whether it gives exactly zero for what is just below zero and for what is far below.

        GELU is zero far below, but not near zero; Hardtanh from -1 to 1 is zero for neither.
        """
        settings = {key: value for key, value in self.kwargs.items() if key not in {"input", "out"}}
        return all(
            not self.function(torch.full_like(like, value), *self.args[1:], **settings).any()
            for value in (-1e-3, -1e4)
        )
