"""Data sets as tensors on the device, normalised and augmented there, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from benchsuite.contracts.inputs import TensorMap, memory_format_of, shape_of
from benchsuite.training.data_checks import checked

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from benchsuite.contracts.dataset import Augmentation, Dataset, Split
    from benchsuite.contracts.named_inputs import NamedInputs, Tokens


@dataclass(frozen=True, eq=False)
class DeviceSplit:
    """One split on the device.

    Attributes:
        inputs: as in `Split`: uint8 images or float32 features, or a `TensorMap`.
        labels: int64, shape (samples,).
        shift: subtracted from an input by `normalise`, on the scale of `inputs`; inputs by name have none.
        scale: what the difference is multiplied by.
    """

    inputs: Any
    labels: Tensor
    shift: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def normalise(self, inputs: Any) -> Any:
        """Return a copy of some of the split's inputs as the network wants them; of one tensor in float32."""
        if isinstance(inputs, TensorMap):
            return inputs.clone()
        copy = inputs.to(torch.float32, memory_format=memory_format_of(inputs), copy=True)
        return copy.sub_(self.shift).mul_(self.scale)


@dataclass(frozen=True, eq=False)
class DeviceDataset:
    """The splits of a `Dataset` on one device."""

    train: DeviceSplit
    validation: DeviceSplit
    test: DeviceSplit
    classes: tuple[str, ...]
    augmentation: Augmentation
    tokens: Tokens | None = None

    @property
    def input_shape(self) -> tuple[int, ...] | NamedInputs:
        """One sample's shape, or what inputs by name are like."""
        return shape_of(self.train.inputs, self.tokens)


def on_device(dataset: Dataset, device: torch.device | str) -> DeviceDataset:
    """Copy a data set to the device; raises `DataError` where its parts do not fit together."""
    dataset = checked(dataset)
    shift, scale = (each.to(device) for each in _normalisation(dataset))

    def move(split: Split) -> DeviceSplit:
        inputs: Any = split.inputs
        return DeviceSplit(inputs.to(device), split.labels.to(device), shift, scale)

    return DeviceDataset(
        train=move(dataset.train),
        validation=move(dataset.validation),
        test=move(dataset.test),
        classes=dataset.classes,
        augmentation=dataset.augmentation,
        tokens=dataset.tokens,
    )


def _normalisation(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """What is subtracted from inputs, and what the difference is multiplied by; empty for inputs by name."""
    inputs: Any = dataset.train.inputs
    if isinstance(inputs, TensorMap):
        return torch.empty(0), torch.empty(0)
    shape = (1, -1) + (1,) * (inputs.dim() - 2)
    largest = 255.0 if inputs.dtype == torch.uint8 else 1.0
    shift = (torch.tensor(dataset.mean) * largest).view(shape)
    return shift, (1.0 / (torch.tensor(dataset.std) * largest)).view(shape)


def draw_epoch(
    samples: int, steps: int, batch: int, augmentation: Augmentation | None, generator: Generator
) -> Tensor:
    """Draw an epoch's random choices at once, on the CPU.

    Returns:
        int64 (steps, batch, 4): the sample, the crop's row and column offset, whether to mirror; or
        (steps, batch, 1), the sample alone, without augmentation.
    """
    order = torch.randperm(samples, generator=generator)[: steps * batch].view(steps, batch, 1)
    if augmentation is None:
        return order
    offsets = torch.randint(0, 2 * augmentation.pad_crop + 1, (steps, batch, 2), generator=generator)
    mirror = torch.randint(0, 1 + augmentation.flip, (steps, batch, 1), generator=generator)
    return torch.cat([order, offsets, mirror], dim=2)


def take_batch(split: DeviceSplit, draws: Tensor, augmentation: Augmentation | None) -> tuple[Any, Tensor]:
    """Return the normalised inputs and labels that one step's draws, (batch, 1 or 4), stand for."""
    samples = draws[:, 0]
    inputs = split.inputs.index_select(0, samples)
    if augmentation is not None:
        inputs = _crop_and_mirror(inputs, draws[:, 1], draws[:, 2], draws[:, 3], augmentation.pad_crop)
    return split.normalise(inputs), split.labels.index_select(0, samples)


def _crop_and_mirror(images: Tensor, top: Tensor, left: Tensor, mirror: Tensor, pad: int) -> Tensor:
    """Pad by reflection, crop back at an offset and mirror, as two gathers without the padded image."""
    _, _, height, width = images.shape
    rows = torch.arange(height, device=images.device) + top[:, None] - pad
    columns = torch.arange(width, device=images.device).expand(len(left), -1)
    columns = torch.where(mirror[:, None] == 1, width - 1 - columns, columns) + left[:, None] - pad
    rows, columns = _reflected(rows, height), _reflected(columns, width)
    images = images.gather(2, rows[:, None, :, None].expand_as(images))
    return images.gather(3, columns[:, None, None, :].expand_as(images))


def _reflected(position: Tensor, size: int) -> Tensor:
    """Fold positions outside 0..size-1 back inside, without repeating the edge."""
    last = size - 1
    return last - (last - position.abs()).abs()
