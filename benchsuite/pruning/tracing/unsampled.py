"""Layers that compute from no sample, so that no activation of theirs belongs to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite.contracts.inputs import another, joined
from benchsuite.errors import Unsupported
from benchsuite.pruning.axes import is_prunable

if TYPE_CHECKING:
    from benchsuite.contracts.inputs import Inputs


def unsampled_layers(model: nn.Module, example: Inputs) -> frozenset[str]:
    """Names of the layers that return the same numbers for any sample, and no more of them for two samples.

    So are layers that compute from positions alone, such as those that make the position bias of Swin
    Transformer V2 (Liu et al. 2022).

    Args:
        model: the network, in evaluation mode.
        example: as for `trace`.

    Raises:
        Unsupported: the network does not run on two samples.
    """
    one, other = _outputs(model, example[:1]), _outputs(model, another(example))
    try:
        two = _outputs(model, joined([example[:1], example[:1]]))
    except Exception as error:
        # A network's own code can fail in any way.
        raise Unsupported(
            f"the network runs on one sample, but not on two: {type(error).__name__}: {error}"
        ) from error
    return frozenset(
        name
        for name, found in one.items()
        if any(map(_equal, found, other.get(name, [])))
        and _alike([each.numel() for each in found], [each.numel() for each in two.get(name, [])])
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return not one.is_nested and not other.is_nested and torch.equal(one, other)


def _alike(one: list[int], two: list[int]) -> bool:
    """Whether a call returned as many numbers for two samples; a network may call a layer for each sample."""
    if len(one) != len(two):
        return sum(one) == sum(two)
    return any(size == other for size, other in zip(one, two, strict=True))


def _outputs(model: nn.Module, inputs: Inputs) -> dict[str, list[Tensor]]:
    """By layer, what each of its calls returns."""
    outputs: dict[str, list[Tensor]] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.setdefault(name, []).append(output.detach().clone())

    handles = [
        module.register_forward_hook(lambda _module, _given, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if is_prunable(module)
    ]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs
