"""The copies of a network that the analysis works on, and whether it can be analysed at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite.contracts.inputs import described
from benchsuite.errors import Unsupported
from benchsuite.pruning.copying import copy_of

if TYPE_CHECKING:
    from benchsuite.contracts.inputs import Inputs


def twin_of(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, all of whose parameters get gradients.

    Raises:
        Unsupported: the network cannot be copied, or its layers cannot be cut; the message says what would be
            right.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise Unsupported(
            "the network is a TorchScript program, and its layers cannot be cut; the model's build() must "
            "return the network as it is without torch.jit"
        )
    # Networks that keep what they computed from parameters forget it when their mode is set.
    twin = copy_of(model).train().eval()
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
    return twin


def check_output(model: nn.Module, example: Inputs) -> None:
    """Run the network on one sample, with gradients.

    Raises:
        Unsupported: it does not run, or returns what cannot be followed back to its layers; the message says
            what would be right.
    """
    output = _output(model, example)
    if not isinstance(output, Tensor):
        raise Unsupported(
            f"the network returns a {type(output).__name__} where one tensor of shape (samples, classes) is "
            "expected; return the class scores alone in evaluation mode"
        )
    if not output.requires_grad:
        raise Unsupported(
            "no parameter has a gradient from the network's output, so its channels cannot be followed; is "
            "there a detach() or torch.no_grad() in its forward()?"
        )


def _output(model: nn.Module, example: Inputs) -> object:
    try:
        with torch.enable_grad():
            output: object = model(example)
    except Exception as error:
        # A network's own code can fail in any way.
        raise Unsupported(
            f"the network does not run on an input of shape {described(example)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return output
