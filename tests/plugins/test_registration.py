"""What the shipped packages register, and that registering is cheap."""

from __future__ import annotations

import subprocess
import sys

from benchsuite_datasets import registration as datasets
from benchsuite_models import registration as models


def test_registering_imports_no_heavy_library() -> None:
    code = (
        "import sys; from benchsuite_datasets import registration;"
        "from benchsuite_models import registration as r;"
        "r.TimmModel.architectures(); r.TorchvisionModel.architectures();"
        "heavy = {'torch', 'torchvision', 'timm', 'transformers', 'sklearn', 'numpy'} & set(sys.modules);"
        "sys.exit(' '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_all_data_sets_register() -> None:
    found: list[str] = []
    datasets.benchsuite_register_datasets(lambda cls: found.append(cls.name))
    expected = {"digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "npz", "waveform", "image-folder"}
    expected |= {"word-order", "text-folder"}
    assert expected <= set(found)
    assert len(found) == len(set(found))


def test_all_models_register() -> None:
    found: list[str] = []
    models.benchsuite_register_models(lambda cls: found.append(cls.name))
    expected = {"lenet5", "lenet-10-20-100-25", "mlp", "simple-cnn", "small-resnet", "resnet20", "resnet56"}
    expected |= {"text-encoder"}
    assert expected | {"small-vgg", "vgg16-bn", "vgg19-bn", "torchvision", "timm", "huggingface"} == set(
        found
    )
    assert len(found) == len(set(found))
