from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import captum.attr
import pytest
import torch
from grouped import grouped, learnable
from torch import Tensor, nn

from benchsuite import Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import tiny_convnet, tiny_samples
from benchsuite_scorers.registration import Shapley
from benchsuite_scorers.shapley import exact_values, limited_values, sampled_values

if TYPE_CHECKING:
    from benchsuite import ScoringContext


Payoff = Callable[[frozenset[int]], float]


def brute_force(payoff: Payoff, units: int) -> list[float]:
    """Equation 1: the mean over all orders of what a unit adds to its predecessors."""
    values = [0.0] * units
    for order in itertools.permutations(range(units)):
        for place, unit in enumerate(order):
            before = frozenset(order[:place])
            values[unit] += payoff(before | {unit}) - payoff(before)
    return [value / math.factorial(units) for value in values]


def trained_setting(model: nn.Module | None = None, count: int = 60) -> ScoringContext:
    """Labels that the network mostly predicts correctly, so that payoffs differ."""
    model = model or tiny_convnet()
    context, _ = grouped(model, *learnable(model, count), batch_size=25, classes=3)
    return context


def lookup(table: dict[frozenset[int], float]) -> Callable[[Tensor], Tensor]:
    def payoffs(masks: Tensor) -> Tensor:
        rows = [frozenset(row.nonzero().flatten().tolist()) for row in masks]
        return torch.tensor([table[row] for row in rows], dtype=torch.float64)

    return payoffs


def random_game(units: int, seed: int) -> dict[frozenset[int], float]:
    generator = torch.Generator().manual_seed(seed)
    subsets = [frozenset(s) for size in range(units + 1) for s in itertools.combinations(range(units), size)]
    return dict(zip(subsets, torch.rand(len(subsets), generator=generator).tolist(), strict=True))


@pytest.mark.parametrize("units", [1, 2, 6])
def test_exact_values_equal_the_definition(units: int) -> None:
    table = random_game(units, units)
    found = exact_values(lookup(table), units)
    assert found.values.tolist() == pytest.approx(brute_force(table.__getitem__, units), abs=1e-12)
    assert found.coalitions == 2**units
    everything, nothing = table[frozenset(range(units))], table[frozenset()]
    assert float(found.values.sum()) == pytest.approx(everything - nothing)


def test_the_sampled_value_covers_the_exact_within_its_error() -> None:
    table = random_game(6, 1)
    exact = exact_values(lookup(table), 6).values
    generator = torch.Generator().manual_seed(0)
    inside = []
    for _ in range(40):
        found = sampled_values(lookup(table), 6, 100, 1.0, generator)
        assert found.standard_error is not None
        inside.append(((found.values - exact).abs() <= 2 * found.standard_error).double().mean())
    # Two standard errors cover 95%.
    assert 0.9 < float(torch.stack(inside).mean()) < 0.99
    assert found.coalitions == 100 * 5 + 2


def test_sampling_is_efficient_and_stops_when_the_ranking_is_still() -> None:
    clear = {s: sum(2.0**-u for u in s) for s in random_game(6, 0)}
    found = sampled_values(lookup(clear), 6, 1000, 0.99, torch.Generator().manual_seed(0))
    assert found.coalitions == 60 * 5 + 2
    assert found.values.tolist() == pytest.approx([2.0**-unit for unit in range(6)])
    assert found.standard_error is not None
    assert found.standard_error.tolist() == pytest.approx([0.0] * 6, abs=1e-9)
    table = random_game(6, 2)
    noisy = sampled_values(lookup(table), 6, 40, 1.0, torch.Generator().manual_seed(0))
    total = table[frozenset(range(6))] - table[frozenset()]
    assert float(noisy.values.sum()) == pytest.approx(total)


def test_limited_values_are_the_part_of_the_sum_up_to_a_size() -> None:
    table = random_game(5, 3)
    for largest in (1, 2, 5, 9):
        expected = [0.0] * 5
        for subset in table:
            for unit in range(5):
                if unit not in subset and len(subset) < largest:
                    weight = math.factorial(len(subset)) * math.factorial(4 - len(subset)) / math.factorial(5)
                    expected[unit] += weight * (table[subset | {unit}] - table[subset])
        found = limited_values(lookup(table), 5, largest)
        assert found.values.tolist() == pytest.approx(expected, abs=1e-12)
    assert limited_values(lookup(table), 5, 5).values.tolist() == pytest.approx(
        exact_values(lookup(table), 5).values.tolist()
    )
    with pytest.raises(Unsupported, match="too many"):
        limited_values(lookup(table), 500, 4)


def test_sampling_agrees_with_captum() -> None:
    table = random_game(5, 4)

    def forward(masks: Tensor) -> Tensor:
        return lookup(table)(masks != 0)

    torch.manual_seed(0)
    sampling = captum.attr.ShapleyValueSampling(forward)
    theirs = sampling.attribute(torch.ones(1, 5), baselines=torch.zeros(1, 5), n_samples=4000)[0]
    ours = sampled_values(lookup(table), 5, 4000, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.values, theirs.double(), rtol=0, atol=0.02)


def test_dead_and_twin_units() -> None:
    model = tiny_convnet()
    with torch.no_grad():
        for part in (model[0].weight, model[0].bias, *model[1].parameters(), *model[1].buffers()):
            if part.ndim:
                part[4] = part[1]
        model[4].weight[:, 4] = model[4].weight[:, 1]
        model[4].weight[2] = 0
    scores = run_scorer(Shapley(), trained_setting(model)).scores
    assert float(scores["0"][4]) == pytest.approx(float(scores["0"][1]), abs=1e-12)
    assert float(scores["4"][2]) == 0


def test_the_method_follows_the_number_of_units() -> None:
    context = trained_setting()
    group = context.groups[0]
    assert Shapley().estimate(context, group).coalitions == 64
    sampled = Shapley(exact_units=3, permutations=30, stable=1).estimate(context, group)
    assert sampled.coalitions == 30 * 5 + 2
    assert Shapley(method="coalitions").estimate(context, group).coalitions == 1 + 6 + 15
    model = nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 2))
    wide, _ = grouped(model, *tiny_samples(8, (2,), 2))
    with pytest.raises(Unsupported, match="25 units"):
        Shapley(method="exact").estimate(wide, wide.groups[0])


def test_few_permutations_have_no_standard_error() -> None:
    table = lookup(random_game(6, 1))
    for permutations in (2, 5, 19):
        found = sampled_values(table, 6, permutations, 1.0, torch.Generator().manual_seed(0))
        assert found.standard_error is None
    found = sampled_values(table, 6, 20, 1.0, torch.Generator().manual_seed(0))
    assert found.standard_error is not None
    assert float(found.standard_error.min()) > 0
