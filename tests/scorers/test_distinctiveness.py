from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from deviations import agree
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_mlp, tiny_samples
from benchsuite_scorers.distinctiveness import _greedy
from benchsuite_scorers.registration import Distinctiveness

if TYPE_CHECKING:
    from deviations import Record


def angle(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return math.degrees(math.acos(max(-1.0, min(1.0, product / lengths))))


def folded(a: list[float], b: list[float]) -> float:
    return min(angle(a, b), 180 - angle(a, b))


def greedy_loop(vectors: list[list[float]]) -> list[float]:
    left, result = list(range(len(vectors))), [90.0] * len(vectors)
    while len(left) > 1:
        pairs = [(folded(vectors[i], vectors[j]), i, j) for i in left for j in left if i < j]
        smallest, i, j = min(pairs)

        def third(unit: int, other: int) -> float:
            others = [folded(vectors[unit], vectors[k]) for k in left if k not in (unit, other)]
            return min(others, default=math.inf)

        length = {u: math.hypot(*vectors[u]) for u in (i, j)}
        gone = min((third(i, j), length[i], -i, i), (third(j, i), length[j], -j, j))[-1]
        result[gone] = smallest
        left.remove(gone)
    return result


@pytest.mark.parametrize("seed", range(5))
def test_greedy_angles_equal_the_loop_over_pairs(seed: int) -> None:
    vectors = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert _greedy(vectors).angles == pytest.approx(greedy_loop(vectors.tolist()), rel=1e-9)


def test_vectors_are_outputs_centred_to_the_middle_of_a_sigmoid(record_property: Record) -> None:
    model = tiny_mlp()
    context = context_for(model, *tiny_samples(10, (4,)), batch_size=4)
    inputs = torch.cat([inputs for inputs, _ in context.batches()])
    with torch.no_grad():
        first = torch.sigmoid(model[0](inputs))
        second = torch.tanh(model[2](first))
    found = run_scorer(Distinctiveness(), context).scores
    agree(record_property, "distinctiveness", found["0"], greedy_loop((first - 0.5).T.tolist()), rel=1e-4)
    agree(record_property, "distinctiveness", found["2"], greedy_loop(second.T.tolist()), rel=1e-4)
    by_weights = run_scorer(Distinctiveness(vectors="weights"), context).scores
    expected = greedy_loop(model[0].weight.tolist())
    agree(record_property, "distinctiveness", by_weights["0"], expected, rel=1e-5)


def direction(degrees: float, length: float = 1.0) -> list[float]:
    return [length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))]


def layer_of(*vectors: list[float]) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, len(vectors), bias=False), nn.ReLU(), nn.Linear(len(vectors), 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(vectors))
    return model


def native(model: nn.Sequential, **parameters: object) -> tuple[list[bool], list[tuple[int, int]]]:
    context = context_for(model, *tiny_samples(4, (2,), 2))
    result = run_scorer(Distinctiveness(vectors="weights", **parameters), context, native=True)
    assert result.native is not None
    return result.native["0"].tolist(), result.merges.get("0", [])


def test_native_rule_takes_one_of_a_pair_or_both_of_opposite_units() -> None:
    alike = layer_of(direction(0), direction(10, 2), direction(80))
    assert native(alike) == ([True, False, True], [])
    assert native(alike, merge=True) == ([True, False, True], [(1, 0)])
    assert native(alike, alike=5.0) == ([True, True, True], [])
    assert native(alike, opposite="both") == ([True, False, True], [])
    opposite = layer_of(direction(0), direction(172), direction(80))
    # Of the pair, the first is nearer to the third unit: 80 degrees, and 92 is taken as 88.
    assert native(opposite, merge=True) == ([False, True, True], [])
    assert native(opposite, opposite="both", merge=True) == ([False, False, True], [])
    for how in ("one", "both"):
        assert native(opposite, opposite=how, alike=7.0) == ([True, True, True], [])


@given(st.lists(st.sampled_from([0.0, 3.0, 90.0, 178.0, 180.0, 270.0, None]), min_size=1, max_size=6))
def test_one_of_a_pair_never_empties_a_layer(degrees: list[float | None]) -> None:
    vectors = [[0.0, 0.0] if each is None else direction(each) for each in degrees]
    one = _greedy(torch.tensor(vectors, dtype=torch.float64), 15.0)
    assert any(one.kept)
    assert all(one.kept[stays] and not one.kept[gone] for gone, stays in one.twins)
    left = [vector for vector, kept in zip(vectors, one.kept, strict=True) if kept]
    assert all(folded(a, b) >= 15 for i, a in enumerate(left) for b in left[:i])


def test_two_opposite_units_are_one_or_none() -> None:
    pair = layer_of([1.0, 0.0], [-1.0, 0.0])
    assert native(pair) == ([True, False], [])
    assert native(pair, opposite="both") == ([False, False], [])


def test_twins_are_followed_to_one_that_is_kept() -> None:
    kept, merges = native(layer_of(direction(0), direction(8), direction(14), direction(90)), merge=True)
    assert kept.count(True) == 2
    assert kept[3]
    for removed, stays in merges:
        assert not kept[removed]
        assert kept[stays]
    assert len(merges) == 2


def test_copies_and_dead_units_go_first() -> None:
    model = layer_of(direction(0), direction(40), direction(40, 3), [0.0, 0.0], direction(110))
    context = context_for(model, *tiny_samples(4, (2,), 2))
    scores = run_scorer(Distinctiveness(vectors="weights"), context).scores["0"].tolist()
    assert scores[3] == 0
    assert min(scores[1], scores[2]) == pytest.approx(0, abs=1e-4)
    assert max(scores) == 90
    assert native(model)[0][3] is False


def test_scaling_a_unit_changes_nothing_but_ties() -> None:
    vectors = torch.randn(7, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    scaled = vectors * torch.tensor([1.0, 5, 0.1, 2, 9, 1, 3])[:, None]
    assert _greedy(vectors).angles == pytest.approx(_greedy(scaled).angles)
