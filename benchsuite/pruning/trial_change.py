"""Whether a network computes the same after a change of its modules, tried on copies with random weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite.contracts.inputs import TensorMap, joined
from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import exact_float32
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.twin import twin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchsuite.contracts.inputs import Inputs

    Change = Callable[[nn.Module, Sequence[str]], None]
    """A function of a network and names of its modules that changes these, in place."""

_TOLERANCE = 1e-4
"""Largest difference that a change may make, relative to the largest output, in the network's precision."""


def run_once(model: nn.Module, example: Inputs) -> Any:
    """What a network computes; raises `Unsupported` if it does not run."""
    try:
        return model(example)
    except Exception as error:
        # A network's own code can fail in any way.
        raise Unsupported(f"the network does not run: {type(error).__name__}: {error}") from error


def equal_outputs(before: Any, after: Any) -> bool:
    """Whether two outputs are equal; of what is no tensor somebody else complains."""
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return True
    largest = float(before.abs().max()) or 1.0
    return before.shape == after.shape and float((before - after).abs().max()) <= _TOLERANCE * largest


def change_where_possible(
    model: nn.Module, example: Inputs, names: Sequence[str], change: Change
) -> tuple[str, ...]:
    """Change those modules with which the network computes the same, in place, and return their names.

    Without a name the network is not run. See `Trial`, also for the arguments.
    """
    possible = Trial(model, example).possible(names, change) if names else ()
    change(model, possible)
    return possible


class Trial:
    """Tries changes on copies of a network; the network itself is not changed.

    The weights of the copies are random, so that nothing hides behind zeros as biases have them before
    training. In training mode a changed network must run, forwards and backwards, if the network does.

    Args:
        model: the network.
        example: an input of any number of samples; the first is used, of inputs by name all.

    Raises:
        Unsupported: the network cannot be copied, or does not run.
    """

    def __init__(self, model: nn.Module, example: Inputs) -> None:
        self._twin = twin_of(model)
        randomise(self._twin)
        # What code does may depend on whether there is padding.
        padded = joined([example, example.shortened()]) if isinstance(example, TensorMap) else example[:1]
        self._example = padded.detach()
        self._before = self._output(self._twin)
        self._trains = self._learns(copy.deepcopy(self._twin))

    def possible(self, names: Sequence[str], change: Change) -> tuple[str, ...]:
        """The modules that can be changed: all of them, or else those that can one after the other."""
        if self.holds(names, change):
            return tuple(names)
        kept: list[str] = []
        for name in names if len(names) > 1 else ():
            if self.holds([*kept, name], change):
                kept.append(name)
        return tuple(kept)

    def holds(self, names: Sequence[str], change: Change) -> bool:
        """Whether the network computes the same, and can be trained, with these modules changed."""
        changed = copy.deepcopy(self._twin)
        change(changed, names)
        try:
            same = equal_outputs(self._before, self._output(changed))
        except Unsupported:
            return False
        return same and (not self._trains or self._learns(changed))

    def _output(self, model: nn.Module) -> Any:
        with evaluating(model), torch.no_grad(), exact_float32():
            return run_once(model, self._example)

    def _learns(self, model: nn.Module) -> bool:
        # One sample is not enough if a batch normalisation gets a map of one position.
        samples = joined([self._example, self._example])
        devices = [samples.device] if samples.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices), torch.enable_grad():
                outputs = model.train()(samples)
                if isinstance(outputs, Tensor):
                    outputs.sum().backward()
        except Exception:  # noqa: BLE001 - a network's own code can fail in any way
            return False
        return True
