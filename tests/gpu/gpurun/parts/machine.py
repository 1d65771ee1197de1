"""What the machine is: without a GPU everything else is left out."""

from __future__ import annotations

import importlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from gpurun.budget import NO_GPU
from gpurun.environment import COMMIT, absent

if TYPE_CHECKING:
    from gpurun.figures import Figures

LIBRARIES = {
    "mlflow": "MLflow stays empty",
    "xgboost": "the criterion xgboost-gain",
    "jinja2": "pages",
    "vl_convert": "charts",
    "pydantic": "recipes and suites, so nearly everything",
    "hypothesis": "tests of properties",
    "pynvml": "energy",
    "timm": "its networks",
    "torchvision": "its networks",
    "sklearn": "digits and trees",
}
"""What is left out where a library is not there."""


def run(found: Figures) -> int:
    """Say what is here."""
    import torch

    for name, without in LIBRARIES.items():
        if absent([name]):
            found.left_out(name, f"not installed here; without it: {without}")
    found.fact("commit", os.environ[COMMIT])
    found.fact("python", platform.python_version())
    for package in ("torch", "torchvision", "timm", "scikit-learn", "pydantic"):
        try:
            found.fact(package, version(package))
        except PackageNotFoundError:
            found.fact(package, "not installed")
    found.fact("CPU cores", len(os.sched_getaffinity(0)))
    if not torch.cuda.is_available():
        return NO_GPU
    properties = torch.cuda.get_device_properties(0)
    found.fact("device", torch.cuda.get_device_name(0))
    found.fact("devices", torch.cuda.device_count())
    found.fact("compute capability", ".".join(map(str, torch.cuda.get_device_capability(0))))
    found.fact("memory, GB", properties.total_memory / 1e9)
    found.fact("CUDA that torch was built with", str(torch.version.cuda))
    found.fact("cuDNN", str(torch.backends.cudnn.version()))
    with found.attempt("NVML"):
        _management(found)
    return 0


def _management(found: Figures) -> None:
    if absent(["pynvml"]):
        return
    from benchsuite.hardware import nvml

    library = importlib.import_module("pynvml")
    library.nvmlInit()
    found.fact("driver", str(library.nvmlSystemGetDriverVersion()))
    gpu = nvml.find(nvml.identity("cuda:0"))
    if gpu is None:
        found.fact("NVML", "does not know the device")
        return
    found.fact("energy so far, J", gpu.joules())
    found.fact("load, percent", gpu.load_percent())
    found.fact("memory in use, MB", gpu.memory_mb())
