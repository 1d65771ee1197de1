"""A network that was built in the same way gets the form that was found for another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from pruning_networks import around, build, example
from test_joined_biases import Joining
from test_own_width import Divided
from test_packed_attention import classifier
from test_sequences import sequence
from torch import Tensor, nn

from benchsuite.pruning.plain_form import make_plain

if TYPE_CHECKING:
    from collections.abc import Callable


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(64, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "nothing": lambda: build("resnet"),
    "folded": lambda: Normed().eval(),
    "separated": lambda: classifier("encoder"),
    "joined": lambda: around(Joining()),
    "widened": lambda: around(Divided()),
    "units_first": lambda: nn.Sequential(
        nn.ConvTranspose2d(1, 6, 3, groups=1), nn.ConvTranspose2d(6, 4, 3, groups=2)
    ),
    "recurrent": lambda: sequence("both directions"),
}


def hooks(network: nn.Module) -> dict[str, list[str]]:
    return {
        name: [
            type(hook).__name__ for kind in (m._forward_pre_hooks, m._forward_hooks) for hook in kind.values()
        ]
        for name, m in network.named_modules()
    }


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_form_of_one_fits_the_other(kind: str) -> None:
    network, other = NETWORKS[kind](), NETWORKS[kind]()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        expected = other(example())
    form = make_plain(network, example())
    assert kind == "nothing" or getattr(form, kind)
    form.apply(other, example())
    with torch.no_grad():
        torch.testing.assert_close(other(example()), expected, rtol=1e-5, atol=1e-5)
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    assert shapes == {name: value.shape for name, value in network.state_dict().items()}
    assert hooks(other) == hooks(network)
