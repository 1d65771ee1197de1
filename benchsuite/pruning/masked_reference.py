"""The output of the dense network when no layer reads the removed units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from benchsuite.pruning.axes import Axis


def masked_output(model: nn.Module, entries: Mapping[Axis, NDArray[np.int64]], inputs: Tensor) -> Tensor:
    """The output of the network with the removed entries masked.

    During the pass, the weights with which other layers read removed units are zero. Layer and group
    normalisations over removed units compute mean and variance from the other units.
    """
    norms: dict[Tensor | None, Tensor] = {}
    saved: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        for axis, gone in entries.items():
            if axis.side in ("parameter", "heads"):
                continue
            module = model.get_submodule(axis.name)
            index = torch.from_numpy(gone).to(inputs.device)
            if axis.side == "in":
                weight = module.get_parameter("weight")
                saved.append((weight, index, weight.index_select(1, index)))
                weight.index_fill_(1, index, 0)
            elif isinstance(module, nn.LayerNorm | nn.GroupNorm) and module.weight is not None:
                keep = torch.ones(module.weight.shape[-1], dtype=torch.bool, device=inputs.device)
                keep[index] = False
                norms[module.weight] = keep
        try:
            with _NormalisingWhatIsKept(norms):
                output: Tensor = model(inputs)
        finally:
            for changed, index, values in saved:
                changed.index_copy_(1, index, values)
    return output


class _NormalisingWhatIsKept(TorchFunctionMode):
    """Computes layer and group normalisations, recognised by their weight, over the kept channels only."""

    def __init__(self, kept: Mapping[Tensor | None, Tensor]) -> None:
        super().__init__()
        self._kept = kept

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is functional.layer_norm:
            names = ("input", "normalized_shape", "weight", "bias", "eps")
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            if (keep := self._kept.get(given.get("weight"))) is not None:
                return _layer_norm(given, keep)
        elif func is functional.group_norm:
            names = ("input", "num_groups", "weight", "bias", "eps")
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            if given["num_groups"] == 1 and (keep := self._kept.get(given.get("weight"))) is not None:
                return _one_group_norm(given, keep)
        return func(*args, **kwargs)


def _layer_norm(given: Mapping[str, Any], keep: Tensor) -> Tensor:
    inputs: Tensor = given["input"]
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    weight: Tensor = given["weight"]
    bias = given.get("bias")
    scaled = _normalise(inputs, keep.expand(given["normalized_shape"]), dims, given) * weight
    return scaled if bias is None else scaled + bias


def _one_group_norm(given: Mapping[str, Any], keep: Tensor) -> Tensor:
    inputs: Tensor = given["input"]
    shape = (-1, *(1 for _ in inputs.shape[2:]))
    dims = tuple(range(1, inputs.ndim))
    mask = keep.view(shape).expand(inputs.shape[1:])
    weight: Tensor = given["weight"]
    bias = given.get("bias")
    scaled = _normalise(inputs, mask, dims, given) * weight.view(shape)
    return scaled if bias is None else scaled + bias.view(shape)


def _normalise(inputs: Tensor, mask: Tensor, dims: tuple[int, ...], given: Mapping[str, Any]) -> Tensor:
    count = mask.sum()
    mean = (inputs * mask).sum(dims, keepdim=True) / count
    variance = ((inputs - mean).square() * mask).sum(dims, keepdim=True) / count
    return (inputs - mean) / torch.sqrt(variance + given.get("eps", 1e-5))
