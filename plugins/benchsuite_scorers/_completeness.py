"""Tests that the layers that are known to read coupled units are all that read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from benchsuite import Unsupported
from benchsuite_scorers._coupled import member_gates, reader_gates

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite import CoupledGroup, ScoringContext
    from benchsuite_scorers._gates import Gates


def check_readers(context: ScoringContext, group: CoupledGroup) -> bool:
    """Test on a few samples that units act on the network through a group's readers alone.

    Where the readers get nothing from some units, changes of these units' outputs must not change the
    network's outputs. Layer normalisations on the way are left out in this test.

    Returns:
        Whether there is such a normalisation between the members and the readers: with units removed it would
        compute mean and variance from those that are left.

    Raises:
        Unsupported: the readers are not known, a module is never called, or the outputs change.
    """
    members, readers = member_gates(context, group), reader_gates(context, group)
    inputs, _ = next(context.batches(min(8, context.samples)))
    for gates in (members, readers):
        gates.require_called(context.model, inputs)
    normalised = False
    for first in (0, 1):
        kept = members.neutral()
        kept[:, first::2] = 0
        following = _Following()
        changed = torch.where(kept == 0, 2 + members.probe(), kept)
        before, after = (
            _outputs(context.model, inputs, following, (members, factors), (readers, kept))
            for factors in (members.neutral(), changed)
        )
        if not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
            raise Unsupported("its units also act on the network past the layers that are known to read them")
        normalised = normalised or following.found
    return normalised


def _outputs(
    model: nn.Module,
    inputs: Tensor,
    following: _Following,
    varied: tuple[Gates, Tensor],
    closed: tuple[Gates, Tensor],
) -> Tensor:
    (members, factors), (readers, kept) = varied, closed
    handles = [gate.module.register_forward_hook(following.leave) for gate in readers.gates]
    try:
        with torch.no_grad(), readers.putting(kept), members.recording(following, factors), following:
            outputs: Tensor = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


class _Following(TorchFunctionMode):
    """Leaves out normalisations over all channels of what is computed from tensors, and notes them.

    Attributes:
        found: whether there was one.
    """

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
        if not any(
            isinstance(leaf, Tensor) and leaf in self._followed for leaf in tree_leaves((args, kwargs))
        ):
            return func(*args, **kwargs)
        if _over_all_channels(func, args, kwargs):
            self.found = True
            result = (args[0] if args else kwargs["input"]) * 1
        else:
            result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.taint(leaf)
        return result


def _over_all_channels(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    if name == "group_norm":
        return bool((args[1] if len(args) > 1 else kwargs["num_groups"]) == 1)
    return name == "layer_norm"
