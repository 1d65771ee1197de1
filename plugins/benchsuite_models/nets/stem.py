"""Changing and testing the input layers of a library's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    import benchsuite

STEMS = (("conv1", "maxpool"), ("features.conv0", "features.pool0"))
"""Paths of the first convolution and of the pooling after it in ResNet-like networks and in DenseNet."""


def shrink_stem(network: nn.Module) -> bool:
    """Replace a known stem by a 3 x 3 convolution of stride 1 without pooling; return whether found."""
    modules = dict(network.named_modules())
    for convolution, pool in STEMS:
        old = modules.get(convolution)
        if isinstance(old, nn.Conv2d) and pool in modules:
            new = nn.Conv2d(
                old.in_channels, old.out_channels, 3, stride=1, padding=1, bias=old.bias is not None
            )
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
            network.set_submodule(convolution, new)
            network.set_submodule(pool, nn.Identity())
            return True
    return False


def change_channels(network: nn.Module, channels: int) -> None:
    """Make the first convolution take another number of channels, initialised as convolutions are."""
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]  # torch types it as a tuple of any length
        stride=old.stride,  # type: ignore[arg-type]  # likewise
        padding=old.padding,  # type: ignore[arg-type]  # likewise
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    network.set_submodule(name, new)


def probe(network: nn.Module, image: tuple[int, int, int]) -> tuple[int, ...]:
    """Shape of the output for one image, or of its `logits`, in evaluation mode; () if it is not a tensor."""
    return _shape_for(network, torch.zeros(1, *image))


def probe_text(network: nn.Module, inputs: benchsuite.NamedInputs) -> tuple[int, ...]:
    """Likewise for one text, all of whose positions count."""
    parts = {name: torch.ones(1, *shape, dtype=inputs.types[name]) for name, shape in inputs.shapes.items()}
    return _shape_for(network, **parts)


@torch.no_grad()
def _shape_for(network: nn.Module, *args: torch.Tensor, **kwargs: torch.Tensor) -> tuple[int, ...]:
    training = network.training
    network.eval()
    output = network(*args, **kwargs)
    output = getattr(output, "logits", output)
    network.train(training)
    return tuple(output.shape) if isinstance(output, torch.Tensor) else ()
