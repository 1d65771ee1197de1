"""When a rule or a threshold leaves so little of a layer that nothing can be learnt from the accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.errors import Collapsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from benchsuite.contracts.layers import CoupledGroup

LEAST_LEFT = 0.01
"""Share of a layer's units or weights: where a rule or a threshold leaves less, the trial is `collapsed`."""


def nearly_empty(keep: Mapping[str, Tensor]) -> list[str]:
    """The layers or groups of which less than `LEAST_LEFT` is kept; True where a unit or a weight is."""
    return [name for name, mask in keep.items() if int(mask.sum()) / mask.numel() < LEAST_LEFT]


def how_much(keep: Mapping[str, Tensor], what: str) -> str:
    """How little of some layers is kept, as in "3 of 400 weights of fc1 (less than 1%)"."""
    if not any(bool(mask.any()) for mask in keep.values()):
        return f"no {what} of {', '.join(keep)}"
    each = [f"{int(mask.sum())} of {mask.numel()} {what}s of {name}" for name, mask in keep.items()]
    return f"{', '.join(each)} (less than {LEAST_LEFT:.0%})"


def refuse_lost_weights(keep: Mapping[str, Tensor]) -> None:
    """Raise `Collapsed` where a rule keeps less than `LEAST_LEFT` of a layer's weights."""
    if lost := nearly_empty(keep):
        raise Collapsed(f"the rule keeps {how_much({name: keep[name] for name in lost}, 'weight')}")


def refuse_lost_units(groups: Sequence[CoupledGroup], removed: Mapping[str, Sequence[int]]) -> None:
    """Raise `Collapsed` where a rule keeps less than `LEAST_LEFT` of a group's positions."""
    for group in groups:
        left = group.size - len(removed.get(group.name, ()))
        if left / group.size < LEAST_LEFT:
            said = f"{left} of {group.size} units of {group.name} (less than {LEAST_LEFT:.0%})"
            raise Collapsed(f"the rule keeps {said if left else f'no unit of {group.name}'}")
