"""Gates: the derivative of each sample's loss with respect to the presence of a group's positions.

Surgery removes a position with every unit coupled in it, and with the inputs by which other layers read it.
So its gate z multiplies those inputs, x -> z x, at every layer that reads it: z = 0 is what surgery leaves,
exactly, where nothing but operations on single channels lies between the units and their readers. At z = 1
the derivative of the loss is the sum over readers, their inputs and the places of maps of x times its
gradient (Liu et al. 2021).
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.scoring.calls import call_input, with_call_input

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from benchsuite.contracts.layers import CoupledGroup

Places = dict[str, dict[str, Tensor]]
"""By reader, by group: (positions, k), the reader's inputs that carry each position."""


def places_of(groups: Sequence[CoupledGroup], absent: Collection[str], device: torch.device) -> Places:
    """Where the groups are read, those in `absent` left out."""
    places: Places = {}
    for group in groups:
        if group.name not in absent:
            for reader in group.readers:
                inputs = torch.tensor(reader.inputs, device=device)
                places.setdefault(reader.layer, {})[group.name] = inputs
    return places


class GateWatcher:
    """Watches the readers' inputs in one forward pass, and their gradients in the backward pass after it.

    Args:
        places: where the groups are read.
        samples: how many samples the batch has.
    """

    def __init__(self, places: Places, samples: int) -> None:
        self._places, self._samples = places, samples
        self._totals: dict[str, Tensor] = {}

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Watch the forward pass inside the block."""
        with ExitStack() as stack:
            for name in self._places:
                hook = partial(self._enter, name)
                handle = model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            yield

    def _enter(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = call_input(args, kwargs)
        if not given.requires_grad:
            raise Unsupported(f"no gradient reaches what {name} reads")
        # The same tensor may be read elsewhere too: this reader gets a view of its own, whose gradient is of
        # its own use.
        own = given.view_as(given)
        own.register_hook(partial(self._leave, name, module, given.detach()))
        self._add(name, _by_sample(module, torch.zeros_like(given), self._samples))
        return with_call_input(args, kwargs, own)

    def _leave(self, name: str, module: nn.Module, read: Tensor, gradient: Tensor) -> None:
        # The mean loss is the sum of the samples' losses divided by their number.
        self._add(name, _by_sample(module, read * gradient, self._samples) * self._samples)

    def _add(self, name: str, term: Tensor) -> None:
        # A layer that is called several times reads the units several times.
        self._totals[name] = self._totals[name] + term if name in self._totals else term

    def gates(self) -> dict[str, Tensor]:
        """Return by group (samples, positions), after the backward pass."""
        found: dict[str, Tensor] = {}
        for reader, groups in self._places.items():
            for group, inputs in groups.items():
                term = self._totals[reader][:, inputs].sum(-1)
                found[group] = found[group] + term if group in found else term
        return found


def _by_sample(module: nn.Module, values: Tensor, samples: int) -> Tensor:
    """Sum over positions: (samples, inputs). Windows in the first dimension belong to their sample."""
    if isinstance(module, nn.Linear):
        values = values.reshape(len(values), -1, values.shape[-1]).sum(1)
    else:
        values = values.reshape(*values.shape[:2], -1).sum(2)
    return values.reshape(samples, -1, values.shape[-1]).sum(1)
