"""Removing units from a network, and checking that nothing else changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from benchsuite.errors import BenchsuiteError, Collapsed
from benchsuite.hardware.devices import exact_float32
from benchsuite.hardware.kernels import trusted_gradients
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning.copying import copy_of
from benchsuite.pruning.cuts import cut, size_of
from benchsuite.pruning.masked_reference import masked_output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.pruning.axes import Axis
    from benchsuite.pruning.graph import PruningGraph

TOLERANCE = 1e-6
"""Largest difference accepted, relative to the largest output, in float64."""
_TOLERANCE_FLOAT32 = 1e-3
_LARGE = 500_000_000
"""Number of parameters above which a comparison in float64 needs more memory than many machines have."""


class SurgeryFailed(BenchsuiteError):  # noqa: N818 - it says what happened
    """A pruned network does not compute what the masked network computes."""


@dataclass(frozen=True)
class SurgeryCheck:
    """How far a pruned network is from the dense network with the removed units masked.

    Attributes:
        max_difference: largest absolute difference of the outputs.
        relative_difference: the same divided by the largest absolute output of the masked network.
        tolerance: what the relative difference must not exceed.
        dtype: the precision of the comparison: "float64", or "float32" for a network that only works in
            float32.
    """

    max_difference: float
    relative_difference: float
    tolerance: float
    dtype: str


def removed_entries(
    graph: PruningGraph, removed: Mapping[str, Sequence[int]]
) -> dict[Axis, NDArray[np.int64]]:
    """The sorted entries that every axis loses when these positions of the groups are removed."""
    parts: dict[Axis, list[NDArray[np.int64]]] = {}
    for group, positions in removed.items():
        if group not in graph.cuts:
            raise KeyError(f"the network has no coupled group {group!r}")
        if len(positions):
            for cut in graph.cuts[group]:
                parts.setdefault(cut.axis, []).append(cut.entries[np.asarray(positions, np.int64)].ravel())
    return {axis: np.unique(np.concatenate(entries)) for axis, entries in parts.items()}


def remove_units(model: nn.Module, graph: PruningGraph, removed: Mapping[str, Sequence[int]]) -> nn.Module:
    """Return a smaller copy of the network; the network itself is not changed.

    Args:
        model: the dense network or any copy of it.
        graph: its pruning graph.
        removed: by group name, the positions to remove.

    Raises:
        Collapsed: a layer would lose all its units.
        Unsupported: the network cannot be copied.
    """
    entries = removed_entries(graph, removed)
    sizes = {axis: size_of(model, axis) for axis in entries if axis.side != "rows"}
    empty = [axis.name for axis, size in sizes.items() if len(entries[axis]) >= size]
    if empty:
        raise Collapsed(f"no unit would be left in {', '.join(sorted(set(empty)))}")
    pruned = copy_of(model)
    _forget(pruned)
    cut(pruned, entries)
    smaller = dict(pruned.named_parameters())  # by this, since programs of TorchScript refuse get_parameter
    for name, parameter in model.named_parameters():
        smaller[name].requires_grad_(parameter.requires_grad)
    return pruned


def _forget(model: nn.Module) -> None:
    """Let modules forget what they keep of their parameters for evaluation, as they do before training."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    model.train(modes[model])
    for module, mode in modes.items():
        module.training = mode


def check_surgery(
    dense: nn.Module,
    pruned: nn.Module,
    graph: PruningGraph,
    removed: Mapping[str, Sequence[int]],
    probe: Inputs,
) -> SurgeryCheck:
    """Compare a pruned network with the dense one whose removed units are masked, on a probe batch.

    In the reference nothing is cut: it is the dense network in which every layer that reads a removed unit
    reads zero. If some of the units of a layer or group normalisation are removed, the reference computes
    mean and variance from the units that are left, as the smaller network must. Both run in evaluation mode
    and in float64, where rounding errors are far below the tolerance; a network that only works in float32,
    or has over 500 million parameters, is compared in float32 with a larger tolerance. Then every parameter
    of the pruned network must get a gradient, and its state must be the same after saving and loading.

    Raises:
        SurgeryFailed: the difference exceeds the tolerance, or a gradient or the state is wrong.
    """
    entries = removed_entries(graph, removed)
    with evaluating(dense), evaluating(pruned):
        dtype = computing_dtype(dense, probe)
        small, twin = (in_precision(copy.deepcopy(model), dtype) for model in (pruned, dense))
        result = compare(small, twin, entries, probe.to(dtype), dtype)
        _check_state(pruned)
    return result


def computing_dtype(model: nn.Module, probe: Inputs) -> torch.dtype:
    """float64, or float32 for a network that creates float32 tensors itself or is very large.

    In float64 the copies that a comparison needs take 40 bytes per parameter.
    """
    if sum(parameter.numel() for parameter in model.parameters()) > _LARGE:
        return torch.float32
    try:
        with torch.no_grad():
            in_precision(copy.deepcopy(model), torch.float64)(probe[:1].to(torch.float64))
    except Exception:  # noqa: BLE001 - a network's code may refuse another precision in any way
        return torch.float32
    return torch.float64


def in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Give all that is real this precision and all that is complex the same one; in place, and returned.

    `nn.Module.to` would make what is complex real.
    """
    complex_dtype = dtype.to_complex()

    def converted(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(complex_dtype)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    model._apply(converted)
    return model


def compare(
    small: nn.Module,
    twin: nn.Module,
    entries: Mapping[Axis, NDArray[np.int64]],
    probe: Inputs,
    dtype: torch.dtype,
) -> SurgeryCheck:
    """Compare a pruned network with the masked one, both in evaluation mode and in one precision.

    Raises:
        SurgeryFailed: the outputs differ, or a parameter has lost its gradient.
    """
    tolerance = TOLERANCE if dtype == torch.float64 else _TOLERANCE_FLOAT32
    # TF32, which cuDNN uses for float32 by default, has errors as large as the tolerance.
    with exact_float32():
        output, unused = _output_and_unused(small, probe)
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
    if unused and (lost := unused - _output_and_unused(twin, probe)[1]):
        raise SurgeryFailed(f"no gradient reaches {', '.join(sorted(lost)[:3])} of the pruned network")
    return SurgeryCheck(difference, relative, tolerance, str(dtype).removeprefix("torch."))


def _output_and_unused(model: nn.Module, probe: Inputs) -> tuple[Tensor, set[str]]:
    """The output, and the names of the parameters that get no gradient from it."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    for parameter in parameters:
        parameter.requires_grad_(True)
    with torch.enable_grad(), trusted_gradients(model, probe.device):
        try:
            output = model(probe)
        except RuntimeError as error:
            raise SurgeryFailed(f"the pruned network does not run: {error}") from error
        gradients = torch.autograd.grad(output.square().sum(), parameters, allow_unused=True)
    unused = {name for name, gradient in zip(names, gradients, strict=True) if gradient is None}
    return output.detach(), unused


def _check_state(pruned: nn.Module) -> None:
    """Check that the state loads into a copy of the network and equals what was saved."""
    state = {name: value.clone() for name, value in pruned.state_dict().items()}
    copied = copy.deepcopy(pruned)
    with torch.no_grad():
        for value in copied.state_dict().values():
            value.zero_()
    try:
        copied.load_state_dict(pruned.state_dict(), strict=True)
    except RuntimeError as error:
        raise SurgeryFailed(f"the pruned network's state does not load: {error}") from error
    for name, value in copied.state_dict().items():
        if not torch.equal(value, state[name]):
            raise SurgeryFailed(f"{name} of the pruned network does not survive saving and loading")
