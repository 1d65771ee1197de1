from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import benchsuite
from benchsuite.contracts.layers import CoupledGroup, Granularity, GroupMember, Layer, removable_units
from benchsuite.errors import PluginError, Unsupported
from benchsuite.pruning.tracing.trace import trace
from benchsuite.registry.discovery import discover
from benchsuite.scoring.check import ScoringResult, count_ties, of_removable_units, run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_samples, tiny_trace
from benchsuite_models.nets.residual import ResidualNetwork

Score = Callable[[benchsuite.ScoringContext], object]


def scorer(score: Score, granularity: str = "unit") -> benchsuite.Scorer:
    body = {"name": "tried", "granularity": granularity, "score": lambda _self, context: score(context)}
    return type("Tried", (benchsuite.Scorer,), body)()


def ones(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
    return {layer.name: torch.ones(layer.units) for layer in context.layers}


def run(score: Score, kind: str = "unit", **settings: object) -> ScoringResult:
    return run_scorer(scorer(score, kind), context_for(tiny_convnet(), *tiny_samples(), **settings))


def test_result_reports_scores_time_memory_and_ties() -> None:
    def big(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        block = torch.ones(30_000_000)
        return {layer.name: torch.arange(layer.units) * block[0] for layer in context.layers}

    result = run(big)
    assert list(result.scores) == ["0", "4", "7"]
    assert result.seconds > 0
    assert 100 < result.peak_memory_mb < 1000
    assert result.ties == 0
    assert run(ones).ties == 5 + 4 + 6
    assert count_ties({"a": torch.tensor([1.0, 2.0, 1.0, 1.0])}) == 2


def test_a_score_for_each_weight_hints_at_the_granularity() -> None:
    def weights(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        return {layer.name: layer.weight for layer in context.layers}

    with pytest.raises(
        PluginError, match=r'expected \(6,\), one score a unit; or set granularity = "weight"$'
    ):
        run(weights)
    with pytest.raises(PluginError, match=r"expected \(6,\)$"):
        run(lambda context: {name: score[:1] for name, score in ones(context).items()})


def test_weight_scores_become_unit_scores() -> None:
    def squares(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        return {layer.name: layer.weight**2 for layer in context.layers}

    result = run(squares, "weight")
    assert result.scores["4"].shape == (5,)
    assert run(squares, "both").scores["4"].shape == (5,)
    kept = run(squares, "weight", granularity="weight")
    assert list(kept.scores) == ["0", "4", "7", "9"]
    assert kept.scores["4"].shape == (5, 6, 3, 3)


def test_unit_scorers_cannot_rank_weights() -> None:
    with pytest.raises(Unsupported, match="cannot rank single weights"):
        run(ones, granularity="weight")


class Waves(nn.Module):
    """A network whose hidden layer has complex weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = nn.Linear(4, 6, dtype=torch.complex64), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.last(self.hidden(x.to(torch.complex64)).abs())
        return made


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_criteria_of_weights_and_gradients_do_not_fail_on_complex_weights(granularity: Granularity) -> None:
    registry = discover()[0]
    served = set()
    of_gradients = ("fisher", "grasp", "obd", "snip", "taylor-weight")
    for name in ("magnitude-l1", "synflow", "wanda", "weight-sum", *of_gradients):
        made = registry.create("scorer", name, {})
        model = Waves()
        target = 0.5 if made.needs_target else None
        context = context_for(
            model, *tiny_samples(20, (4,), 2), granularity=granularity, target=target, trace=tiny_trace(model)
        )
        with suppress(Unsupported):
            run_scorer(made, context)
            served.add(name)
    assert "magnitude-l1" in served
    assert "synflow" not in served


def test_what_fails_on_complex_weights_says_why() -> None:
    context = context_for(Waves(), *tiny_samples(20, (4,), 2))
    with pytest.raises(Unsupported, match="cannot serve complex weights: its scores are complex"):
        run_scorer(scorer(lambda c: {"hidden": c.layer("hidden").weight.sum(1)}), context)
    with pytest.raises(Unsupported, match="cannot serve complex weights: ZeroDivisionError"):
        run_scorer(scorer(lambda c: 1 / 0), context)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scores: [], "returned list, not a dict"),
        (
            lambda scores: scores | {"other": torch.ones(3)},
            r"unknown layers \['other'\]; the layers are \['0'",
        ),
        (lambda scores: {"0": scores["0"]}, r"no scores for \['4', '7'\]"),
        (lambda scores: scores | {"4": torch.ones(6)}, r"layer 4: scores have shape \(6,\), expected \(5,\)"),
        (
            lambda scores: scores | {"4": torch.ones(5).long()},
            "layer 4: .*float tensor, got torch.int64",
        ),
        (lambda scores: scores | {"4": [1.0] * 5}, "layer 4: .*float tensor, got list"),
        (
            lambda scores: scores | {"7": torch.tensor([float("nan")] * 2 + [float("inf")] + [0.0] * 4)},
            "tried: layer 7: 2 NaN and 1 infinite of 7",
        ),
    ],
)
def test_wrong_answers_are_refused(change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        run(lambda context: change(ones(context)))


def test_skipped_layers_may_be_absent_but_not_scored() -> None:
    def without_first(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        context.skip("0", "no reason")
        return {name: score for name, score in ones(context).items() if name != "0"}

    result = run(without_first)
    assert list(result.scores) == ["4", "7"]
    assert result.skipped == {"0": "no reason"}

    def both(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        context.skip("0", "no reason")
        return ones(context)

    with pytest.raises(PluginError, match="skipped and scored"):
        run(both)

    def none(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        for layer in context.layers:
            context.skip(layer, "too small")
        return {}

    with pytest.raises(Unsupported, match="no layer of this network: 0: too small; 4: too small"):
        run(none)


def test_an_exception_is_the_plugins() -> None:
    def raising(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        raise ZeroDivisionError("by zero")

    with pytest.raises(PluginError, match="scorer tried: ZeroDivisionError: by zero") as caught:
        run(raising)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def _weights(model: nn.Module) -> None:
    with torch.no_grad():
        model[4].weight[0] += 1


def _buffers(model: nn.Module) -> None:
    model[1].running_mean.data.zero_()


def _replaced(model: nn.Module) -> None:
    model[0].bias = nn.Parameter(torch.zeros(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_weights, "the values of 4.weight changed"),
        (_buffers, "the values of 1.running_mean changed"),
        (_replaced, "0.bias was replaced"),
        (lambda model: model[0].weight.requires_grad_(False), "requires_grad of 0.weight changed"),
        (lambda model: model(tiny_samples()[0]).sum().backward(), r"0.weight.grad was set; .*and \d more"),
        (lambda model: model.train(), "the network was switched to training; 0 was switched"),
        (lambda model: model[2].register_forward_hook(print), "a hook of 2 was left"),
        (lambda model: model.append(nn.ReLU()), None),
        (lambda model: torch.rand(1), "generator of torch was used"),
        (lambda model: np.random.rand(), "generator of numpy was used"),
        (lambda model: random.random(), None),
    ],
)
def test_changes_to_the_network_and_random_states_are_named_and_undone(
    change: Callable[[nn.Module], object], message: str | None
) -> None:
    context = context_for(tiny_convnet(), *tiny_samples())
    before = {name: value.clone() for name, value in context.model.state_dict().items()}
    torch.manual_seed(3)
    random_state, other_state = torch.get_rng_state(), random.getstate()

    def meddling(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        change(context.model)
        return ones(context)

    if message is None:
        # A module without parameters at the end changes nothing; imports may draw from `random`.
        run_scorer(scorer(meddling), context)
        assert random.getstate() == other_state
        return
    with pytest.raises(PluginError, match=message):
        run_scorer(scorer(meddling), context)
    assert torch.equal(torch.get_rng_state(), random_state)
    if "replaced" not in message:
        after = context.model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert run_scorer(scorer(ones), context).ties == 15


def test_native_rule_must_be_bool_of_the_scores_shape() -> None:
    class Half(benchsuite.Scorer):
        name = "half"
        wrong: bool = False

        def score(self, context: benchsuite.ScoringContext) -> dict[str, Tensor]:
            return ones(context)

        def native(self, scores: dict[str, Tensor], context: benchsuite.ScoringContext) -> dict[str, Tensor]:
            keep = {name: torch.arange(len(score)) % 2 == 0 for name, score in scores.items()}
            return {"0": keep["0"].float()} if self.wrong else keep

    context = context_for(tiny_convnet(), *tiny_samples())
    kept = run_scorer(Half(), context, native=True).native
    assert kept is not None
    assert kept["4"].tolist() == [True, False, True, False, True]
    assert run_scorer(Half(), context).native is None
    with pytest.raises(PluginError, match=r"native\(\) gave torch.float32 of shape \(6,\), expected bool"):
        run_scorer(Half(wrong=True), context, native=True)
    with pytest.raises(Unsupported, match="tried has no rule of its own"):
        run_scorer(scorer(ones), context, native=True)


@pytest.mark.parametrize("wrong", [False, True])
def test_scores_that_say_to_be_of_coupled_units_have_to_be(*, wrong: bool) -> None:
    model = nn.ModuleDict({name: nn.Linear(3, 4) for name in ("a", "b")})
    layers = [Layer(name, "linear", module) for name, module in model.items()]
    members = (GroupMember("a", ((2,), (0,))), GroupMember("b", ((0, 1), (2, 3))))
    groups = [CoupledGroup("a", members, 2)]
    context = benchsuite.ScoringContext(
        model, layers, torch.zeros(5, 3), torch.zeros(5).long(), groups=groups
    )

    def score(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        scores = context.spread({"a": torch.tensor([5.0, 7.0])})
        scores["b"][3] += float(wrong)
        return scores

    tried = scorer(score)
    type(tried).coupled = True
    if wrong:
        with pytest.raises(PluginError, match=r"group a units of b have other scores.*context\.spread"):
            run_scorer(tried, context)
    else:
        assert run_scorer(tried, context).scores["b"].tolist() == [5, 5, 7, 7]


def test_units_that_cannot_be_removed_are_in_no_comparison() -> None:
    """A shortcut without weights keeps half of a stage's units: their places hold no scores of their own."""
    torch.manual_seed(0)
    model = ResidualNetwork(3, (8, 16, 32), 1, 4, shortcut="A").eval()
    inputs = torch.randn(40, 3, 12, 12)
    graph = trace(model, inputs[:2])
    partly = {
        layer.name for layer in graph.layers if len(removable_units(graph.groups)[layer.name]) < layer.units
    }
    assert partly

    def noise(context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        draw = context.generator
        return context.spread({g.name: torch.rand(g.size, generator=draw) for g in context.groups})

    context = benchsuite.ScoringContext(
        model, graph.layers, inputs, torch.arange(40) % 4, groups=graph.groups
    )
    result = run_scorer(scorer(noise), context)
    assert any((result.scores[name] == 0).sum() > 1 for name in partly)
    assert result.ties == 0
    kept = of_removable_units(result.scores, graph.groups)
    for name, scores in kept.items():
        assert len(scores.unique()) == len(scores) == len(removable_units(graph.groups)[name])
