"""The training step: with and without a CUDA graph, beside a plain loop, and beside airbench's epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest import mock

import torch
from torch import Tensor, nn

from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.hardware import devices
from benchsuite.training import on_device, train, trainer

if TYPE_CHECKING:
    from gpurun.figures import Figures

DEVICE = "cuda:0"
AIRBENCH_SECONDS, AIRBENCH_EPOCHS = 3.83, 9.9
"""airbench94.py on one A100, as its author states them (Jordan 2024, arXiv 2404.00498)."""


def made_up(samples: int, size: int = 32) -> Dataset:
    """Images of CIFAR-10's shape whose mean tells their class."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.randint(0, 10, (count,), generator=generator)
        noise = torch.randint(0, 100, (count, 3, size, size), dtype=torch.uint8, generator=generator)
        return Split(noise + (15 * labels).to(torch.uint8)[:, None, None, None], labels)

    return Dataset(
        split(samples),
        split(64),
        split(64),
        tuple("0123456789"),
        (0.5,) * 3,
        (0.25,) * 3,
        augmentation=Augmentation(pad_crop=size // 16, flip=True),
    )


def resnet20() -> nn.Module:
    """The network that most of the figures are of."""
    from benchsuite_models.cifar_resnet import ResNet20

    torch.manual_seed(0)
    return ResNet20().build((3, 32, 32), 10)


class _Group(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding="same", bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(outputs),
            nn.GELU(),
            nn.Conv2d(outputs, outputs, 3, padding="same", bias=False),
            nn.BatchNorm2d(outputs),
            nn.GELU(),
        )


def airbench_network(width: int) -> nn.Module:
    """A network of airbench94's layers, and of its widths for 64, with ordinary initial weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 2),
        nn.GELU(),
        _Group(24, width),
        _Group(width, 4 * width),
        _Group(4 * width, 4 * width),
        nn.MaxPool2d(3),
        nn.Flatten(),
        nn.Linear(4 * width, 10, bias=False),
    )


def seconds_of(work: object) -> float:
    """How long a call takes, with everything that it has queued on the device."""
    devices.synchronise(DEVICE)
    start = time.perf_counter()
    work()  # type: ignore[operator]
    devices.synchronise(DEVICE)
    return time.perf_counter() - start


def step_seconds(build: object, dataset: Dataset, recipe: TrainingRecipe, steps: tuple[int, int]) -> float:
    """Seconds of a step: the difference of a long and a short training, so that beginnings do not count.

    Of each the shorter of two times, so that something else on the machine does not count either.
    """
    data = on_device(dataset, DEVICE)
    per_epoch = len(dataset.train) // recipe.batch_size
    took = [
        seconds_of(
            lambda number=number: train(
                build(),  # type: ignore[operator]
                data,
                recipe,
                seed=0,
                device=DEVICE,
                epochs=number / per_epoch,
            )
        )
        for number in (steps[0], *steps, *steps)  # the first pays for what is loaded
    ][1:]
    return (min(took[1::2]) - min(took[::2])) / (steps[1] - steps[0])


def run(found: Figures) -> None:
    """Measure."""
    dataset = made_up(found.size(6400, 48))
    recipe = TrainingRecipe(batch_size=found.size(128, 2), learning_rate=0.01)
    steps = (found.size(50, 4), found.size(450, 24))
    replayed = step_seconds(resnet20, dataset, recipe, steps)
    with found.attempt("the same step without a graph"), mock.patch.object(trainer, "capture", _no_graph):
        eager = step_seconds(resnet20, dataset, recipe, steps)
        found.ratio("a step of ResNet-20", ("without a CUDA graph", eager), ("with one", replayed))
    with found.attempt("the losses with and without a graph"):
        _same_losses(found, dataset, recipe)
    with found.attempt("a plain loop on the device"):
        count = found.size(200, 4)
        plain = _plain_loop(dataset, recipe, count)
        found.ratio("a step of ResNet-20", ("plain loop, data on the device", plain), ("ours", replayed))
    with found.attempt("a data loader"):
        images = found.size(1280, 4)
        loader = _loader_step(dataset, recipe, images)
        found.ratio("a step of ResNet-20", ("loop over a data loader", loader), ("ours", replayed))
    with found.attempt("airbench"):
        _airbench(found)


def _no_graph(step: object, device: object) -> None:
    return None


def _same_losses(found: Figures, dataset: Dataset, recipe: TrainingRecipe) -> None:
    data = on_device(dataset, DEVICE)
    epochs = found.size(2, 1)
    one = train(resnet20(), data, recipe, seed=0, device=DEVICE, epochs=epochs)
    with mock.patch.object(trainer, "capture", _no_graph):
        two = train(resnet20(), data, recipe, seed=0, device=DEVICE, epochs=epochs)
    found.fact("steps ran as a CUDA graph", one.captured)
    found.fact("last loss with a graph", one.losses[-1])
    found.fact("last loss without", two.losses[-1])


def _plain_loop(dataset: Dataset, recipe: TrainingRecipe, steps: int) -> float:
    """As many write it: eager, bfloat16 autocast, channels last, batches cut out of tensors on the device."""
    model = resnet20().to(DEVICE, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    inputs = (dataset.train.inputs.to(DEVICE).float() / 255 - 0.5) / 0.25
    labels = dataset.train.labels.to(DEVICE)

    def loop() -> None:
        for _ in range(steps):
            chosen = torch.randint(0, len(labels), (recipe.batch_size,), device=DEVICE)
            _plain_step(model, optimizer, inputs[chosen], labels[chosen])

    loop()
    return seconds_of(loop) / steps


def _plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()


def _loader_step(dataset: Dataset, recipe: TrainingRecipe, images: int) -> float:
    """The usual loop: a data loader with transforms image by image, in this process."""
    from torch.utils.data import DataLoader
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomCrop(32, padding=2, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )
    pairs = list(zip(dataset.train.inputs[:images], dataset.train.labels[:images].tolist(), strict=True))
    model = resnet20().to(DEVICE).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def collate(batch: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        return torch.stack([change(image) for image, _ in batch]), torch.tensor([label for _, label in batch])

    loader = DataLoader(pairs, recipe.batch_size, shuffle=True, drop_last=True, collate_fn=collate)  # type: ignore[arg-type]

    def loop() -> None:
        for inputs, labels in loader:
            _plain_step(model, optimizer, inputs.to(DEVICE), labels.to(DEVICE))

    return seconds_of(loop) / (images // recipe.batch_size)


def _airbench(found: Figures) -> None:
    samples, batch, width = found.size(50_000, 40), found.size(1024, 2), found.size(64, 4)
    recipe = TrainingRecipe(batch_size=batch, learning_rate=0.01, label_smoothing=0.2)
    per_epoch = samples // batch
    long = found.size(8, 2) * per_epoch
    step = step_seconds(lambda: airbench_network(width), made_up(samples), recipe, (per_epoch, long))
    found.ratio(
        "an epoch of CIFAR-10's size of airbench94's layers (the first figure is another machine's)",
        ("airbench94 on an A100, as published, 3.83 s for 9.9 epochs", AIRBENCH_SECONDS / AIRBENCH_EPOCHS),
        ("our trainer on this device", step * samples / batch),
    )
