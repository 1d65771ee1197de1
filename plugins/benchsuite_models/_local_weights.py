"""Models that can start from a checkpoint on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import benchsuite

if TYPE_CHECKING:
    from torch import nn


class ModelWithWeights(benchsuite.ModelPlugin):
    """Base class of the shipped models: `network` makes the network, `weights` names a checkpoint for it."""

    weights: str = ""
    """A local checkpoint, `.safetensors` or a file that `torch.load(weights_only=True)` reads; absolute,
    relative to the working directory, or beginning with `~`. Empty: the network is initialised randomly."""

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a randomly initialised network; raises `Unsupported` for an input that it cannot take."""
        del classes
        raise benchsuite.Unsupported(
            f"{self.name} takes inputs by name, and the data set's inputs are one tensor, {input_shape}"
        )

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network, with the weights of the checkpoint if one is named.

        Raises:
            Unsupported: the network cannot take that input shape or number of classes.
            DataError: the checkpoint is absent, malformed, or belongs to another network.
        """
        return self._with_weights(self.network(input_shape, classes))

    def network_named(self, inputs: benchsuite.NamedInputs, classes: int) -> nn.Module:
        """Return a randomly initialised network for inputs by name; raises `Unsupported` if it takes none."""
        return super().build_named(inputs, classes)

    def build_named(self, inputs: benchsuite.NamedInputs, classes: int) -> nn.Module:
        """Return the network for inputs by name, as `build` does for one tensor."""
        return self._with_weights(self.network_named(inputs, classes))

    def _with_weights(self, network: nn.Module) -> nn.Module:
        if self.weights:
            from benchsuite_models._checkpoint import load_checkpoint

            load_checkpoint(network, self._weights_path)
        return network

    def fingerprint(self) -> str:
        """SHA-256 of the checkpoint's content, empty without one."""
        return benchsuite.file_fingerprint(self._weights_path) if self.weights else ""

    @property
    def _weights_path(self) -> Path:
        return Path(self.weights).expanduser()
