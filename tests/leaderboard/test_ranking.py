from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from benchsuite_leaderboard.statistics.ranking import _bootstrap_weights, rank


@settings(max_examples=50)
@given(arrays(float, (5, 12), elements=st.integers(0, 4).map(float)))
def test_complete_blocks_give_the_mean_rank(values: np.ndarray) -> None:
    found = rank(values, np.repeat(range(6), 2), [0, 0, 0, 1, 1, 1], resamples=10)
    expected = np.mean([rankdata(-values[:, b]) for b in range(12)], axis=0)
    assert found.mean_ranks == pytest.approx(expected)


@settings(max_examples=50)
@given(arrays(float, (4, 8), elements=st.sampled_from([0.0, 1.0, 2.0])))
def test_wins_by_counting(values: np.ndarray) -> None:
    found = rank(values, np.repeat(range(4), 2), [0, 0, 1, 1], resamples=10)
    for i, j in itertools.permutations(range(4), 2):
        points = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(values[i], values[j], strict=True)]
        assert found.wins[i, j] == pytest.approx(sum(points) / len(points))
    assert np.isnan(np.diag(found.wins)).all()


def test_workloads_count_equally() -> None:
    # The first wins all blocks of workload 0 (four seeds), the second those of workload 1 (two seeds).
    values = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=float)
    found = rank(values, range(6), [0, 0, 0, 0, 1, 1])
    assert found.mean_ranks == pytest.approx([1.5, 1.5])
    assert found.places.tolist() == [1, 1]


def test_one_seed_gives_no_interval() -> None:
    assert rank(np.array([[1.0, 2.0], [0.0, 1.0]]), [0, 1], [0, 1]).place_intervals is None


def test_the_bootstrap_s_variance_is_unbiased() -> None:
    # Drawing n - 1 of n seeds, the variance of resampled means is the usual estimate s^2 / n.
    values = np.array([0.2, 0.9, 0.4, 0.7])
    means = _bootstrap_weights([np.arange(4)], 4, 200_000, 0) @ values
    assert means.var() == pytest.approx(values.var(ddof=1) / 4, rel=0.02)


@pytest.mark.parametrize(("gap", "seeds"), [(0.01, 2), (0.01, 3), (0.2, 3), (0.01, 5)])
def test_intervals_cover_the_true_place(gap: float, seeds: int) -> None:
    """Six criteria `gap` noise widths apart on two workloads with four correlated sparsities each."""
    generator = np.random.default_rng(3)
    criteria, sparsities, rounds = 6, 4, 100
    covered = 0
    for _ in range(rounds):
        shared = generator.normal(size=(criteria, 2 * seeds, 1))
        values = -gap * np.arange(criteria)[:, None, None] + shared
        values = values + 0.5 * generator.normal(size=(criteria, 2 * seeds, sparsities))
        found = rank(
            values.reshape(criteria, -1),
            np.repeat(range(2 * seeds), sparsities),
            [0] * seeds + [1] * seeds,
            resamples=400,
        )
        assert found.place_intervals is not None
        low, high = found.place_intervals.T
        covered += int(((low <= np.arange(1, 7)) & (np.arange(1, 7) <= high)).sum())
    assert covered / (rounds * criteria) >= 0.95


def test_clear_differences_leave_one_place() -> None:
    values = np.array([[0.9] * 8, [0.8] * 8, [0.7] * 8]) + np.random.default_rng(0).normal(0, 0.01, (3, 8))
    found = rank(values, range(8), [0, 0, 0, 0, 1, 1, 1, 1])
    assert found.place_intervals is not None
    assert found.place_intervals.tolist() == [[1, 1], [2, 2], [3, 3]]


def test_the_same_input_gives_the_same_intervals() -> None:
    values = np.random.default_rng(0).normal(size=(5, 12))
    first, second = (rank(values, np.repeat(range(6), 2), [0, 0, 0, 1, 1, 1]) for _ in range(2))
    assert first.place_intervals is not None
    assert second.place_intervals is not None
    assert (first.place_intervals == second.place_intervals).all()


@pytest.mark.parametrize(
    ("criteria", "workloads", "seeds"), [(2, 1, 2), (2, 1, 3), (3, 1, 2), (2, 2, 2), (4, 1, 3)]
)
def test_on_small_boards_too_equal_criteria_keep_every_place(
    criteria: int, workloads: int, seeds: int
) -> None:
    """That all of a few networks agree proves nothing: each of equal criteria has the first place."""
    generator = np.random.default_rng(0)
    networks = workloads * seeds
    held = [
        found[0, 0] == 1
        for _ in range(400)
        if (
            found := rank(
                generator.standard_normal((criteria, networks)),
                range(networks),
                [w for w in range(workloads) for _ in range(seeds)],
                resamples=200,
            ).place_intervals
        )
        is not None
    ]
    assert len(held) == 400
    assert np.mean(held) >= 0.94
