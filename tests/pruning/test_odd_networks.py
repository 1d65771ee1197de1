"""Networks that shift channels, hold unusual layers, or cannot be analysed: what goes, and what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import check_cut, example
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.networks import MaskedNetwork, PrunedNetwork, SmallerNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.tracing import dependency_walk
from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.transposed import LEFT_AS_IT_IS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.pruning.graph import PruningGraph


class Around(nn.Module):
    """Two convolutions and a classifier, with something between the convolutions."""

    def __init__(self, between: Callable[[Tensor], Tensor], channels: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.between = between
        self.second = nn.Conv2d(channels, 6, 3, padding=1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(torch.relu(self.first(x)))
        return self.fc(torch.relu(self.second(x)).mean((2, 3)))


def around(between: Any, channels: int = 8) -> nn.Module:
    torch.manual_seed(0)
    model = Around(between, channels).eval()
    randomise(model)
    return model


def reasons(graph: PruningGraph) -> dict[str, str]:
    return {pin.layer: pin.reason for pin in graph.pinned if not pin.output}


def check_what_goes(model: nn.Module, graph: PruningGraph) -> None:
    check_cut(model, graph, {group.name: (0, group.size - 1) for group in graph.groups})


def shifted(before: int, after: int) -> Callable[[Tensor], Tensor]:
    """The sum of a tensor and itself, padded along the channels and cut to its size again."""

    def between(x: Tensor) -> Tensor:
        padded = functional.pad(x, (0, 0, 0, 0, before, after))
        return x + padded[:, after : after + x.shape[1]]

    return between


@settings(max_examples=25, deadline=None)
@given(
    st.one_of(
        st.builds(nn.LocalResponseNorm, st.integers(2, 9)),
        st.builds(lambda size: nn.CrossMapLRN2d(size, alpha=1.0), st.integers(2, 5)),
        st.builds(shifted, st.integers(1, 3), st.integers(0, 3)),
        st.builds(lambda by: lambda x: x + x.roll(by, 1), st.integers(1, 7)),
        st.builds(lambda by: lambda x: x + torch.cat((x[:, by:], x[:, :by]), 1), st.integers(1, 7)),
    )
)
def test_channels_that_meet_their_neighbours_stay_and_the_walk_ends(between: Any) -> None:
    model = around(between)
    graph = trace(model, example())
    assert {group.name for group in graph.groups} <= {"first", "second"}
    assert "second" in {group.name for group in graph.groups}
    check_what_goes(model, graph)


def test_what_a_local_response_norm_reads_is_kept_after_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependency_walk, "MOST_STEPS", 200)
    graph = trace(around(nn.LocalResponseNorm(3)), example())
    assert "as in LocalResponseNorm" in reasons(graph)["first"]
    assert [group.name for group in graph.groups] == ["second"]


def test_a_norm_of_each_channel_alone_keeps_nothing() -> None:
    model = around(nn.LocalResponseNorm(1))
    graph = trace(model, example())
    assert reasons(graph) == {}
    check_what_goes(model, graph)


def test_a_walk_of_too_many_steps_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependency_walk, "MOST_STEPS", 3)
    with pytest.raises(Unsupported, match="took more than 3 steps; a smaller variant"):
        trace(around(nn.ReLU()), example())


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_units_of_a_transposed_convolution_that_is_left_stay_and_its_inputs_go(groups: int) -> None:
    model = around(nn.ConvTranspose2d(8, 8, 3, padding=1, groups=groups))
    graph = trace(model, example())
    assert f"between is {LEFT_AS_IT_IS}" in reasons(graph).values()
    assert {group.name for group in graph.groups} == ({"first", "second"} if groups == 1 else {"second"})
    check_what_goes(model, graph)


def test_one_of_other_widths_loses_its_inputs() -> None:
    model = around(nn.ConvTranspose2d(8, 12, 2, stride=2), channels=12)
    graph = trace(model, example())
    assert {group.name for group in graph.groups} == {"first", "second"}
    assert [reader.layer for reader in graph.groups[0].readers] == ["between"]
    check_what_goes(model, graph)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_program_inside_a_network_keeps_what_it_reads() -> None:
    with pytest.warns(FutureWarning, match="deprecated"):
        program = torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()))
    graph = trace(around(program), example())
    assert [group.name for group in graph.groups] == ["second"]


class Doubled(torch.autograd.Function):
    """A stranger's operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * gradient


def test_an_operation_of_a_stranger_is_followed() -> None:
    model = around(Doubled.apply)
    graph = trace(model, example())
    assert reasons(graph) == {}
    check_what_goes(model, graph)


class Remembering(nn.Module):
    """Keeps in evaluation mode what it computed from a parameter, until its mode is set."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None or self.training:
            self.kept = 2 * self.scale
        return x * self.kept

    def train(self, mode: bool = True) -> Remembering:
        self.kept = None
        return super().train(mode)


def test_a_network_that_keeps_what_it_computed_is_analysed() -> None:
    model = around(Remembering())
    graph = trace(model, example())
    assert reasons(graph) == {}
    check_what_goes(model, graph)


def test_a_layer_without_a_weight_of_its_own_is_kept() -> None:
    model = around(nn.Identity())
    weight = model.get_submodule("second").weight.detach()
    del model.get_submodule("second").weight
    model.get_submodule("second").register_buffer("weight", weight)
    graph = trace(model, example())
    assert reasons(graph)["first"] == "second (Conv2d) cannot be cut: its weight is no parameter of its own"
    assert [layer.name for layer in graph.weight_layers] == ["first", "fc"]


class Attending(nn.Module):
    """An attention alone, whose layers are not called."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2)
        return self.attention(x, x, x)[0].mean(1)


LEFT_OUT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(1, 5, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        r"\(0: a transposed convolution that is left as it is: ",
    ),
    "attention": (
        Attending,
        r"attention: of type MultiheadAttention; only convolutions, linear and recurrent layers are pruned; "
        r"attention\.out_proj: a part of a MultiheadAttention, which multiplies by its weight without",
    ),
}


@pytest.mark.parametrize("kind", ["transposed", "attention"])
def test_a_network_without_prunable_layers_says_what_it_has(kind: str) -> None:
    build, message = LEFT_OUT[kind]
    graph = trace(build().eval(), example())
    with pytest.raises(Unsupported, match=r"no layer of this network can be pruned \(.*: "):
        graph.require_units()
    with pytest.raises(Unsupported, match="no weight of this network can be pruned .*" + message):
        graph.require_weights()


def test_layers_that_are_not_called_are_said_to_be_so() -> None:
    model = around(nn.Identity())
    model.spare = nn.Linear(3, 4)
    assert trace(model, example()).left_out == {"spare": "it is not called in evaluation"}


class Odd(nn.Module):
    """Returns something else than a tensor that can be followed to its layer."""

    def __init__(self, changed: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 5)
        self.changed = changed

    def forward(self, x: Tensor) -> Any:
        return self.changed(self.fc(x.flatten(1)))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "dict": (lambda: Odd(lambda y: {"logits": y}), "returns a dict where one tensor of shape"),
    "tuple": (lambda: Odd(lambda y: (y, y)), "returns a tuple where one tensor of shape"),
    "detached": (lambda: Odd(Tensor.detach), r"is there a detach\(\) or torch\.no_grad\(\)"),
    "raises": (lambda: Odd(lambda y: {}["x"]), r"shape \(1, 1, 8, 8\) and type float32: KeyError: 'x'"),
    "precision": (lambda: Odd(torch.relu).bfloat16(), r"does not run on an input .*type float32"),
    "script": (lambda: torch.jit.script(nn.Linear(8, 5)), r"TorchScript program, .*without torch\.jit"),
}


@pytest.mark.filterwarnings("ignore:.*jit.script.*deprecated:FutureWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_a_network_that_cannot_be_analysed_is_unsupported_with_a_sentence(kind: str) -> None:
    build, message = REFUSED[kind]
    with pytest.raises(Unsupported, match=message):
        trace(build().eval(), example())


def test_a_network_that_cannot_be_copied_is_unsupported_with_a_sentence() -> None:
    model = Odd(torch.relu)
    model.generator = (n for n in range(3))
    with pytest.raises(Unsupported, match=r"cannot be copied: TypeError: .*; it must hold its tensors as"):
        trace(model.eval(), example())


def test_a_fault_of_the_engine_is_not_called_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(dependency_walk.Walk, "_note", faulty)
    with pytest.raises(KeyError, match="a fault"):
        trace(around(nn.ReLU()), example())


@pytest.mark.parametrize("kind", [SmallerNetwork, MaskedNetwork])
def test_a_network_that_collects_what_it_computes_is_refused_in_a_sentence(kind: type[PrunedNetwork]) -> None:
    """As between the rounds of a schedule, after training has left its last outputs in it."""

    class Collects(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            self.seen.append(super().forward(inputs))
            return self.seen[-1]

    network = Collects(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)).eval()
    inputs, network.seen = torch.randn(3, 64), []
    graph, cost = trace(network, inputs), measure_cost(network, inputs[:1])
    network(inputs)
    rules = PruningSettings(scope="layer", budget="params")
    scores = {"0": torch.rand(8) if kind is SmallerNetwork else torch.rand(8, 64)}
    with pytest.raises(Unsupported, match=r"the network cannot be copied: .*parameters or buffers"):
        kind(network, graph, cost, rules, 0, inputs).cut(scores, 0.5, dict)
