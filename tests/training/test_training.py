from __future__ import annotations

import logging
import math
from collections import Counter
from contextlib import nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.errors import BenchsuiteError, DataError
from benchsuite.training import TraceRequest, TrainingTrace, learning_rates, on_device, train
from benchsuite.training.data import draw_epoch, take_batch
from benchsuite.training.step import Step, capture
from benchsuite.training.trace import TraceRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES, BATCH = 70, 16
RECIPE = TrainingRecipe(
    epochs=2, batch_size=BATCH, learning_rate=0.05, weight_decay=0.01, label_smoothing=0.1
)


PLAIN = Augmentation()


def images(augmentation: Augmentation = PLAIN, samples: int = SAMPLES) -> Dataset:
    generator = torch.Generator().manual_seed(7)

    def split(count: int) -> Split:
        inputs = torch.randint(0, 256, (count, 2, 6, 5), dtype=torch.uint8, generator=generator)
        return Split(inputs, torch.randint(0, 3, (count,), generator=generator))

    return Dataset(
        split(samples),
        split(9),
        split(10),
        ("a", "b", "c"),
        (0.4, 0.5),
        (0.2, 0.3),
        augmentation=augmentation,
    )


def features(samples: int = SAMPLES) -> Dataset:
    generator = torch.Generator().manual_seed(8)

    def split(count: int) -> Split:
        inputs = torch.randn((count, 4), generator=generator)
        return Split(inputs, (inputs[:, 0] > 0).long())

    return Dataset(split(samples), split(9), split(10), ("low", "high"), (0.5,) * 4, (2.0,) * 4)


def conv_net(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4, 3),
    )


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_bits(left: nn.Module, right: nn.Module) -> None:
    for (name, one), other in zip(left.state_dict().items(), right.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


# The trainer against a plain loop with an optimiser written out by hand.


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_training_equals_a_loop_written_by_hand(nesterov, momentum):
    recipe = RECIPE.model_copy(update={"momentum": momentum, "nesterov": nesterov, "schedule": "step"})
    dataset, seed = images(), 11
    model, reference = conv_net(), conv_net()
    log = train(model, on_device(dataset, "cpu"), recipe, seed=seed, device="cpu")

    steps = SAMPLES // BATCH
    generator = torch.Generator().manual_seed(seed)
    torch.randint(2**62, (), generator=generator)
    mean, std = torch.tensor(dataset.mean)[:, None, None], torch.tensor(dataset.std)[:, None, None]
    velocity = {name: torch.zeros_like(p) for name, p in reference.named_parameters()}
    losses, number = [], 0
    for _ in range(2):
        order = torch.randperm(SAMPLES, generator=generator)
        epoch = []
        for batch in order[: steps * BATCH].split(BATCH):
            inputs = (dataset.train.inputs[batch] / 255.0 - mean) / std
            logs = reference(inputs).log_softmax(1)
            smooth = torch.full((BATCH, 3), 0.1 / 3)
            smooth[torch.arange(BATCH), dataset.train.labels[batch]] += 0.9
            loss = -(smooth * logs).sum(1).mean()
            epoch.append(loss.item())
            gradients = torch.autograd.grad(loss, list(reference.parameters()))
            rate = 0.05 * 0.1 ** ((number >= steps) + (number >= 1.5 * steps))
            number += 1
            with torch.no_grad():
                for (name, weight), gradient in zip(reference.named_parameters(), gradients, strict=True):
                    if weight.dim() >= 2:
                        gradient = gradient + 0.01 * weight
                    velocity[name] = momentum * velocity[name] + gradient
                    change = gradient + momentum * velocity[name] if nesterov else velocity[name]
                    weight -= rate * change
        losses.append(sum(epoch) / len(epoch))

    for (name, weight), expected in zip(
        model.state_dict().items(), reference.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6, msg=name)
    assert log.losses == pytest.approx(losses, rel=1e-5)
    assert (log.steps, log.steps_per_epoch, log.captured) == (2 * steps, steps, False)
    assert log.learning_rates == pytest.approx((0.05, 0.05 * (2 * 0.1 + 2 * 0.01) / 4))


def test_training_learns():
    data = on_device(features(400), "cpu")
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    log = train(model, data, TrainingRecipe(epochs=5, batch_size=20, learning_rate=0.5), seed=0, device="cpu")
    assert log.losses[-1] < 0.5 * log.losses[0]
    assert (model(data.test.normalise(data.test.inputs)).argmax(1) == data.test.labels).all()


# Reproducibility.


@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(pad_crop=2, flip=True)])
def test_same_seed_same_bits_whatever_the_global_generator(augmentation):
    data = on_device(images(augmentation), "cpu")
    first, second, other = conv_net(0.5), conv_net(0.5), conv_net(0.5)
    torch.manual_seed(1)
    one = train(first, data, RECIPE, seed=5, device="cpu")
    torch.manual_seed(2)
    two = train(second, data, RECIPE, seed=5, device="cpu")
    assert_same_bits(first, second)
    assert one.losses == two.losses
    train(other, data, RECIPE, seed=6, device="cpu")
    assert not torch.equal(first[0].weight, other[0].weight)


def test_dropout_is_drawn_and_the_global_generator_left_alone():
    data = on_device(images(), "cpu")
    plain, dropped = conv_net(0.0), conv_net(0.5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(plain, data, RECIPE, seed=5, device="cpu")
    train(dropped, data, RECIPE, seed=5, device="cpu")
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(plain[0].weight, dropped[0].weight)


def test_mode_and_layout_are_left_as_they_were():
    model = conv_net().eval()
    train(model, on_device(images(), "cpu"), RECIPE, seed=0, device="cpu")
    assert not any(module.training for module in model.modules())
    assert all(parameter.is_contiguous() and parameter.grad is None for parameter in model.parameters())


def test_weights_with_gaps_in_memory_are_trained_like_others():
    data = on_device(features(), "cpu")
    models = [nn.Linear(4, 2), nn.Linear(4, 2)]
    values = torch.arange(16.0).view(2, 8) / 10
    models[0].weight = nn.Parameter(values[:, ::2])
    models[1].weight = nn.Parameter(values[:, ::2].clone())
    models[0].bias, models[1].bias = (nn.Parameter(torch.zeros(2)) for _ in models)
    for model in models:
        train(model, data, RECIPE, seed=0, device="cpu")
    assert_same_bits(*models)


# Steps and epochs.


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (0.01, 1), (0.5, 2), (1, 4), (1.3, 5), (2, 8)])
def test_fractions_of_epochs_are_steps(epochs, steps):
    model = conv_net()
    before = state_of(model)
    log = train(model, on_device(images(), "cpu"), RECIPE, seed=0, device="cpu", epochs=epochs)
    assert log.steps == steps
    assert len(log.losses) == len(log.learning_rates) == math.ceil(steps / 4)
    assert int(model[1].num_batches_tracked) == steps
    assert torch.equal(before["0.weight"], model[0].weight) == (steps == 0)


def test_a_split_smaller_than_a_batch_is_one_batch():
    model = conv_net()
    log = train(model, on_device(images(samples=5), "cpu"), RECIPE, seed=0, device="cpu")
    assert (log.steps, log.steps_per_epoch) == (2, 1)


def test_after_step_runs_after_every_step():
    model = conv_net()
    mask = (torch.arange(model[0].weight.numel()).view_as(model[0].weight) % 2).float()
    calls = []

    def apply_mask() -> None:
        calls.append(model[0].weight.detach().mul_(mask))

    train(model, on_device(images(), "cpu"), RECIPE, seed=0, device="cpu", after_step=apply_mask)
    assert len(calls) == 8
    assert torch.equal(model[0].weight == 0, mask == 0)


def test_frozen_weights_stay():
    model = conv_net()
    model[0].weight.requires_grad_(False)
    before = state_of(model)
    train(model, on_device(images(), "cpu"), RECIPE, seed=0, device="cpu")
    assert torch.equal(before["0.weight"], model[0].weight)
    assert not torch.equal(before["3.weight"], model[3].weight)


def test_divergence_is_an_error_that_says_what_to_do():
    recipe = RECIPE.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(
        BenchsuiteError, match=r"training diverged: .*lower the learning rate \(its peak is 1e\+30\)"
    ):
        train(nn.Linear(4, 2), on_device(features(), "cpu"), recipe, seed=0, device="cpu")


def test_weights_spoilt_by_the_last_step_are_an_error():
    model = nn.Linear(4, 2)

    def spoil() -> None:
        model.weight.detach().fill_(float("inf"))

    with pytest.raises(BenchsuiteError, match=r"no longer finite after the last step \(weight\)"):
        train(model, on_device(features(), "cpu"), RECIPE, seed=0, device="cpu", epochs=0.1, after_step=spoil)


def test_statistics_spoilt_by_training_are_an_error():
    """All weights may be finite: a running mean is no parameter."""
    model = conv_net()

    def spoil() -> None:
        norm = next(module for module in model if isinstance(module, nn.BatchNorm2d))
        norm.running_mean.fill_(float("nan"))

    with pytest.raises(BenchsuiteError, match=r"no longer finite after the last step \(.*running_mean\)"):
        train(model, on_device(images(), "cpu"), RECIPE, seed=0, device="cpu", epochs=0.1, after_step=spoil)


class _CountOps(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device():
    def operations(epochs: float) -> Counter[str]:
        data = on_device(images(Augmentation(pad_crop=1, flip=True)), "cpu")
        model = conv_net(0.5)
        with _CountOps() as counter:
            train(model, data, RECIPE, seed=0, device="cpu", epochs=epochs, trace=TraceRequest())
        return counter.counts

    short, long = operations(1), operations(5)
    assert long["convolution"] == 5 * short["convolution"] > 0
    for waiting in ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select"):
        assert long[waiting] == short[waiting]
    assert short["_local_scalar_dense"] > 0, (
        "the seed's draw and the last check are seen, so steps would be too"
    )


# Schedules.


def test_one_cycle_rises_and_falls_linearly():
    recipe = TrainingRecipe(learning_rate=2.0, warmup=0.2)
    rates = learning_rates(recipe, 10)
    assert rates == pytest.approx([0.5, 1.5, *(2.0 * (7.5 - k) / 8 for k in range(8))])
    assert learning_rates(recipe.model_copy(update={"warmup": 0.0}), 2) == pytest.approx([1.5, 0.5])
    for steps in (1, 2, 3, 1000):
        assert all(0 < rate <= 2.0 for rate in learning_rates(recipe, steps))


def test_step_and_constant_schedules():
    recipe = TrainingRecipe(learning_rate=1.0, schedule="step", milestones=(0.5, 0.75), gamma=0.1)
    assert learning_rates(recipe, 8) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert learning_rates(recipe.model_copy(update={"schedule": "constant"}), 3) == [1.0, 1.0, 1.0]


# Data on the device.


def test_normalise_is_that_of_the_data_set():
    dataset = images()
    data = on_device(dataset, "cpu")
    expected = (
        dataset.test.inputs.double() / 255 - torch.tensor([0.4, 0.5], dtype=torch.float64).view(1, 2, 1, 1)
    ) / (torch.tensor([0.2, 0.3], dtype=torch.float64).view(1, 2, 1, 1))
    torch.testing.assert_close(data.test.normalise(data.test.inputs).double(), expected, rtol=1e-5, atol=1e-6)
    table = features()
    data = on_device(table, "cpu")
    before = table.test.inputs.clone()
    torch.testing.assert_close(data.test.normalise(data.test.inputs), (before - 0.5) / 2)
    assert torch.equal(data.test.inputs, before), "the data themselves stay as they are"


@pytest.mark.parametrize("pad", [0, 1, 3])
def test_augmentation_equals_padding_and_cropping_image_by_image(pad):
    augmentation = Augmentation(pad_crop=pad, flip=True)
    dataset = images(augmentation)
    data = on_device(dataset, "cpu")
    draws = draw_epoch(SAMPLES, 4, BATCH, augmentation, torch.Generator().manual_seed(0))
    assert set(draws[..., 3].unique().tolist()) == {0, 1}
    assert set(draws[..., 1].unique().tolist()) == set(range(2 * pad + 1))
    inputs, labels = take_batch(data.train, draws[1], augmentation)
    for got, label, (sample, top, left, mirror) in zip(inputs, labels, draws[1].tolist(), strict=True):
        image = nn.functional.pad(dataset.train.inputs[sample].float(), (pad,) * 4, mode="reflect")
        image = image[:, top : top + 6, left : left + 5]
        image = image.flip(2) if mirror else image
        torch.testing.assert_close(got, data.train.normalise(image[None])[0])
        assert label == dataset.train.labels[sample]


def test_an_epoch_sees_no_sample_twice():
    draws = draw_epoch(SAMPLES, 4, BATCH, None, torch.Generator().manual_seed(0))
    assert draws.shape == (4, BATCH, 1)
    assert len(draws.unique()) == 4 * BATCH


def test_a_recipe_can_switch_augmentation_off():
    recipe = RECIPE.model_copy(update={"augment": False})
    plain, switched = conv_net(), conv_net()
    train(plain, on_device(images(), "cpu"), RECIPE, seed=0, device="cpu")
    train(switched, on_device(images(Augmentation(2, flip=True)), "cpu"), recipe, seed=0, device="cpu")
    assert_same_bits(plain, switched)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (0.1, 0.2, 0.3)}, "1 or 2 values of mean and std, got 3 and 2"),
        ({"std": (0.0, 1.0)}, "every std must be above zero"),
        ({"augmentation": Augmentation(pad_crop=5)}, "by 5 reflected pixels"),
        ({"classes": ("a", "b")}, "train labels run from 0 to 2, but there are 2 classes"),
        ({"test": features().test}, "test inputs are torch.float32"),
        ({"train": Split(torch.zeros(0, 2, 6, 5), torch.zeros(0).long())}, "the training split is empty"),
        ({"test": Split(images().test.inputs, torch.zeros(3).long())}, "test: 10 inputs but 3 labels"),
    ],
)
def test_data_that_do_not_fit_together_are_refused(change, message):
    fields = {**vars(images()), **change}
    with pytest.raises(DataError, match=message):
        on_device(Dataset(**fields), "cpu")


def test_only_images_can_be_augmented():
    fields = {**vars(features()), "augmentation": Augmentation(flip=True)}
    with pytest.raises(DataError, match="only images"):
        on_device(Dataset(**fields), "cpu")


# The trace.


def test_the_trace_is_what_a_watcher_of_the_weights_sees(tmp_path):
    model = conv_net()
    seen = []

    def watch() -> None:
        seen.append(state_of(model))

    initial = state_of(model)
    request = TraceRequest(snapshots=(0, 3, 99))
    log = train(
        model,
        on_device(images(), "cpu"),
        RECIPE,
        seed=0,
        device="cpu",
        epochs=1.5,
        after_step=watch,
        trace=request,
    )
    assert log.trace is not None
    log.trace.save(tmp_path / "trace.safetensors")
    trace = TrainingTrace.load(tmp_path / "trace.safetensors")

    assert set(trace.snapshots) == {0, 3}
    for name, value in initial.items():
        assert torch.equal(trace.snapshots[0][name], value)
        assert torch.equal(trace.snapshots[3][name], seen[2][name])
    assert set(trace.initial) == {name for name, _ in model.named_parameters()}
    for name in trace.initial:
        path = [initial[name], *(state[name] for state in seen)]
        assert len(path) == 7
        assert torch.equal(trace.initial[name], path[0])
        steps = sum((after - before).double() ** 2 for before, after in pairwise(path))
        epochs = (path[4] - path[0]).double() ** 2 + (path[6] - path[4]).double() ** 2
        torch.testing.assert_close(trace.squared_updates[name].double(), steps, rtol=1e-4, atol=1e-12)
        torch.testing.assert_close(trace.squared_epoch_updates[name].double(), epochs, rtol=1e-4, atol=1e-12)
        ratios, products = (torch.zeros_like(path[0], dtype=torch.float64) for _ in range(2))
        for before, after in ((path[0], path[4]), (path[4], path[6])):
            # The difference as single precision has it: near zero nothing else can be compared.
            moved = (after - path[0]).double()
            ratio = torch.where(moved == 0, 0.0, after.double() / moved)
            ratios += ratio
            products += ratio * (after - before).double() ** 2
        torch.testing.assert_close(trace.epoch_ratios[name].double(), ratios, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(trace.epoch_products[name].double(), products, rtol=1e-4, atol=1e-9)
    assert trace.learning_rates.tolist() == learning_rates(RECIPE, 6)


def test_the_trace_changes_nothing_and_can_be_snapshots_alone():
    plain, traced = conv_net(), conv_net()
    data = on_device(images(), "cpu")
    assert train(plain, data, RECIPE, seed=0, device="cpu").trace is None
    log = train(traced, data, RECIPE, seed=0, device="cpu", trace=TraceRequest(updates=False, snapshots=(2,)))
    assert_same_bits(plain, traced)
    assert log.trace is not None
    assert not log.trace.initial
    assert set(log.trace.snapshots) == {2}


# Recording a step as a CUDA graph.


class _FakeGraph:
    """Stands for a CUDA graph. While one is recorded here, the step really runs, which is harder to undo."""


class _FakeGenerator:
    """Stands for a GPU's generator: after a broken recording it draws nothing until it is repaired."""

    def __init__(self) -> None:
        self.broken = False

    def clone_state(self) -> torch.Tensor:
        return torch.get_rng_state()

    def graphsafe_set_state(self, state: torch.Tensor) -> None:
        torch.set_rng_state(state)
        self.broken = False


def _step(model: nn.Module, after: Callable[[], None] | None = None) -> tuple[Step, TraceRecorder]:
    data = on_device(images(Augmentation(pad_crop=1, flip=True)), "cpu")
    recorder = TraceRecorder(model, TraceRequest())
    step = Step(model.train(), data, RECIPE, learning_rates(RECIPE, 8), BATCH, after, recorder)
    step.begin_epoch(torch.Generator().manual_seed(0))
    return step, recorder


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch):
    class Stream:
        def wait_stream(self, other: object) -> None: ...

    streams = [Stream()]
    monkeypatch.setattr(torch.cuda, "default_generators", (_FakeGenerator(),))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: streams.append(stream))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", _FakeGraph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: streams[-1])
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: nullcontext())


def test_the_steps_that_recording_takes_leave_no_trace(fake_cuda):
    straight, recorded = conv_net(0.5), conv_net(0.5)
    torch.manual_seed(0)
    direct, one = _step(straight)
    for _ in range(5):
        direct()
    torch.manual_seed(0)
    watched, two = _step(recorded)
    assert isinstance(capture(watched, torch.device("cpu")), _FakeGraph)
    for _ in range(5):
        watched()
    assert_same_bits(straight, recorded)
    assert torch.equal(direct.loss, watched.loss)
    for name, total in one.result([]).squared_updates.items():
        assert torch.equal(total, two.result([]).squared_updates[name])


def test_a_step_that_cannot_be_recorded_runs_as_it_is(fake_cuda, monkeypatch, caplog):
    generator, stream = torch.cuda.default_generators[0], torch.cuda.current_stream()

    class Refused:
        """A recording that breaks in the step, and once more at its end, as torch's does."""

        def __init__(self, own_stream: object) -> None:
            self.own_stream = own_stream

        def __enter__(self) -> None:
            torch.cuda.set_stream(self.own_stream)
            torch.rand(7)
            generator.broken = True

        def __exit__(self, *_: object) -> None:
            raise RuntimeError("operation failed due to a previous error during capture")

    def sync() -> None:
        if generator.broken:
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: Refused(stream))
    straight, recorded = conv_net(0.5), conv_net(0.5)
    torch.manual_seed(0)
    direct, _ = _step(straight)
    torch.manual_seed(0)
    watched, _ = _step(recorded, sync)
    state = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        assert capture(watched, torch.device("cpu")) is None
    assert "operation not permitted when stream is capturing" in caplog.text, "the cause, not what it led to"
    assert not generator.broken
    assert torch.cuda.current_stream() is stream
    assert torch.equal(torch.get_rng_state(), state)
    for _ in range(4):
        watched()
    torch.set_rng_state(state)
    for _ in range(4):
        direct()
    assert_same_bits(straight, recorded)
    assert torch.equal(direct.loss, watched.loss)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("auto", True)])
def test_a_recipe_in_float32_allows_no_other_arithmetic(precision, allowed):
    seen = []
    recipe = RECIPE.model_copy(update={"precision": precision})
    train(
        conv_net(),
        on_device(images(), "cpu"),
        recipe,
        seed=0,
        device="cpu",
        after_step=lambda: seen.append(torch.backends.cudnn.allow_tf32),
    )
    assert seen == [allowed] * 8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_replayed_step_does_what_a_step_does(precision, monkeypatch):
    recipe = RECIPE.model_copy(update={"precision": precision, "epochs": 10})
    data = on_device(images(Augmentation(pad_crop=1, flip=True)), "cuda")
    replayed, eager = conv_net(), conv_net()
    request = TraceRequest(snapshots=(0, 5))
    one = train(replayed, data, recipe, seed=0, device="cuda", trace=request)
    monkeypatch.setattr("benchsuite.training.trainer.capture", lambda step, device: None)
    two = train(eager, data, recipe, seed=0, device="cuda", trace=request)
    assert one.captured
    assert not two.captured
    tolerance = 0.05 if precision == "auto" else 0.005
    assert one.losses == pytest.approx(two.losses, rel=tolerance)
    assert one.trace is not None
    assert two.trace is not None
    for name, value in one.trace.snapshots[0].items():
        assert torch.equal(value, two.trace.snapshots[0][name])
    assert int(replayed[1].num_batches_tracked) == 40


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_dropout_in_a_replayed_step_is_drawn_anew_and_seeded():
    data = on_device(images(), "cuda")
    models = [conv_net(0.5) for _ in range(2)]
    logs = [train(model, data, RECIPE, seed=0, device="cuda", epochs=10) for model in models]
    assert logs[0].captured
    assert logs[0].losses == pytest.approx(logs[1].losses, rel=0.02)


def test_a_training_that_begins_later_takes_the_whole_training_s_later_steps():
    """With plain gradient descent nothing but the weights carries over, so both ends are the same bits."""
    data = on_device(images(Augmentation(pad_crop=1, flip=True)), "cpu")
    recipe = RECIPE.model_copy(update={"epochs": 3, "momentum": 0.0})
    at = SAMPLES // BATCH + 2
    whole = conv_net()
    log = train(whole, data, recipe, seed=3, device="cpu", trace=TraceRequest(updates=False, snapshots=(at,)))
    assert log.trace is not None
    later = conv_net()
    later.load_state_dict(log.trace.snapshots[at])
    rest = train(later, data, recipe, seed=3, device="cpu", first_step=at)
    assert rest.steps == log.steps - at
    assert len(rest.losses) == len(rest.learning_rates) == 2
    for name, value in whole.state_dict().items():
        assert torch.equal(value, later.state_dict()[name]), name


@pytest.mark.parametrize("parts", [[0.5, 0.5], [0.25] * 8, [1.0, 0.75, 0.75]])
def test_trainings_in_a_row_go_on_with_the_samples_where_the_one_before_ended(parts: list[float]) -> None:
    """At a constant rate, without momentum, they give the same bits as one training of their whole length."""
    data = on_device(images(Augmentation(pad_crop=1, flip=True)), "cpu")
    recipe = RECIPE.model_copy(update={"momentum": 0.0, "schedule": "constant", "epochs": sum(parts)})
    whole, pieces = conv_net(), conv_net()
    steps = train(whole, data, recipe, seed=3, device="cpu").steps
    position, losses = 0, 0
    for part in parts:
        log = train(pieces, data, recipe, seed=3, device="cpu", epochs=part, position=position)
        position += log.steps
        losses += len(log.losses)
        assert len(log.losses) == len(log.learning_rates)
        assert log.learning_rates == pytest.approx([recipe.learning_rate] * len(log.losses))
    assert position == steps
    assert losses >= len(parts)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, pieces.state_dict()[name]), name


def test_each_of_several_trainings_has_its_own_cycle_of_rates() -> None:
    data = on_device(images(), "cpu")
    recipe = RECIPE.model_copy(update={"schedule": "one-cycle"})
    first = train(conv_net(), data, recipe, seed=0, device="cpu", epochs=2)
    later = train(conv_net(), data, recipe, seed=0, device="cpu", epochs=2, position=first.steps)
    assert later.steps == first.steps
    assert later.learning_rates == pytest.approx(first.learning_rates)
