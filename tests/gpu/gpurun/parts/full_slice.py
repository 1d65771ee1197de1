"""A slice of the full suite: few epochs, few images, few criteria, on the CPU and on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gpurun.parts import matrices

if TYPE_CHECKING:
    from pathlib import Path

    from gpurun.figures import Figures

_MODELS = {"cifar10": "resnet20", "fashion-mnist": "lenet5"}
_SHAPES = {"cifar10": (3, 32, 32), "fashion-mnist": (1, 28, 28)}
_PUBLISHED = {"cifar10": "cifar-10-batches-py", "fashion-mnist": "FashionMNIST/raw"}


def run(found: Figures) -> None:
    """Cut the data, then run the slice on both."""
    data = found.scratch / "data"
    data.mkdir()
    for name in _MODELS:
        found.fact(f"images of {name}", _cut(found, name, data))
    scorers = ["magnitude-l2", "taylor-weight", "hrank"]

    def change(suite: dict[str, Any]) -> None:
        suite["suite"] |= {"seeds": [0], "sparsities": [0.5], "controls": []}
        suite["suite"]["scorers"] = scorers[found.size(0, 1) : found.size(3, 2)]
        chosen = list(_MODELS.items())[found.size(0, 1) :]
        suite["workload"] = [{"dataset": dataset, "models": [model]} for dataset, model in chosen]
        suite["training"] = {"epochs": 1}
        suite["recovery"] = {"epochs": found.size(1, 0)}
        suite["scoring"]["samples"] = found.size(256, 16)
        suite["metrics"] = {"latency": False} if found.dry else {"latency": {"batch_sizes": [1]}}

    suite = matrices.part_of("full.toml", change, found.scratch / "full-slice.toml")
    if found.dry:
        found.left_out("the slice on the CPU", "a dry run lays the quick matrix alone side by side")
        matrices.on_device(found, suite, 1, data)
        return
    matrices.side_by_side(found, suite, (8, 4), data)


def _cut(found: Figures, name: str, target: Path) -> str:
    """Write the first images of a data set as an npz, or made-up ones, and say which."""
    train, test = found.size(10_000, 256), found.size(2_000, 64)
    if found.data is not None:
        npz = found.data / f"{name}.npz"
        if npz.is_file() or (found.data / _PUBLISHED[name]).is_dir():
            from benchsuite.registry.discovery import discover

            dataset: Any = discover()[0].create("dataset", name, {})
            whole = dataset.load(found.data)
            arrays = {}
            for split, count in (("train", train), ("test", test)):
                part = getattr(whole, split)
                arrays[f"{split}_images"] = part.inputs[:count].permute(0, 2, 3, 1).numpy()
                arrays[f"{split}_labels"] = part.labels[:count].numpy()
            np.savez(target / f"{name}.npz", **arrays)
            return f"the first {train} and {test} of the published ones"
    draw = np.random.default_rng(0)
    channels, height, width = _SHAPES[name]
    pictures = draw.integers(0, 200, (10, height, width, channels))  # one for each class
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        labels = np.arange(count) % 10
        noise = draw.integers(-100, 100, (count, height, width, channels))
        arrays[f"{split}_images"] = np.clip(pictures[labels] + noise, 0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(target / f"{name}.npz", **arrays)
    return f"{train} and {test} made-up ones: name a folder with the published ones as BENCHSUITE_DATA"
