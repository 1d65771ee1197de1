"""Kernels for the 2:4 pattern: which weights have it, and what a device without them does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchsuite.metrics.latency import measure_latency
from benchsuite.metrics.sparse_kernels import device_has_sparse_kernels, is_two_four, use_sparse_kernels

GPU = torch.device("cuda")


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ([1, 2, 0, 0, 0, 3, 0, 4], True),
        ([0, 0, 0, 0, 0, 3, 0, 0], True),
        ([1, 2, 3, 0, 0, 0, 0, 4], False),
        ([0, 1, 2, 0, 0, 3], False),
    ],
)
def test_the_pattern_is_told(row, answer):
    assert is_two_four(torch.tensor([row, row], dtype=torch.float32)) is answer


def test_a_cpu_has_no_sparse_kernels():
    assert not device_has_sparse_kernels(torch.device("cpu"))


@pytest.mark.parametrize(("capability", "answer"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_the_generation_of_the_gpu_decides(monkeypatch, capability, answer):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert device_has_sparse_kernels(GPU) is answer


def test_other_layers_stay_as_they_are():
    network = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Linear(8, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert use_sparse_kernels(network) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sparse_kernels_compute_the_same():
    torch.manual_seed(0)
    layer = nn.Linear(256, 256)
    with torch.no_grad():
        layer.weight.view(-1, 4)[:, 2:] = 0
    network = nn.Sequential(layer, nn.ReLU()).eval()
    inputs = torch.randn(64, 256)
    found = measure_latency(network, network, inputs, 64, GPU, sparse_kernels=True)
    assert found.pruned.median_ms > 0
    network, inputs = network.to(GPU).half(), inputs.to(GPU).half()
    expected = network(inputs)
    assert use_sparse_kernels(network) == 1
    torch.testing.assert_close(network(inputs), expected, rtol=1e-2, atol=1e-2)
