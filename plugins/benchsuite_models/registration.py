"""The models shipped with benchsuite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import benchsuite
from benchsuite_models.cifar_resnet import ResNet20, ResNet56
from benchsuite_models.huggingface import HuggingFaceModel
from benchsuite_models.lenet import LeNet5, LeNet102010025
from benchsuite_models.mlp import Mlp
from benchsuite_models.simple_cnn import SimpleCnn
from benchsuite_models.small_resnet import SmallResNet
from benchsuite_models.text_encoder import SmallTextEncoder
from benchsuite_models.timm import TimmModel
from benchsuite_models.torchvision import TorchvisionModel
from benchsuite_models.vgg import SmallVgg, Vgg16Bn, Vgg19Bn

if TYPE_CHECKING:
    from collections.abc import Callable


@benchsuite.hookimpl
def benchsuite_register_models(register: Callable[[type[benchsuite.ModelPlugin]], None]) -> None:
    """Register every model of this package."""
    for model in (
        LeNet5,
        LeNet102010025,
        Mlp,
        SimpleCnn,
        SmallResNet,
        ResNet20,
        ResNet56,
        SmallVgg,
        Vgg16Bn,
        Vgg19Bn,
        SmallTextEncoder,
        TorchvisionModel,
        TimmModel,
        HuggingFaceModel,
    ):
        register(model)
