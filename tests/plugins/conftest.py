"""Fixtures for the tests of the shipped plugins."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NpzContent = Callable[..., dict[str, Any]]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def npz_content(generator: np.random.Generator) -> NpzContent:
    """Makes well-formed npz content: 20 training and 4 test images of the given shape per class."""

    def content(*shape: int, classes: int = 3) -> dict[str, Any]:
        train, test = np.repeat(np.arange(classes), 20), np.repeat(np.arange(classes), 4)
        return {
            "train_images": generator.integers(256, size=(len(train), *shape), dtype=np.uint8),
            "train_labels": train,
            "test_images": generator.integers(256, size=(len(test), *shape), dtype=np.uint8),
            "test_labels": test,
        }

    return content


@pytest.fixture
def data_folder() -> Path:
    """The folder with the real data sets."""
    if "BENCHSUITE_DATA" not in os.environ:
        pytest.skip("set BENCHSUITE_DATA to a folder with the real data sets")
    return Path(os.environ["BENCHSUITE_DATA"])
