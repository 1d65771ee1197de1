"""ThiNet's order, against loops that remove each unit and run every layer that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from deviations import agree
from grouped import Coupled, grouped
from torch import Tensor, nn

from benchsuite.scoring.check import run_scorer
from benchsuite.testing import TinyResidual, tiny_convnet, tiny_samples
from benchsuite_scorers.registration import ThiNet
from benchsuite_scorers.thinet import removal_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from deviations import Record

    from benchsuite import CoupledGroup, ScoringContext


def removed_greedily(error: Callable[[list[int]], float], units: int) -> list[int]:
    """Each step removes the unit after whose removal the error of all removed is least."""
    removed: list[int] = []
    while len(removed) < units:
        left = [unit for unit in range(units) if unit not in removed]
        errors = {unit: error([*removed, unit]) for unit in left}
        removed.append(min(left, key=lambda unit: errors[unit]))
    return [removed.index(unit) for unit in range(units)]


def inputs_by_hand(context: ScoringContext) -> dict[str, Tensor]:
    """The input of each layer over all samples, read with hooks."""
    entered: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _module, inputs, name=name: entered.setdefault(name, []).append(inputs[0].clone())
        )
        for name, module in context.model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        for inputs, _ in context.batches():
            context.model(inputs)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in entered.items()}


def change(context: ScoringContext, group: CoupledGroup, entered: dict[str, Tensor], off: list[int]) -> float:
    """Squared changes of the outputs of all readers when they get zeros from these positions, summed."""
    total = 0.0
    for reader in group.readers:
        module = context.model.get_submodule(reader.layer)
        less = entered[reader.layer].clone()
        for position in off:
            less[:, list(reader.inputs[position])] = 0
        with torch.no_grad():
            total += float((module(entered[reader.layer]) - module(less)).double().square().sum())
    return total


@pytest.mark.parametrize("build", [tiny_convnet, TinyResidual, Coupled])
def test_the_order_is_that_of_a_loop_over_all_readers(
    build: Callable[[], nn.Module], record_property: Record
) -> None:
    context, graph = grouped(build(), *tiny_samples(20), batch_size=8)
    entered = inputs_by_hand(context)
    # Sampling every entry many times gives the order for all of them.
    found = run_scorer(ThiNet(places=4000), context).scores
    for group in graph.groups:
        order = removed_greedily(
            lambda off, group=group: change(context, group, entered, off),  # type: ignore[misc]
            group.size,
        )
        for member in group.members:
            by_position = [found[member.layer][units[0]].item() for units in member.units]
            agree(record_property, "thinet", by_position, order, rel=0)


def test_products_stand_for_every_entry_of_every_reader() -> None:
    context, graph = grouped(Coupled(), *tiny_samples(40), batch_size=8)
    entered = inputs_by_hand(context)
    group = graph.groups[0]
    assert len(group.readers) == 3
    products = ThiNet(places=2000)._products(context, group)
    for off in ([0], [3], [1, 2], [0, 1, 2, 3]):
        expected = change(context, group, entered, off)
        assert float(products[off][:, off].sum()) == pytest.approx(expected, rel=0.02)
    # What a single reader sees is another order of size.
    (last,) = (reader for reader in group.readers if reader.layer == "last")
    alone = type(group)(group.name, group.members, group.size, (last,))
    assert change(context, alone, entered, [0]) < 0.5 * change(context, group, entered, [0])


def test_the_greedy_order_equals_brute_force() -> None:
    for seed in range(5):
        contributions = np.random.default_rng(seed).normal(size=(7, 30))
        products = torch.from_numpy(contributions @ contributions.T)
        expected = removed_greedily(
            lambda off, rows=contributions: float((rows[off].sum(0) ** 2).sum()),  # type: ignore[misc]
            7,
        )
        assert removal_order(products).tolist() == expected


def test_a_dead_unit_goes_first() -> None:
    model = tiny_convnet()
    with torch.no_grad():
        for part in (model[0].weight, model[0].bias, model[1].weight, model[1].bias):
            part[2] = 0
    context, _ = grouped(model, *tiny_samples(), batch_size=8)
    score = run_scorer(ThiNet(), context).scores["0"]
    assert score.argmin() == 2
    assert sorted(score.tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_reader_that_computes_its_weight_is_given_whole_inputs() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(x, weight, self.bias)

    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 6, 3), nn.ReLU(), Standardised(6, 5, 3), nn.Flatten(), nn.Linear(80, 3))
    ).eval()
    context, graph = grouped(model, *tiny_samples(20), batch_size=8)
    # Surgery changes such a weight's mean, so that the tracer refuses the group; here it is made by hand.
    assert "0" not in [group.name for group in graph.groups]
    from benchsuite import CoupledGroup, GroupMember, GroupReader, Layer, ScoringContext

    entries = tuple((unit,) for unit in range(6))
    group = CoupledGroup("0", (GroupMember("0", entries),), 6, (GroupReader("2", entries),))
    context = ScoringContext(model, [Layer("0", "conv", model[0])], *tiny_samples(20), groups=[group])
    entered = inputs_by_hand(context)
    found = run_scorer(ThiNet(places=4000), context).scores["0"]
    expected = removed_greedily(lambda off: change(context, group, entered, off), 6)
    assert found.tolist() == expected
