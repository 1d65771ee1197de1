"""Stability of scores over samples, against another computation of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from benchsuite.scoring.stability import rank_correlation, stability


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    first, second = torch.tensor(pairs).float().T
    found = rank_correlation(first, second)
    if len(first.unique()) == 1 or len(second.unique()) == 1:
        assert found is None
    else:
        # The mean rank of equals, counted, and Pearson's correlation of the ranks.
        ranks = [[sum(y < x for y in v) + sum(y == x for y in v) / 2 for x in v] for v in (first, second)]
        assert found == pytest.approx(float(np.corrcoef(ranks)[0, 1]), abs=1e-12)


def test_stability_is_the_mean_over_layers_of_twice_as_many_samples() -> None:
    rising = torch.arange(4.0)
    first = {"a": rising, "b": rising, "constant": torch.ones(4), "one": torch.ones(1), "absent": rising}
    second = {"a": rising * 2, "b": torch.tensor([1.0, 0, 2, 3]), "constant": rising, "one": torch.ones(1)}
    # Two of four places exchanged: 1 - 6 * 2 / (4 * 15).
    r = (1 + 0.8) / 2
    assert stability(first, second) == pytest.approx(2 * r / (1 + r))
    assert stability({"a": rising}, {"a": -rising}) == -1
    assert stability({"a": torch.ones(3)}, {"a": torch.ones(3)}) is None


def test_it_predicts_the_agreement_of_two_scorings_with_all_samples() -> None:
    """Scores that are means over samples: the prediction from halves is what other samples give."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2000, 1, generator=generator)

    def scored(samples: int) -> torch.Tensor:
        return (truth + 8 * torch.randn(2000, samples, generator=generator)).mean(1)

    predicted = stability({"a": scored(64)}, {"a": scored(64)})
    assert predicted == pytest.approx(spearmanr(scored(128), scored(128)).statistic, abs=0.05)
    assert predicted == pytest.approx(1 / (1 + 64 / 128), abs=0.05)
