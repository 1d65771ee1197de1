"""What a model plugin is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchsuite.contracts.plugin import Plugin
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn

    from benchsuite.contracts.named_inputs import NamedInputs


class ModelPlugin(Plugin):
    """Builds a network for an input shape and a number of classes, and names its training recipe.

    The host sets the random seed before it calls `build`, so default initialisation is reproducible.
    Import torch inside `build` where you can: listing and planning then need not load it.
    """

    recipe: ClassVar[TrainingRecipe] = TrainingRecipe()
    """How the dense network is trained unless the suite says otherwise."""

    logits: ClassVar[str | int | None] = None
    """Which output is the class scores, by name or position, of a network that returns several.

    Where it is None, that is the one called `logits`, or the only one of the shape (samples, classes), of a
    tuple the first. The other outputs, such as those of auxiliary heads, take no part in training.
    """

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a fresh network.

        Args:
            input_shape: one sample's shape: (channels, height, width) or (features,).
            classes: number of classes; the network's output, or one of its outputs, has shape
                (samples, classes).

        Raises:
            Unsupported: the network cannot take that shape; the message says which it can.
        """
        del classes
        raise Unsupported(
            f"{self.name} takes inputs by name, and the data set's are one tensor of shape {input_shape}"
        )

    def build_named(self, inputs: NamedInputs, classes: int) -> nn.Module:
        """Return a fresh network whose inputs come by name: each is a keyword argument of its `forward`.

        Args:
            inputs: the names, and what each input is like.
            classes: as for `build`.

        Raises:
            Unsupported: the network cannot take them, as those cannot whose class does not override this.
        """
        del classes
        raise Unsupported(
            f"{self.name} takes one tensor, and the data set's inputs come by name ({inputs}); models for "
            "them define build_named()"
        )

    def fingerprint(self) -> str:
        """Identify the content of files that `build` reads, such as a local checkpoint; empty without any.

        It is part of the content key of every trial, so that changed files are never taken for cached ones.
        """
        return ""


class ModelFamily(ModelPlugin):
    """A plugin that serves many architectures, written `<name>/<architecture>` in suite files."""

    architecture: str = ""
    """Set by the host from the part after the slash."""

    @classmethod
    def architectures(cls) -> list[str]:
        """Names of every architecture, sorted; used for suggestions and for listing."""
        raise NotImplementedError(f"{cls.__name__} does not define architectures()")
