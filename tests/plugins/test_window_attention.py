"""Torchvision's Swin transformers, whose attentions call their layers, compute what torchvision's do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import swin_t, swin_v2_t
from torchvision.models.swin_transformer import (
    PatchMerging,
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlock,
    SwinTransformerBlockV2,
)

from benchsuite.pruning.graph import UNSAMPLED
from benchsuite.pruning.survey import survey
from benchsuite_models.nets.window_attention import call_window_attentions
from benchsuite_models.torchvision import TorchvisionModel


def small(version: int) -> SwinTransformer:
    torch.manual_seed(0)
    network = SwinTransformer(
        [2, 2],
        12,
        [2, 2],
        [2, 4],
        [4, 4],
        num_classes=5,
        block=SwinTransformerBlock if version == 1 else SwinTransformerBlockV2,
        downsample_layer=PatchMerging if version == 1 else PatchMergingV2,
        stochastic_depth_prob=0.0,
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double()


@pytest.mark.parametrize("size", [(16, 16), (18, 14), (8, 32), (6, 6), (32, 8)], ids=str)
@pytest.mark.parametrize("version", [1, 2])
def test_outputs_and_gradients_are_those_of_torchvision(version: int, size: tuple[int, int]) -> None:
    theirs = small(version)
    ours = copy.deepcopy(theirs)
    call_window_attentions(ours)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    for network in (theirs, ours):
        network(images).square().sum().backward()
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-10, atol=1e-12)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        there = expected[name].grad
        # A bias that the second version holds at zero has no gradient there, and one of zero here.
        wanted = torch.zeros_like(parameter) if there is None else there
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("name", "made"), [("swin_t", swin_t), ("swin_v2_t", swin_v2_t)])
def test_the_plugin_builds_them_with_the_same_state(name: str, made: object) -> None:
    network = TorchvisionModel(architecture=name).create((3, 32, 32), 10)
    assert callable(made)
    assert {k: v.shape for k, v in network.state_dict().items()} == {
        k: v.shape for k, v in made(num_classes=10).state_dict().items()
    }
    called: list[nn.Module] = []
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda layer, *_: called.append(layer))
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert {*called} == {module for module in network.modules() if isinstance(module, nn.Linear)}


@pytest.mark.parametrize("version", [1, 2])
def test_all_their_units_can_go(version: int) -> None:
    def build() -> nn.Module:
        network = small(version)
        call_window_attentions(network)
        return network

    line = survey(build, torch.randn(1, 3, 16, 16, dtype=torch.float64))
    assert line.status == "ok", line.reason
    if version == 1:
        assert line.prunable_units == 1.0, line.reason
    else:  # the hidden units of what makes a bias of positions stay
        assert UNSAMPLED in line.reason
