"""Copies of networks, which may hold what cannot be copied."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn


def copy_of(model: nn.Module) -> nn.Module:
    """A copy of a network.

    Raises:
        Unsupported: it cannot be copied, as where it holds what it computed; the message says what would be
            right.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        # What a network holds can refuse to be copied in any way.
        raise Unsupported(
            f"the network cannot be copied: {type(error).__name__}: {error}; it must hold its tensors as "
            "parameters or buffers"
        ) from error
