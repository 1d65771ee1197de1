"""An epoch of the trainer compared with the usual loop, a DataLoader with per-image transforms."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.training import on_device, train

SAMPLES, BATCH, SIZE = 1437, 64, 8
RECIPE = TrainingRecipe(epochs=1, batch_size=BATCH, learning_rate=0.05, precision="float32")


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.first_norm(self.first(x)).relu()
        return (self.second_norm(self.second(y)) + self.shortcut(x)).relu()


def residual_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1),
        _Block(8, 8, 1),
        _Block(8, 16, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def digits_like() -> Dataset:
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        inputs = torch.randint(0, 256, (count, 1, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        return Split(inputs, torch.randint(0, 10, (count,), generator=generator))

    classes = tuple("0123456789")
    return Dataset(
        split(SAMPLES), split(10), split(10), classes, (0.3,), (0.4,), augmentation=Augmentation(1, True)
    )


class _Images(TensorDataset):
    """Images that are augmented and normalised one by one, as torchvision's data sets do it."""

    def __init__(self, split: Split) -> None:
        super().__init__(split.inputs, split.labels)
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(SIZE, padding=1, padding_mode="reflect"),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.3,), (0.4,)),
            ]
        )

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = super().__getitem__(index)
        return self.transform(image), label


def usual_epoch(model: nn.Module, split: Split, device: str) -> float:
    """One epoch as most training scripts write it; returns the mean loss."""
    loader = DataLoader(_Images(split), batch_size=BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=RECIPE.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RECIPE.learning_rate, total_steps=len(loader))
    total = 0.0
    model.train()
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / len(loader)


@pytest.mark.benchmark(group="training epoch")
def test_epoch_beside_the_usual_loop(benchmark):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dataset = digits_like()
    data = on_device(dataset, device)
    model, usual = residual_net().to(device), residual_net().to(device)
    usual_epoch(usual, dataset.train, device)
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        usual_loss = usual_epoch(usual, dataset.train, device)
        durations.append(time.perf_counter() - start)
    log = benchmark.pedantic(
        lambda: train(model, data, RECIPE, seed=0, device=device), rounds=5, warmup_rounds=1
    )
    assert log.steps == SAMPLES // BATCH
    assert log.losses[0] == pytest.approx(usual_loss, abs=0.5), "both do the same work"
    if benchmark.stats is not None:
        benchmark.extra_info["usual_loop_s"] = min(durations)
        benchmark.extra_info["ratio"] = min(durations) / benchmark.stats.stats.min
