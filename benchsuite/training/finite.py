"""Whether a network's state holds only numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


def not_finite(model: nn.Module) -> tuple[str, ...]:
    """Names of parameters and buffers that are spoilt.

    That is every parameter and every statistic of a normalisation that is not finite, and every other buffer
    with a NaN; these may hold infinities for a purpose, as masks of attention do. The host waits for the
    device once.
    """
    statistics = {
        f"{name}.{kind}".lstrip(".")
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        for kind in ("running_mean", "running_var")
    }
    looked: dict[str, Tensor] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() or tensor.is_complex():
            strict = isinstance(tensor, nn.Parameter) or name in statistics
            values = tensor.detach()
            looked[name] = ~values.isfinite().all() if strict else values.isnan().any()
    if not looked:
        return ()
    spoilt = torch.stack([flag.to(next(iter(looked.values())).device) for flag in looked.values()]).tolist()
    return tuple(name for name, bad in zip(looked, spoilt, strict=True) if bad)


def named(names: tuple[str, ...], most: int = 3) -> str:
    """The first of some names, and how many there are beside them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
