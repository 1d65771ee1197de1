"""Runs only the part of a network that depends on what is varied in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from benchsuite_scorers._recording import Player, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_FAILED = (RuntimeError, KeyError, TypeError, ValueError, IndexError)


class Varied(Protocol):
    """What is varied in a network, by hooks. Its values are stacked along the first dimension."""

    def recording(self, recorder: Recorder) -> AbstractContextManager[None]:
        """Inside, the network computes what it computes; what will be varied is tainted."""

    def putting(self, values: Tensor, variants: int) -> AbstractContextManager[None]:
        """Inside, the network computes with these values."""

    def neutral(self) -> Tensor:
        """Return the values that change nothing."""

    def probe(self) -> Tensor:
        """Return values that change something, to test whether the rest follows."""


class PartialForward:
    """The part of a network that depends on what is varied, for fixed inputs.

    One full pass records which calls to torch depend on it. Later passes run the same Python code, but only
    those calls are executed; the results of other calls that they need are stored, and the rest return empty
    tensors of the right shape. So skip connections and functional code need no special handling. Several
    variants can be run at once, concatenated along the first dimension.

    The recording is checked: if a repetition does not give what full passes give, for the neutral values and
    for the probe, every later run is a full pass.

    Args:
        model: the network, in evaluation mode.
        varied: what is varied.
        inputs: the fixed inputs, samples first.

    Attributes:
        outputs: the network's outputs with nothing changed.
    """

    def __init__(self, model: nn.Module, varied: Varied, inputs: Tensor) -> None:
        self._model, self._varied, self._inputs = model, varied, inputs
        recorder = Recorder(inputs)
        with torch.no_grad(), varied.recording(recorder), recorder:
            self.outputs: Tensor = model(inputs)
        self._calls = recorder.finished()
        with torch.no_grad():
            self._fast = self._repeats()
        self._stacks: bool | None = None  # tested when it is first needed

    def _repeats(self) -> bool:
        """Compare repetitions with full passes."""
        varied = self._varied
        try:
            found = torch.cat([self._replay(varied.neutral(), 1), self._replay(varied.probe(), 1)])
        except _FAILED:
            return False
        return _close(found, torch.cat([self.outputs, self._full(varied.probe())]))

    def _stacked(self) -> bool:
        """Compare stacked variants with single ones.

        Where a network keeps its samples in another dimension, or looks for the largest value of a batch,
        variants would get each other's values.
        """
        tried = [self._varied.neutral(), self._varied.probe(), 0.25 * self._varied.neutral()]
        single = torch.cat([self._replay(values.clone(), 1) for values in tried])
        try:
            stacked = self._replay(torch.cat(tried), len(tried))
        except _FAILED:
            return False
        return _close(stacked, single)

    def allows(self, neutral: Tensor) -> bool:
        """Whether the network takes the values that change nothing as they lie in memory here.

        `Tensor.view` fails where they lie otherwise than it needs.
        """
        try:
            return _close(self.run(neutral), self.outputs)
        except _FAILED:
            return False

    def run(self, values: Tensor, variants: int = 1) -> Tensor:
        """Return the network's outputs with other values, variant by variant.

        Args:
            values: of all variants, concatenated.
            variants: how many there are.
        """
        if self._fast and variants > 1 and self._stacks is None:
            with torch.no_grad():
                self._stacks = self._stacked()
        if self._fast and (variants == 1 or self._stacks):
            return self._replay(values, variants)
        parts = values.split(len(values) // variants)
        return torch.cat([self._replay(part, 1) if self._fast else self._full(part) for part in parts])

    def _replay(self, values: Tensor, variants: int) -> Tensor:
        player = Player(self._calls, len(self._inputs), variants)
        with self._varied.putting(values, variants), player:
            result: Tensor = self._model(player.inputs)
        return result

    def _full(self, values: Tensor) -> Tensor:
        with self._varied.putting(values, 1):
            result: Tensor = self._model(self._inputs)
        return result


class ModuleOutput:
    """The output of a module's first call as what is varied; the values are outputs.

    Attributes:
        own: the module's own output, a copy, once a pass was recorded.
        calls: how often that pass called the module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.own: Tensor
        self.calls = 0

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Taint the output; raises `ValueError` at the end if the module was never called."""
        self.calls = 0

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if not self.calls:
                with recorder.pause():
                    self.own = output.clone()
                recorder.taint(output)
            self.calls += 1

        handle = self._module.register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()
        if not self.calls:
            raise ValueError("the forward pass does not reach the module")

    @contextmanager
    def putting(self, values: Tensor, variants: int) -> Iterator[None]:  # noqa: ARG002 - as any `Varied`
        """Replace the output of the first call."""
        done = False

        def replace(_module: nn.Module, _inputs: Any, _output: Any) -> Tensor | None:
            nonlocal done
            first, done = not done, True
            return values if first else None

        handle = self._module.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()

    def neutral(self) -> Tensor:
        """Return the module's own output, which may then be overwritten."""
        return self.own.clone()

    def probe(self) -> Tensor:
        """Return its own output with every second entry halved."""
        factors = torch.ones(self.own.numel(), dtype=self.own.dtype, device=self.own.device)
        factors[::2] = 0.5
        return self.own * factors.reshape(self.own.shape)


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
