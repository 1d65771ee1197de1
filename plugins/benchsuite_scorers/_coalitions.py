"""The accuracy of a network in which only a coalition of one layer's units is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from benchsuite import Unsupported
from benchsuite_scorers._next_layer import NextLayer, connect_next, find_next, unit_mask
from benchsuite_scorers._partial_forward import PartialForward

if TYPE_CHECKING:
    from benchsuite import Layer, ScoringContext

_CONTRIBUTIONS = 2**27
"""Largest size of the units' contributions for one batch, in numbers; larger ones are not stored."""
_CHUNK = 2**20
"""How many numbers of a varied output are in memory at once."""
_KEPT = 2**30
"""How many bytes of prepared batches are kept between rounds."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """One batch, ready to be evaluated for any coalition.

    Attributes:
        labels: of its samples.
        rest: the network after the layer, or after the next layer if `contributions` are given.
        base: the output that is varied, with every unit off and channels last (or, without contributions,
            with every unit on and in the network's own layout).
        contributions: (units, *base's shape): what turning a unit on adds to `base`.
    """

    labels: Tensor
    rest: PartialForward
    base: Tensor
    contributions: Tensor | None

    @property
    def size(self) -> int:
        """Bytes, roughly."""
        return 4 * (self.base.numel() + (0 if self.contributions is None else self.contributions.numel()))


class CoalitionGame:
    """Payoffs of coalitions of a layer's units: the accuracy with the other units off.

    The layer's input is computed once per batch. If the units reach the rest of the network through one next
    layer, which is linear in them, their contributions to its output are also computed once and only added up
    for each coalition; then only the part after that layer is run, for many coalitions at once. Otherwise
    everything after the layer is run.

    Args:
        context: the network and its samples.
        layer: the layer whose units are the players.
        off: "zeroed": a unit's weights and bias are zero, and what follows still transforms its output;
            "removed": it adds nothing to the next layer, as after surgery.

    Raises:
        Unsupported: "removed", and the units do not reach the rest of the network through a single next
            layer.
    """

    def __init__(self, context: ScoringContext, layer: Layer, off: Literal["zeroed", "removed"]) -> None:
        self._context, self._layer, self._off = context, layer, off
        self._kept: dict[int, _Batch] = {}
        inputs, _ = next(context.batches())
        self._next = find_next(context.model, layer, inputs)
        self._room = _KEPT

    def payoffs(self, coalitions: Tensor) -> Tensor:
        """Return the accuracy for each row of a bool tensor (coalitions, units), float64 on the CPU."""
        correct = torch.zeros(len(coalitions), dtype=torch.int64, device=self._context.device)
        masks = coalitions.to(self._context.device)
        with torch.no_grad():
            for number, (inputs, labels) in enumerate(self._context.batches()):
                batch = self._kept.get(number)
                if batch is None:
                    batch = self._prepare(inputs, labels)
                    if batch.size <= self._room:
                        self._room -= batch.size
                        self._kept[number] = batch
                correct += self._correct(batch, masks)
        return correct.cpu().double() / self._context.samples

    def _correct(self, batch: _Batch, masks: Tensor) -> Tensor:
        """Count the right answers for each coalition."""
        counts = []
        for part in masks.split(max(1, _CHUNK // batch.base.numel())):
            if batch.contributions is None:
                outputs = batch.base * unit_mask(self._layer, part.to(batch.base.dtype), batch.base)
            else:
                added = part.to(batch.base.dtype) @ batch.contributions.flatten(1)
                outputs = batch.base + added.reshape(len(part), *batch.base.shape)
            # Channels are moved back from the end; in that position pooling is several times faster on a CPU.
            varied = outputs.flatten(0, 1)
            varied = varied.movedim(-1, 1) if batch.contributions is not None else varied
            answers = batch.rest.run(varied, len(part)).argmax(-1)
            counts.append((answers.reshape(len(part), -1) == batch.labels).sum(1))
        return torch.cat(counts)

    def _prepare(self, inputs: Tensor, labels: Tensor) -> _Batch:
        model = self._context.model
        rest = PartialForward(model, self._layer.module, inputs)
        module = self._next
        reader = None if module is None else connect_next(module, self._layer, rest)
        if module is not None and reader is not None:
            behind = PartialForward(model, module, inputs)
            if self._passes_through(rest, behind, reader):
                batch = self._with_contributions(labels, behind, reader)
                if batch is not None:
                    return batch
        if self._off == "removed":
            raise Unsupported(
                "its units do not act through one next layer alone, so they cannot be taken out singly"
            )
        return _Batch(labels, rest, rest.output, None)

    def _passes_through(self, rest: PartialForward, behind: PartialForward, reader: NextLayer) -> bool:
        """Test whether the units affect the network only through the next layer's output."""
        half = torch.arange(reader.units, device=rest.output.device) % 2 == 0
        expected = rest.run(rest.output * unit_mask(self._layer, half, rest.output))
        entered = reader.masked(reader.on, half) + reader.masked(reader.off, ~half)
        return torch.allclose(behind.run(reader.module(entered)), expected, rtol=1e-3, atol=1e-4)

    def _with_contributions(self, labels: Tensor, behind: PartialForward, reader: NextLayer) -> _Batch | None:
        if reader.units * behind.output.numel() > _CONTRIBUTIONS and self._off == "zeroed":
            return None
        changed = reader.on - reader.off if self._off == "zeroed" else reader.on
        numbers = torch.arange(reader.units, device=changed.device)
        contributions = torch.stack(
            [reader.contribution(reader.masked(changed, numbers == unit)) for unit in range(reader.units)]
        )
        nothing = reader.off if self._off == "zeroed" else torch.zeros_like(reader.off)
        base = reader.module(nothing).movedim(1, -1).contiguous()
        return _Batch(labels, behind, base, contributions.movedim(2, -1).contiguous())
