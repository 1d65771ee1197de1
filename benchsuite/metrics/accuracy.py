"""How well a network classifies a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from benchsuite.errors import BenchsuiteError
from benchsuite.hardware.devices import exact_float32
from benchsuite.training.finite import named, not_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from benchsuite.training.data import DeviceSplit


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Counts of a network's predictions on a split.

    Attributes:
        confusion: int64 (classes, classes) on the CPU: rows are true classes, columns predicted ones.
        loss: mean cross entropy in nats, without label smoothing.
    """

    confusion: Tensor
    loss: float

    @property
    def samples(self) -> int:
        """Number of samples evaluated."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Fraction of samples classified correctly."""
        return int(self.confusion.trace()) / self.samples

    @property
    def recall(self) -> tuple[float | None, ...]:
        """Fraction of each class's samples classified correctly; None for a class without samples."""
        correct, present = self.confusion.diagonal().tolist(), self.confusion.sum(dim=1).tolist()
        return tuple(c / p if p else None for c, p in zip(correct, present, strict=True))


def evaluate(
    model: nn.Module,
    split: DeviceSplit,
    classes: Sequence[str],
    batch_size: int = 256,
    *,
    network: str = "the network",
) -> Evaluation:
    """Return how `model` classifies every sample of `split`, in evaluation mode and in float32.

    The model's mode is restored. The host waits for the device only at the end.

    Args:
        model: the network.
        split: what it classifies.
        classes: their names.
        batch_size: samples of one forward pass.
        network: which network it is, for messages.

    Raises:
        BenchsuiteError: the split is empty, the outputs do not have one column per class, or outputs,
            parameters or buffers are not finite: the largest of outputs that are no numbers is no prediction.
    """
    if len(split) == 0:
        raise BenchsuiteError("an empty split cannot be evaluated")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    predictions, losses, spoilt = [], [], []
    try:
        with torch.inference_mode(), exact_float32():
            for first in range(0, len(split), batch_size):
                inputs = split.inputs[first : first + batch_size]
                labels = split.labels[first : first + batch_size]
                outputs = model(split.normalise(inputs))
                if outputs.shape != (len(labels), len(classes)):
                    raise BenchsuiteError(
                        f"{network}: its outputs have shape {tuple(outputs.shape)} for {len(labels)} samples "
                        f"and {len(classes)} classes; ({len(labels)}, {len(classes)}) is wanted"
                    )
                predictions.append(outputs.argmax(dim=1))
                spoilt.append(~outputs.isfinite().all(dim=1))
                losses.append(cross_entropy(outputs, labels, reduction="none"))
            cells = split.labels * len(classes) + torch.cat(predictions)
            # A single transfer; float64 represents the cell numbers exactly.
            cells, per_sample, bad = torch.stack(
                [cells.double(), torch.cat(losses).double(), torch.cat(spoilt).double()]
            ).cpu()
            _check_finite(network, int(bad.sum()), len(split), not_finite(model))
    finally:
        for module, mode in modes.items():
            module.training = mode
    counts = torch.bincount(cells.long(), minlength=len(classes) ** 2)
    return Evaluation(confusion=counts.view(len(classes), len(classes)), loss=per_sample.mean().item())


def _check_finite(network: str, samples: int, of: int, state: tuple[str, ...]) -> None:
    found = []
    if samples:
        found.append(f"its outputs are not finite on {samples} of {of} samples")
    if state:
        found.append(f"not finite are {named(state)}")
    if found:
        raise BenchsuiteError(f"{network} cannot be evaluated: {'; '.join(found)}")
