"""The prunable parts of a network as plain data: layers and the coupled groups they form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn


Granularity = Literal["unit", "weight"]
"""What is pruned: whole units, or single weights."""

LayerKind = Literal["conv", "linear", "recurrent"]
"""What a layer is: a convolution, a linear layer, or one layer of a recurrent network in one direction."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution, linear or recurrent layer whose output units can be pruned.

    Attributes:
        name: the module's dotted path in the network.
        kind: "conv", "linear" or "recurrent".
        module: the layer itself; read it, do not change it.
        norm: the batch normalisation that directly follows, if one does.
        norm_name: its dotted path.
    """

    name: str
    kind: LayerKind
    module: nn.Module
    norm: nn.Module | None = None
    norm_name: str | None = None

    @property
    def weight(self) -> Tensor:
        """The weight, detached, units first: (units, inputs, ...).

        Of a recurrent layer (units, inputs + units, gates): it also reads its own units of the step before.
        """
        weight: Tensor = self.module.get_parameter("weight")
        return weight.detach()

    @property
    def bias(self) -> Tensor | None:
        """The bias, detached, shape (units,), or None; of a recurrent layer (units, 2, gates)."""
        bias = getattr(self.module, "bias", None)
        return None if bias is None else bias.detach()

    @property
    def units(self) -> int:
        """Number of units: output channels, output features or hidden units."""
        return int(self.weight.shape[0])


@dataclass(frozen=True)
class GroupMember:
    """One layer's part in a coupled group.

    Attributes:
        layer: the layer's name.
        units: `units[i]` are the indices of this layer's units that go with position i of the group;
            mostly one, several where a layer's channels are tied together.
    """

    layer: str
    units: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class GroupReader:
    """One layer that reads a coupled group's units.

    Attributes:
        layer: the layer's name; it need not be prunable, as the output layer is not.
        inputs: `inputs[i]` are the indices of this layer's input channels or features that carry position i
            of the group; several where a map is flattened, or where several units are one position.
    """

    layer: str
    inputs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CoupledGroup:
    """Units of one or several layers that can only be removed together.

    Attributes:
        name: the name of the group's first layer.
        members: the prunable layers whose units it couples.
        size: number of positions; removing one position removes every unit listed for it.
        readers: the layers that read these units; removing a position removes the inputs listed for it.
        unscored: layers that lose units with it and compute from no sample, such as from positions alone.
    """

    name: str
    members: tuple[GroupMember, ...]
    size: int
    readers: tuple[GroupReader, ...] = ()
    unscored: tuple[GroupMember, ...] = ()


def removable_units(groups: Iterable[CoupledGroup]) -> dict[str, tuple[int, ...]]:
    """By layer, in ascending order, the units that can be removed: those that stand in a group."""
    found: dict[str, set[int]] = {}
    for group in groups:
        for member in group.members:
            found.setdefault(member.layer, set()).update(unit for part in member.units for unit in part)
    return {layer: tuple(sorted(units)) for layer, units in found.items()}
