"""Multiply-accumulates of one sample by module, counted as they are executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

_TOTAL = "Global"
"""The name under which torch's counter keeps the total."""


@dataclass(frozen=True)
class MacCount:
    """MACs of one sample: in total, and by dotted name of each module, submodules included."""

    total: int
    of_module: Mapping[str, int]


def count_macs(model: nn.Module, example: Tensor) -> MacCount:
    """Count the MACs of the first sample of `example`; the network must be in evaluation mode."""
    fused = torch.backends.mha.get_fastpath_enabled()
    # Fused attention kernels hide their matrix products from the counter; which kernels are used depends on
    # the device and on torch's version.
    torch.backends.mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _RunningModules(model)  # type: ignore[assignment]  # has all the counter uses
    try:
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(example[:1])
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    of_module = {
        name.removeprefix(_PREFIX): sum(operations.values()) // 2
        for name, operations in counter.get_flop_counts().items()
        if name != _TOTAL
    }
    return MacCount(total=counter.get_total_flops() // 2, of_module=of_module)


_PREFIX = "module:"
"""Prefix of module names, so that no module name is confused with the total."""


class _RunningModules:
    """Names of the modules whose forward pass is running, under which a counter adds up operations.

    Torch's own tracker also follows the backward pass, with hooks on the inputs and outputs of modules. These
    fail on tensors that require a gradient but have no history, such as an expanded class token while no
    gradients are recorded.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parents = {_TOTAL}
        self._names = {module: f"{_PREFIX}{name}" for name, module in model.named_modules()}
        self._hooks: tuple[RemovableHandle, ...] = ()

    def __enter__(self) -> None:
        self._hooks = (
            register_module_forward_pre_hook(self._begin),
            register_module_forward_hook(self._end, always_call=True),
        )

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, module: nn.Module, *_: object) -> None:
        if module in self._names:
            self.parents.add(self._names[module])

    def _end(self, module: nn.Module, *_: object) -> None:
        if module in self._names:
            self.parents.discard(self._names[module])
