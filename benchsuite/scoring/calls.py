"""The input of a layer's call, which a network may give by position or by keyword."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def call_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return what a layer is called with, from what a forward pre-hook with keyword arguments gets."""
    given: Tensor = args[0] if args else kwargs["input"]
    return given


def with_call_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], own: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a layer's call with another input."""
    return ((own, *args[1:]), kwargs) if args else (args, {**kwargs, "input": own})
