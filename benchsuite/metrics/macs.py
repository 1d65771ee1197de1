"""Multiply-accumulates of one sample by module, counted as they are executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.metrics.free_operations import is_free, is_view
from benchsuite.metrics.products import Product, products_of, vector_products
from benchsuite.metrics.weight_origin import WeightOrigin, storage_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from benchsuite.contracts.inputs import Inputs

_TOTAL = "Global"
"""The name under which torch's counter keeps the total."""
_NONZERO = "Nonzero"
"""Where the total without the multiplications by zeros of weights is kept beside it."""
_PREFIX = "module:"
"""Prefix of module names, so that no module name is confused with these two."""


@dataclass(frozen=True)
class MacCount:
    """MACs of one sample.

    Attributes:
        total: of the whole network.
        of_module: by dotted name of each module, submodules included.
        nonzero: the total without the multiplications by zeros of weights; the total where zeros were not
            looked for.
        unknown: what may have multiplied and is not counted, as `module: operation`; where there is any, the
            MACs are a lower bound.
    """

    total: int
    of_module: Mapping[str, int]
    nonzero: int
    unknown: tuple[str, ...]


def count_macs(model: nn.Module, example: Inputs, *, zeros: bool = False) -> MacCount:
    """Count the MACs of the first sample of `example`; the network must be in evaluation mode.

    Args:
        model: the network; on every kernel and in every precision its count is the same.
        example: inputs.
        zeros: whether to look for zeros in weights. A weight is what is made of parameters alone, be it a
            parameter, a part of one, or a function of some; it counts wherever it is used.
    """
    example = example[:1]
    fused = torch.backends.mha.get_fastpath_enabled()
    # Fused attention kernels hide their matrix products from the counter; which kernels are used depends on
    # the device and on torch's version.
    torch.backends.mha.set_fastpath_enabled(False)
    counter = _Counter(model, WeightOrigin(model, example) if zeros else None)
    try:
        with counter, _Undivided(counter), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    counts = {name: sum(macs.values()) for name, macs in counter.get_flop_counts().items()}
    total, nonzero = counts.pop(_TOTAL, 0), counts.pop(_NONZERO, 0)
    of_module = {name.removeprefix(_PREFIX): macs for name, macs in counts.items() if macs}
    return MacCount(total, of_module, nonzero if zeros else total, tuple(counter.unknown))


class _Counter(FlopCounterMode):
    """Torch's counter with formulas for more operations, which notes what it has none for.

    Its counts are multiply-accumulates.
    """

    def __init__(self, model: nn.Module, origin: WeightOrigin | None) -> None:
        super().__init__(display=False)
        self.unknown: dict[str, None] = {}
        self._origin = origin
        self._modules = _RunningModules(model, self.unknown)
        self.mod_tracker = self._modules  # type: ignore[assignment]  # has all that the counter uses

    def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        """Called with every operation that is executed and its result."""
        if not _only_views(func_packet):
            self._modules.operations += 1
        products = products_of(str(func_packet), args, out)
        if products is None and func_packet in self.flop_registry:
            flops = self.flop_registry[func_packet](*args, **kwargs, out_val=out)
            products = [Product(flops // 2, ())]
        if products is None:
            if not is_free(func_packet, (args, kwargs), out):
                self.unknown[f"{self._modules.innermost}: {func_packet}"] = None
            products = []
        self.add(func_packet, products)
        if self._origin is not None:
            self._origin.follow((args, kwargs), out)
        return out

    def add(self, operation: Any, products: Sequence[Product]) -> None:
        """Count what an operation multiplies under every module that runs now."""
        for macs, factors in products:
            for name in self._modules.parents:
                self.flop_counts[name][operation] += macs
            if self._origin is not None:
                self.flop_counts[_NONZERO][operation] += self._origin.without_zeros(macs, factors)


class _Undivided(TorchFunctionMode):
    """Counts products that torch takes apart, before a counter sees them, into steps that each are free."""

    def __init__(self, counter: _Counter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.linalg.vecdot:
            factors = [*args, *(kwargs[name] for name in ("x", "y") if name in kwargs)]
            self._counter.add(torch.ops.aten.linalg_vecdot, vector_products(factors))
        return result


def _only_views(operation: Any) -> bool:
    """Whether an operation computes nothing, as far as is known."""
    overloads = operation.overloads() if hasattr(operation, "overloads") else ()
    return any(is_view(getattr(operation, name)) for name in overloads)


class _RunningModules:
    """Names of the modules whose forward pass is running, under which a counter adds up operations.

    Torch's own tracker also follows the backward pass, with hooks on the inputs and outputs of modules. These
    fail on tensors that require a gradient but have no history, such as an expanded class token while no
    gradients are recorded.

    Args:
        model: the network.
        unknown: gets the modules with parameters whose output no operation of torch has made.
    """

    def __init__(self, model: nn.Module, unknown: dict[str, None]) -> None:
        self.operations = 0
        self._names = {module: name for name, module in model.named_modules()}
        self._unknown = unknown
        self._running: list[tuple[str, int]] = []
        self._hooks: tuple[RemovableHandle, ...] = ()

    @property
    def parents(self) -> set[str]:
        """The names under which an operation is counted now."""
        return {_TOTAL, *(f"{_PREFIX}{name}" for name, _ in self._running)}

    @property
    def innermost(self) -> str:
        """What a person reads of the module that runs now."""
        return (self._running[-1][0] if self._running else "") or "the network itself"

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
            self._running.append((self._names[module], self.operations))

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        if module not in self._names:
            return
        before = self.operations
        while self._running:  # what failed before its own end is over too
            name, before = self._running.pop()
            if name == self._names[module]:
                break
        if before == self.operations and _made_elsewhere(module, args, output):
            self._unknown[f"{self.innermost_of(module)}: not computed by torch"] = None

    def innermost_of(self, module: nn.Module) -> str:
        """What a person reads of a module."""
        return self._names[module] or "the network itself"


def _made_elsewhere(module: nn.Module, args: Any, output: Any) -> bool:
    """Whether a module with parameters returns what it neither was given nor owns."""
    own = [*module.parameters(recurse=False)]
    known = {storage_of(t) for t in (*own, *module.buffers(), *tree_leaves(args)) if isinstance(t, Tensor)}
    return bool(own) and any(
        isinstance(t, Tensor) and storage_of(t) not in known for t in tree_leaves(output)
    )
