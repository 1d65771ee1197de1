from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import captum.attr
import pytest
import torch
from deviations import agree
from torch import Tensor, nn

from benchsuite import Layer, ScoringContext, Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import TinyResidual, context_for, tiny_convnet, tiny_samples
from benchsuite_scorers._coalitions import CoalitionGame
from benchsuite_scorers.registration import Shapley
from benchsuite_scorers.shapley import exact_values, limited_values, sampled_values

if TYPE_CHECKING:
    from deviations import Record


Payoff = Callable[[frozenset[int]], float]


def brute_force(payoff: Payoff, units: int) -> list[float]:
    """Equation 1: the mean over all orders of what a unit adds to its predecessors."""
    values = [0.0] * units
    for order in itertools.permutations(range(units)):
        for place, unit in enumerate(order):
            before = frozenset(order[:place])
            values[unit] += payoff(before | {unit}) - payoff(before)
    return [value / math.factorial(units) for value in values]


def accuracy(context: ScoringContext, layer: Layer, on: frozenset[int]) -> float:
    """By zeroing weights and biases in a copy of the layer's parameters."""
    off = [unit for unit in range(layer.units) if unit not in on]
    kept = {name: value.detach().clone() for name, value in layer.module.named_parameters()}
    right = 0
    with torch.no_grad():
        for parameter in layer.module.parameters():
            parameter[off] = 0
        for inputs, labels in context.batches():
            right += int((context.model(inputs).argmax(1) == labels).sum())
        for name, parameter in layer.module.named_parameters():
            parameter.copy_(kept[name])
    return right / context.samples


def trained_setting(model: nn.Module | None = None, count: int = 60) -> ScoringContext:
    """Labels that the network mostly predicts correctly, so that payoffs differ."""
    model = model or tiny_convnet()
    inputs, noise = tiny_samples(count)
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    labels[::7] = noise[::7]
    return context_for(model, inputs, labels, batch_size=25, classes=3)


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


def test_exact_on_a_six_unit_layer_equals_brute_force_on_the_network(record_property: Record) -> None:
    context = trained_setting()
    layer = context.layers[0]
    found = Shapley(method="exact").estimate(context, layer)
    cache: dict[frozenset[int], float] = {}

    def payoff(on: frozenset[int]) -> float:
        if on not in cache:
            cache[on] = accuracy(context, layer, on)
        return cache[on]

    agree(record_property, "shapley", found.values, brute_force(payoff, 6), rel=0, absolute=1e-6)
    efficiency = payoff(frozenset(range(6))) - payoff(frozenset())
    assert float(found.values.sum()) == pytest.approx(efficiency, abs=1e-9)
    assert len(set(cache.values())) > 5


def test_the_sampled_value_covers_the_exact_within_its_error() -> None:
    table = random_game(6, 1)
    exact = exact_values(lookup(table), 6).values
    generator = torch.Generator().manual_seed(0)
    inside = []
    for _ in range(40):
        found = sampled_values(lookup(table), 6, 100, 1.0, generator)
        inside.append(((found.values - exact).abs() <= 2 * found.standard_error).double().mean())
    # Two standard errors cover 95%.
    assert 0.9 < float(torch.stack(inside).mean()) < 0.99
    assert found.coalitions == 100 * 5 + 2


def test_sampling_is_efficient_and_stops_when_the_ranking_is_still() -> None:
    clear = {s: sum(2.0**-u for u in s) for s in random_game(6, 0)}
    found = sampled_values(lookup(clear), 6, 1000, 0.99, torch.Generator().manual_seed(0))
    assert found.coalitions == 60 * 5 + 2
    assert found.values.tolist() == pytest.approx([2.0**-unit for unit in range(6)])
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


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_payoffs_are_accuracies_with_units_zeroed(layer: int) -> None:
    context = trained_setting()
    chosen = context.layers[layer]
    game = CoalitionGame(context, chosen, "zeroed")
    masks = torch.rand(12, chosen.units, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = [accuracy(context, chosen, frozenset(m.nonzero().flatten().tolist())) for m in masks]
    assert game.payoffs(masks).tolist() == pytest.approx(expected, abs=1e-9)
    assert all(batch.contributions is not None for batch in game._kept.values())


@pytest.mark.parametrize("name", ["stem", "branch", "shortcut", "depthwise", "bare"])
def test_payoffs_hold_with_residuals_and_depthwise_layers(name: str) -> None:
    context = trained_setting(TinyResidual())
    chosen = context.layer(name)
    masks = torch.rand(8, chosen.units, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = [accuracy(context, chosen, frozenset(m.nonzero().flatten().tolist())) for m in masks]
    assert CoalitionGame(context, chosen, "zeroed").payoffs(masks).tolist() == pytest.approx(
        expected, abs=1e-9
    )


def test_removed_units_leave_nothing_behind_a_normalisation() -> None:
    context = trained_setting()
    layer = context.layers[0]
    masks = torch.rand(10, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    expected = []
    for mask in masks:
        handle = context.model[4].register_forward_pre_hook(
            lambda module, inputs, mask=mask: (inputs[0] * mask[:, None, None],)
        )
        expected.append(accuracy(context, layer, frozenset(range(6))))
        handle.remove()
    removed = CoalitionGame(context, layer, "removed").payoffs(masks)
    assert removed.tolist() == pytest.approx(expected, abs=1e-9)
    zeroed = CoalitionGame(context, layer, "zeroed").payoffs(masks)
    assert not torch.equal(removed, zeroed)


def test_removal_needs_a_single_next_layer() -> None:
    result = run_scorer(Shapley(off="removed"), trained_setting(TinyResidual()))
    assert "one next layer alone" in result.skipped["stem"]
    assert "depthwise" in result.scores


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
    layer = context.layers[0]
    assert Shapley().estimate(context, layer).coalitions == 64
    sampled = Shapley(exact_units=3, permutations=30, stable=1).estimate(context, layer)
    assert sampled.coalitions == 30 * 5 + 2
    assert float(sampled.standard_error.min()) >= 0
    assert Shapley(method="coalitions").estimate(context, layer).coalitions == 1 + 6 + 15
    wide = context_for(
        nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 2)), *tiny_samples(8, (2,), 2)
    )
    with pytest.raises(Unsupported, match="25 units"):
        Shapley(method="exact").estimate(wide, wide.layers[0])
