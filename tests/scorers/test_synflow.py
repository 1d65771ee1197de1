"""The documented properties of SynFlow: precision, evaluation mode, saturation, and no empty layers."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.pruning.masks import select_weights
from benchsuite.pruning.settings import PruningSettings, declared
from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite.testing import context_for, tiny_convnet, tiny_samples
from benchsuite_scorers.registration import MagnitudeL1, SynFlow
from benchsuite_scorers.synflow import rising_order

if TYPE_CHECKING:
    from benchsuite import Scorer
    from benchsuite.contracts.layers import Granularity
    from benchsuite.pruning.settings import Normalise


def chain(depth: int, scale: float) -> nn.Sequential:
    """Linear layers and ReLU whose flow is about (4 x scale) ** depth."""
    torch.manual_seed(0)
    model = nn.Sequential()
    for _ in range(depth):
        layer = nn.Linear(4, 4, bias=False)
        nn.init.uniform_(layer.weight, 0.5 * scale, 1.5 * scale)
        model.extend([layer, nn.ReLU()])
    return model.append(nn.Linear(4, 3, bias=False)).eval()


def flow_of(model: nn.Sequential, rounds: int = 1, shape: tuple[int, ...] = (4,)) -> dict[str, Tensor]:
    context = context_for(model, *tiny_samples(4, shape), granularity="weight")
    return run_scorer(SynFlow(rounds=rounds), context).scores


@pytest.mark.parametrize(("scale", "single"), [(25.0, float("inf")), (1 / 400, 0.0)])
def test_flow_beyond_single_precision_is_exact(scale: float, single: float) -> None:
    model = chain(30, scale)
    found = flow_of(model)
    # The product of the matrices in exact integers and fractions, one logarithm per layer.
    inputs = torch.ones(4, dtype=torch.float64)
    exponent = 0.0
    for module in model:
        if isinstance(module, nn.Linear):
            inputs = module.weight.detach().double().abs() @ inputs
            exponent += float(inputs.sum().log())
            inputs = inputs / inputs.sum()
    assert float(torch.tensor(exponent).float().exp()) == single
    for score in found.values():
        assert score.dtype == torch.float64
        assert float(score.sum().log()) == pytest.approx(exponent, rel=1e-12)
    order = flow_of(model, rounds=5)
    assert len(torch.cat([score.flatten() for score in order.values()]).unique()) == 30 * 16 + 12


@pytest.mark.parametrize(
    ("scale", "message"), [(1e12, "overflows double precision"), (1e-14, "vanishes in double precision")]
)
def test_flow_beyond_double_precision_is_not_served(scale: float, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        flow_of(chain(30, scale), rounds=5)


def test_large_weights_in_front_of_a_sigmoid_lose() -> None:
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Sigmoid(), nn.Linear(3, 2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1], [0.5], [5.0]]).expand(3, 4))
        model[2].weight.fill_(1.0)
    found = flow_of(model)["0"].sum(1).tolist()
    assert found[1] > found[0] > found[2]
    model[1] = nn.ReLU()
    found = flow_of(model)["0"].sum(1).tolist()
    assert found[2] > found[1] > found[0]


def test_statistics_of_the_batch_are_not_used() -> None:
    """Evaluation mode is needed: in training mode the running mean would be ignored."""
    found = []
    for mean in (0.0, 0.4):
        model = tiny_convnet()
        model[1].running_mean.fill_(mean)
        found.append(flow_of(model, shape=(2, 8, 8)))
    assert not torch.allclose(found[0]["7"], found[1]["7"], rtol=1e-3)


def wide_and_narrow() -> nn.Sequential:
    """Without biases each layer has the same flow, so each weight of the widest layer has the least."""
    torch.manual_seed(0)
    sizes = (4, 60, 60, 60, 3)
    model = nn.Sequential()
    for inputs, outputs in pairwise(sizes):
        model.extend([nn.Linear(inputs, outputs, bias=False), nn.ReLU()])
    return model[:-1].eval()


def kept_per_layer(scores: dict[str, Tensor], share: float) -> list[int]:
    flat = torch.cat([score.flatten() for score in scores.values()])
    threshold = flat.sort(descending=True).values[round(share * len(flat)) - 1]
    return [int((score >= threshold).sum()) for score in scores.values()]


def test_rounds_leave_every_layer_some_weights_where_one_round_empties_a_layer() -> None:
    model = wide_and_narrow()
    assert min(kept_per_layer(flow_of(model), 0.01)) == 0
    assert min(kept_per_layer(flow_of(model, rounds=100), 0.01)) > 0


@pytest.mark.parametrize("noise", [0.0, 1e-13, -1e-13])
def test_rounding_does_not_order_equal_flows(noise: float) -> None:
    flow = torch.tensor([2.0, 1.0, 0.0, 1.0 + noise, 0.0, 1.0 + 2 * noise, 1e-20], dtype=torch.float64)
    assert rising_order(flow).tolist() == [2, 4, 6, 1, 3, 5, 0]
    assert rising_order(flow[:1]).tolist() == [0]
    assert rising_order(flow[:0]).tolist() == []


def test_flow_on_one_path_is_ordered_as_in_the_round_before() -> None:
    """One unit per layer is left at the end, with equal flows; rounding must not decide their order."""
    orders = []
    for factor in (1.0, 3.0, 0.7, 1.3):
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 3, bias=False), nn.ReLU()),
            nn.Linear(3, 2, bias=False),
        ).eval()
        with torch.no_grad():
            # Scaling the network multiplies every flow by one factor and changes all rounding errors.
            model[0].weight.mul_(factor)
            model[2].weight.mul_(1 / factor**2)
        context = context_for(model.double(), tiny_samples(4, (4,))[0].double(), torch.arange(4) % 2)
        scores = run_scorer(SynFlow(rounds=20, density=0.1), context).scores
        orders.append([score.tolist() for score in scores.values()])
    assert orders == [orders[0]] * 4


def test_a_removed_unit_loses_its_bias_and_normalisation() -> None:
    """Compared with the flow of a network in which all parameters of the removed units are zero."""
    model = tiny_convnet()
    context = context_for(model, *tiny_samples(4))
    rounds, density, names = 4, 0.2, ["0", "4", "7"]
    found = run_scorer(SynFlow(rounds=rounds, density=density), context).scores
    own = {"0": ("0.weight", "0.bias", "1.weight", "1.bias"), "4": ("4.weight",), "7": ("7.weight", "7.bias")}
    units = [(name, unit) for name in names for unit in range(len(found[name]))]
    twin = tiny_convnet().double()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.abs_()
    left, order = list(units), []
    for number in range(1, rounds + 1):
        twin.zero_grad()
        twin(torch.ones(1, 2, 8, 8, dtype=torch.float64)).sum().backward()
        weights = {name: twin.get_parameter(f"{name}.weight") for name in names}
        flows = {name: (w * w.grad).detach().abs().flatten(1).sum(1) for name, w in weights.items()}
        flow = {(name, unit): float(flows[name][unit]) for name, unit in units}
        left.sort(key=flow.__getitem__)
        keep = 0 if number == rounds else round(len(units) * density ** (number / rounds))
        gone, left = left[: len(left) - keep], left[len(left) - keep :]
        order += gone
        with torch.no_grad():
            for name, unit in gone:
                for key in own[name]:
                    twin.get_parameter(key)[unit] = 0
    for name in names:
        expected = [order.index((name, unit)) / (len(units) - 1) for unit in range(len(found[name]))]
        assert found[name].tolist() == pytest.approx(expected, abs=1e-12)


class Blocks(nn.Module):
    """A residual block behind a stem, without biases: the flow is the same through every cut of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.inner = nn.Conv2d(5, 7, 3, padding=1, bias=False)
        self.back = nn.Conv2d(7, 5, 1, bias=False)
        self.last = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.last((x + self.back(torch.relu(self.inner(x)))).mean((2, 3)))


def test_rounds_remove_coupled_units_together() -> None:
    """Compared with rounds of real removal of the lowest position, by surgery."""
    model = Blocks().eval()
    inputs = torch.zeros(1, 2, 8, 8)
    graph = trace(model, inputs)
    context = ScoringContext(model, graph.layers, inputs, torch.zeros(1).long(), groups=graph.groups)
    assert {group.name: len(group.members) for group in context.groups} == {"stem": 2, "inner": 1}
    found = run_scorer(SynFlow(rounds=200, density=0.2), context).scores
    assert torch.equal(found["stem"], found["back"])

    left = {group.name: list(range(group.size)) for group in graph.groups}
    order = []
    while sum(map(len, left.values())) > 3:  # 0.2 of twelve are two; the last cut is not one of single places
        removed = {
            group.name: [p for p in range(group.size) if p not in left[group.name]] for group in graph.groups
        }
        smaller = copy.deepcopy(remove_units(model, graph, removed)).double()
        with torch.no_grad():
            for parameter in smaller.parameters():
                parameter.abs_()
        smaller(torch.ones(1, 2, 8, 8, dtype=torch.float64)).sum().backward()
        flows = {
            n: (m.weight * m.weight.grad).detach().abs().flatten(1).sum(1)
            for n, m in smaller.named_children()
            if n != "norm"
        }
        lowest = min(
            (float(flow), name, position)
            for name, flow_of_group in (("stem", flows["stem"] + flows["back"]), ("inner", flows["inner"]))
            for flow, position in zip(flow_of_group, left[name], strict=True)
        )
        order.append(lowest[1:])
        left[lowest[1]].remove(lowest[2])
    places = sorted(
        (float(score), name, p) for name in ("stem", "inner") for p, score in enumerate(found[name])
    )
    assert [(name, position) for _, name, position in places][: len(order)] == order


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_the_target_is_what_the_rounds_leave(granularity: Granularity) -> None:
    def scores(target: float | None, density: float | None = None) -> dict[str, Tensor]:
        context = context_for(tiny_convnet(), *tiny_samples(4), granularity=granularity, target=target)
        return run_scorer(SynFlow(rounds=7, density=density), context).scores

    # Biases and normalisations count in the budget of parameters: all but the weights of the four layers.
    weights = 6 * 18 + 5 * 54 + 7 * 20 + 3 * 7
    left = 0.4 if granularity == "unit" else 1 - 0.6 * (weights + 6 * 3 + 7 + 3) / weights
    for target, density in ((0.6, left), (None, 0.01), (0.0, 1.0)):
        found, expected = scores(target), scores(0.5, density)
        assert all(torch.equal(found[name], expected[name]) for name in found)
    assert any(not torch.equal(score, scores(0.9)[name]) for name, score in scores(0.3).items())


def test_weights_that_are_gone_come_first_and_are_not_part_of_what_is_left() -> None:
    model = wide_and_narrow()
    with torch.no_grad():
        model[2].weight[:30] = 0
    dead = model[2].weight == 0
    found = flow_of(model, rounds=20)
    assert float(found["2"][dead].max()) < min(float(found["2"][~dead].min()), float(found["0"].min()))


def small_vgg() -> nn.Sequential:
    """Four wide layers and a thin one, with batch normalisation, as drawn for training."""
    torch.manual_seed(0)
    model, width = nn.Sequential(), 3
    for units in (16, 64, 64, 128, 128):
        model.extend([nn.Conv2d(width, units, 3, padding=1, bias=False), nn.BatchNorm2d(units), nn.ReLU()])
        width = units
        if units == 64:
            model.append(nn.MaxPool2d(2))
    return model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]).eval()


@pytest.mark.slow
def test_the_picture_of_the_paper_a_thin_layer_survives_as_returned_and_collapses_when_scaled() -> None:
    """Tanaka et al. 2020, figure 1: SynFlow has no layer collapse at any compression."""
    model, inputs = small_vgg(), torch.randn(2, 3, 32, 32)
    graph = trace(model, inputs[:1])

    def kept(share: float, scorer: Scorer, normalise: Normalise | None = None) -> int:
        context = ScoringContext(
            model, graph.weight_layers, inputs, torch.arange(2), granularity="weight", target=1 - share
        )
        scores = run_scorer(scorer, context).scores
        own = declared("declared", "declared", scale=type(scorer).scale, coupled=type(scorer).coupled)
        settings = PruningSettings("global", "params", normalise=normalise or own[1])
        try:
            selection = select_weights(graph, scores, settings, 1 - share, seed=0)
        except Collapsed:
            return 0
        return min(int(mask.sum()) for mask in selection.keep.values())

    for share in (0.1, 0.01, 0.006):
        assert kept(share, SynFlow()) > 0
    assert kept(0.1, SynFlow()) > 10 * kept(0.1, SynFlow(), "mean")
    assert kept(0.01, SynFlow(), "mean") == 0
    assert kept(0.006, MagnitudeL1()) == 0


class PreActivation(Blocks):
    """The norm is behind the addition, so that a removed unit's map would be its shift."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(torch.relu(self.norm(x + self.back(torch.relu(self.inner(x))))).mean((2, 3)))


class Concatenating(nn.Module):
    """As in a DenseNet: a norm over what two layers gave."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.more = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.norm(torch.cat([x, self.more(torch.relu(x))], 1)))
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize("build", [PreActivation, Concatenating])
def test_the_flow_of_what_is_left_is_that_of_the_smaller_network(build: type[nn.Module]) -> None:
    model, inputs = build().eval(), torch.zeros(1, 2, 8, 8)
    nn.init.normal_(model.norm.bias)
    graph = trace(model, inputs)
    context = ScoringContext(model, graph.layers, inputs, torch.zeros(1).long(), groups=graph.groups)
    removed = {group.name: [0, 2] for group in graph.groups}
    kept = {group.name: torch.ones(group.size, dtype=torch.bool) for group in graph.groups}
    for mask in kept.values():
        mask[[0, 2]] = False
    found = SynFlow._flow(context, kept)
    smaller = remove_units(model, graph, removed)
    with torch.no_grad():
        for parameter in smaller.double().parameters():
            parameter.abs_()
    smaller(torch.ones_like(inputs, dtype=torch.float64)).sum().backward()
    for group in graph.groups:
        expected = torch.zeros(group.size - 2, dtype=torch.float64)
        for member in group.members:
            weight = smaller.get_parameter(f"{member.layer}.weight")
            expected += (weight * weight.grad).detach().abs().flatten(1).sum(1)
        torch.testing.assert_close(found[group.name][kept[group.name]], expected, rtol=1e-10, atol=0)
        assert not found[group.name][[0, 2]].any()
