"""Hidden units of recurrent layers can go: what is left computes what torch's own layer does without them."""

from __future__ import annotations

import copy
import io
import random
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pruning_networks import CLASSES, gone_units
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import rnn
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.masked import MaskedNetwork
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.recurrent import SeparateRecurrent
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.testing.conformance import context_for
from benchsuite_scorers.fisher import Fisher
from benchsuite_scorers.importance_switch import ImportanceSwitch
from benchsuite_scorers.shapley import Shapley
from benchsuite_scorers.taylor_activation import TaylorActivation
from benchsuite_scorers.thinet import ThiNet
from benchsuite_scorers.wanda import Wanda

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.scoring.scorer import Scorer

INPUTS, WIDTH, UNITS, STEPS = 5, 4, 6, 7
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
KINDS = tuple(GATES)


def hidden(state: Any) -> Any:
    return state[0] if isinstance(state, tuple) else state


READERS = {
    "mean": lambda out, _: out.mean(1),
    "last step": lambda out, _: out[:, -1],
    "first and last step": lambda out, _: torch.cat((out[:, 0], out[:, -1]), 1),
    "every step": lambda out, _: out.flatten(1),
    "last state": lambda _, state: hidden(state)[-1],
    "last states of both directions": lambda _, state: torch.cat(
        (hidden(state)[-2, :, :], hidden(state)[-1]), 1
    ),
    "all states": lambda _, state: hidden(state).transpose(0, 1).flatten(1),
}


class Network(nn.Module):
    """Steps through a linear layer, a recurrent one and a reader."""

    def __init__(
        self, kind: str, reader: str, *, first: bool = True, time_first: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.reader, self.time_first = reader, time_first
        self.first = nn.Linear(INPUTS, WIDTH) if first else nn.Identity()
        self.recurrent = getattr(nn, kind)(
            WIDTH if first else INPUTS,
            UNITS,
            batch_first=not time_first,
            dropout=0.1 if options["num_layers"] > 1 else 0,
            **options,
        )
        ways, layers = 1 + self.recurrent.bidirectional, self.recurrent.num_layers
        sizes = {"last state": 1, "all states": ways * layers, "every step": STEPS * ways}
        sizes |= {"last states of both directions": 2, "first and last step": 2 * ways}
        self.behind, self.head = nn.Linear(UNITS * sizes.get(reader, ways), 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).tanh()
        out, state = self.recurrent(x.transpose(0, 1) if self.time_first else x)
        found = READERS[self.reader](out.transpose(0, 1) if self.time_first else out, state)
        return self.head(self.behind(found).relu())  # type: ignore[no-any-return]


def network(kind: str = "LSTM", reader: str = "mean", **options: Any) -> Network:
    torch.manual_seed(0)
    options = {"num_layers": 2, **options}
    return Network(kind, reader, **options).double().eval()


def sequences(samples: int = 3, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, STEPS, INPUTS, generator=generator, dtype=torch.float64)


def silenced(built: nn.Module, gone: Mapping[str, set[int]]) -> nn.Module:
    """The network as it was built, with those units always zero.

    With zero weights and biases in all its gates a unit of torch's cells stays zero, from zero on. A linear
    layer's unit is zero before the network's tanh or relu, and so behind it.
    """
    network = copy.deepcopy(built)
    with torch.no_grad():
        for layer, units in gone.items():
            owner, _, suffix = layer.rpartition(".")
            module: Any = network.get_submodule(owner or layer)
            for name, parameter in module.named_parameters(recurse=False):
                rows = torch.tensor(sorted(units))
                if not owner:
                    parameter[rows] = 0
                elif name.split("_", 2)[2] == suffix:
                    parameter.view(-1, module.hidden_size, *parameter.shape[1:])[:, rows] = 0
    return network


def counted(kind: str, widths: Mapping[str, tuple[int, int]], *, bias: bool) -> tuple[int, int]:
    """Parameters and MACs of recurrent layers of these inputs and units."""
    gates, params, macs = GATES[kind], 0, 0
    for inputs, units in widths.values():
        weights = gates * units * (inputs + units)
        params += weights + (2 * gates * units if bias else 0)
        macs += weights * STEPS
    return params, macs


def drawn_options(chance: random.Random, reader: str) -> dict[str, Any]:
    both = reader == "last states of both directions"
    options: dict[str, Any] = {
        name: chance.random() < 0.5 for name in ("bidirectional", "bias", "first", "time_first")
    }
    return {**options, "num_layers": chance.randint(1, 3), "bidirectional": both or options["bidirectional"]}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reader", READERS)
def test_what_is_left_computes_what_torch_does_without_the_units(reader: str, seed: int) -> None:
    chance = random.Random(f"{reader} {seed}")
    kind, options = KINDS[seed % len(KINDS)], drawn_options(chance, reader)
    built = network(kind, reader, **options)
    x = sequences()
    plain = copy.deepcopy(built)
    form = make_plain(plain, x)
    assert [*form.recurrent] == ["recurrent"]
    graph = trace(plain, x)
    prunable = {layer.name for layer in graph.layers}
    # Of the second direction's last state alone the first one is not read, and what is beside it stays.
    if not (reader == "last state" and options["bidirectional"]):
        every = {name for name, each in plain.named_modules() if isinstance(each, RecurrentLayer)}
        assert prunable == every | {"behind"} | ({"first"} if options["first"] else set())
    removed = {
        group.name: tuple(sorted(chance.sample(range(group.size), chance.randrange(group.size))))
        for group in graph.groups
    }
    pruned = remove_units(plain, graph, removed)
    with torch.no_grad():
        expected = silenced(built, gone_units(graph, removed))(x)
        torch.testing.assert_close(pruned(x), expected, rtol=1e-9, atol=1e-9)
    check_surgery(plain, pruned, graph, removed, x)
    _check_cost(kind, built, pruned, x, bias=options["bias"])
    pruned.train()(x).square().sum().backward()


def _check_cost(kind: str, built: Network, pruned: Any, x: Tensor, *, bias: bool) -> None:
    found, rest = measure_cost(pruned, x), [pruned.behind, pruned.head]
    ways = [""] + ["_reverse"] * built.recurrent.bidirectional
    given = pruned.first.weight.shape[0] if isinstance(pruned.first, nn.Linear) else INPUTS
    widths = {}
    for number in range(built.recurrent.num_layers):
        units = [len(pruned.recurrent.get_submodule(f"l{number}{way}").weight) for way in ways]
        widths |= {f"{number}{way}": (given, count) for way, count in zip(ways, units, strict=True)}
        given = sum(units)
    params, macs = counted(kind, widths, bias=bias)
    if isinstance(pruned.first, nn.Linear):
        params += sum(parameter.numel() for parameter in pruned.first.parameters())
        macs += pruned.first.weight.numel() * STEPS
    params += sum(parameter.numel() for layer in rest for parameter in layer.parameters())
    assert found.params == params
    assert found.macs == macs + sum(layer.weight.numel() for layer in rest)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        pruned(x[:1])
    assert flops.get_total_flops() == 2 * found.macs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "both", "bias", "time_first"), [*product((1, 3), *[(False, True)] * 3)])
def test_the_form_computes_the_same(kind: str, layers: int, both: bool, bias: bool, time_first: bool) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"nonlinearity": "relu"} if kind == "RNN" and both else {}
    whole = getattr(nn, kind)(
        INPUTS, UNITS, layers, bias=bias, batch_first=not time_first, bidirectional=both, **options
    ).double()
    x = sequences().transpose(0, 1) if time_first else sequences()
    expected, states = whole(x)
    for stacked in (False, True):
        separate = SeparateRecurrent(whole, stacked=stacked)
        found, last = separate(x)
        torch.testing.assert_close(found, expected)
        assert len(hidden(last)) == len(hidden(states))
        for number, state in enumerate(hidden(states)):
            torch.testing.assert_close(hidden(last)[number], state)
            torch.testing.assert_close(hidden(last)[number, :, 1:], state[:, 1:])
        shape = sum(parameter.numel() for parameter in separate.parameters())
        assert shape == sum(parameter.numel() for parameter in whole.parameters())
    for layer in separate.children():
        assert isinstance(layer, RecurrentLayer)
        read = torch.randn(2, STEPS, layer.inputs, dtype=torch.float64)
        reads, made = layer.reads(read), layer(read)
        before = made.roll(-1 if layer.reverse else 1, 1)
        before[:, -1 if layer.reverse else 0] = 0
        torch.testing.assert_close(reads, torch.cat((read, before), -1))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_samples_are_those_of_each_alone(kind: str) -> None:
    built = network(kind, bidirectional=True)
    x = sequences()
    make_plain(built, x)
    parameters = {name: value.detach() for name, value in built.named_parameters()}

    def loss(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(built, values, (sample[None],)).square().sum()  # type: ignore[no-any-return]

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for number in range(len(x)):
        alone = torch.autograd.grad(built(x[number : number + 1]).square().sum(), [*built.parameters()])
        for name, gradient in zip(parameters, alone, strict=True):
            torch.testing.assert_close(found[name][number], gradient)


class Around(Network):
    """What it reads is added to what it returns, and normalised."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind, "mean", num_layers=2)
        self.first, self.norm = nn.Linear(INPUTS, UNITS), nn.LayerNorm(UNITS)
        self.recurrent = getattr(nn, kind)(UNITS, UNITS, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.norm(x + self.recurrent(x)[0])
        return self.head(self.behind(x.mean(1)).relu())  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_units_that_are_added_go_together(kind: str) -> None:
    torch.manual_seed(0)
    plain, x = Around(kind).double().eval(), sequences()
    make_plain(plain, x)
    graph = trace(plain, x)
    together = {group.name: {member.layer for member in group.members} for group in graph.groups}
    assert together == {
        "first": {"first", "recurrent.l1"},
        "recurrent.l0": {"recurrent.l0"},
        "behind": {"behind"},
    }
    removed = {"first": (0, 3), "recurrent.l0": (1, 2, 5)}
    check_surgery(plain, remove_units(plain, graph, removed), graph, removed, x)


def test_it_can_be_cut_in_rounds() -> None:
    built, x = network("LSTM", bidirectional=True), sequences()
    plain = copy.deepcopy(built)
    make_plain(plain, x)
    graph = trace(plain, x)
    first = {"recurrent.l0": (1, 4), "recurrent.l1_reverse": (0,), "first": (2,)}
    smaller = remove_units(plain, graph, first)
    later = graph.without(first, smaller)
    # Of what is left: unit 3 of six without 1 and 4 is 5, unit 0 of those without 0 is 1.
    second = {"recurrent.l0": (3,), "recurrent.l1_reverse": (0,)}
    twice = remove_units(smaller, later, second)
    check_surgery(smaller, twice, later, second, x)
    gone = {"recurrent.l0": {1, 4, 5}, "recurrent.l1_reverse": {0, 1}, "first": {2}}
    with torch.no_grad():
        torch.testing.assert_close(twice(x), silenced(built, gone)(x))
    found = later.cost_model.cost(later.cost_model.counts({name: len(some) for name, some in second.items()}))
    cost = measure_cost(twice, x)
    assert found == (cost.params, cost.macs)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_masked_where_torch_has_them(kind: str) -> None:
    built, x = network(kind), sequences()
    plain = copy.deepcopy(built)
    make_plain(plain, x)
    graph = trace(plain, x)
    assert {"recurrent.l0", "recurrent.l1"} < {layer.name for layer in graph.weight_layers}
    rules = PruningSettings(scope="global", budget="macs")
    masked = MaskedNetwork(plain, graph, measure_cost(plain, x), rules, 0, x)
    generator = torch.Generator().manual_seed(0)
    scores = {layer.name: torch.rand(layer.weight.shape, generator=generator) for layer in masked.layers}
    masked.cut(scores, 0.4, lambda given: dict(given))
    assert masked.metrics["sparsity/macs"] == pytest.approx(0.4, abs=0.01)
    with torch.no_grad():
        for number, part in product(range(2), ("ih", "hh")):
            weight = getattr(built.recurrent, f"weight_{part}_l{number}")
            zeros = masked.model.get_submodule(f"recurrent.l{number}").get_parameter("weight") == 0
            inputs = zeros.shape[1] - UNITS
            some = zeros[:, :inputs] if part == "ih" else zeros[:, inputs:]
            for gate in range(GATES[kind]):
                weight[gate * UNITS : (gate + 1) * UNITS][some[:, :, gate]] = 0
        for name in ("first", "behind", "head"):
            built.get_submodule(name).load_state_dict(masked.model.get_submodule(name).state_dict())
        torch.testing.assert_close(masked.model(x), built(x))


@pytest.mark.parametrize("reader", READERS)
def test_a_state_of_the_network_fits_its_form(reader: str) -> None:
    built, x = network("GRU", reader, bidirectional=True), sequences()
    plain = copy.deepcopy(built)
    form = make_plain(plain, x)
    found = form.state(dict(built.state_dict()))
    assert found.keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(found[name], value)


def test_a_pruned_network_is_a_program_for_any_number_of_samples() -> None:
    built, x = network("LSTM", "last states of both directions", bidirectional=True), sequences()
    make_plain(built, x)
    graph = trace(built, x)
    pruned = remove_units(built, graph, {group.name: (0, 2) for group in graph.groups})
    exported = torch.export.export(pruned, (x,), dynamic_shapes=({0: torch.export.Dim("samples")},))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    program = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    for samples in (1, 5):
        torch.testing.assert_close(program(sequences(samples)), pruned(sequences(samples)))


class Odd(nn.Module):
    """Uses a recurrent layer in a way that separate layers do not know."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.first, self.head = how, nn.Linear(INPUTS, WIDTH), nn.Linear(UNITS, CLASSES)
        sizes: dict[str, Any] = {"proj_size": UNITS, "hidden_size": 8} if how == "projections" else {}
        self.recurrent = nn.LSTM(WIDTH, **{"hidden_size": UNITS, "batch_first": True, **sizes})
        if how == "a part is frozen":
            self.recurrent.weight_hh_l0.requires_grad_(False)
        if how == "hooks":
            self.recurrent.register_forward_hook(lambda *_: None)
        if how == "shared":
            self.other = nn.LSTM(WIDTH, UNITS, batch_first=True)
            self.other.weight_hh_l0 = self.recurrent.weight_hh_l0

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.how == "initial states":
            start = x.new_ones(1, len(x), UNITS)
            return self.head(self.recurrent(x, (start, start))[0][:, -1])  # type: ignore[no-any-return]
        if self.how == "packed":
            packed = rnn.pack_padded_sequence(x, [STEPS] * len(x), batch_first=True)
            return self.head(self.recurrent(packed)[1][0][-1])  # type: ignore[no-any-return]
        out, (_, cells) = self.recurrent(x)
        if self.how == "the cells":
            return self.head(cells[-1])  # type: ignore[no-any-return]
        if self.how == "its weights":
            return self.head(out[:, -1] + self.recurrent.bias_hh_l0[:UNITS])  # type: ignore[no-any-return]
        return self.head((out + self.other(x)[0] if self.how == "shared" else out)[:, -1])  # type: ignore[no-any-return]


ODD = {
    "initial states": "one batch of sequences alone",
    "packed": "one batch of sequences alone",
    "the cells": "but its hidden units",
    "its weights": "but its hidden units",
    "hooks": "no hooks",
    "shared": "shares no weights",
    "projections": "proj_size",
    "a part is frozen": "a part learns and a part does not",
}


@pytest.mark.parametrize("how", ODD)
def test_what_separate_layers_do_not_know_stays(how: str) -> None:
    torch.manual_seed(0)
    built, x = Odd(how).double().eval(), sequences()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    form = make_plain(built, x)
    assert form.recurrent == {}
    assert all(torch.equal(built.state_dict()[name], value) for name, value in before.items())
    graph = trace(built, x)
    assert ODD[how] in graph.left_out["recurrent"]
    assert {layer.name for layer in graph.layers} <= {"first"}


def test_a_layer_with_two_names_is_one() -> None:
    built, x = network("GRU", num_layers=1), sequences()
    built.add_module("alias", built.recurrent)
    expected = built(x)
    form = make_plain(built, x)
    assert {*form.recurrent} == {"recurrent", "alias"}
    assert built.alias is built.recurrent
    torch.testing.assert_close(built(x), expected)
    assert "recurrent.l0" in {layer.name for layer in trace(built, x).layers}


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_criteria_see_what_torch_returns(kind: str, time_first: bool) -> None:
    built = network(kind, num_layers=1, bidirectional=True, time_first=time_first).float()
    plain, labels = copy.deepcopy(built), torch.arange(12) % CLASSES
    make_plain(plain, sequences(12).float())
    graph = trace(plain, sequences(12).float())
    context = context_for(
        plain,
        sequences(12).float(),
        labels,
        layers=graph.weight_layers,
        groups=graph.groups,
        granularity="weight",
    )
    # The samples are in an order of their own.
    read = built.first(torch.cat([batch for batch, _ in context.batches()])).tanh()
    out = built.recurrent(read.transpose(0, 1) if time_first else read)[0]
    out = out.transpose(0, 1) if time_first else out
    made = dict(zip(("l0", "l0_reverse"), out.split(UNITS, 2), strict=True))
    weights = dict(built.recurrent.named_parameters())
    means, scores = context.activations("mean"), run_scorer(Wanda(), context).scores
    for suffix, units in made.items():
        torch.testing.assert_close(means[f"recurrent.{suffix}"], units.mean(1))
        # The last step that a direction computes is read by no other one.
        before = units[:, 1:] if suffix.endswith("reverse") else units[:, :-1]
        for part, given in (("ih", read), ("hh", before)):
            expected = weights[f"weight_{part}_{suffix}"].abs() * given.square().sum((0, 1)).sqrt()
            found = scores[f"recurrent.{suffix}"]
            found = found[:, :WIDTH] if part == "ih" else found[:, WIDTH:]
            by_gate = expected.view(GATES[kind], UNITS, -1).permute(1, 2, 0)
            torch.testing.assert_close(found, by_gate.to(found.dtype))


@pytest.mark.parametrize("scorer", [Fisher, ImportanceSwitch, Shapley, TaylorActivation, ThiNet])
def test_what_cannot_be_scored_is_said(scorer: type[Scorer]) -> None:
    built, x = network().float(), sequences(12).float()
    make_plain(built, x)
    graph = trace(built, x)
    context = context_for(built, x, torch.arange(12) % CLASSES, layers=graph.layers, groups=graph.groups)
    run_scorer(scorer(), context)
    assert {"recurrent.l0", "recurrent.l1"} <= context.skipped.keys()
    for name in ("recurrent.l0", "recurrent.l1"):
        assert "step to step" in context.skipped[name] or "a recurrent one" in context.skipped[name]
