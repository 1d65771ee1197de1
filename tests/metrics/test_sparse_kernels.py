"""Kernels for the 2:4 pattern: which weights have it, and what a device without them does."""

from __future__ import annotations

import logging

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
    assert use_sparse_kernels(network, torch.zeros(1, 4, 1, 1)) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Called(torch.Tensor):
    """Stands for a sparse weight; its kernel refuses, when called, what is no multiple of 8 samples."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is nn.functional.linear and len(args[0]) % 8:
            raise RuntimeError("the kernel takes no such batch")
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize(("batch_size", "changed"), [(8, 2), (3, 0)])
def test_a_kernel_that_refuses_when_it_is_called_leaves_the_layer_dense(
    monkeypatch, caplog, batch_size, changed
):
    monkeypatch.setattr(
        torch.sparse, "to_sparse_semi_structured", lambda weight: weight.clone().as_subclass(Called)
    )
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.view(-1, 4)[:, 2:] = 0
    weights = [network[0].weight, network[2].weight]
    inputs = torch.randn(batch_size, 8)
    expected = network(inputs)
    with caplog.at_level(logging.WARNING):
        assert use_sparse_kernels(network, inputs) == changed
    torch.testing.assert_close(network(inputs).as_subclass(torch.Tensor), expected)
    kept = [
        now is before for now, before in zip((network[0].weight, network[2].weight), weights, strict=True)
    ]
    assert kept == [not changed] * 2
    assert caplog.text.count("the kernel takes no such batch") == 2 - changed


def test_a_latency_says_how_many_layers_ran_on_sparse_kernels(monkeypatch):
    monkeypatch.setattr(
        torch.sparse, "to_sparse_semi_structured", lambda weight: weight.clone().as_subclass(Called)
    )
    layer = nn.Linear(8, 8)
    nn.init.zeros_(layer.weight)
    for size, layers in ((8, 1), (3, 0)):
        found = measure_latency(layer, layer, torch.randn(1, 8), size, "cpu", seconds=0, sparse_kernels=True)
        assert found.sparse_layers == layers
        assert found.pruned.median_ms > 0


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
    assert use_sparse_kernels(network, inputs) == 1
    torch.testing.assert_close(network(inputs), expected, rtol=1e-2, atol=1e-2)
