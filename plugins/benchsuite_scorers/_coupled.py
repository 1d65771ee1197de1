"""The gates of coupled groups' members and readers, and the order in which a network calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from benchsuite import Unsupported
from benchsuite_scorers._gates import Gate, Gates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import CoupledGroup, ScoringContext


def member_gates(context: ScoringContext, group: CoupledGroup) -> Gates:
    """Return gates behind the normalisation of each member, or at its output where none follows.

    A normalisation with modules of its own, such as an activation, is gated before the first of these. Layers
    with a member's weight lose the same units and are gated with it.

    Raises:
        Unsupported: layers share a weight, and a normalisation follows the first: what follows the others is
            not known; or a layer is a recurrent one.
    """
    gates: dict[nn.Module, Gate] = {}
    for member in group.members:
        layer = context.layer(member.layer)
        if layer.kind == "recurrent":
            raise Unsupported(f"{layer.name} reads its units itself from step to step, where no gate is")
        places = _places(member.units, layer.units, group.size, layer.weight)
        same = [(layer.name, layer.module), *_sharing(context.model, layer.module)]
        if layer.norm is None:
            for name, each in same:
                gates[each] = Gate(name, each, False, layer.kind == "linear", places)
        elif len(same) > 1:
            raise Unsupported(f"{same[1][0]} has the weight of {layer.name}, which a normalisation follows")
        else:
            inner = next(layer.norm.children(), None)
            module = layer.norm if inner is None else inner
            gates[module] = Gate(layer.norm_name or layer.name, module, inner is not None, False, places)
    for member in group.unscored:
        other = context.model.get_submodule(member.layer)
        weight = other.get_parameter("weight")
        places = _places(member.units, len(weight), group.size, weight)
        gates[other] = Gate(member.layer, other, False, isinstance(other, nn.Linear), places)
    return Gates(list(gates.values()), group.size, context.layer(group.members[0].layer).weight)


def _sharing(model: nn.Module, layer: nn.Module) -> list[tuple[str, nn.Module]]:
    """Other modules with a layer's weight, with their names."""
    weight = layer.get_parameter("weight")
    return [
        (name, module)
        for name, module in model.named_modules()
        if module is not layer and module._parameters.get("weight") is weight
    ]


def reader_gates(context: ScoringContext, group: CoupledGroup) -> Gates:
    """Return gates at the inputs of the layers that read a group: with 0 they get nothing, as after surgery.

    They are in the order in which the network defines them.

    Raises:
        Unsupported: the readers are not known.
    """
    if not group.readers:
        raise Unsupported("the layers that read its units are not known")
    order = [name for name, _ in context.model.named_modules()]
    gates = []
    for reader in sorted(group.readers, key=lambda reader: order.index(reader.layer)):
        module = context.model.get_submodule(reader.layer)
        weight = module.get_parameter("weight")
        inputs = weight.shape[0 if getattr(module, "transposed", False) else 1]
        places = _places(reader.inputs, inputs, group.size, weight)
        gates.append(Gate(reader.layer, module, True, isinstance(module, nn.Linear), places))
    return Gates(gates, group.size, context.layer(group.members[0].layer).weight)


def by_first_call(context: ScoringContext, groups: Sequence[CoupledGroup]) -> list[CoupledGroup]:
    """Return groups in the order in which a forward pass first calls one of their layers."""
    called: list[nn.Module] = []
    handles = [
        layer.module.register_forward_pre_hook(lambda module, _inputs: called.append(module))
        for layer in context.layers
    ]
    try:
        with torch.no_grad():
            context.model(next(context.batches(min(2, context.samples)))[0])
    finally:
        for handle in handles:
            handle.remove()

    def place(group: CoupledGroup) -> int:
        modules = [context.layer(member.layer).module for member in group.members]
        return min((called.index(module) for module in modules if module in called), default=len(called))

    return sorted(groups, key=place)


def _places(entries: Sequence[Sequence[int]], channels: int, size: int, like: Tensor) -> Tensor:
    """Return for each channel its position, or `size` if it has none."""
    places = torch.full((channels,), size, device=like.device)
    for position, channels_of in enumerate(entries):
        places[list(channels_of)] = position
    return places
