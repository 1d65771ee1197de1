"""Thresholds found in a stream, compared with numpy's quantile of all values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchsuite.metrics.dissection import thresholds
from benchsuite.metrics.dissection.thresholds import (
    BINNED_ERROR,
    BinnedQuantile,
    ExactQuantile,
    UpperQuantile,
    upper_quantile,
)


def streamed(method: UpperQuantile, values: torch.Tensor, step: int) -> np.ndarray:
    for part in values.split(step, dim=1):
        method.update(part)
    return method.levels().numpy()


def maps(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, count, generator=generator)
    values[1] = values[1].relu()  # half zeros
    values[2] = 0  # dead
    values[3] = 0.3  # constant
    values[4] = (values[4] * 3).round()  # many ties
    values[5] = values[5] * 1e-3 - 4  # negative thresholds
    return values


@pytest.mark.parametrize("share", [0.005, 0.02, 0.5, 0.999])
@pytest.mark.parametrize(
    ("count", "step"), [(1, 1), (2, 1), (200, 7), (4001, 4001), (20_000, 130), (20_000, 9000)]
)
def test_exact_levels_are_numpys_linear_quantile(count: int, step: int, share: float) -> None:
    values = maps(count)
    found = streamed(ExactQuantile(6, count, share), values, step)
    expected = np.quantile(values.numpy().astype(np.float64), 1 - share, axis=1).astype(np.float32)
    np.testing.assert_array_equal(found, expected)


def test_exact_levels_keep_no_more_than_stated() -> None:
    method = ExactQuantile(6, 20_000, 0.005)
    for part in maps(20_000).split(50, dim=1):
        method.update(part)
        assert sum(kept.numel() * 4 for kept in method._pending) <= method.peak_bytes
    assert method.peak_bytes < 0.02 * 6 * 20_000 * 4


def test_nan_counts_as_largest() -> None:
    values = maps(1000)
    values[0, 17], values[1] = float("inf"), float("nan")
    levels = streamed(ExactQuantile(6, 1000, 0.005), values, 100)
    assert np.isnan(levels).tolist() == [False, True, False, False, False, False]
    values[0, 17] = float("nan")
    assert streamed(ExactQuantile(6, 1000, 0.005), values, 100)[0] == levels[0]


@pytest.mark.parametrize("share", [0.005, 0.3])
def test_binned_levels_are_within_their_error_of_the_order_statistic(share: float) -> None:
    values = maps(20_000)
    found = streamed(BinnedQuantile(6, 20_000, share, "cpu"), values, 777)
    expected = np.quantile(values.numpy(), 1 - share, axis=1, method="lower")
    assert found[2] == 0
    assert (found >= expected).all()
    assert (found - expected <= BINNED_ERROR * np.abs(expected)).all()
    assert ((values.numpy() > found[:, None]).mean(1) <= share).all()


def test_the_method_follows_from_the_memory_it_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(upper_quantile(512, 50_000_000, 0.005, "cpu"), ExactQuantile)
    assert isinstance(upper_quantile(64, 63_305 * 224 * 224, 0.005, "cpu"), BinnedQuantile)
    monkeypatch.setattr(thresholds, "EXACT_BYTES", 0)
    assert isinstance(upper_quantile(1, 100, 0.005, "cpu"), BinnedQuantile)
