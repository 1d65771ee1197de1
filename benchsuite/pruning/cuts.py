"""Removing entries from axes of modules and parameters, in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.pruning.attention import heads_of, take_heads
from benchsuite.pruning.axes import axes_of, read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from benchsuite.pruning.axes import Axis, Side


def size_of(model: nn.Module, axis: Axis) -> int:
    """The number of entries of an axis."""
    if axis.side == "parameter":
        return int(model.get_parameter(axis.name).shape[axis.dim])
    module = model.get_submodule(axis.name)
    if axis.side == "heads":
        return heads_of(module)
    if axis.side == "size":
        return _stated(module, axis)
    return dict(axes_of(axis.name, module))[axis]


def cut(model: nn.Module, entries: Mapping[Axis, NDArray[np.int64]]) -> None:
    """Remove entries from axes, in place; modules that share a parameter share the smaller one."""
    smaller = _Smaller()
    for axis, gone in entries.items():
        if axis.side == "parameter":
            owner, _, name = axis.name.rpartition(".")
            parameter = model.get_parameter(axis.name)
            setattr(model.get_submodule(owner), name, smaller.without(parameter, axis.dim, gone))
            continue
        module = model.get_submodule(axis.name)
        if axis.side == "rows":
            continue  # the layer is the same beside fewer channels
        if axis.side == "heads":
            take_heads(module, len(gone))
        elif axis.side == "size":
            _restate(module, axis, _stated(module, axis) - len(gone))
        elif isinstance(module, RecurrentLayer):
            _cut_recurrent(module, axis.side, gone, smaller)
        elif axis.side == "sequence":
            _cut_sequence(module, gone, smaller)
        elif axis.side == "grouped":
            _cut_conv_groups(module, gone, smaller)
        elif axis.side == "channels":
            _cut_channels(module, gone, smaller)
        else:
            _cut_layer(module, axis.side, gone, smaller)


class _Smaller:
    """Smaller parameters, the same one for what is cut from the same parameter in the same way."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, bytes], tuple[Tensor, nn.Parameter]] = {}
        """With each the parameter that it was made of: as long as that is there, no other has its number."""

    def without(self, parameter: Tensor, dim: int, gone: NDArray[np.int64]) -> nn.Parameter:
        key = (id(parameter), dim % parameter.ndim, np.sort(gone).tobytes())
        if key not in self._made:
            self._made[key] = parameter, nn.Parameter(_selected(parameter, dim, gone))
        return self._made[key][1]


def _stated(module: nn.Module, axis: Axis) -> int:
    """The number in an attribute."""
    value = getattr(module, axis.attribute)
    return int(value[axis.dim] if isinstance(value, tuple | list) else value)


def _restate(module: nn.Module, axis: Axis, size: int) -> None:
    """Change the number in an attribute."""
    value = getattr(module, axis.attribute)
    if isinstance(value, tuple | list):
        value = type(value)(size if place == axis.dim else each for place, each in enumerate(value))
    else:
        value = size
    setattr(module, axis.attribute, value)


def _selected(tensor: Tensor, dim: int, gone: NDArray[np.int64]) -> Tensor:
    kept = np.setdiff1d(np.arange(tensor.shape[dim]), gone)
    return tensor.detach().index_select(dim, torch.from_numpy(kept).to(tensor.device))


def _cut_layer(layer: nn.Module, side: Side, gone: NDArray[np.int64], smaller: _Smaller) -> None:
    """Cut the outputs or inputs of a linear layer or of a convolution without groups."""
    assert isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
    transposed = isinstance(layer, nn.modules.conv._ConvNd) and layer.transposed
    layer.weight = smaller.without(layer.weight, int(transposed != (side == "in")), gone)
    if side == "out" and layer.bias is not None:
        layer.bias = smaller.without(layer.bias, 0, gone)
    size = f"{side}_{'features' if isinstance(layer, nn.Linear) else 'channels'}"
    setattr(layer, size, getattr(layer, size) - len(gone))


def _cut_recurrent(layer: RecurrentLayer, side: Side, gone: NDArray[np.int64], smaller: _Smaller) -> None:
    """Cut the units of a recurrent layer, or what it reads, its own units included."""
    layer.weight = smaller.without(layer.weight, int(side == "sequence"), gone)
    if side == "out" and layer.bias is not None:
        layer.bias = smaller.without(layer.bias, 0, gone)


def _cut_sequence(module: nn.Module, gone: NDArray[np.int64], smaller: _Smaller) -> None:
    """Cut what a recurrent layer of torch reads at each step."""
    assert isinstance(module, nn.RNNBase)
    names = {id(weight): name for name, weight in module.named_parameters(recurse=False)}
    for weight, dim in read_weights(module):
        setattr(module, names[id(weight)], smaller.without(weight, dim, gone))
    module.input_size -= len(gone)


def _cut_conv_groups(module: nn.Module, gone: NDArray[np.int64], smaller: _Smaller) -> None:
    """Remove whole groups of a convolution; the other groups read and compute the same as before."""
    assert isinstance(module, nn.modules.conv._ConvNd)
    per_group = module.out_channels // module.groups
    inputs = module.in_channels // module.groups
    module.weight = smaller.without(module.weight, 0, gone)
    if module.bias is not None:
        module.bias = smaller.without(module.bias, 0, gone)
    module.groups -= len(gone) // per_group
    module.out_channels = module.groups * per_group
    module.in_channels = module.groups * inputs


def _cut_channels(module: nn.Module, gone: NDArray[np.int64], smaller: _Smaller) -> None:
    """Cut a normalisation, PReLU or embedding: its size, and its parameters and statistics if it has any."""
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        module.embedding_dim -= len(gone)
    elif isinstance(module, nn.PReLU):
        module.num_parameters -= len(gone)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups > 1:
            module.num_groups -= len(gone) // (module.num_channels // module.num_groups)
        module.num_channels -= len(gone)
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        shape = module.normalized_shape
        module.normalized_shape = (*shape[:-1], shape[-1] - len(gone))
    else:
        assert isinstance(module, nn.modules.batchnorm._NormBase)
        module.num_features -= len(gone)
    for name, parameter in [*module.named_parameters(recurse=False)]:
        if name in ("weight", "bias"):
            setattr(module, name, smaller.without(parameter, -1, gone))
    for name, buffer in [*module.named_buffers(recurse=False)]:
        if name in ("running_mean", "running_var"):
            setattr(module, name, _selected(buffer, 0, gone))
