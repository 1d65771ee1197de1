"""What a training leaves behind for criteria that look at its course, recorded only when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn


@dataclass(frozen=True)
class TraceRequest:
    """What to record.

    Attributes:
        updates: the initial weights and the squared updates, for sensitivities after Karnin (1990).
        snapshots: numbers of steps after which the whole state is kept, for rewinding (Frankle et al.,
            2020); 0 is the state before the first step. Numbers beyond the last step are passed over.
    """

    updates: bool = True
    snapshots: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class TrainingTrace:
    """A training's course, on the CPU.

    Attributes:
        initial: every trainable parameter before the first step, by name; like the sums below, empty unless
            updates were asked for.
        squared_updates: sum over steps of the squared change of each weight.
        squared_epoch_updates: sum over epochs of the squared change within the epoch.
        snapshots: state dict (parameters and buffers) after that many steps.
        learning_rates: the rate of each step, float64.
        epoch_ratios: sum over epochs of w / (w - w_i), with w at the epoch's end and the initial w_i; an
            epoch after which they are equal adds 0.
        epoch_products: sum over epochs of that ratio times the squared change within the epoch.
    """

    initial: dict[str, Tensor]
    squared_updates: dict[str, Tensor]
    squared_epoch_updates: dict[str, Tensor]
    snapshots: dict[int, dict[str, Tensor]]
    learning_rates: Tensor
    epoch_ratios: dict[str, Tensor] = field(default_factory=dict)
    epoch_products: dict[str, Tensor] = field(default_factory=dict)

    def changed(self, change: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> TrainingTrace:
        """The trace with each of its states changed, as for a network whose parameters have other names."""
        return TrainingTrace(
            change(self.initial),
            change(self.squared_updates),
            change(self.squared_epoch_updates),
            {step: change(state) for step, state in self.snapshots.items()},
            self.learning_rates,
            change(self.epoch_ratios),
            change(self.epoch_products),
        )

    def save(self, path: Path) -> None:
        """Write the trace as safetensors."""
        tensors = {"learning_rates": self.learning_rates}
        for part in _PARTS:
            tensors.update({f"{part}/{name}": value for name, value in getattr(self, part).items()})
        for step, state in self.snapshots.items():
            tensors.update({f"snapshots/{step}/{name}": value for name, value in state.items()})
        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path) -> TrainingTrace:
        """Read what `save` wrote."""
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        snapshots: dict[int, dict[str, Tensor]] = {}
        tensors = load_file(path)
        rates = tensors.pop("learning_rates")
        for key, value in tensors.items():
            part, name = key.split("/", 1)
            if part == "snapshots":
                step, name = name.split("/", 1)
                snapshots.setdefault(int(step), {})[name] = value
            else:
                parts[part][name] = value
        return cls(**parts, snapshots=snapshots, learning_rates=rates)


_PARTS = ("initial", "squared_updates", "squared_epoch_updates", "epoch_ratios", "epoch_products")


class TraceRecorder:
    """Accumulates a trace on the device; nothing is read back before `result`."""

    def __init__(self, model: nn.Module, request: TraceRequest) -> None:
        self._model = model
        self._wanted = frozenset(request.snapshots)
        self._snapshots: dict[int, dict[str, Tensor]] = {}
        watched = model.named_parameters() if request.updates else ()
        self._weights = {name: weight.detach() for name, weight in watched if weight.requires_grad}
        self._initial = {name: weight.clone() for name, weight in self._weights.items()}
        self._step = _SquaredChange(self._weights)
        self._epoch = _SquaredChange(self._weights)
        self._ratios, self._products = (
            {name: torch.zeros_like(weight) for name, weight in self._weights.items()} for _ in range(2)
        )
        self.keep_snapshot(0)

    def reset(self) -> None:
        """Forget every step; the weights are back at their initial values."""
        self._step.reset()
        self._epoch.reset()
        for sums in (self._ratios, self._products):
            for total in sums.values():
                total.zero_()

    def after_step(self) -> None:
        """Add the change since the step before; device work only, so it can be part of a CUDA graph."""
        self._step.add()

    def after_epoch(self) -> None:
        """Add the change since the epoch before, and its ratio to the one since the start."""
        for name, weight in self._weights.items():
            moved = weight - self._initial[name]
            ratio = torch.where(moved == 0, 0.0, weight / moved)
            self._ratios[name] += ratio
            self._products[name].addcmul_(self._epoch.squares(name), ratio)
        self._epoch.add()

    def keep_snapshot(self, step: int) -> None:
        """Copy the state if it is wanted at this step."""
        if step in self._wanted:
            state = self._model.state_dict()
            self._snapshots[step] = {name: value.detach().clone() for name, value in state.items()}

    def result(self, learning_rates: Sequence[float]) -> TrainingTrace:
        """Move everything to the CPU."""
        return TrainingTrace(
            initial=_on_cpu(self._initial),
            squared_updates=_on_cpu(self._step.totals),
            squared_epoch_updates=_on_cpu(self._epoch.totals),
            snapshots={step: _on_cpu(state) for step, state in self._snapshots.items()},
            learning_rates=torch.tensor(learning_rates, dtype=torch.float64),
            epoch_ratios=_on_cpu(self._ratios),
            epoch_products=_on_cpu(self._products),
        )


class _SquaredChange:
    """Sum of squared differences between consecutive readings of some weights."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights
        self._last = {name: weight.clone() for name, weight in weights.items()}
        self.totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def reset(self) -> None:
        for name, weight in self._weights.items():
            self._last[name].copy_(weight)
            self.totals[name].zero_()

    def squares(self, name: str) -> Tensor:
        """The squared difference since the last reading."""
        return (self._weights[name] - self._last[name]).square()

    def add(self) -> None:
        for name, weight in self._weights.items():
            change = weight - self._last[name]
            self.totals[name].addcmul_(change, change)
            self._last[name].copy_(weight)


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to("cpu").contiguous() for name, value in tensors.items()}
