"""Finds normalisations over coupled units, whose mean and variance change when units are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite_scorers._gates import Gates


class _Following(TorchFunctionMode):
    """Notes layer normalisations, and group normalisations of one group, on the way of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False
        self._followed = WeakTensorKeyDictionary()

    def taint(self, tensor: Tensor) -> None:
        """Begin at this tensor."""
        self._followed[tensor] = True

    def leave(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        """End at a module's output; a forward hook."""
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._followed.pop(leaf, None)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        followed = any(
            isinstance(leaf, Tensor) and leaf in self._followed for leaf in tree_leaves((args, kwargs))
        )
        result = func(*args, **kwargs)
        if followed:
            self.found = self.found or _over_all_channels(func, args, kwargs)
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self.taint(leaf)
        return result


def normalised_over(model: nn.Module, members: Gates, readers: Gates, inputs: Tensor) -> bool:
    """Return whether a layer normalisation lies between the members of a group and its readers."""
    following = _Following()
    handles = [gate.module.register_forward_hook(following.leave) for gate in readers.gates]
    try:
        with torch.no_grad(), members.recording(following), following:
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return following.found


def _over_all_channels(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    if name == "group_norm":
        return bool((args[1] if len(args) > 1 else kwargs["num_groups"]) == 1)
    return name == "layer_norm"
