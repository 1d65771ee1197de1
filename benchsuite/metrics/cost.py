"""What a network costs: parameters, multiply-accumulates and peak activation memory of one sample."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchsuite.contracts.inputs import TensorMap, tensors_of
from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.metrics.macs import MacCount, count_macs
from benchsuite.metrics.network_cost import Cost
from benchsuite.metrics.storages import storages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchsuite.contracts.inputs import Inputs

__all__ = ["Cost", "MacCount", "count_macs", "evaluating", "measure_cost"]


def measure_cost(model: nn.Module, example: Inputs) -> Cost:
    """Count the cost of one sample, by running the network on the first sample of `example`.

    The network is put into evaluation mode and back. Operations are counted as they are executed, so the
    count is that of the actual network and not of its description. Inputs with padding count as if they had
    none: how long the first text is decides nothing.
    """
    if isinstance(example, TensorMap):
        example = example.whole()
    with evaluating(model):
        macs = count_macs(model, example, zeros=True)
        peak = _peak_activation_bytes(model, example[:1])
    params = sum(p.numel() for p in model.parameters())
    return Cost(
        params=params,
        macs=macs.total,
        nonzero_params=params - sum(int((weight == 0).sum()) for weight in _weights(model)),
        nonzero_macs=macs.nonzero,
        peak_activation_bytes=peak,
        unknown_modules=macs.unknown,
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode inside the block, and restore its mode afterwards."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was in training.items():
            module.training = was


def _weights(model: nn.Module) -> list[Tensor]:
    """Weights of the convolutions, linear and recurrent layers, shared ones once."""
    kinds = nn.Linear | nn.modules.conv._ConvNd | RecurrentLayer
    layers = (module for module in model.modules() if isinstance(module, kinds))
    return list({id(weight): weight for weight in (layer.weight for layer in layers)}.values())


class _LiveBytes(TorchDispatchMode):
    """Tracks the storages that operations create, and how many bytes of them are alive at the same time."""

    def __init__(self, model: nn.Module, example: Inputs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives no types here
        self._given = {
            storage._cdata
            for tensor in (*model.parameters(), *model.buffers(), *tensors_of(example))
            for storage in storages_of(tensor)
        }
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak: int = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                for storage in storages_of(tensor):
                    if storage._cdata not in self._given:
                        self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._live = {key: entry for key, entry in self._live.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return result


def _peak_activation_bytes(model: nn.Module, example: Inputs) -> int:
    with torch.no_grad(), _LiveBytes(model, example) as live:
        model(example)
    peak: int = live.peak
    return peak
