"""The output of the dense network when no layer reads the removed units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchsuite.pruning.axes import read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch.utils.hooks import RemovableHandle

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.pruning.axes import Axis


def masked_output(model: nn.Module, entries: Mapping[Axis, NDArray[np.int64]], inputs: Inputs) -> Tensor:
    """The output of the network with the removed entries masked.

    During the pass, the weights with which other layers read removed units are zero. Layer, group and root
    mean square normalisations over removed units compute their statistics from the other units.
    """
    norms: dict[nn.Module, Tensor] = {}
    saved: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        for axis, gone in entries.items():
            if axis.side in ("parameter", "heads", "rows", "size"):
                continue
            module = model.get_submodule(axis.name)
            index = torch.from_numpy(gone).to(inputs.device)
            if axis.side in ("in", "sequence"):
                for weight, dim in read_weights(module):
                    saved.append(
                        (weight.transpose(0, dim), index, weight.index_select(dim, index).transpose(0, dim))
                    )
                    weight.index_fill_(dim, index, 0)
            elif (size := _normalised_together(module)) is not None:
                norms[module] = torch.ones(size, dtype=torch.bool, device=inputs.device)
                norms[module][index] = False
        try:
            with _NormalisingWhatIsKept(norms):
                output: Tensor = model(inputs)
        finally:
            # Backwards, since layers may share a weight.
            for changed, index, values in reversed(saved):
                changed.index_copy_(0, index, values)
    return output


def _normalised_together(module: nn.Module) -> int | None:
    """How many channels a normalisation takes statistics over, or None if it is none that does."""
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    return int(module.normalized_shape[-1]) if isinstance(module, nn.LayerNorm | nn.RMSNorm) else None


class _NormalisingWhatIsKept(TorchFunctionMode):
    """Computes normalisations over the kept channels only.

    A normalisation is recognised by its weight; one without a weight by the module that is running.
    """

    def __init__(self, kept: Mapping[nn.Module, Tensor]) -> None:
        super().__init__()
        self._kept = kept
        self._of_weight = {module.weight: keep for module, keep in kept.items() if module.weight is not None}
        self._running: list[nn.Module] = []
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for module in self._kept:
            self._hooks.append(module.register_forward_pre_hook(lambda m, _: self._running.append(m)))
            self._hooks.append(module.register_forward_hook(self._end, always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]  # torch gives no types here
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # likewise
        for hook in self._hooks:
            hook.remove()

    def _end(self, *_: object) -> None:
        self._running.pop()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if (names := _ARGUMENTS.get(func)) is not None:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            keep = self._keep(given.get("weight"))
            if keep is not None and given.get("num_groups", 1) == 1:
                return _normalised(given, keep, centred=func is not functional.rms_norm)
        return func(*args, **kwargs)

    def _keep(self, weight: Tensor | None) -> Tensor | None:
        if weight is not None:
            return self._of_weight.get(weight)
        return self._kept[self._running[-1]] if self._running else None


_ARGUMENTS: dict[Callable[..., Any], tuple[str, ...]] = {
    functional.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
    functional.group_norm: ("input", "num_groups", "weight", "bias", "eps"),
    functional.rms_norm: ("input", "normalized_shape", "weight", "eps"),
}


def _normalised(given: Mapping[str, Any], keep: Tensor, *, centred: bool) -> Tensor:
    """What a normalisation computes from the kept channels: those of the last dimension, or of the second."""
    inputs: Tensor = given["input"]
    if "num_groups" in given:
        dims = tuple(range(1, inputs.ndim))
        shape = (-1, *(1 for _ in inputs.shape[2:]))
        mask = keep.view(shape).expand(inputs.shape[1:])
    else:
        dims = tuple(range(-len(given["normalized_shape"]), 0))
        shape = tuple(given["normalized_shape"])
        mask = keep.expand(shape)
    eps = given.get("eps", 1e-5 if centred else None)
    scaled = _normalise(inputs, mask, dims, eps, centred=centred)
    weight, bias = given.get("weight"), given.get("bias")
    if weight is not None:
        scaled = scaled * weight.view(shape)
    return scaled if bias is None else scaled + bias.view(shape)


def _normalise(
    inputs: Tensor, mask: Tensor, dims: tuple[int, ...], eps: float | None, *, centred: bool
) -> Tensor:
    eps = torch.finfo(inputs.dtype).eps if eps is None else eps
    count = mask.sum()
    if centred:
        inputs = inputs - (inputs * mask).sum(dims, keepdim=True) / count
    variance = (inputs.square() * mask).sum(dims, keepdim=True) / count
    return inputs / torch.sqrt(variance + eps)
