"""The common part of the families of library models."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import benchsuite
from benchsuite_models._inputs import image_shape
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class ImageArchitecture(ModelWithWeights, benchsuite.ModelFamily):
    """Base class of the families of image classifiers, for any number of channels and classes."""

    recipe = benchsuite.TrainingRecipe(
        epochs=60, batch_size=128, learning_rate=0.1, weight_decay=5e-4, label_smoothing=0.1
    )

    @property
    def label(self) -> str:
        """The name in suite files."""
        return f"{self.name}/{self.architecture}"

    def create(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the library's network."""
        raise NotImplementedError(f"{type(self).__name__} does not define create()")

    def made_for(self) -> str:
        """Say what images the architecture was made for."""
        raise NotImplementedError(f"{type(self).__name__} does not define made_for()")

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network after testing it with one image; raises `Unsupported` if that fails."""
        from benchsuite_models.nets.stem import probe

        image = image_shape(self.label, input_shape)
        try:
            network = self.create(image, classes)
            shape = probe(network, image)
        except (benchsuite.BenchsuiteError, MemoryError):
            raise
        except Exception as error:
            raise benchsuite.Unsupported(
                f"{self.label} cannot take images of shape {image}: {brief(error)};"
                f" it is made for {self.made_for()}"
            ) from error
        if shape != (1, classes):
            raise benchsuite.Unsupported(
                f"{self.label} is no classifier: its output for one image is {shape}, not (1, {classes})"
            )
        return network


class LibraryModel(ImageArchitecture):
    """Base class of the families of which the library has ImageNet weights."""

    small_stem: bool = False
    """Replace the stem of a ResNet-like network, a convolution of stride 2 and max-pooling, by a 3 x 3
    convolution of stride 1, for small images."""
    pretrained: bool = False
    """Start from the library's ImageNet weights; the classifier and a small stem are initialised randomly."""

    def library_network(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the library's network, with its own weights if `pretrained`."""
        raise NotImplementedError(f"{type(self).__name__} does not define library_network()")

    def create(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the library's network, with the stem that is asked for."""
        from benchsuite_models.nets.stem import shrink_stem

        if self.weights and self.pretrained:
            raise benchsuite.DataError(f"{self.label}: set weights or pretrained, not both")
        network = self.library_network(input_shape, classes)
        if self.small_stem and not shrink_stem(network):
            raise benchsuite.Unsupported(
                f"{self.label} has no stem that small_stem knows (conv1 and maxpool, as in ResNet)"
            )
        return network


def unavailable(label: str, error: Exception) -> benchsuite.DataError:
    """The error for pretrained weights that are not available."""
    return benchsuite.DataError(
        f"{label}: the pretrained weights cannot be fetched ({brief(error)}); where there is no network,"
        ' fetch the file elsewhere and name it: weights = "path/to/it.safetensors" instead of pretrained'
    )


@cache
def registered(library: str, pattern: str) -> tuple[str, ...]:
    """Names of the functions in `<library>/models/*.py` that match, sorted.

    Reading the sources takes 0.04 s; importing the libraries to ask them takes 4 s.
    """
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        return ()
    files = (Path(spec.origin).parent / "models").glob("*.py")
    found = (re.findall(pattern, file.read_text(encoding="utf-8"), re.MULTILINE) for file in files)
    return tuple(sorted(name for names in found for name in names))


def brief(error: Exception) -> str:
    """An error of a library in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
