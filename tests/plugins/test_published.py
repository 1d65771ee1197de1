"""MNIST, Fashion-MNIST and CIFAR: which source is used, downloads, and the real files."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import benchsuite
from benchsuite_datasets.cifar import Cifar10, Cifar100
from benchsuite_datasets.mnist import FashionMnist, Mnist

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import NpzContent


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every download fail immediately."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)


def test_absent_data_say_what_to_put_where(tmp_path: Path, no_network: None) -> None:
    with pytest.raises(benchsuite.DataError) as caught:
        Mnist().load(tmp_path)
    for part in (
        "no network",
        "MNIST/raw/t10k-labels-idx1-ubyte",
        "mnist.npz",
        "train_images",
        str(tmp_path),
    ):
        assert part in str(caught.value)
    with pytest.raises(benchsuite.DataError, match=r"cifar-100-python/train.*cifar100.npz"):
        Cifar100().load(tmp_path)


@pytest.mark.parametrize(
    ("plugin", "shape"), [(Mnist, (28, 28)), (FashionMnist, (28, 28)), (Cifar10, (32, 32, 3))]
)
def test_published_sets_from_npz(
    tmp_path: Path, npz_content: NpzContent, plugin: type[Mnist], shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / f"{plugin.name}.npz", **npz_content(*shape, classes=10))
    data = plugin().load(tmp_path)
    assert data.input_shape == plugin.shape
    assert len(data.train) == 180
    assert data.classes == plugin.classes
    assert (data.mean, data.std) == plugin.statistics
    assert plugin().fingerprint(tmp_path)


def test_published_set_from_npz_of_other_images(tmp_path: Path, npz_content: NpzContent) -> None:
    np.savez(tmp_path / "cifar10.npz", **npz_content(28, 28, classes=10))
    with pytest.raises(benchsuite.DataError, match=r"cifar10 has images of shape \(N, 32, 32, 3\)"):
        Cifar10().load(tmp_path)


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_published_files_win_over_npz(
    tmp_path: Path, npz_content: NpzContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = npz_content(28, 28, classes=10)
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    sums = {
        file: write_idx(tmp_path / file, content[key]) for file, key in zip(Mnist.files, keys, strict=True)
    }
    monkeypatch.setattr(Mnist, "files", sums)
    np.savez(tmp_path / "mnist.npz", **npz_content(28, 28, classes=10))
    data = Mnist().load(tmp_path)
    assert torch.equal(data.test.inputs[:, 0], torch.from_numpy(content["test_images"]))
    assert data.test.labels.tolist() == content["test_labels"].tolist()
    assert Mnist().fingerprint(tmp_path) == ""


def test_published_files_are_checked(tmp_path: Path, generator: np.random.Generator) -> None:
    for file in Mnist.files:
        write_idx(tmp_path / file, generator.integers(10, size=(20, 28, 28)))
    with pytest.raises(benchsuite.DataError, match="train-images-idx3-ubyte is not the published file"):
        Mnist().load(tmp_path)


@pytest.mark.parametrize("plugin", [Cifar10, Cifar100])
def test_cifar_from_the_published_layout(
    tmp_path: Path, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch, plugin: type[Cifar10]
) -> None:
    sums, batches = {}, []
    for file in plugin.files:
        labels = list(range(len(plugin.classes))) * 2
        images = generator.integers(256, size=(len(labels), 3072), dtype=np.uint8)
        batches.append(images)
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({"data": images, plugin.label_key: labels}))
        sums[file] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(plugin, "files", sums)
    data = plugin().load(tmp_path)
    assert len(data.train) + len(data.validation) == len(plugin.classes) * 2 * (len(sums) - 1)
    assert data.test.inputs[5, 1, 2, 3].item() == batches[-1][5, 1024 + 2 * 32 + 3]


def test_downloads_happen_once_and_report_on_the_error_output(
    tmp_path: Path,
    npz_content: NpzContent,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []
    content = npz_content(28, 28, classes=10)
    keys = ("train_images", "train_labels", "test_images", "test_labels")

    def fetch(folder: Path, download: bool) -> None:
        print("Downloading")  # noqa: T201 - what torchvision does
        calls.append(download)
        for file, key in zip(Mnist.files, keys, strict=True):
            write_idx(folder / file, content[key])

    sums = {f: write_idx(tmp_path / "x" / f, content[k]) for f, k in zip(Mnist.files, keys, strict=True)}
    monkeypatch.setattr(Mnist, "files", sums)
    monkeypatch.setattr("torchvision.datasets.MNIST", fetch)
    for _ in range(2):
        assert len(Mnist().load(tmp_path / "new" / "folder").test) == 40
    assert calls == [True]
    assert capsys.readouterr() == ("", "Downloading\n")


@pytest.mark.data
@pytest.mark.parametrize("plugin", [Mnist, FashionMnist, Cifar10])
def test_real_sets_have_the_published_statistics(plugin: type[Mnist], data_folder: Path) -> None:
    data = plugin().load(data_folder)
    assert len(data.test) == 10_000
    train = torch.cat([data.train.inputs, data.validation.inputs]).double() / 255
    assert train.mean((0, 2, 3)).tolist() == pytest.approx(plugin.statistics[0], abs=6e-5)
    assert train.std((0, 2, 3)).tolist() == pytest.approx(plugin.statistics[1], abs=6e-5)
    assert len(data.validation) == pytest.approx(0.1 * len(train), abs=1)
