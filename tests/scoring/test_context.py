from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchsuite.contracts.layers import CoupledGroup, GroupMember, Layer
from benchsuite.errors import PluginError, Unsupported
from benchsuite.scoring import tables
from benchsuite.scoring.context import ScoringContext, sum_over_units
from benchsuite.scoring.tables import TableStore, fingerprint
from benchsuite.testing import context_for, simple_layers, tiny_convnet, tiny_samples

if TYPE_CHECKING:
    from pathlib import Path


class Counted(nn.Module):
    """Counts the samples of all forward passes, except the probe with two samples."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_convnet()
        self.passed = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passed += len(x) if len(x) > 2 else 0
        return self.net(x)


def counted_context(**settings: object) -> tuple[Counted, ScoringContext]:
    model = Counted()
    return model, context_for(model, *tiny_samples(20), batch_size=5, **settings)


def test_batches_are_a_fixed_seeded_subset() -> None:
    model, (inputs, labels) = tiny_convnet(), tiny_samples(20)

    def taken(seed: int) -> torch.Tensor:
        context = context_for(model, inputs, labels, samples=7, batch_size=3, seed=seed)
        sizes = [len(batch) for batch, _ in context.batches()]
        assert sizes == [3, 3, 1]
        return torch.cat([batch for batch, _ in context.batches()])

    assert torch.equal(taken(0), taken(0))
    assert not torch.equal(taken(0), taken(1))
    matches = (taken(0)[:, None] == inputs[None]).flatten(2).all(-1)
    assert matches.sum(1).tolist() == [1] * 7


def test_labels_stay_with_their_inputs_and_inputs_are_normalised() -> None:
    inputs = torch.arange(10, dtype=torch.uint8).reshape(10, 1).expand(10, 4).contiguous()
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 10))
    context = context_for(model, inputs, torch.arange(10), normalise=lambda batch: batch.float() / 10)
    batch, labels = next(iter(context.batches()))
    torch.testing.assert_close(batch[:, 0] * 10, labels.float())
    assert context.classes == 10


def test_one_pass_serves_every_reduction_and_scorer() -> None:
    model, context = counted_context(reductions=("max", "rank"))
    context.activations("mean")
    assert model.passed == 20
    for reduction in ("max", "rank", "mean"):
        context.activations(reduction)
    assert model.passed == 20
    context.activations("variance")
    assert model.passed == 40


def test_tables_equal_a_plain_forward_pass() -> None:
    model, context = counted_context()
    batch = torch.cat([inputs for inputs, _ in context.batches()])
    with torch.no_grad():
        first = torch.relu(model.net[1](model.net[0](batch)))
        second = torch.relu(model.net[4](functional.max_pool2d(first, 2)))
    table = context.activations("max")
    torch.testing.assert_close(table["net.0"], first.amax((2, 3)))
    torch.testing.assert_close(table["net.4"], second.amax((2, 3)))
    assert list(table) == ["net.0", "net.4", "net.7"]


def test_processes_share_tables_through_a_folder(tmp_path: Path) -> None:
    first, one = counted_context(store=TableStore(tmp_path / "tables"), reductions=("max",))
    expected = one.activations("mean")["net.4"]
    second, two = counted_context(store=TableStore(tmp_path / "tables"))
    shared = two.activations("mean")["net.4"]
    two.activations("max")
    assert (first.passed, second.passed) == (20, 0)
    assert torch.equal(expected, shared)
    assert not list((tmp_path / "tables").glob("*.part"))


def test_those_who_come_at_once_wait_for_one_pass(tmp_path: Path) -> None:
    settings = [counted_context(store=TableStore(tmp_path)) for _ in range(3)]
    threads = [threading.Thread(target=context.activations, args=("mean",)) for _, context in settings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(model.passed for model, _ in settings) == 20


def test_another_network_or_other_samples_share_nothing(tmp_path: Path) -> None:
    _, one = counted_context(store=TableStore(tmp_path))
    one.activations("mean")
    changed, two = counted_context(store=TableStore(tmp_path), seed=1)
    two.activations("mean")
    assert changed.passed == 20
    trained, three = counted_context(store=TableStore(tmp_path))
    with torch.no_grad():
        trained.net[0].weight[0, 0, 0, 0] += 1
    three.activations("mean")
    assert trained.passed == 20


def test_a_failed_pass_leaves_no_file(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    with pytest.raises(RuntimeError), store.filling(["key"], (2, 3)):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert store.load("key") is None


def test_large_tables_go_to_disk_without_a_folder() -> None:
    store = TableStore(memory_share=0)
    with store.filling(["key"], (2, 3)) as (array,):
        assert isinstance(array, tables.np.memmap)
        array[:] = 5
    assert torch.equal(store.load("key"), torch.full((2, 3), 5.0))
    small = TableStore(memory_share=0.01)
    with small.filling(["key"], (2, 3)) as (array,):
        assert not isinstance(array, tables.np.memmap)
        array[:] = 5


def test_fingerprint_sees_names_types_and_values() -> None:
    value = torch.arange(4.0)
    base = fingerprint({"a": value})
    others = [{"b": value}, {"a": value.double()}, {"a": value.reshape(2, 2)}, {"a": value + 1}]
    assert base == fingerprint({"a": value.clone()})
    assert base not in {fingerprint(other) for other in others}


def test_gradients_are_those_of_the_mean_loss_and_leave_no_trace() -> None:
    model = tiny_convnet()
    context = context_for(model, *tiny_samples(10), batch_size=4)
    found = list(context.gradients())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert len(found) == 3
    for (inputs, labels), gradients in zip(context.batches(), found, strict=True):
        model.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        assert set(gradients) == {name for name, _ in model.named_parameters()}
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad)
    assert context.loss(model(inputs), labels).shape == ()


def test_gradients_reach_frozen_parameters() -> None:
    model = tiny_convnet().requires_grad_(False)
    gradients = next(context_for(model, *tiny_samples(10)).gradients())
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients.values())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_activation_gradients_are_per_sample() -> None:
    model = tiny_convnet()
    context = context_for(model, *tiny_samples(10), batch_size=4)
    inputs, labels = next(iter(context.batches()))
    maps, gradients = next(context.activation_gradients())["4"]
    for index in range(len(inputs)):
        head = model[:4](inputs[index : index + 1]).detach()
        activation = torch.relu(model[4](head)).detach().requires_grad_()
        loss = functional.cross_entropy(model[6:](activation), labels[index : index + 1])
        (gradient,) = torch.autograd.grad(loss, activation)
        torch.testing.assert_close(maps[index], activation[0].detach())
        torch.testing.assert_close(gradients[index], gradient[0])


def test_layer_inputs_are_what_enters() -> None:
    model = tiny_convnet()
    context = context_for(model, *tiny_samples(6), batch_size=4)
    (inputs, _), entered = next(iter(context.batches())), next(context.layer_inputs())
    torch.testing.assert_close(entered["0"], inputs)
    torch.testing.assert_close(entered["4"], model[:4](inputs).detach())


def test_generator_differs_by_draw_and_round_and_starts_anew() -> None:
    model, data = tiny_convnet(), tiny_samples()
    first, again, other = (context_for(model, *data, draw=draw) for draw in (0, 0, 1))
    later, latest = (context_for(model, *data, round_number=number) for number in (1, 2))
    value = torch.rand(3, generator=first.generator)
    assert torch.equal(value, torch.rand(3, generator=again.generator))
    others = [torch.rand(3, generator=context.generator) for context in (other, later, latest)]
    assert not any(torch.equal(value, another) for another in others)
    assert not torch.equal(others[1], others[2])
    first.restart()
    assert torch.equal(value, torch.rand(3, generator=first.generator))


def test_skip_wants_a_known_layer_and_the_trace_a_recording() -> None:
    context = context_for(tiny_convnet(), *tiny_samples())
    context.skip(context.layers[0], "because")
    assert context.skipped == {"0": "because"}
    with pytest.raises(PluginError, match="no layer 'nonesuch'; there are: 0, 4, 7"):
        context.skip("nonesuch", "because")
    with pytest.raises(Unsupported, match="no training trace"):
        _ = context.training_trace


def test_weight_scores_become_unit_scores_by_their_sum() -> None:
    layer = simple_layers(tiny_convnet())[0]
    scores = {"0": layer.weight, "1": torch.ones(3)}
    summed = sum_over_units(scores)
    assert summed["0"].tolist() == pytest.approx([float(weights.sum()) for weights in layer.weight], rel=1e-5)
    assert torch.equal(summed["1"], torch.ones(3))


def test_scores_of_positions_are_spread_over_the_coupled_units() -> None:
    model = nn.ModuleDict({name: nn.Linear(3, 4) for name in ("a", "b", "c")})
    members = (GroupMember("a", ((2,), (0,))), GroupMember("b", ((0, 1), (2, 3))))
    layers = [Layer(name, "linear", module) for name, module in model.items()]
    groups = [CoupledGroup("a", members, 2)]
    context = ScoringContext(model, layers, torch.zeros(5, 3), torch.zeros(5).long(), groups=groups)
    scores = context.spread({"a": torch.tensor([5.0, 7.0])})
    assert {name: score.tolist() for name, score in scores.items()} == {"a": [7, 0, 5, 0], "b": [5, 5, 7, 7]}
    assert list(context.skipped) == ["c"]


def test_scorings_of_one_trial_draw_other_numbers_of_the_same_samples() -> None:
    plain, again, named = (
        context_for(tiny_convnet(), *tiny_samples(20), samples=7, **stream)
        for stream in ({}, {"stream": ""}, {"stream": "conv1"})
    )
    drawn = [torch.rand(8, generator=context.generator) for context in (plain, again, named)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    (first, _), (other, _) = (next(context.batches()) for context in (plain, named))
    assert torch.equal(first, other)
