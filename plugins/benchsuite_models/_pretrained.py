"""Adapting published ImageNet weights to another number of classes and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import benchsuite
from benchsuite_models._checkpoint import misfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Classifiers of GoogLeNet and Inception that are only used in training."""
IMAGENET_CLASSES = 1000


def load_pretrained(network: nn.Module, state: Mapping[str, Tensor], label: str) -> None:
    """Give the network published weights, except for the classifier if the number of classes differs.

    A first convolution for another number of channels gets the mean weights over the three colours, scaled to
    keep their sum.

    Raises:
        DataError: the weights do not fit for another reason, such as a transformer's for another image size.
    """
    wanted = network.state_dict()
    fitted = {key: value for key, value in state.items() if not key.startswith(AUXILIARY)}
    for key, value in wanted.items():
        given = fitted.get(key)
        if given is None or given.shape == value.shape:
            continue
        if given.shape[0] == IMAGENET_CLASSES and given.shape[1:] == value.shape[1:]:
            fitted[key] = value
        elif given.dim() == 4 and given.shape[1] == 3 and given[:, :1].shape == value[:, :1].shape:
            fitted[key] = (given.sum(1, keepdim=True) / value.shape[1]).expand_as(value)
    problem = misfit(network, fitted)
    if problem:
        raise benchsuite.DataError(f"{label}: the pretrained weights do not fit this image size: {problem}")
    network.load_state_dict(fitted, strict=False)  # missing keys were checked above
