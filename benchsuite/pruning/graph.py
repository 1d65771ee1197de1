"""The prunable parts of a network: layers, coupled groups, what a removal cuts, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from benchsuite.contracts.layers import CoupledGroup, GroupMember, GroupReader, Layer
from benchsuite.errors import Unsupported
from benchsuite.pruning.settings import UNNAMED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from benchsuite.pruning.axes import Axis
    from benchsuite.pruning.cost_model import CostModel
    from benchsuite.pruning.settings import Restriction

OUTPUT = "it is the network's output"
"""Why the units of the output layer are kept."""
UNITS = ("out", "grouped")
_REASONS = 3
"""How many layers a message names."""
ALONE = "its units can only go all together"
UNREACHED = "no gradient leads from the network's output to it"
UNSAMPLED = "it computes from no sample, such as from positions alone"
"""Why the units of layers stay where nothing could be scored."""
BESIDE_UNSAMPLED = "it is coupled with a layer that computes from no sample, such as from positions alone"


@dataclass(frozen=True, eq=False)
class Cut:
    """The entries that one axis of a module loses with each position of a coupled group.

    Attributes:
        axis: the module or parameter, and the axis of it.
        entries: (positions, k) the entries of the axis that are removed with each position.
    """

    axis: Axis
    entries: NDArray[np.int64]


@dataclass(frozen=True)
class Pinned:
    """A layer with units that cannot be removed.

    Attributes:
        layer: the layer's name.
        units: how many of its units cannot be removed.
        reason: why.
    """

    layer: str
    units: int
    reason: str

    @property
    def output(self) -> bool:
        """Whether it is the output layer."""
        return self.reason == OUTPUT


@dataclass(frozen=True, eq=False)
class PruningGraph:
    """The prunable parts of a network, given by module names, so that it fits every copy of the network.

    Attributes:
        layers: convolutions, linear and recurrent layers with removable units, in the order of the network's
            modules; of layers that share a weight the first.
        groups: coupled groups; every removable unit is in exactly one position of one group.
        cuts: by group, every axis that its positions cut, the inputs of reading layers included.
        weight_layers: all convolutions, linear and recurrent layers that are used, the output layer included;
            of layers that share a weight the first.
        cost_model: parameters and MACs as a function of removed positions.
        weight_macs: by layer of `weight_layers`, MACs of one sample per weight, in all layers that share it.
        pinned: layers with units that cannot be removed, and why.
        left_out: by name, modules with weights that are not pruned, and why.
        shared: by name, layers with the weight of an earlier layer, and that layer: they lose the same units.
        unsampled: layers that compute from no sample. Their units may go with others, but are not scored.
    """

    layers: tuple[Layer, ...]
    groups: tuple[CoupledGroup, ...]
    cuts: Mapping[str, tuple[Cut, ...]]
    weight_layers: tuple[Layer, ...]
    cost_model: CostModel
    weight_macs: Mapping[str, int]
    pinned: tuple[Pinned, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)
    unsampled: frozenset[str] = frozenset()

    @property
    def units(self) -> int:
        """Units of all prunable layers: what a sparsity under the budget "units" is a fraction of."""
        return sum(layer.units for layer in self.layers)

    def require_units(self) -> None:
        """Raise `Unsupported`, with the reasons, if no unit can be removed."""
        if not self.groups:
            why = sorted({f"{pin.layer}: {pin.reason}" for pin in self.pinned})
            raise Unsupported(self._none("layer of this network can be pruned", why))

    def require_weights(self) -> None:
        """Raise `Unsupported`, with the reasons, if no weight can be removed."""
        if not self.weight_layers:
            raise Unsupported(self._none("weight of this network can be pruned", []))

    def what_stays(self) -> str:
        """The layers that keep units whatever the scores are, and why, as the end of a sentence, or nothing.

        The output layer, which every network has, is not named.
        """
        pinned = sorted((pin for pin in self.pinned if not pin.output), key=lambda pin: -pin.units)
        why = {**self.left_out, **{pin.layer: pin.reason for pin in reversed(pinned)}}
        names = list(dict.fromkeys([*(pin.layer for pin in pinned), *self.left_out]))
        if not names:
            return ""
        told = ", ".join(f"{name} ({why[name]})" for name in names[:_REASONS])
        more = f" and {len(names) - _REASONS} more" if len(names) > _REASONS else ""
        return f"; some units stay whatever their scores are: {told}{more}"

    def restricted(self, restriction: Restriction) -> PruningGraph:
        """The graph where some layers stay as they are; a coupled group stays if one of its layers does.

        Raises:
            UsageError: a pattern matches no layer.
        """
        if not restriction:
            return self
        names = [*(layer.name for layer in self.weight_layers), *self.shared, *self.left_out]
        why = restriction.reasons(list(dict.fromkeys(names)))
        for name, first in self.shared.items():
            if name in why:
                why.setdefault(first, f"it shares its weight with {name}, and {why[name]}")
        free: list[CoupledGroup] = []
        pinned = list(self.pinned)
        for group in self.groups:
            cut = [cut.axis.name for cut in self.cuts[group.name] if cut.axis.side in UNITS]
            stays = next((name for name in cut if name in why), None)
            if stays is None:
                free.append(group)
                continue
            for member in group.members:
                reason = why.get(member.layer, f"it is coupled with {stays}, which stays")
                pinned.append(Pinned(member.layer, group.size * len(member.units[0]), reason))
        left = {member.layer for group in free for member in group.members}
        none_removed = self.cost_model.counts({})
        return replace(
            self,
            layers=tuple(layer for layer in self.layers if layer.name in left),
            groups=tuple(free),
            cuts={group.name: self.cuts[group.name] for group in free},
            cost_model=self.cost_model.after(none_removed, tuple(group.name for group in free)),
            weight_layers=tuple(layer for layer in self.weight_layers if layer.name not in why),
            pinned=tuple(pinned),
            left_out={**why, **self.left_out},
        )

    def _none(self, what: str, why: list[str]) -> str:
        why = list(dict.fromkeys([*why, *(f"{name}: {reason}" for name, reason in self.left_out.items())]))
        # What a suite does not name is no news.
        why = [each for each in why if not each.endswith(UNNAMED)] or why
        return f"no {what} ({'; '.join(why[:_REASONS]) or 'it has no layer that is pruned'})"

    def of(self, model: nn.Module) -> PruningGraph:
        """The same graph with its layers taken from another copy of the network."""
        return replace(
            self,
            layers=tuple(_bound(layer, model) for layer in self.layers),
            weight_layers=tuple(_bound(layer, model) for layer in self.weight_layers),
        )

    def without(self, removed: Mapping[str, Sequence[int]], pruned: nn.Module) -> PruningGraph:
        """The graph of the network that `remove_units` returned, without tracing it.

        Groups keep their names, and positions keep their order. A group with one position left is pinned.

        Args:
            removed: by group name, the positions that were removed.
            pruned: the pruned network.
        """
        kept = {g.name: np.setdiff1d(np.arange(g.size), list(removed.get(g.name, ()))) for g in self.groups}
        places = _new_places(self, removed)
        groups, cuts = [], {}
        pinned = list(self.pinned)
        for group in self.groups:
            parts = tuple(
                Cut(cut.axis, places[cut.axis][cut.entries[kept[group.name]]])
                for cut in self.cuts[group.name]
            )
            scored = {member.layer for member in group.members}
            units = {
                cut.axis.name: cut.entries
                for cut in parts
                if cut.axis.side in UNITS and cut.axis.name in scored
            }
            if len(kept[group.name]) == 1:
                pinned.extend(Pinned(name, entries.size, ALONE) for name, entries in units.items())
                continue
            members = tuple(
                GroupMember(member.layer, tuple(map(tuple, units[member.layer].tolist())))
                for member in group.members
            )
            unscored = members_of(parts, self.unsampled)
            groups.append(
                CoupledGroup(group.name, members, len(kept[group.name]), readers_of(parts), unscored)
            )
            cuts[group.name] = parts
        left = {member.layer for group in groups for member in group.members}
        counts = self.cost_model.counts({name: len(positions) for name, positions in removed.items()})
        smaller = replace(
            self,
            layers=tuple(layer for layer in self.layers if layer.name in left),
            groups=tuple(groups),
            cuts=cuts,
            cost_model=self.cost_model.after(counts, tuple(group.name for group in groups)),
            pinned=tuple(pinned),
        )
        return smaller.of(pruned)


def members_of(cuts: Sequence[Cut], names: Collection[str]) -> tuple[GroupMember, ...]:
    """The units that layers of these names lose where a group's positions are cut."""
    return tuple(
        GroupMember(cut.axis.name, tuple(map(tuple, cut.entries.tolist())))
        for cut in cuts
        if cut.axis.side in UNITS and cut.axis.name in names
    )


def readers_of(cuts: Sequence[Cut]) -> tuple[GroupReader, ...]:
    """The layers that lose inputs where a group's positions are cut.

    Beside a recurrent layer none is named, since there is no more to see of it than its input: what it reads
    of its own units stays inside.
    """
    if any(cut.axis.side == "sequence" for cut in cuts):
        return ()
    return tuple(
        GroupReader(cut.axis.name, tuple(map(tuple, cut.entries.tolist())))
        for cut in cuts
        if cut.axis.side == "in"
    )


def _new_places(graph: PruningGraph, removed: Mapping[str, Sequence[int]]) -> dict[Axis, NDArray[np.int64]]:
    """By axis, the place that each old entry has after a removal."""
    sizes: dict[Axis, int] = {}
    gone: dict[Axis, list[NDArray[np.int64]]] = {}
    for name, parts in graph.cuts.items():
        for cut in parts:
            sizes[cut.axis] = max(sizes.get(cut.axis, 0), int(cut.entries.max()) + 1)
            gone.setdefault(cut.axis, []).append(cut.entries[list(removed.get(name, ()))].ravel())
    places = {}
    for axis, size in sizes.items():
        stays = np.ones(size, np.int64)
        stays[np.concatenate(gone[axis])] = 0
        places[axis] = np.cumsum(stays) - 1
    return places


def _bound(layer: Layer, model: nn.Module) -> Layer:
    norm = None if layer.norm_name is None else model.get_submodule(layer.norm_name)
    return replace(layer, module=model.get_submodule(layer.name), norm=norm)
