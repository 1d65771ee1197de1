"""Selections, compared with a direct implementation of the definition, and their properties."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import build, example, unit_scores
from torch import Tensor

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.pruning.base import GONE
from benchsuite.pruning.group_scores import group_scores, normalised
from benchsuite.pruning.nearest_choice import nearest_choice
from benchsuite.pruning.selection import UnitSelection, select_units
from benchsuite.pruning.settings import Budget, Normalise, PruningSettings, Scope
from benchsuite.pruning.signature import architecture_signature
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchsuite.pruning.graph import PruningGraph

SCOPES: tuple[Scope, ...] = ("layer", "global", "protected")
BUDGETS: tuple[Budget, ...] = ("units", "params", "macs")


@cache
def graph_of(name: str) -> PruningGraph:
    return trace(build(name), example())


def random_scores(graph: PruningGraph, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {group.name: torch.rand(group.size, generator=generator) for group in graph.groups}


def prefixes(
    graph: PruningGraph, scores: dict[str, Tensor], chosen: PruningSettings
) -> list[dict[str, list[int]]]:
    """Every selection that the scope allows, from none to all; scores must be distinct."""
    keyed = []
    for group in graph.groups:
        ascending = sorted(range(group.size), key=lambda i, s=scores[group.name]: float(s[i]))
        if chosen.scope == "protected":
            ascending = ascending[: group.size - max(1, math.ceil(chosen.floor * group.size))]
        for rank, position in enumerate(ascending):
            fraction = (rank + 1) / group.size
            key = fraction if chosen.scope == "layer" else float(scores[group.name][position])
            keyed.append((key, group.name, position))
    found: list[dict[str, list[int]]] = [{}]
    for _, name, position in sorted(keyed):
        found.append({**found[-1], name: [*found[-1].get(name, []), position]})
    return found


def gone(graph: PruningGraph, removed: dict[str, list[int]], budget: Budget) -> float:
    if budget == "units":
        per = {g.name: sum(len(member.units[0]) for member in g.members) for g in graph.groups}
        return sum(per[name] * len(positions) for name, positions in removed.items()) / graph.units
    model, index = graph.cost_model, 0 if budget == "params" else 1
    left = model.cost(model.counts({name: len(positions) for name, positions in removed.items()}))[index]
    return 1 - left / model.cost(model.counts({}))[index]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["resnet", "vit", "resnext"]),
    st.sampled_from(["global", "protected"]),
    st.sampled_from(BUDGETS),
    st.floats(0, 0.6),
    st.integers(0, 10_000),
)
def test_no_other_prefix_is_nearer(
    name: str, scope: Scope, budget: Budget, sparsity: float, seed: int
) -> None:
    graph = graph_of(name)
    scores = random_scores(graph, seed)
    chosen = PruningSettings(scope=scope, budget=budget)
    every = prefixes(graph, scores, chosen)
    best = min(abs(gone(graph, removed, budget) - sparsity) for removed in every)
    try:
        selection = select_units(graph, scores, chosen, sparsity, seed=0)
    except (Collapsed, Unsupported):
        return
    removed = {name: list(positions) for name, positions in selection.removed.items()}
    as_listed = [{k: sorted(v) for k, v in one.items()} for one in every]
    assert removed in as_listed
    assert abs(gone(graph, removed, budget) - sparsity) == pytest.approx(best, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(BUDGETS), st.floats(0, 0.8), st.integers(0, 10_000))
def test_layer_scope_takes_the_same_fraction_of_each_group(
    budget: Budget, sparsity: float, seed: int
) -> None:
    graph = graph_of("resnet")
    scores = random_scores(graph, seed)
    chosen = PruningSettings(scope="layer", budget=budget)
    selection = select_units(graph, scores, chosen, sparsity, seed=seed)
    counts = {g.name: len(selection.removed.get(g.name, ())) for g in graph.groups}
    # One fraction is, for every group, between what it has lost and what it would lose with its next
    # position.
    assert max(counts[g.name] / g.size for g in graph.groups) <= min(
        (counts[g.name] + 1) / g.size for g in graph.groups
    )
    for group in graph.groups:
        lowest = torch.argsort(scores[group.name])[: counts[group.name]]
        assert set(selection.removed.get(group.name, ())) == set(lowest.tolist())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["resnet", "mobilenet", "vit", "densenet"]),
    st.sampled_from(BUDGETS),
    st.floats(0.02, 0.7),
    st.integers(0, 10_000),
)
def test_layer_scope_comes_as_near_as_equal_fractions_allow(
    name: str, budget: Budget, sparsity: float, seed: int
) -> None:
    """Every choice is tried that takes all below a fraction and some of those that reach it."""
    graph = graph_of(name)
    fractions = sorted({n / group.size for group in graph.groups for n in range(1, group.size)})
    best = sparsity  # with nothing removed
    for fraction in fractions:
        below = {g.name: math.ceil(fraction * g.size - 1e-9) - 1 for g in graph.groups}
        at = [g.name for g in graph.groups if (fraction * g.size) % 1 < 1e-9]
        for more in itertools.product((0, 1), repeat=len(at)):
            counts = {**below, **{n: below[n] + one for n, one in zip(at, more, strict=True)}}
            removed = {group: list(range(count)) for group, count in counts.items()}
            best = min(best, abs(gone(graph, removed, budget) - sparsity))
    chosen = PruningSettings(scope="layer", budget=budget)
    selection = select_units(graph, random_scores(graph, seed), chosen, sparsity, seed=seed)
    found = {group: list(positions) for group, positions in selection.removed.items()}
    assert abs(gone(graph, found, budget) - sparsity) == pytest.approx(best, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["resnet", "mobilenet", "mlp"]),
    st.sampled_from(SCOPES),
    st.sampled_from(BUDGETS),
    st.integers(0, 10_000),
)
def test_each_cut_includes_the_earlier_ones(name: str, scope: Scope, budget: Budget, seed: int) -> None:
    """Every round has other scores and another order of equals, and what is gone has the score `GONE`."""
    graph = graph_of(name)
    gone: dict[str, tuple[int, ...]] = {}
    for number in range(1, 8):
        scores = random_scores(graph, seed + number)
        for group, positions in gone.items():
            scores[group][list(positions)] = GONE
        chosen = PruningSettings(scope, budget, floor=0.2)
        try:
            removed = select_units(graph, scores, chosen, 0.07 * number, seed=seed + number).removed
        except Collapsed:  # one ranking of a small network may empty a layer; then there is no next cut
            assert scope == "global"
            return
        assert all(set(positions) <= set(removed.get(group, ())) for group, positions in gone.items())
        gone = removed


def test_a_choice_is_looked_for_also_where_the_order_would_remove_nothing() -> None:
    graph = graph_of("mlp")  # one unit of the second group is a thirtieth of the units
    chosen = PruningSettings(scope="layer", budget="units")
    found = {
        select_units(graph, random_scores(graph, 0), chosen, 0.02, seed=seed).units_removed
        for seed in range(6)
    }
    assert found == {1 / 30}


def test_the_choice_among_equal_fractions_is_the_same_for_all_criteria() -> None:
    graph = graph_of("resnet")
    chosen = PruningSettings(scope="layer", budget="macs")
    for sparsity in (0.2, 0.3, 0.5, 0.7):
        widths = {
            architecture_signature(
                graph, select_units(graph, random_scores(graph, of), chosen, sparsity, seed=7).removed
            )
            for of in range(10)
        }
        assert len(widths) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 16) | st.just(70), st.integers(0, 10_000))
def test_a_choice_is_nearest_or_no_change_of_two_things_comes_nearer(things: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes, target = random.random(things), float(random.random() * things / 2)

    def distance(choices: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.abs(choices @ sizes - target)

    found = nearest_choice(random.random(things) < 0.5, distance)
    reached = float(distance(found[None])[0])
    if things <= 12:
        every = [np.array(c) for c in itertools.product((False, True), repeat=things)]
    else:
        pairs = itertools.combinations_with_replacement(range(things), 2 if things <= 60 else 1)
        every = [found ^ np.isin(np.arange(things), pair) for pair in pairs]
    assert reached <= min(float(distance(choice[None])[0]) for choice in every) + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 0.9), st.floats(0, 0.99), st.integers(0, 10_000))
def test_protected_scope_keeps_its_floor(floor: float, sparsity: float, seed: int) -> None:
    graph = graph_of("mobilenet")
    chosen = PruningSettings(scope="protected", budget="units", floor=floor)
    scores = random_scores(graph, seed)
    reach = gone(graph, prefixes(graph, scores, chosen)[-1], "units")
    if sparsity > reach + 0.1:
        with pytest.raises(Unsupported, match="can remove at most") as told:
            select_units(graph, scores, chosen, sparsity, seed=0)
        assert str(told.value).endswith(graph.what_stays())
        return
    selection = select_units(graph, scores, chosen, min(sparsity, reach), seed=0)
    for group in graph.groups:
        kept = group.size - len(selection.removed.get(group.name, ()))
        assert kept >= max(1, math.ceil(floor * group.size - 1e-9))


@pytest.mark.parametrize("scope", SCOPES)
def test_order_of_units_does_not_matter(scope: Scope) -> None:
    graph = graph_of("resnet")
    chosen = PruningSettings(scope=scope, budget="units")
    scores = random_scores(graph, 3)
    permutation = {
        group.name: torch.randperm(group.size, generator=torch.Generator().manual_seed(4))
        for group in graph.groups
    }
    one = select_units(graph, scores, chosen, 0.4, seed=0)
    other = select_units(graph, {n: s[permutation[n]] for n, s in scores.items()}, chosen, 0.4, seed=0)
    for group in graph.groups:
        back = permutation[group.name][list(other.removed.get(group.name, ()))]
        assert sorted(back.tolist()) == list(one.removed.get(group.name, ()))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_sparsity_zero_removes_nothing(scope: Scope, budget: Budget) -> None:
    graph = graph_of("resnet")
    selection = select_units(graph, random_scores(graph, 0), PruningSettings(scope, budget), 0.0, seed=0)
    assert selection == UnitSelection({}, 0, 0.0, selection.params, selection.macs, 0.0, 0.0)


def test_equal_scores_are_decided_by_the_seed_and_counted() -> None:
    graph = graph_of("resnet")
    scores = {group.name: torch.ones(group.size) for group in graph.groups}
    chosen = PruningSettings(scope="global", budget="units")
    selections = [select_units(graph, scores, chosen, 0.4, seed=seed) for seed in (0, 0, 1, 2)]
    assert selections[0].removed == selections[1].removed
    assert selections[0].removed != selections[2].removed != selections[3].removed
    assert {selection.ties for selection in selections} == {sum(group.size for group in graph.groups)}


def test_equal_scores_are_taken_from_every_place() -> None:
    """No place among equal scores is more likely to go than another."""
    graph = graph_of("mlp")
    scores = {group.name: torch.ones(group.size) for group in graph.groups}
    chosen = PruningSettings(scope="global", budget="units")
    taken = torch.zeros(20)
    for seed in range(400):
        taken[list(select_units(graph, scores, chosen, 0.5, seed).removed["1"])] += 1
    assert float(taken.min()) > 150
    assert float(taken.max()) < 250


@pytest.mark.parametrize(
    ("scope", "values", "removed", "ties"),
    [
        ("global", [0, 1, 2, 2, 2, 3, 4, 5, 6, 7], 3, 3),  # the cut is among the twos
        ("global", [0, 1, 2, 2, 2, 3, 4, 5, 6, 7], 2, 0),  # the cut is before them
        ("global", [0, 1, 2, 2, 2, 3, 4, 5, 6, 7], 5, 0),  # and after them
        ("layer", [0, 1, 2, 2, 2, 3, 4, 5, 6, 7], 4, 3),
    ],
)
def test_ties_are_those_at_the_cut(scope: Scope, values: list[int], removed: int, ties: int) -> None:
    graph = graph_of("mlp")
    high = torch.arange(20) + 100.0
    sparsity = (removed + 2 * removed) / 30 if scope == "layer" else removed / 30
    selection = select_units(
        graph,
        {"1": high, "3": torch.tensor(values).double()},
        PruningSettings(scope, "units"),
        sparsity,
        seed=0,
    )
    assert len(selection.removed["3"]) == removed
    assert selection.ties == ties


@pytest.mark.parametrize("scope", ["global", "protected"])
@given(
    values=st.lists(st.integers(0, 4), min_size=30, max_size=30),
    floor=st.sampled_from([0.1, 0.3, 0.5]),
    sparsity=st.sampled_from([0.1, 0.25, 0.4]),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_ties_are_counted_where_the_seed_decides(
    scope: Scope, values: list[int], floor: float, sparsity: float
) -> None:
    """With no ties every seed removes the same, and what any two seeds decide otherwise has been counted."""
    graph = graph_of("mlp")
    scores = {"1": torch.tensor(values[:20]).double(), "3": torch.tensor(values[20:]).double()}
    chosen = PruningSettings(scope, "units", floor=floor)
    removed, ties = [], []
    for seed in range(24):
        try:
            selection = select_units(graph, scores, chosen, sparsity, seed)
        except Collapsed:
            continue
        removed.append({(g, p) for g, positions in selection.removed.items() for p in positions})
        ties.append(selection.ties)
    if removed:
        differing = set.union(*removed) - set.intersection(*removed)
        assert max(ties) >= len(differing)
        assert bool(differing) == any(ties)


def test_collapse_names_the_layer() -> None:
    graph = graph_of("mlp")
    scores = {"1": torch.arange(20) + 100.0, "3": torch.arange(10) + 0.0}
    with pytest.raises(Collapsed, match=r"every unit of 3$"):
        select_units(graph, scores, PruningSettings("global", "units"), 0.5, seed=0)
    selection = select_units(graph, scores, PruningSettings("protected", "units"), 0.5, seed=0)
    assert len(selection.removed["3"]) == 9


def test_target_out_of_reach_says_how_far_one_gets() -> None:
    graph = graph_of("mlp")
    with pytest.raises(Unsupported, match=r"at most 50\.0% of the units, not 80\.0%"):
        select_units(
            graph, random_scores(graph, 0), PruningSettings("protected", "units", floor=0.5), 0.8, seed=0
        )


def test_group_scores_by_hand() -> None:
    graph = graph_of("resnext")
    scores = {
        "reduce.0": torch.arange(12).float(),
        "grouped.0": torch.arange(24).float() * 10,
        "widen": torch.ones(10),
    }
    chosen = PruningSettings(normalise="none", aggregate="mean")
    # Position 1 holds units 3, 4, 5 of the first layer and 6 to 11 of the second: means 4 and 85.
    assert float(group_scores(graph, scores, chosen)["reduce.0"][1]) == (4 + 85) / 2
    chosen = PruningSettings(normalise="none", aggregate="sum")
    assert float(group_scores(graph, scores, chosen)["reduce.0"][1]) == 3 * 4 + 6 * 85
    chosen = PruningSettings(normalise="none", aggregate="max")
    assert float(group_scores(graph, scores, chosen)["reduce.0"][1]) == 110
    chosen = PruningSettings(normalise="max", aggregate="mean")
    expected = (4 / 11 + 85 / 230) / 2
    assert float(group_scores(graph, scores, chosen)["reduce.0"][1]) == pytest.approx(expected)


def test_one_scored_layer_of_a_group_is_enough() -> None:
    graph = graph_of("resnet")
    scores = unit_scores(graph)
    chosen = PruningSettings(normalise="none")
    del scores["conv1"]
    torch.testing.assert_close(group_scores(graph, scores, chosen)["conv1"], scores["stage1.conv2"].double())
    del scores["stage1.conv2"]
    with pytest.raises(Unsupported, match="no scores for conv1, nor"):
        group_scores(graph, scores, chosen)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", [1.5, -0.5, 1.0]), ("max", [1.0, -1 / 3, 2 / 3]), ("l2", None), ("none", [3.0, -1.0, 2.0])],
)
def test_normalised(how: Normalise, expected: list[float] | None) -> None:
    scores = torch.tensor([3.0, -1.0, 2.0])
    if expected is None:
        expected = [value / 14**0.5 for value in (3.0, -1.0, 2.0)]
    torch.testing.assert_close(normalised(scores, how), torch.tensor(expected).double())
    assert normalised(torch.zeros(3), how).tolist() == [0, 0, 0]


def test_wrong_shapes_are_refused() -> None:
    graph = graph_of("mlp")
    with pytest.raises(ValueError, match=r"scores of 1 have shape \(3,\); it has 20 units"):
        group_scores(graph, {"1": torch.ones(3), "3": torch.ones(10)}, PruningSettings())
    with pytest.raises(ValueError, match="scores of group 1"):
        select_units(graph, {"1": torch.ones(3), "3": torch.ones(10)}, PruningSettings(), 0.5, seed=0)


def test_signature_is_shared_by_equal_widths_only() -> None:
    graph = graph_of("mlp")
    one = architecture_signature(graph, {"1": (0, 1)})
    assert one == architecture_signature(graph, {"1": (5, 9)}) == (("1", 18), ("3", 10))
    assert (
        len({one, architecture_signature(graph, {"1": (0,), "3": (1,)}), architecture_signature(graph, {})})
        == 3
    )


def test_units_that_cannot_be_removed_do_not_count_in_a_layers_mean() -> None:
    graph = graph_of("mlp")
    group = graph.groups[0]
    member = group.members[0]
    # Half of the layer's units are pinned, and have the 0 that coupled criteria give them.
    kept = len(member.units) // 2
    half = replace(group, members=(replace(member, units=member.units[:kept]),), size=kept)
    scores = torch.zeros(graph.layers[0].units)
    scores[:kept] = torch.arange(1.0, kept + 1)
    found = group_scores(replace(graph, groups=(half,)), {member.layer: scores}, PruningSettings())
    mean = sum(range(1, kept + 1)) / kept
    assert found[group.name].tolist() == pytest.approx([value / mean for value in range(1, kept + 1)])
