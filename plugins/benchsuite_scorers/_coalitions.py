"""The accuracy of a network in which only a coalition of a coupled group's units is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from benchsuite import Unsupported
from benchsuite_scorers._completeness import check_readers
from benchsuite_scorers._coupled import member_gates, reader_gates
from benchsuite_scorers._partial_forward import ModuleOutput, PartialForward
from benchsuite_scorers._reader import Reader, inputs_of

if TYPE_CHECKING:
    from benchsuite import CoupledGroup, ScoringContext

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
        rest: the network after the gates, or after the reading layer if `contributions` are given.
        numbers: size of the largest tensor that is varied, for one coalition.
        base: the reading layer's output with every unit off; None without contributions.
        contributions: (units, *base's shape): what turning a unit on adds to `base`.
        channels_last: whether the channels of both were moved from dimension 1 to the end.
    """

    labels: Tensor
    rest: PartialForward
    numbers: int
    base: Tensor | None = None
    contributions: Tensor | None = None
    channels_last: bool = False

    @property
    def size(self) -> int:
        """Bytes, roughly."""
        return 4 * (self.numbers + (0 if self.contributions is None else self.contributions.numel()))

    def answers(self, masks: Tensor) -> Tensor:
        """Return the classes that are predicted with each coalition, (coalitions, samples)."""
        if self.base is None or self.contributions is None:
            outputs = self.rest.run(masks.to(self.rest.outputs.dtype), len(masks))
        else:
            added = masks.to(self.base.dtype) @ self.contributions.flatten(1)
            varied = (self.base + added.reshape(len(masks), *self.base.shape)).flatten(0, 1)
            outputs = self.rest.run(varied.movedim(-1, 1) if self.channels_last else varied, len(masks))
        return outputs.argmax(-1).reshape(len(masks), -1)


class CoalitionGame:
    """Payoffs of coalitions of a group's units: the accuracy with the other units off.

    In general, everything that depends on the group is run again, with factors of 0 and 1. If the units reach
    the rest of the network through one layer, which is linear in them, their contributions to its output are
    computed once per batch and only added up for each coalition; then only the part after that layer is run.

    Args:
        context: the network and its samples.
        group: the coupled group whose positions are the players.
        off: "zeroed": a unit's weights and bias, and those of its normalisation, are zero, and what follows
            still transforms that; "removed": it adds nothing to the layers that read it, as after surgery.

    Raises:
        Unsupported: a layer is never called; or "removed", and the layers that read the units are not known
            or a normalisation is computed over the units.
    """

    def __init__(
        self, context: ScoringContext, group: CoupledGroup, off: Literal["zeroed", "removed"]
    ) -> None:
        self._context, self._off = context, off
        self._members = member_gates(context, group)
        self._readers = reader_gates(context, group) if group.readers or off == "removed" else None
        self._kept: dict[int, _Batch] = {}
        self._room = _KEPT
        self._members.require_called(context.model, next(context.batches(min(2, context.samples)))[0])
        if off == "removed" and check_readers(context, group):
            raise Unsupported("a layer normalisation over its units depends on which of them are left")

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
                parts = masks.split(max(1, _CHUNK // batch.numbers))
                correct += torch.cat([(batch.answers(part) == batch.labels).sum(1) for part in parts])
        return correct.cpu().double() / self._context.samples

    def _prepare(self, inputs: Tensor, labels: Tensor) -> _Batch:
        model = self._context.model
        if self._readers is not None and len(self._readers.gates) == 1:
            reader = Reader(self._readers.gates[0], self._members.size)
            passed, _ = inputs_of(model, [reader.module], inputs)
            entered = passed[reader.module]
            if len(entered) == 1:
                behind = ModuleOutput(reader.module)
                rest = PartialForward(model, behind, inputs)
                if reader.size * behind.own.numel() <= _CONTRIBUTIONS:
                    nothing = self._turned_off(reader, rest, inputs, entered[0])
                    if nothing is not None:
                        # Where channels lie last in memory, pooling is several times faster on a CPU.
                        last = rest.allows(behind.own.movedim(1, -1).contiguous().movedim(-1, 1))
                        return _through_reader(labels, reader, rest, entered[0], nothing, last=last)
        gates = self._readers if self._off == "removed" and self._readers is not None else self._members
        rest = PartialForward(model, gates, inputs)
        return _Batch(labels, rest, gates.numbers)

    def _turned_off(
        self, reader: Reader, behind: PartialForward, inputs: Tensor, on: Tensor
    ) -> Tensor | None:
        """Return the reading layer's input with every unit off; None if units act otherwise than apart there.

        That is tested with every second unit off, by the layer's input and by the network's outputs.
        """
        every, none = self._members.neutral()[0], self._members.neutral()[0] * 0
        if self._off == "removed":
            return reader.only(on, none)
        half = every.clone()
        half[::2] = 0
        (off, _), (mixed, outputs) = (self._passed(reader, inputs, factors) for factors in (none, half))
        apart = torch.allclose(mixed, off + reader.only(on - off, half), rtol=1e-4, atol=1e-5)
        alone = torch.allclose(reader.only(on - off, none), torch.zeros_like(on), atol=1e-5)
        if not (apart and alone):
            return None
        found = behind.run(reader.module(mixed))
        return off if torch.allclose(found, outputs, rtol=1e-3, atol=1e-4) else None

    def _passed(self, reader: Reader, inputs: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reading layer's input and the network's outputs with the members multiplied."""
        with self._members.putting(factors[None]):
            entered, outputs = inputs_of(self._context.model, [reader.module], inputs)
        return entered[reader.module][0], outputs


def _through_reader(
    labels: Tensor, reader: Reader, rest: PartialForward, on: Tensor, off: Tensor, *, last: bool
) -> _Batch:
    base = reader.module(off)
    contributions = torch.stack(list(reader.contributions(on - off)))
    if last:
        base, contributions = base.movedim(1, -1).contiguous(), contributions.movedim(2, -1).contiguous()
    return _Batch(labels, rest, base.numel(), base, contributions, last)
