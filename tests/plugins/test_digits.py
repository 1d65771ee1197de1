"""The digits, and the normalisation that every image set offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import benchsuite
from benchsuite_datasets.digits import Digits
from benchsuite_datasets.npz import Npz

if TYPE_CHECKING:
    from conftest import NpzContent

NOWHERE = Path("/nonexistent")


def rows(split: benchsuite.Split) -> set[bytes]:
    return {sample.numpy().tobytes() for sample in split.inputs}


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data = Digits().load(NOWHERE)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [1295, 143, 359]
    assert data.input_shape == (1, 8, 8)
    assert data.train.inputs.dtype == torch.uint8
    expected = {i.tobytes() for i in np.rint(load_digits().images * 255 / 16).astype(np.uint8)}
    parts = [rows(s) for s in (data.train, data.validation, data.test)]
    assert set.union(*parts) == expected
    assert sum(map(len, parts)) == len(expected)  # disjoint
    # Against scikit-learn's labels, through the images.
    label_of = {
        i.tobytes(): t
        for i, t in zip(
            np.rint(load_digits().images * 255 / 16).astype(np.uint8), load_digits().target, strict=True
        )
    }
    assert [label_of[i.numpy().tobytes()] for i in data.test.inputs] == data.test.labels.tolist()


def test_digits_fall_back_on_importing_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Digits().load(NOWHERE)
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert torch.equal(Digits().load(NOWHERE).test.inputs, expected.test.inputs)


def test_digits_mean_and_std_are_those_of_the_training_split() -> None:
    data = Digits().load(NOWHERE)
    pixels = data.train.inputs.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()])
    assert data.std == pytest.approx([pixels.std(unbiased=False).item()])


def test_digits_are_resized() -> None:
    data = Digits(size=32).load(NOWHERE)
    assert data.input_shape == (1, 32, 32)
    assert torch.equal(data.test.labels, Digits().load(NOWHERE).test.labels)
    small = Digits().load(NOWHERE).test.inputs.float()
    back = torch.nn.functional.avg_pool2d(data.test.inputs.float(), 4)
    assert (back - small).abs().mean() < 30  # the same drawings


def test_digits_refuse_a_size_below_their_own() -> None:
    with pytest.raises(benchsuite.BenchsuiteError, match="size"):
        Digits(size=7)


@pytest.mark.parametrize(
    ("choice", "mean", "std"),
    [("none", (0.0,) * 3, (1.0,) * 3), ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))],
)
def test_normalisation_by_choice(
    tmp_path: Path, npz_content: NpzContent, choice: str, mean: object, std: object
) -> None:
    np.savez(tmp_path / "mine.npz", **npz_content(8, 8, 3))
    data = Npz(file="mine.npz", normalise=choice).load(tmp_path)
    assert (data.mean, data.std) == (mean, std)


def test_imagenet_normalisation_needs_three_channels() -> None:
    with pytest.raises(benchsuite.DataError, match="3 channels, these have 1"):
        Digits(normalise="imagenet").load(NOWHERE)
