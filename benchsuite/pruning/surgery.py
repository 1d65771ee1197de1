"""Taking units out of a network for real, and checking that nothing else changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch_pruning.pruner import function as cutting

from benchsuite.errors import BenchsuiteError, Collapsed
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning._masked_reference import masked_output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from benchsuite.pruning._dependencies import Axis
    from benchsuite.pruning.graph import PruningGraph

TOLERANCE = 1e-6
"""Largest difference accepted, relative to the largest output, in float64."""
_TOLERANCE_FLOAT32 = 1e-3


class SurgeryFailed(BenchsuiteError):  # noqa: N818 - it says what happened
    """A pruned network does not compute what the masked network computes."""


@dataclass(frozen=True)
class SurgeryCheck:
    """How far a pruned network is from the dense network with the removed units masked.

    Attributes:
        max_difference: largest absolute difference of the outputs.
        relative_difference: the same divided by the largest absolute output of the masked network.
        tolerance: what the relative difference must not exceed.
        dtype: the precision of the comparison: "float64", or "float32" where the network insists on it.
    """

    max_difference: float
    relative_difference: float
    tolerance: float
    dtype: str


def removed_entries(
    graph: PruningGraph, removed: Mapping[str, Sequence[int]]
) -> dict[Axis, NDArray[np.int64]]:
    """The sorted entries that every axis loses when these positions of the groups go."""
    parts: dict[Axis, list[NDArray[np.int64]]] = {}
    for group, positions in removed.items():
        if group not in graph.cuts:
            raise KeyError(f"the network has no coupled group {group!r}")
        if len(positions):
            for cut in graph.cuts[group]:
                parts.setdefault(cut.axis, []).append(cut.entries[np.asarray(positions, np.int64)].ravel())
    return {axis: np.unique(np.concatenate(entries)) for axis, entries in parts.items()}


def remove_units(model: nn.Module, graph: PruningGraph, removed: Mapping[str, Sequence[int]]) -> nn.Module:
    """Return a really smaller copy of the network; the network itself is left as it is.

    Args:
        model: the dense network or any copy of it.
        graph: its pruning graph.
        removed: by group name, the positions to remove.

    Raises:
        Collapsed: a layer would lose all its units.
    """
    entries = removed_entries(graph, removed)
    sizes = {axis: _size(model, axis) for axis in entries}
    empty = [axis.name for axis, gone in entries.items() if len(gone) >= sizes[axis]]
    if empty:
        raise Collapsed(f"no unit would be left in {', '.join(sorted(set(empty)))}")
    pruned = copy.deepcopy(model)
    for axis, gone in entries.items():
        _cut(pruned, axis, gone)
    return pruned


def check_surgery(
    dense: nn.Module,
    pruned: nn.Module,
    graph: PruningGraph,
    removed: Mapping[str, Sequence[int]],
    probe: Tensor,
) -> SurgeryCheck:
    """Compare a pruned network with the dense one whose removed units are masked, on a probe batch.

    The reference never cuts anything: it is the dense network in which whatever reads a removed unit reads
    zero. Where a layer or group normalisation acts over units of which some are removed, the reference
    computes its mean and variance from the units that are left, as the smaller network must. Both
    run in evaluation mode and in float64, where rounding stays far below the tolerance; one that insists
    on float32 is compared there with a coarser tolerance. Then every parameter of the pruned
    network must take part in its gradient, and its state must survive saving and loading.

    Raises:
        SurgeryFailed: the difference exceeds the tolerance, or a gradient or the state is wrong.
    """
    entries = removed_entries(graph, removed)
    with evaluating(dense), evaluating(pruned):
        for dtype, tolerance in ((torch.float64, TOLERANCE), (torch.float32, _TOLERANCE_FLOAT32)):
            try:
                small, twin = copy.deepcopy(pruned).to(dtype), copy.deepcopy(dense).to(dtype)
                result = _comparison(small, twin, entries, probe.to(dtype), tolerance)
                break
            except RuntimeError as error:
                # Some networks create float32 constants inside; any other error comes back in float32.
                if dtype == torch.float32:
                    raise SurgeryFailed(f"the pruned network does not run: {error}") from error
        _check_gradients(small, dense, probe.to(dtype))
        _check_state(pruned)
    return result


def _comparison(
    small: nn.Module,
    twin: nn.Module,
    entries: Mapping[Axis, NDArray[np.int64]],
    probe: Tensor,
    tolerance: float,
) -> SurgeryCheck:
    with torch.no_grad():
        output = small(probe)
        reference = masked_output(twin, entries, probe)
    if output.shape != reference.shape:
        raise SurgeryFailed(
            f"the pruned network's output has shape {tuple(output.shape)} instead of {tuple(reference.shape)}"
        )
    difference = float((output - reference).abs().max())
    scale = float(reference.abs().max())
    relative = difference / scale if scale > 0 else difference
    if not relative <= tolerance:
        raise SurgeryFailed(
            f"the pruned network differs from the masked one by {difference:.3g}, {relative:.3g} of the "
            f"largest output; the tolerance is {tolerance:g}"
        )
    return SurgeryCheck(difference, relative, tolerance, str(probe.dtype).removeprefix("torch."))


def _check_gradients(small: nn.Module, dense: nn.Module, probe: Tensor) -> None:
    """Every parameter that takes part in the dense network's output must do so in the pruned one's."""
    unused = _unused_parameters(small, probe)
    if unused and (lost := unused - _unused_parameters(copy.deepcopy(dense).to(probe.dtype), probe)):
        raise SurgeryFailed(f"no gradient reaches {', '.join(sorted(lost)[:3])} of the pruned network")


def _unused_parameters(model: nn.Module, probe: Tensor) -> set[str]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    for parameter in parameters:
        parameter.requires_grad_(True)
    with torch.enable_grad():
        output = model(probe)
    gradients = torch.autograd.grad(output.square().sum(), parameters, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is None}


def _check_state(pruned: nn.Module) -> None:
    """The state must load into a copy of the network and be what was saved."""
    state = pruned.state_dict()
    copied = copy.deepcopy(pruned)
    with torch.no_grad():
        for value in copied.state_dict().values():
            value.zero_()
    try:
        copied.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise SurgeryFailed(f"the pruned network's state does not load: {error}") from error
    for name, value in copied.state_dict().items():
        if not torch.equal(value, state[name]):
            raise SurgeryFailed(f"{name} of the pruned network does not survive saving and loading")


def _size(model: nn.Module, axis: Axis) -> int:
    if axis.side == "parameter":
        return int(model.get_parameter(axis.name).shape[axis.dim])
    module = model.get_submodule(axis.name)
    if axis.side == "heads":
        return int(module.num_heads)  # type: ignore[arg-type]  # an attention module's plain attribute
    return int(module.get_parameter("weight").shape[1 if axis.side == "in" else 0])


def _cut(model: nn.Module, axis: Axis, gone: NDArray[np.int64]) -> None:
    """Take entries off one axis, in place."""
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
    return nn.Parameter(parameter.detach().index_select(dim, index), requires_grad=parameter.requires_grad)


def _cut_conv_groups(module: nn.Module, gone: NDArray[np.int64]) -> None:
    """Remove whole groups of a convolution; what the others read and compute stays the same."""
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
    """Cut the last axis. Not the library's function, which does not keep the order of what is left."""
    if module.elementwise_affine:
        module.weight = _without(module.weight, -1, gone)
        if module.bias is not None:
            module.bias = _without(module.bias, -1, gone)
    shape = module.normalized_shape
    module.normalized_shape = (*shape[:-1], shape[-1] - len(gone))


def _cut_heads(module: Any, count: int) -> None:
    """Tell an attention module how many heads it has left; its linear layers are cut on their own."""
    heads, size = module.num_heads, module.head_dim
    module.num_heads = heads - count
    for name in ("attn_dim", "all_head_dim", "inner_dim"):
        if getattr(module, name, None) == heads * size:
            setattr(module, name, (heads - count) * size)
