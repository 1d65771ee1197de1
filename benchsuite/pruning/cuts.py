"""Removing entries from one axis of a module or parameter, in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch_pruning.pruner import function as cutting

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from benchsuite.pruning.axes import Axis


def size_of(model: nn.Module, axis: Axis) -> int:
    """The number of entries of an axis."""
    if axis.side == "parameter":
        return int(model.get_parameter(axis.name).shape[axis.dim])
    module = model.get_submodule(axis.name)
    if axis.side == "heads":
        return int(module.num_heads)  # type: ignore[arg-type]  # an attention module's plain attribute
    return int(module.get_parameter("weight").shape[1 if axis.side == "in" else 0])


def cut(model: nn.Module, axis: Axis, gone: NDArray[np.int64]) -> None:
    """Remove entries from one axis, in place."""
    if axis.side == "parameter":
        owner, _, name = axis.name.rpartition(".")
        parameter = model.get_parameter(axis.name)
        setattr(model.get_submodule(owner), name, _without(parameter, axis.dim, gone))
        return
    module = model.get_submodule(axis.name)
    indices = gone.tolist()
    if axis.side == "heads":
        _cut_heads(module, len(indices))
    elif axis.side == "grouped":
        _cut_conv_groups(module, gone)
    elif axis.side == "channels":
        _cut_channels(module, gone)
    elif isinstance(module, nn.Linear):
        (cutting.prune_linear_in_channels if axis.side == "in" else cutting.prune_linear_out_channels)(
            module, indices
        )
    else:
        (cutting.prune_conv_in_channels if axis.side == "in" else cutting.prune_conv_out_channels)(
            module, indices
        )


def _without(parameter: Tensor, dim: int, gone: NDArray[np.int64]) -> nn.Parameter:
    kept = np.setdiff1d(np.arange(parameter.shape[dim]), gone)
    index = torch.from_numpy(kept).to(parameter.device)
    return nn.Parameter(parameter.detach().index_select(dim, index))


def _cut_conv_groups(module: nn.Module, gone: NDArray[np.int64]) -> None:
    """Remove whole groups of a convolution; the other groups read and compute the same as before."""
    assert isinstance(module, nn.modules.conv._ConvNd)
    per_group = module.out_channels // module.groups
    inputs = module.in_channels // module.groups
    module.weight = _without(module.weight, 0, gone)
    if module.bias is not None:
        module.bias = _without(module.bias, 0, gone)
    module.groups -= len(gone) // per_group
    module.out_channels = module.groups * per_group
    module.in_channels = module.groups * inputs


def _cut_channels(module: nn.Module, gone: NDArray[np.int64]) -> None:
    indices = gone.tolist()
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        cutting.prune_batchnorm_out_channels(module, indices)
    elif isinstance(module, nn.modules.instancenorm._InstanceNorm):
        cutting.prune_instancenorm_out_channels(module, indices)
    elif isinstance(module, nn.PReLU):
        cutting.prune_prelu_out_channels(module, indices)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups > 1:
            module.num_groups -= len(indices) // (module.num_channels // module.num_groups)
        cutting.prune_groupnorm_out_channels(module, indices)
    else:
        assert isinstance(module, nn.LayerNorm)
        _cut_layer_norm(module, gone)


def _cut_layer_norm(module: nn.LayerNorm, gone: NDArray[np.int64]) -> None:
    """Cut the last axis; the library's own function is not used, since it changes the order of the rest."""
    if module.elementwise_affine:
        module.weight = _without(module.weight, -1, gone)
        if module.bias is not None:
            module.bias = _without(module.bias, -1, gone)
    shape = module.normalized_shape
    module.normalized_shape = (*shape[:-1], shape[-1] - len(gone))


def _cut_heads(module: Any, count: int) -> None:
    """Set how many heads an attention module has left; its linear layers are cut separately."""
    heads, size = module.num_heads, module.head_dim
    module.num_heads = heads - count
    for name in ("attn_dim", "all_head_dim", "inner_dim"):
        if getattr(module, name, None) == heads * size:
            setattr(module, name, (heads - count) * size)
