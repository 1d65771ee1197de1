"""Kernels below torch that cannot be trusted, and how they are kept out."""

from __future__ import annotations

import platform
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_CPUINFO = Path("/proc/cpuinfo")


@contextmanager
def trusted_gradients(model: nn.Module, device: torch.device | str) -> Iterator[None]:
    """Within the context the gradients of the network's weights are computed by kernels that do it right.

    On x86 processors oneDNN's gradient of the weights of a strided 1 x 1 convolution writes past the end of
    its workspace where inputs lie channels last and have fewer channels than a block (oneDNN issue 6035;
    seen with oneDNN 3.12 in torch 2.14). Other data of the process are overwritten: with luck it dies, else
    numbers are wrong. Pruning makes such convolutions out of the shortcuts of ordinary residual networks. A
    network that has one is computed without oneDNN here, which takes up to half as long again; the others
    are left alone, and so are GPUs.

    Args:
        model: the network whose gradients are taken.
        device: where it is.
    """
    if torch.device(device).type != "cpu" or not any(map(_is_affected, model.modules())):
        yield
        return
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]  # a property that torch declares as its maker
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def _is_affected(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.weight.shape[1] < _block()
    )


@cache
def _block() -> int:
    """Channels that oneDNN takes at once: the float32 numbers of the processor's widest vector register."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return 0
    known = _CPUINFO.read_text() if _CPUINFO.exists() else ""
    return 8 if "avx2" in known and "avx512" not in known else 16
