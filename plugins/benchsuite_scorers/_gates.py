"""Factors of coupled units, multiplied where surgery removes them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from benchsuite import Unsupported, call_input, with_call_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Taints(Protocol):
    """Follows what is computed from a tensor."""

    def taint(self, tensor: Tensor) -> None:
        """Begin at this tensor."""


@dataclass(frozen=True, eq=False)
class Gate:
    """One module whose output, or input, is multiplied.

    Attributes:
        layer: the name of the layer it stands for.
        module: the module.
        entering: whether its input is multiplied and not its output.
        last: whether the channels are in the last dimension and not in the second.
        places: (channels,), which factor each channel gets; the number of factors for none.
    """

    layer: str
    module: nn.Module
    entering: bool
    last: bool
    places: Tensor

    def wide(self, factors: Tensor) -> Tensor:
        """Return for each channel its factor, (..., channels); 1 for channels without one."""
        outside = torch.ones_like(factors[..., :1])
        return torch.cat([factors, outside], -1)[..., self.places]

    def multiplied(self, values: Tensor, wide: Tensor) -> Tensor:
        """Multiply the gated tensor by the channels' factors, (variants, channels), variant by variant."""
        shape = values.shape
        dims = len(self.module.kernel_size) + 2 if isinstance(self.module, nn.modules.conv._ConvNd) else 2
        if len(shape) < dims:
            raise Unsupported(f"{self.layer} is called with one sample without a dimension of samples")
        rows = wide.to(values.dtype).repeat_interleave(shape[0] // wide.size(0), 0)
        between = [1] * (len(shape) - 2)
        channels = [*between, shape[-1]] if self.last else [shape[1], *between]
        return values * rows.reshape(shape[0], *channels)


class Gates:
    """The factors of a coupled group's positions as what is varied: values are (variants, size).

    Each call of each gated module is multiplied, those of several members by the same factors.

    Args:
        gates: where to multiply.
        size: number of factors.
        like: a tensor of the network, for the type and device of factors.

    Attributes:
        numbers: size of the largest tensor that is multiplied, once a pass was recorded.
    """

    def __init__(self, gates: Sequence[Gate], size: int, like: Tensor) -> None:
        self.gates, self.size = tuple(gates), size
        self._like = like.detach()
        self.numbers = 0

    @contextmanager
    def recording(self, recorder: Taints, values: Tensor | None = None) -> Iterator[None]:
        """Taint the factors, by default 1; raises `Unsupported` at the end if a module was never called."""
        called: dict[Gate, int] = {}
        factors = [gate.wide(self.neutral() if values is None else values) for gate in self.gates]
        for factor in factors:
            recorder.taint(factor)
        with self._multiplying(factors, called):
            yield
        self._require(called)
        self.numbers = max(called.values())

    @contextmanager
    def putting(self, values: Tensor, variants: int = 1) -> Iterator[None]:  # noqa: ARG002 - one a row
        """Multiply by these factors."""
        with self._multiplying([gate.wide(values) for gate in self.gates], {}):
            yield

    def require_called(self, model: nn.Module, inputs: Tensor) -> None:
        """Raise `Unsupported` if a forward pass does not call one of the modules."""
        called: dict[Gate, int] = {}
        with torch.no_grad(), self._multiplying([gate.wide(self.neutral()) for gate in self.gates], called):
            model(inputs)
        self._require(called)

    def _require(self, called: dict[Gate, int]) -> None:
        for gate in self.gates:
            if gate not in called:
                raise Unsupported(f"the forward pass never calls {gate.layer}, so it cannot be switched")

    @contextmanager
    def _multiplying(self, factors: list[Tensor], called: dict[Gate, int]) -> Iterator[None]:
        handles = [self._hooked(gate, wide, called) for gate, wide in zip(self.gates, factors, strict=True)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooked(self, gate: Gate, wide: Tensor, called: dict[Gate, int]) -> Any:
        def multiply(values: Tensor) -> Tensor:
            product = gate.multiplied(values, wide)
            called[gate] = product.numel()
            return product

        def before(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return with_call_input(args, kwargs, multiply(call_input(args, kwargs)))

        def after(_module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
            return multiply(output) if isinstance(output, Tensor) else None

        if gate.entering:
            return gate.module.register_forward_pre_hook(before, with_kwargs=True)
        return gate.module.register_forward_hook(after)

    def neutral(self) -> Tensor:
        """Return ones."""
        return self._like.new_ones(1, self.size)

    def probe(self) -> Tensor:
        """Return factors that differ between positions."""
        return torch.linspace(0, 1.5, self.size + 1, dtype=self._like.dtype, device=self._like.device)[
            None, :-1
        ]
