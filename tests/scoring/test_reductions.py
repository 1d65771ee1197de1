from __future__ import annotations

import numpy as np
import pytest
import torch

from benchsuite.errors import PluginError
from benchsuite.scoring.reductions import (
    REDUCTIONS,
    Max,
    Mean,
    Rank,
    TopKMean,
    Variance,
    ZeroFraction,
    find_reduction,
)


def maps() -> torch.Tensor:
    values = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).relu()
    values[0, 1] = 0
    values[1, 2, 3:] = values[1, 2, :2]
    values[2, 3, :, 2:] = 0
    return values


def obvious(name: str, plane: np.ndarray) -> float:
    flat = sorted(plane.flatten().tolist())
    return {
        "mean": sum(flat) / len(flat),
        "max": flat[-1],
        "top-5-mean": sum(flat[-5:]) / 5,
        "variance": float(np.var(flat)),
        "zero-fraction": flat.count(0.0) / len(flat),
        "rank": float(np.linalg.matrix_rank(plane)),
    }[name]


@pytest.mark.parametrize("name", [*REDUCTIONS, "top-5-mean"])
def test_reduction_equals_the_loop_over_maps(name: str) -> None:
    values = maps()
    table = find_reduction(name)(values)
    expected = [[obvious(name, plane.numpy()) for plane in sample] for sample in values]
    torch.testing.assert_close(table, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_rank_of_lines_and_double_maps() -> None:
    line = torch.tensor([[[0.0, 0.0], [0.0, 2.0]]])
    assert Rank()(line).tolist() == [[0.0, 1.0]]
    double = maps().double()
    torch.testing.assert_close(Rank()(double), Rank()(double.float()).double())


def test_top_k_takes_all_where_there_are_fewer() -> None:
    values = maps()
    torch.testing.assert_close(TopKMean(1000)(values), Mean()(values))
    torch.testing.assert_close(TopKMean(1)(values), Max()(values))


def test_keys_tell_parameters_and_kinds_apart() -> None:
    keys = {
        reduction.key for reduction in (Mean(), Max(), TopKMean(1), TopKMean(2), Variance(), ZeroFraction())
    }
    assert len(keys) == 6
    assert TopKMean(2).key == TopKMean(2).key


def test_unknown_reduction_lists_the_known() -> None:
    with pytest.raises(PluginError, match="no reduction 'median'; there are: mean, max"):
        find_reduction("median")
