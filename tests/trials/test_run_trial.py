"""Whole trials: what every schedule and control does to a network, checked against what it should do."""

from __future__ import annotations

import copy
import itertools
import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import benchsuite
from benchsuite.errors import BenchsuiteError, Collapsed, PluginError, Unsupported
from benchsuite.hardware.devices import prepare
from benchsuite.metrics.accuracy import evaluate
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite.metrics.latency import Latency, Timing
from benchsuite.metrics.latency_settings import LatencySettings
from benchsuite.metrics.median_interval import MedianInterval
from benchsuite.plan.matrix import build_plan
from benchsuite.pruning.networks import MaskedNetwork, SmallerNetwork
from benchsuite.registry.discovery import discover
from benchsuite.scoring.sampled_network import seeded
from benchsuite.store import stages
from benchsuite.store.keys import derived_seed
from benchsuite.suite import load_suite
from benchsuite.training import DeviceDataset
from benchsuite.trials import (
    dense_training,
    evaluations,
    latency,
    pruned_model,
    recovery,
    rounds,
    run_trial,
    scores,
)
from benchsuite.trials.data import load_data
from benchsuite.trials.dense_model import load_dense
from benchsuite.trials.dense_training import build_model
from benchsuite.trials.pruned_model import load_pruned, outputs_on
from benchsuite.trials.scores import score_dense
from benchsuite.trials.training_trace import load_trace, train_with_traces
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext
from benchsuite_scorers.synflow import SynFlow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord

STEPS = 6
"""Steps per epoch."""


class Blobs(benchsuite.DatasetPlugin):
    """Noisy pictures of three patterns."""

    name = "blobs"

    def load(self, folder: Path) -> benchsuite.Dataset:
        generator = torch.Generator().manual_seed(0)
        patterns = torch.rand(3, 1, 6, 6, generator=generator) * 120

        def split(count: int) -> benchsuite.Split:
            labels = torch.randint(3, (count,), generator=generator)
            noise = torch.rand(count, 1, 6, 6, generator=generator) * 130
            return benchsuite.Split((patterns[labels] + noise).to(torch.uint8), labels)

        return benchsuite.Dataset(
            split(40 * STEPS), split(30), split(90), ("a", "b", "c"), mean=(0.4,), std=(0.2,)
        )


class Perceptron(benchsuite.ModelPlugin):
    """Linear layers with ReLU between them."""

    name = "perceptron"
    recipe = benchsuite.TrainingRecipe(epochs=4, batch_size=40, learning_rate=0.05)
    hidden: tuple[int, ...] = (12, 8)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return perceptron(36, self.hidden, classes)


class Residual(benchsuite.ModelPlugin):
    """A residual block with batch normalisation."""

    name = "tiny-residual"
    recipe = benchsuite.TrainingRecipe(epochs=2, batch_size=40, learning_rate=0.05)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return ResidualNetwork(classes)


class Gain(nn.Module):
    """A module with an operation whose multiply-accumulates are unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.linalg.det(self.factor.view(1, 1))


class Scaled(benchsuite.ModelPlugin):
    """The perceptron with its inputs scaled."""

    name = "scaled"
    recipe = benchsuite.TrainingRecipe(epochs=1, batch_size=40, learning_rate=0.05)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(Gain(), perceptron(36, (12,), classes))


class ResidualNetwork(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.inner, self.back = nn.Conv2d(8, 10, 3, padding=1), nn.Conv2d(10, 8, 1)
        self.last = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.last((x + self.back(self.inner(x).relu())).relu().mean((2, 3)))


def perceptron(inputs: int, hidden: tuple[int, ...], classes: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


FIRST, SECOND, OUTPUT = "1", "3", "5"
"""The perceptron's layers by name."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Workshop:
    registry, _ = discover()
    for kind, plugin in (("dataset", Blobs), ("model", Perceptron), ("model", Residual), ("model", Scaled)):
        registry.add(kind, plugin, "this test", "-")
    folder = tmp_path_factory.mktemp("run")
    return Workshop(WorkerContext(RunConfiguration(folder, folder), registry, prepare("cpu", 1), 1))


@dataclass
class Workshop:
    """Plans suites and runs their trials in one run directory, so that dense models are shared."""

    worker: WorkerContext

    def plan(self, model: str = "perceptron", scorer: str = '"magnitude-l1"', **settings: Any) -> list[Trial]:
        """Trials of one scorer on one model; settings of the suite by their dotted names."""
        sections: dict[str, list[str]] = {
            "pruning": [],
            "recovery": [],
            "suite": [],
            "training": [],
            "scoring": [],
        }
        defaults = {
            "suite_sparsities": "[0.5]",
            "pruning_scope": '"layer"',
            "pruning_budget": '"params"',
        }
        for name, value in {**defaults, **settings}.items():
            section, _, key = name.partition("_")
            sections[section].append(f"{key} = {value}")
        suite = sections.pop("suite")
        text = ["[suite]", 'name = "t"', "seeds = [0]", f"scorers = [{scorer}]", *suite]
        text += ["[[workload]]", 'dataset = "blobs"', f'models = ["{model}"]']
        for section, lines in sections.items():
            text += [f"[{section}]", *lines]
        file = self.worker.configuration.run / "suite.toml"
        file.write_text("\n".join([*text, "[metrics]", "latency = false"]))
        suite_ = load_suite(file, self.worker.plugins)
        return build_plan(suite_, self.worker.plugins, self.worker.configuration.run)

    def run(self, trial: Trial) -> TrialRecord:
        train_with_traces(self.worker, trial.dense, trial.traces)
        return run_trial.run_trial(self.worker, trial, [score_dense(self.worker, trial.score)])

    def dense_weights(self, trial: Trial) -> dict[str, Tensor]:
        return stages.load_tensors(self.worker.folder(trial.dense.key) / "model.safetensors")

    def weights(self, trial: Trial) -> dict[str, Tensor]:
        return stages.load_tensors(self.worker.folder(trial.key) / "model.safetensors")

    def accuracy(self, trial: Trial, model: nn.Module) -> float:
        """The accuracy on the test split, computed from the raw images."""
        data, _ = load_data(self.worker, trial.dense.dataset, trial.dense.data_key)
        with torch.no_grad():
            logits = model.eval()((data.test.inputs.float() / 255 - 0.4) / 0.2)
        return int((logits.argmax(1) == data.test.labels).sum()) / len(data.test)


@dataclass
class Course:
    """The observed history of a trial: what each cut had removed, and how each training began."""

    gone: list[dict[str, set[int]]] = field(default_factory=list)
    trainings: list[dict[str, Any]] = field(default_factory=list)
    before: list[dict[str, Tensor]] = field(default_factory=list)
    survivors: list[int] = field(default_factory=list)
    """After each step, how many masked weights are not zero."""

    @property
    def epochs(self) -> list[float]:
        return [training["epochs"] for training in self.trainings]


@pytest.fixture
def course(monkeypatch) -> Course:
    seen = Course()
    for kind in (SmallerNetwork, MaskedNetwork):
        monkeypatch.setattr(kind, "cut", observed_cut(kind, seen))
    train = recovery.train

    def observed_train(model: nn.Module, data: DeviceDataset, recipe: Any, **options: Any) -> Any:
        seen.trainings.append({**options, "recipe": recipe})
        seen.before.append({name: value.clone() for name, value in model.state_dict().items()})
        inner, zero = options["after_step"], seen.gone[-1] if seen.gone else {}

        def after_step() -> None:
            inner()
            state = model.state_dict()
            alive = (
                int(state[f"{n}.weight"].flatten()[list(where)].count_nonzero()) for n, where in zero.items()
            )
            seen.survivors.append(sum(alive))

        if inner is not None:
            options = {**options, "after_step": after_step}
        return train(model, data, recipe, **options)

    monkeypatch.setattr(recovery, "train", observed_train)
    return seen


def observed_cut(kind: type, seen: Course) -> Any:
    cut = kind.cut

    def observed(self: Any, *arguments: Any) -> None:
        cut(self, *arguments)
        if isinstance(self, SmallerNetwork):
            seen.gone.append({name: set(positions) for name, positions in self.removed.items()})
        else:
            masks = self._masks.keep.items()
            seen.gone.append({name: set((~keep).flatten().nonzero()[:, 0].tolist()) for name, keep in masks})

    return observed


def kept(gone: dict[str, set[int]], name: str, size: int) -> list[int]:
    return [unit for unit in range(size) if unit not in gone.get(name, ())]


def cut_by_hand(state: dict[str, Tensor], gone: dict[str, set[int]]) -> dict[str, Tensor]:
    """A perceptron's weights without the removed units."""
    first, second = kept(gone, FIRST, 12), kept(gone, SECOND, 8)
    return {
        f"{FIRST}.weight": state[f"{FIRST}.weight"][first],
        f"{FIRST}.bias": state[f"{FIRST}.bias"][first],
        f"{SECOND}.weight": state[f"{SECOND}.weight"][second][:, first],
        f"{SECOND}.bias": state[f"{SECOND}.bias"][second],
        f"{OUTPUT}.weight": state[f"{OUTPUT}.weight"][:, second],
        f"{OUTPUT}.bias": state[f"{OUTPUT}.bias"],
    }


def masked_by_hand(state: dict[str, Tensor], gone: dict[str, set[int]]) -> dict[str, Tensor]:
    masked = {name: value.clone() for name, value in state.items()}
    for name, where in gone.items():
        masked[f"{name}.weight"].view(-1)[list(where)] = 0
    return masked


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def lowest(scores: Tensor, count: int) -> set[int]:
    return set(scores.flatten().argsort()[:count].tolist())


# One shot


def test_one_shot_takes_the_lowest_units_of_each_layer_and_trains_on(workshop, course):
    (trial,) = workshop.plan(suite_sparsities="[0.25]", pruning_budget='"units"')
    record = workshop.run(trial)
    dense = workshop.dense_weights(trial)
    size = {name: dense[f"{name}.weight"].abs().sum(1) for name in (FIRST, SECOND)}
    assert course.gone == [{FIRST: lowest(size[FIRST], 3), SECOND: lowest(size[SECOND], 2)}]
    assert_same(course.before[0], cut_by_hand(dense, course.gone[0]))
    assert course.epochs == [1]
    assert course.trainings[0]["recipe"].learning_rate == pytest.approx(0.01)

    network = perceptron(36, (9, 6), 3)
    network.load_state_dict(course.before[0])
    assert record.metrics["accuracy/top1_before_recovery"] == workshop.accuracy(trial, network)
    network.load_state_dict(workshop.weights(trial))
    assert record.metrics["accuracy/top1"] == workshop.accuracy(trial, network)
    whole = perceptron(36, (12, 8), 3)
    whole.load_state_dict(dense)
    assert record.metrics["accuracy/top1_dense"] == workshop.accuracy(trial, whole)
    params = 37 * 9 + 10 * 6 + 7 * 3
    assert record.metrics["cost/params"] == params
    assert record.metrics["cost/macs"] == 36 * 9 + 9 * 6 + 6 * 3
    assert record.metrics["sparsity/units"] == 5 / 20
    assert record.metrics["sparsity/params"] == pytest.approx(1 - params / (37 * 12 + 13 * 8 + 9 * 3))


def test_one_shot_masks_the_lowest_weights_and_they_stay_zero_through_recovery(workshop, course):
    (trial,) = workshop.plan(pruning_granularity='"weight"', recovery_epochs="2")
    record = workshop.run(trial)
    dense = workshop.dense_weights(trial)
    # Half of all parameters, biases counted, taken as the same share of each layer's weights.
    share = 0.5 * (37 * 12 + 13 * 8 + 9 * 3) / (36 * 12 + 12 * 8 + 8 * 3)
    for name, where in course.gone[0].items():
        weight = dense[f"{name}.weight"]
        assert len(where) == pytest.approx(share * weight.numel(), abs=1)
        assert where == lowest(weight.abs(), len(where))
    assert course.gone[0].keys() == {FIRST, SECOND, OUTPUT}
    assert_same(course.before[0], masked_by_hand(dense, course.gone[0]))
    assert course.survivors == [0] * (2 * STEPS)
    after = workshop.weights(trial)
    gone = sum(len(where) for where in course.gone[0].values())
    assert_same(after, masked_by_hand(after, course.gone[0]))
    assert not torch.equal(after[f"{FIRST}.weight"], course.before[0][f"{FIRST}.weight"])
    assert record.metrics["sparsity/params"] == pytest.approx(gone / 575)
    assert record.metrics["cost/params"] == 575
    assert record.metrics["cost/params_nonzero"] == 575 - gone
    network = perceptron(36, (12, 8), 3)
    network.load_state_dict(after)
    assert record.metrics["accuracy/top1"] == workshop.accuracy(trial, network)


def test_without_recovery_nothing_is_trained(workshop, course):
    (trial,) = workshop.plan(recovery_epochs="0")
    record = workshop.run(trial)
    assert_same(workshop.weights(trial), course.before[0])
    assert record.metrics["accuracy/top1"] == record.metrics["accuracy/top1_before_recovery"]


def test_a_trial_run_again_gives_the_same_weights(workshop):
    (trial,) = workshop.plan(
        pruning_schedule='"iterative"', scorer='"taylor-weight"', suite_sparsities="[0.6]"
    )
    first = workshop.run(trial)
    weights = workshop.weights(trial)
    second = workshop.run(trial)
    assert_same(workshop.weights(trial), weights)
    timeless = [
        {k: v for k, v in r.metrics.items() if k[:5] not in ("time/", "memor")} for r in (first, second)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_the_size_of_the_file_is_that_of_what_is_kept(workshop, granularity):
    (trial,) = workshop.plan(pruning_granularity=f'"{granularity}"')
    metrics = workshop.run(trial).metrics
    # Besides float32 values, the file has names and shapes.
    entries = sum(tensor.numel() for tensor in workshop.weights(trial).values())
    assert 4 * entries < metrics["cost/file_bytes"] < 4 * entries + 1000
    if granularity == "weight":
        assert metrics["cost/file_bytes"] == metrics["cost/file_bytes_dense"]
    else:
        assert metrics["cost/file_bytes"] < metrics["cost/file_bytes_dense"]


def test_the_checks_before_a_latency_leave_no_kernels_of_the_rules(workshop, monkeypatch):
    """A convolution that has run by cuDNN's rules is not searched any more: nothing may come before."""
    (trial,) = workshop.plan()
    workshop.run(trial)
    inside: list[bool] = []
    seen: list[bool] = []

    @contextmanager
    def searched(device: str) -> Iterator[None]:
        inside.append(True)
        yield
        inside.clear()

    def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
        seen.append(bool(inside))
        return outputs_on(model, inputs)

    monkeypatch.setattr(latency, "searched_convolutions", searched)
    monkeypatch.setattr(pruned_model, "outputs_on", outputs)
    latency.latency_metrics(workshop.worker, replace(trial, latency=LatencySettings(batch_sizes=[1])))
    assert seen == [True]


def test_latencies_are_measured_with_each_number_of_threads(workshop, monkeypatch):
    (trial,) = workshop.plan()
    workshop.run(trial)
    seen: list[tuple[int, int]] = []

    def measured(dense: nn.Module, pruned: nn.Module, example: Tensor, size: int, *_: Any) -> Latency:
        threads = torch.get_num_threads()
        seen.append((threads, size))
        timing = Timing(1.0, 2.0, 3.0)
        ratio = MedianInterval(threads + size / 100, 0.5, 0.5 + 0.01 * threads)
        return Latency(timing, timing, ratio, True, size, samples=12, threads=threads)

    monkeypatch.setattr(latency, "measure_latency", measured)
    before = torch.get_num_threads()
    settings = LatencySettings(batch_sizes=[1, 8], threads=[1, 3])
    metrics = latency.latency_metrics(workshop.worker, replace(trial, latency=settings))
    assert torch.get_num_threads() == before
    assert seen == [(1, 1), (1, 8), (3, 1), (3, 8)]
    speedups = {name: value for name, value in metrics.items() if name.endswith("_speedup")}
    assert speedups == {
        "latency/batch1_speedup": 1.01,
        "latency/batch8_speedup": 1.08,
        "latency/batch1_threads3_speedup": 3.01,
        "latency/batch8_threads3_speedup": 3.08,
    }
    assert metrics["latency/batch8_threads3_ms"] == 2.0
    assert metrics["latency/batch1_speedup_low"] == 0.5
    assert metrics["latency/batch1_threads3_speedup_high"] == 0.53
    assert metrics["latency/batch1_speedup_wide"] == 0
    assert metrics["latency/threads"] == 1
    settings = LatencySettings(batch_sizes=[1], threads=3)
    metrics = latency.latency_metrics(workshop.worker, replace(trial, latency=settings))
    assert all("batch1_threads3_" in name for name in metrics)
    monkeypatch.setattr(MedianInterval, "width", 0.031)
    assert latency.latency_metrics(workshop.worker, replace(trial, latency=settings))[
        "latency/batch1_threads3_speedup_wide"
    ]


def test_modules_of_unknown_cost_are_named(workshop):
    (trial,) = workshop.plan("scaled")
    record = workshop.run(trial)
    assert record.metrics["cost/uncounted_modules"] == 1
    assert record.provenance["uncounted_modules"] == ["0: aten._linalg_det"]
    (known,) = workshop.plan()
    record = workshop.run(known)
    assert record.metrics["cost/uncounted_modules"] == 0
    assert "uncounted_modules" not in record.provenance


@pytest.mark.parametrize("when", ["before recovery", "after recovery", "after a round", "dense"])
def test_a_network_that_computes_no_numbers_is_an_error_that_says_which(workshop, monkeypatch, when):
    """Its largest output is a NaN, which says nothing of a class: it has no accuracy."""
    (trial,) = workshop.plan(pruning_schedule='"iterative"', pruning_rounds="2", recovery_epochs="2")
    if when != "dense":
        train_with_traces(workshop.worker, trial.dense, trial.traces)

    def spoil(model: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter(f"{OUTPUT}.bias")[1] = float("nan")

    modules = {"dense": dense_training, "before recovery": evaluations, "after a round": rounds}
    module = modules.get(when, run_trial)
    measured = module.evaluate

    def evaluate_spoilt(model: nn.Module, *arguments: Any, network: str) -> Any:
        if when in network:
            spoil(model)
        return measured(model, *arguments, network=network)

    monkeypatch.setattr(module, "evaluate", evaluate_spoilt)
    if when == "dense":
        (trial,) = workshop.plan(training_epochs="1")  # one that is not trained yet
    said = rf"cannot be evaluated: its outputs are not finite on (\d+) of \1 samples; .*{OUTPUT}.bias"
    with pytest.raises(BenchsuiteError, match=said) as caught:
        workshop.run(trial)
    assert when in str(caught.value)


# Rounds


@pytest.mark.parametrize("granularity", ["unit", "weight"])
@pytest.mark.parametrize("scope", ["layer", "global", "protected"])
@pytest.mark.parametrize("model", ["perceptron", "tiny-residual"])
def test_rounds_add_to_each_other_and_cost_what_one_shot_costs(workshop, course, model, scope, granularity):
    settings = {
        "pruning_granularity": f'"{granularity}"',
        "pruning_scope": f'"{scope}"',
        "suite_sparsities": "[0.6]",
        "scorer": '"taylor-weight"',
    }
    trial, once = workshop.plan(
        model, **settings, pruning_schedule='["iterative", "one-shot"]', pruning_rounds="3"
    )
    record = workshop.run(trial)
    assert len(course.gone) == 3
    for earlier, later in zip(course.gone, course.gone[1:], strict=False):
        assert all(where <= later[name] for name, where in earlier.items())
        assert sum(map(len, earlier.values())) < sum(map(len, later.values()))
    total = record.metrics["cost/params_dense"]
    # The largest position of these networks has 50 parameters, with those of its readers.
    assert record.metrics["sparsity/params"] == pytest.approx(
        0.6, abs=(50 if granularity == "unit" else 1) / total
    )
    assert course.epochs == [pytest.approx(1 / 3)] * 3
    if granularity == "weight":
        assert course.survivors == [0] * STEPS
        assert_same(workshop.weights(trial), masked_by_hand(workshop.weights(trial), course.gone[-1]))
    del course.trainings[:]
    workshop.run(once)
    assert course.epochs == [1]


def test_the_course_of_the_rounds_is_kept_without_a_look_at_the_test_split(workshop):
    trial, once = workshop.plan(
        pruning_granularity='"weight"',
        suite_sparsities="[0.6]",
        pruning_schedule='["iterative", "one-shot"]',
        pruning_rounds="3",
    )
    record = workshop.run(trial)
    kept = json.loads((workshop.worker.folder(trial.key) / "rounds.json").read_text())
    assert [course["round"] for course in kept] == [1, 2, 3]
    assert [course["sparsity"] for course in kept] == pytest.approx([1 - 0.4 ** (n / 3) for n in (1, 2, 3)])
    left = [course["params_nonzero"] for course in kept]
    assert left == sorted(left, reverse=True)
    assert left[-1] == record.metrics["cost/params_nonzero"]
    scored = score_dense(workshop.worker, trial.score)
    validation = scored.dense.data.validation
    network = load_pruned(workshop.worker, trial).model
    assert kept[-1]["validation_top1"] == evaluate(network, validation, scored.dense.data.classes).top1
    workshop.run(once)
    assert not (workshop.worker.folder(once.key) / "rounds.json").exists()


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_every_round_of_random_draws_anew(workshop, monkeypatch, granularity):
    """With one seed for all rounds the units that are left would get the numbers of those before them."""
    (trial,) = workshop.plan(
        scorer='"random"',
        suite_controls="[]",
        pruning_granularity=f'"{granularity}"',
        pruning_schedule='"iterative"',
        recovery_epochs="0",
    )[:1]
    seen: list[Tensor] = []
    kind = SmallerNetwork if granularity == "unit" else MaskedNetwork
    cut = kind.cut

    def observed(self: Any, scores: Any, *arguments: Any) -> None:
        seen.append(scores[FIRST].flatten().clone())
        cut(self, scores, *arguments)

    monkeypatch.setattr(kind, "cut", observed)
    workshop.run(trial)
    assert len(seen) == 5
    for one, other in itertools.combinations(seen, 2):
        length = min(len(one), len(other))
        assert not (one[:length] == other[:length]).any()


@pytest.mark.parametrize("kind", [SmallerNetwork, MaskedNetwork])
def test_every_cut_has_its_own_order_among_equal_scores(workshop, kind):
    (trial,) = workshop.plan(pruning_granularity='"unit"' if kind is SmallerNetwork else '"weight"')
    train_with_traces(workshop.worker, trial.dense, trial.traces)
    dense = load_dense(workshop.worker, trial.dense)
    network = kind(dense.model, dense.graph, dense.cost, trial.settings, 5, dense.probe)
    seeds = [network._tie_seed() for _ in range(4)]
    assert seeds[0] == 5
    assert len(set(seeds)) == 4
    again = kind(dense.model, dense.graph, dense.cost, trial.settings, 5, dense.probe)
    assert [again._tie_seed() for _ in range(4)] == seeds


def test_every_round_shuffles_anew(workshop, monkeypatch):
    (trial,) = workshop.plan(
        suite_controls='[{ name = "shuffled", of = ["magnitude-l1"] }]',
        pruning_schedule='"iterative"',
        recovery_epochs="0",
    )[-1:]
    assert trial.variant == "shuffled"
    orders = []
    for number in (0, 0, 1, 2):
        varied = run_trial._variant(trial, number, {"layer": torch.arange(30.0)})
        assert varied["layer"].sort().values.tolist() == list(range(30))
        orders.append(varied["layer"].tolist())
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3


def test_rounds_train_on_one_after_another_of_the_samples(workshop, course):
    (trial,) = workshop.plan(pruning_schedule='"iterative"', pruning_rounds="4")
    workshop.run(trial)
    positions = [training["position"] for training in course.trainings]
    each = positions[1]
    assert each > 0
    assert positions == [0, each, 2 * each, 3 * each]


def test_without_pruning_an_iterative_trial_has_one_round_with_every_epoch(workshop, course):
    (trial,) = workshop.plan(pruning_schedule='"iterative"', suite_sparsities="[0.0]")
    workshop.run(trial)
    assert course.epochs == [1]


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_what_is_gone_stays_gone_where_a_round_has_overshot(workshop, granularity):
    (trial,) = workshop.plan(pruning_granularity=f'"{granularity}"', pruning_scope='"global"')
    train_with_traces(workshop.worker, trial.dense, trial.traces)
    dense = load_dense(workshop.worker, trial.dense)
    kind = SmallerNetwork if granularity == "unit" else MaskedNetwork
    network = kind(dense.model, dense.graph, dense.cost, trial.settings, 0, dense.probe)

    def scores() -> dict[str, Tensor]:
        return {
            layer.name: torch.rand(layer.units if granularity == "unit" else layer.weight.shape)
            for layer in network.layers
        }

    torch.manual_seed(0)
    network.cut(scores(), 0.5, dict)
    removed, achieved = network.removed, network.metrics["sparsity/params"]
    weights = {name: value.clone() for name, value in network.model.state_dict().items()}
    network.cut(scores(), 0.45, dict)
    assert network.removed == removed
    assert network.metrics["sparsity/params"] == achieved
    assert_same(network.model.state_dict(), weights)


def test_a_layer_that_a_later_round_does_not_score_keeps_its_masks(workshop):
    (trial,) = workshop.plan(pruning_granularity='"weight"')
    train_with_traces(workshop.worker, trial.dense, trial.traces)
    dense = load_dense(workshop.worker, trial.dense)
    network = MaskedNetwork(dense.model, dense.graph, dense.cost, trial.settings, 0, dense.probe)
    network.cut({layer.name: layer.weight.abs() for layer in network.layers}, 0.3, dict)
    zeros = network.model.get_submodule(OUTPUT).weight == 0
    assert zeros.any()
    network.cut({layer.name: layer.weight.abs() for layer in network.layers[:-1]}, 0.5, dict)
    assert (network.model.get_submodule(OUTPUT).weight[zeros] == 0).all()


# Rewinding and pruning before training


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_rewinding_goes_back_to_the_snapshot_where_weights_are_left(workshop, course, granularity):
    (trial,) = workshop.plan(
        pruning_granularity=f'"{granularity}"',
        pruning_schedule='"rewind"',
        pruning_rewind_to="0.25",
        pruning_rewind_share="0.3",
    )
    workshop.run(trial)
    trace = load_trace(workshop.worker, trial.dense, trial.early)
    (step,) = trace.snapshots
    assert step == STEPS  # a quarter of four epochs
    snapshot = trace.snapshots[step]
    by_hand = cut_by_hand if granularity == "unit" else masked_by_hand
    assert len(course.gone) == 2  # 0.3, then 0.5
    for gone, before, training in zip(course.gone, course.before, course.trainings, strict=True):
        assert_same(before, by_hand(snapshot, gone))
        assert training["first_step"] == step
        assert training["epochs"] == 4
        assert training["seed"] == trial.seed_for("train")
        assert training["recipe"] == trial.dense.recipe
    assert all(where <= course.gone[1][name] for name, where in course.gone[0].items())
    if granularity == "weight":
        assert course.survivors == [0] * (2 * 3 * STEPS)


@pytest.mark.parametrize("schedule", ["rewind", "at-init"])
@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_without_pruning_the_dense_training_is_repeated_to_the_bit(workshop, schedule, granularity):
    (trial,) = workshop.plan(
        "tiny-residual",
        suite_sparsities="[0.0]",
        pruning_schedule=f'"{schedule}"',
        pruning_granularity=f'"{granularity}"',
        pruning_rewind_to="0",
    )
    record = workshop.run(trial)
    assert_same(workshop.weights(trial), workshop.dense_weights(trial))
    assert record.metrics["accuracy/top1"] == record.metrics["accuracy/top1_dense"]


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_at_init_scores_and_trains_the_untrained_network(workshop, course, granularity):
    (trial,) = workshop.plan(pruning_schedule='"at-init"', pruning_granularity=f'"{granularity}"')
    record = workshop.run(trial)
    data, _ = load_data(workshop.worker, trial.dense.dataset, trial.dense.data_key)
    untrained = build_model(workshop.worker, trial.dense, data).state_dict()
    found = stages.load_tensors(workshop.worker.folder(trial.score.key) / "scores.safetensors")
    for name in (FIRST, SECOND):
        size = untrained[f"{name}.weight"].abs()
        expected = size.sum(1) if granularity == "unit" else size
        assert torch.allclose(found[f"score/{name}"], expected, rtol=1e-6)
        assert course.gone[0][name] == lowest(expected, len(course.gone[0][name]))
    by_hand = cut_by_hand if granularity == "unit" else masked_by_hand
    assert_same(course.before[0], by_hand(untrained, course.gone[0]))
    assert course.epochs == [4]
    assert course.trainings[0]["recipe"] == trial.dense.recipe
    assert course.trainings[0]["seed"] == trial.seed_for("train")
    assert record.metrics["accuracy/top1_before_recovery"] < record.metrics["accuracy/top1"]


@pytest.mark.parametrize("schedule", ["one-shot", "at-init"])
def test_a_scorer_is_told_whether_the_network_is_at_init(workshop, schedule, monkeypatch):
    told = []
    original = scores.run_scorer

    def seen(scorer, context, **settings):
        told.append(context.at_init)
        return original(scorer, context, **settings)

    monkeypatch.setattr(scores, "run_scorer", seen)
    # Scores that no other test has made: these would be taken from their stage.
    (trial,) = workshop.plan(scorer='"magnitude-l2"', pruning_schedule=f'"{schedule}"')
    workshop.run(trial)
    assert told == [schedule == "at-init"] * 2, "on all samples and, since it reads none, on half of them"


# Controls


@pytest.mark.parametrize("schedule", ["one-shot", "iterative"])
def test_scratch_trains_the_same_architecture_anew_at_equal_cost(workshop, course, schedule):
    own, scratch = workshop.plan(
        pruning_schedule=f'"{schedule}"',
        pruning_rounds="2",
        suite_controls='["scratch"]',
        recovery_epochs="2",
    )
    assert scratch.scorer_label == "scratch(magnitude-l1)"
    workshop.run(own)
    expected, rounds, epochs = list(course.gone), len(course.gone), course.epochs
    record = workshop.run(scratch)
    assert course.gone[rounds:] == expected
    data, _ = load_data(workshop.worker, own.dense.dataset, own.dense.data_key)
    fresh = build_model(workshop.worker, own.dense, data, "scratch").state_dict()
    assert_same(course.before[-1], cut_by_hand(fresh, expected[-1]))
    assert not torch.equal(fresh[f"{FIRST}.weight"], build_model(workshop.worker, own.dense, data)[1].weight)
    # Rounds before the last are those of the scorer's own trial.
    assert course.epochs == [*epochs, *epochs[:-1], 4 + 2]
    rates = [training["recipe"].learning_rate for training in course.trainings]
    assert rates == pytest.approx([0.01] * (2 * rounds - 1) + [0.05])
    # Its axes are those of the criterion that it controls.
    assert {**record.axes, "scorer": "magnitude-l1"} == own.axes
    assert record.provenance["recovery_recipe"]["epochs"] == 6
    # The accuracy of the network that it was pruned to is none of these new weights.
    assert "accuracy/top1_before_recovery" not in record.metrics


def test_scratch_keeps_the_masks(workshop, course):
    own, scratch = workshop.plan(pruning_granularity='"weight"', suite_controls='["scratch"]')
    workshop.run(own)
    workshop.run(scratch)
    assert course.gone[0] == course.gone[1]
    after = workshop.weights(scratch)
    assert_same(after, masked_by_hand(after, course.gone[0]))
    assert not torch.equal(after[f"{FIRST}.weight"], workshop.weights(own)[f"{FIRST}.weight"])


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_reversed_takes_the_other_end_of_each_layer(workshop, course, granularity):
    settings = {"pruning_granularity": f'"{granularity}"', "suite_sparsities": "[0.3]"}
    own, other = workshop.plan(**settings, suite_controls='["reversed"]')
    workshop.run(own)
    workshop.run(other)
    low, high = course.gone
    dense = workshop.dense_weights(own)
    assert low.keys() == high.keys()
    for name, where in high.items():
        size = dense[f"{name}.weight"].abs()
        size = size.sum(1) if granularity == "unit" else size.flatten()
        assert len(where) == len(low[name]) > 0
        assert where == lowest(-size, len(where))
        assert low[name] == lowest(size, len(where))


@pytest.mark.parametrize("granularity", ["unit", "weight"])
@pytest.mark.parametrize("model", ["perceptron", "tiny-residual"])
def test_shuffled_keeps_how_much_each_group_loses(workshop, course, model, granularity):
    own, *shuffled = workshop.plan(
        model,
        pruning_granularity=f'"{granularity}"',
        pruning_scope='"global"',
        suite_sparsities="[0.4]",
        suite_controls='[{ name = "shuffled", draws = 3 }]',
        recovery_epochs="0",
    )
    records = [workshop.run(trial) for trial in (own, *shuffled)]
    widths = [{name: len(where) for name, where in gone.items()} for gone in course.gone]
    dense = workshop.dense_weights(own)
    hidden = (FIRST, SECOND) if model == "perceptron" else ("stem", "inner")
    shares = {widths[0].get(name, 0) / dense[f"{name}.weight"].shape[0] for name in hidden}
    assert len(shares) == 2, "a test of allocation wants layers that lose different shares"
    assert widths == [widths[0]] * 4
    assert sum(gone == course.gone[0] for gone in course.gone) == 1
    assert course.gone[1] != course.gone[2] != course.gone[3]
    assert len({record.metrics["cost/params_nonzero"] for record in records}) == 1


# A criterion's own rule


def test_merging_adds_the_outgoing_weights_of_twins(workshop, course):
    scorer = '{ name = "distinctiveness", alike = 50, merge = true }'
    (trial,) = workshop.plan(scorer=scorer, suite_sparsities='["native"]', recovery_epochs="0")
    workshop.run(trial)
    scored = score_dense(workshop.worker, trial.score)
    dense, found = workshop.dense_weights(trial), workshop.weights(trial)
    left = {name: keep.nonzero()[:, 0].tolist() for name, keep in scored.native.items()}
    assert sum(map(len, scored.facts.merges.values())) >= 3
    outgoing = {FIRST: dense[f"{SECOND}.weight"].clone(), SECOND: dense[f"{OUTPUT}.weight"].clone()}
    for name, weight in outgoing.items():
        for gone, stays in scored.facts.merges[name]:
            assert gone not in left[name]
            weight[:, stays] += dense[f"{SECOND if name == FIRST else OUTPUT}.weight"][:, gone]
    assert torch.equal(found[f"{FIRST}.weight"], dense[f"{FIRST}.weight"][left[FIRST]])
    assert torch.allclose(found[f"{SECOND}.weight"], outgoing[FIRST][left[SECOND]][:, left[FIRST]], atol=1e-6)
    assert torch.allclose(found[f"{OUTPUT}.weight"], outgoing[SECOND][:, left[SECOND]], atol=1e-6)
    assert_same(course.before[0], found)


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_mean_threshold_masks_what_is_below_the_mean(workshop, epochs):
    (trial,) = workshop.plan(
        scorer='"mean-threshold"',
        suite_sparsities='["native"]',
        pruning_granularity='"weight"',
        recovery_epochs=str(epochs),
    )
    record = workshop.run(trial)
    dense, found = workshop.dense_weights(trial), workshop.weights(trial)
    gone = 0
    for name in (FIRST, SECOND, OUTPUT):
        size = dense[f"{name}.weight"].abs()
        assert torch.equal(found[f"{name}.weight"] != 0, size >= size.mean())
        gone += int((size < size.mean()).sum())
    assert record.metrics["sparsity/params"] == pytest.approx(gone / 575)


@pytest.mark.parametrize(
    "settings",
    [
        {"pruning_schedule": '"iterative"'},
        {"pruning_schedule": '"rewind"'},
        {"suite_controls": '["reversed"]'},
        {"suite_controls": '["shuffled"]'},
    ],
)
def test_a_rule_of_its_own_has_no_rounds_and_no_variants(workshop, settings):
    planned = workshop.plan(scorer='"distinctiveness"', suite_sparsities='["native"]', **settings)
    with pytest.raises(Unsupported, match="decides once"):
        workshop.run(planned[-1])


def test_a_layer_that_would_vanish_collapses_the_trial(workshop):
    (trial,) = workshop.plan(
        pruning_scope='"global"',
        pruning_budget='"units"',
        pruning_normalise='"none"',
        suite_sparsities="[0.9]",
    )
    with pytest.raises(Collapsed, match=f"every unit of {SECOND}"):
        workshop.run(trial)


# What a trial may look at


@pytest.mark.parametrize("schedule", ["one-shot", "iterative", "rewind", "at-init"])
def test_the_test_split_is_read_after_the_last_training_step_only(workshop, monkeypatch, schedule):
    (trial,) = workshop.plan(
        pruning_schedule=f'"{schedule}"', scorer='"taylor-activation"', suite_sparsities="[0.4]"
    )
    train_with_traces(workshop.worker, trial.dense, trial.traces)
    events: list[str] = []
    train = recovery.train

    def observed_train(*arguments: Any, **options: Any) -> Any:
        log = train(*arguments, **options)
        events.append("trained")
        return log

    def observed_read(self: DeviceDataset, name: str) -> Any:
        if name in ("test", "validation"):
            events.append(name)
        return object.__getattribute__(self, name)

    monkeypatch.setattr(recovery, "train", observed_train)
    monkeypatch.setattr(DeviceDataset, "__getattribute__", observed_read)
    workshop.run(trial)
    number = {"iterative": 5, "rewind": 3}.get(schedule, 0)
    # Rounds are watched on the validation split, and nothing is chosen by it. Of each network, the accuracy
    # before its recovery and after it.
    course = ["trained", "validation"] * number or ["trained"]
    assert events == [*course, *["test", "test"] * max(number, 1)]


def test_a_plugin_that_changed_after_the_plan_is_refused(workshop: Workshop) -> None:
    """Otherwise the numbers of new code would stand under the key of the old."""
    (trial,) = workshop.plan()
    choices = {"scorer": trial.score.scorer, "model": trial.dense.model, "dataset": trial.dense.dataset}
    for kind, choice in choices.items():
        assert choice.source
        plugin = workshop.worker.create(kind, choice)
        assert type(plugin).name == choice.name
        with pytest.raises(BenchsuiteError, match=f"source of {kind} {choice.name} is not that of the plan"):
            workshop.worker.create(kind, replace(choice, source="0" * 64))
        workshop.worker.check_content(kind, choice, lambda content=choice.content: content)
        with pytest.raises(BenchsuiteError, match=f"files that {kind} {choice.name} reads changed"):
            workshop.worker.check_content(kind, choice, lambda: "other")
        with pytest.raises(PluginError, match=r"fingerprint\(\) raised ZeroDivisionError"):
            workshop.worker.check_content(kind, choice, lambda: 1 / 0)


def test_networks_of_other_structure_are_no_equal_architectures(workshop: Workshop) -> None:
    """A model may draw its structure by the seed: equal widths are not enough to share a latency."""
    (trial,) = workshop.plan()
    dense = load_dense(workshop.worker, trial.dense) if workshop.run(trial) else None
    assert dense is not None
    other = replace(dense, model=nn.Sequential(dense.model, nn.Tanh()))
    same = replace(dense, model=copy.deepcopy(dense.model))
    whole = SimpleNamespace(removed={}, masked=())
    keys = [run_trial._architecture(trial, each, whole) for each in (dense, same, other)]
    assert keys[0] == keys[1] != keys[2]


def test_each_target_of_layers_is_shuffled_by_itself(workshop: Workshop) -> None:
    (trial,) = workshop.plan()
    trial, scores = replace(trial, variant="shuffled"), {"group": torch.arange(16.0)}
    one, other, again = (
        run_trial._variant(trial, 0, scores, of)["group"].tolist() for of in (("a",), ("b",), ("a",))
    )
    assert sorted(one) == sorted(other) == scores["group"].tolist()
    assert one == again != other


def test_networks_with_other_layers_on_sparse_kernels_are_no_equal_architectures(workshop: Workshop) -> None:
    """Where half of the weights of every four are gone, a layer may be faster."""
    for scope, equal in (("2:4", False), ("layer", True)):
        (trial,) = workshop.plan(pruning_granularity='"weight"', pruning_scope=f'"{scope}"')
        dense = load_dense(workshop.worker, trial.dense) if workshop.run(trial) else None
        networks = [SimpleNamespace(removed={}, masked=masked) for masked in (("1",), ("1", "3"))]
        one, other = (run_trial._architecture(trial, dense, network) for network in networks)
        assert (one == other) is equal


# What is reported besides


def test_recalibrated_accuracy_is_before_recovery_with_new_statistics(workshop):
    (trial,) = workshop.plan("tiny-residual", recovery_recalibrate="100", recovery_epochs="0")
    record = workshop.run(trial)
    dense = load_dense(workshop.worker, trial.dense)
    network = load_pruned(workshop.worker, trial).model  # as it was after the cut, since nothing followed
    generator = torch.Generator().manual_seed(trial.seed_for("recalibrate"))
    chosen = torch.randperm(len(dense.data.train), generator=generator)[:100]
    network.norm.train()
    network.norm.reset_running_stats()
    network.norm.momentum = None
    with torch.no_grad():
        for batch in chosen[:80].split(40):  # whole batches
            network((dense.data.train.inputs[batch].float() / 255 - 0.4) / 0.2)
    assert record.metrics["accuracy/top1_recalibrated"] == workshop.accuracy(trial, network)
    assert record.metrics["accuracy/top1"] == record.metrics["accuracy/top1_before_recovery"]


def test_nothing_is_recalibrated_without_norms_or_where_the_suite_says_so(workshop):
    (without,) = workshop.plan()
    assert "accuracy/top1_recalibrated" not in workshop.run(without).metrics
    (off,) = workshop.plan("tiny-residual", recovery_recalibrate="0")
    assert "accuracy/top1_recalibrated" not in workshop.run(off).metrics
    (on,) = workshop.plan("tiny-residual")
    assert on.key != off.key
    assert "accuracy/top1_recalibrated" in workshop.run(on).metrics


def test_stability_is_that_of_the_halves_of_the_samples(workshop):
    free, reading, shuffled = workshop.plan(
        scorer='"magnitude-l1", "mean-activation"',
        scoring_samples="60",
        suite_controls='[{ name = "shuffled", of = ["mean-activation"], draws = 1 }]',
    )
    assert shuffled.variant == "shuffled"
    for without in (free, shuffled):
        assert "scoring/stability" not in workshop.run(without).metrics
    found = workshop.run(reading).metrics["scoring/stability"]
    dense = load_dense(workshop.worker, reading.dense)
    seed = derived_seed("score", "blobs", "perceptron", 0)
    order = torch.randperm(len(dense.data.train), generator=seeded(seed, "samples"))[:60]
    maps: dict[str, Tensor] = {}
    for name, place in ((FIRST, 2), (SECOND, 4)):
        with torch.no_grad():
            maps[name] = dense.model[: place + 1]((dense.data.train.inputs[order].float() / 255 - 0.4) / 0.2)
    r = sum(spearmanr(m[:30].mean(0), m[30:].mean(0)).statistic for m in maps.values()) / 2
    assert found == pytest.approx(2 * r / (1 + r), abs=1e-6)


class LooksAtOne(benchsuite.Scorer):
    """Says that it reads no samples, and reads one."""

    name = "looks-at-one"
    data_free = True

    def score(self, context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        inputs, _ = next(context.batches(context.samples))
        return {
            layer.name: layer.weight.detach().flatten(1).sum(1) * inputs[-1].sum() for layer in context.layers
        }


def test_a_criterion_that_says_it_reads_no_samples_and_does_fails(workshop):
    workshop.worker.plugins.add("scorer", LooksAtOne, "this test", "-")
    (trial,) = workshop.plan(scorer='"looks-at-one"', scoring_samples="60")
    with pytest.raises(PluginError, match="looks-at-one declares `data_free`, but its scores of 1 change"):
        workshop.run(trial)
    (trial,) = workshop.plan(scorer='"looks-at-one"', scoring_samples="1")
    assert workshop.run(trial).status == "done", "there are no halves"


def test_the_provenance_names_the_layers_that_were_dissected(workshop):
    settings = DissectionSettings(samples=16, pictures=False)
    for model in ("tiny-residual", "perceptron"):
        (trial,) = workshop.plan(model)
        record = workshop.run(replace(trial, dissection=settings))
        notes = record.provenance["dissection"]
        if model == "perceptron":
            assert list(notes) == ["unsupported"]
            continue
        layers = notes["layers"]
        assert [set(layer) for layer in layers] == [{"name", "units", "units_dense"}] * len(layers)
        assert sum(layer["units"] for layer in layers) == record.metrics["interpretability/units"]
        assert sum(layer["units_dense"] for layer in layers) == record.metrics["interpretability/units_dense"]
        assert all(layer["name"] for layer in layers)


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_each_round_tells_what_it_removes_of_what_is_left(workshop, monkeypatch, granularity):
    seen = []
    score = SynFlow.score

    def observed(self, context):
        seen.append(context.target)
        return score(self, context)

    monkeypatch.setattr(SynFlow, "score", observed)
    (trial,) = workshop.plan(
        scorer='"synflow"',
        suite_sparsities="[0.6]",
        pruning_schedule='"iterative"',
        pruning_rounds="3",
        pruning_granularity=f'"{granularity}"',
        pruning_scope='"global"',
    )
    workshop.run(trial)
    assert seen.pop(0) == seen[0], "the dense network is scored on half of the samples too"
    # Each of the three rounds removes the same share, but for the units that no share hits exactly.
    assert seen == pytest.approx([1 - 0.4 ** (1 / 3)] * 3, abs=0.06 if granularity == "unit" else 0.002)
    assert seen[0] == pytest.approx(1 - 0.4 ** (1 / 3), abs=1e-12)


@pytest.mark.parametrize("schedule", ["iterative", "rewind"])
@pytest.mark.parametrize("granularity", ["unit", "weight"])
@pytest.mark.parametrize("scope", ["layer", "row", "protected"])
def test_rounds_add_to_what_earlier_ones_removed(workshop, course, schedule, granularity, scope):
    if scope == "row" and granularity == "unit":
        pytest.skip("a scope of single weights")
    (trial,) = workshop.plan(
        "perceptron",
        suite_sparsities="[0.4]",
        pruning_scope=f'"{scope}"',
        pruning_schedule=f'"{schedule}"',
        pruning_rounds="5",
        pruning_rewind_share="0.1",
        pruning_granularity=f'"{granularity}"',
    )
    record = workshop.run(trial)
    assert record.metrics["sparsity/params"] == pytest.approx(0.4, abs=0.06)
    assert len(course.gone) == 5
    for earlier, later in itertools.pairwise(course.gone):
        assert all(where <= later.get(name, set()) for name, where in earlier.items())


class Normed(Perceptron):
    """Its second layer's weight is computed from a direction and lengths."""

    name = "normed"

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        network = super().build(input_shape, classes)
        nn.utils.parametrizations.weight_norm(network.get_submodule(SECOND))
        return network


def plain_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with the second layer's weight as weight_norm's authors define it: g v / |v|, row by row."""
    state = dict(state)
    prefix = f"{SECOND}.parametrizations.weight.original"
    lengths, directions = (state.pop(f"{prefix}{number}") for number in (0, 1))
    state[f"{SECOND}.weight"] = lengths * directions / directions.norm(dim=1, keepdim=True)
    return state


@pytest.fixture(scope="module")
def with_norm(workshop: Workshop) -> Workshop:
    workshop.worker.plugins.add("model", Normed, "this test", "-")
    return workshop


def test_parametrised_weights_are_trained_as_written_and_pruned_as_plain_ones(with_norm, course):
    (trial,) = with_norm.plan(model="normed")
    record = with_norm.run(trial)
    assert record.provenance["folded_weights"] == {f"{SECOND}.weight": "WeightNorm"}
    dense = plain_weights(with_norm.dense_weights(trial))
    expected = cut_by_hand(dense, course.gone[0])
    torch.testing.assert_close(dict(course.before[0]), expected)
    assert set(with_norm.weights(trial)) == set(dense)
    assert record.metrics["cost/params_dense"] == sum(value.numel() for value in dense.values())
    left = sum(value.numel() for value in expected.values())
    assert record.metrics["sparsity/params"] == pytest.approx(1 - left / record.metrics["cost/params_dense"])


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_rewound_weights_are_plain_ones_too(with_norm, course, granularity):
    (trial,) = with_norm.plan(
        model="normed",
        pruning_granularity=f'"{granularity}"',
        pruning_schedule='"rewind"',
        pruning_rounds="2",
    )
    with_norm.run(trial)
    early = load_trace(with_norm.worker, trial.dense, trial.early).snapshots
    by_hand = cut_by_hand if granularity == "unit" else masked_by_hand
    expected = by_hand(plain_weights(next(iter(early.values()))), course.gone[-1])
    torch.testing.assert_close(dict(course.before[-1]), expected)


def test_scratch_has_plain_weights_too(with_norm):
    _, scratch = with_norm.plan(model="normed", suite_controls='["scratch"]', recovery_epochs="1")
    assert with_norm.run(scratch).status == "done"
    assert f"{SECOND}.weight" in with_norm.weights(scratch)


def test_what_reads_the_training_trace_cannot_serve_parametrised_weights(with_norm):
    (trial,) = with_norm.plan(model="normed", scorer='"karnin"')
    with pytest.raises(Unsupported, match=rf"{SECOND}\.weight was computed by WeightNorm"):
        with_norm.run(trial)
    (trial,) = with_norm.plan(scorer='"karnin"')
    assert "folded_weights" not in with_norm.run(trial).provenance


class ShareOfTheInput(nn.Module):
    """An attention that takes its width from the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = 2, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            self.qkv(x)
            .reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
            .permute(2, 0, 3, 1, 4)
        )
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(found.transpose(1, 2).reshape(batch, tokens, width))


class AttentiveNetwork(nn.Module):
    """The rows of an image are tokens."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.rows = nn.Linear(6, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 10, dropout=0.0, batch_first=True)
        self.attention, self.head = ShareOfTheInput(8), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(self.rows(x.squeeze(1)))
        return self.head((x + self.attention(x)).mean(1))


class Attentive(benchsuite.ModelPlugin):
    """A network of attentions that are pruned in another form than they are built."""

    name = "attentive"
    recipe = benchsuite.TrainingRecipe(epochs=3, batch_size=40, learning_rate=0.05)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return AttentiveNetwork(classes)


@pytest.fixture(scope="module")
def with_attentions(workshop: Workshop) -> Workshop:
    workshop.worker.plugins.add("model", Attentive, "this test", "-")
    return workshop


SCHEDULES = ("one-shot", "rewind", "at-init")


@pytest.mark.parametrize(
    ("scorer", "schedule", "granularity"),
    [
        *itertools.product(["magnitude-l1"], SCHEDULES, ["unit", "weight"]),
        *itertools.product(["taylor-activation"], SCHEDULES, ["unit"]),
        *itertools.product(["karnin"], ["one-shot"], ["unit", "weight"]),
    ],
)
def test_attentions_are_pruned_in_their_plain_form(with_attentions, scorer, schedule, granularity):
    rounds = {"pruning_rounds": "2"} if schedule == "rewind" else {}
    (trial,) = with_attentions.plan(
        model="attentive",
        scorer=f'"{scorer}"',
        pruning_schedule=f'"{schedule}"',
        pruning_granularity=f'"{granularity}"',
        **rounds,
    )
    record = with_attentions.run(trial)
    assert record.status == "done"
    assert "encoder.self_attn.in_proj_weight" in with_attentions.dense_weights(trial)
    weights = with_attentions.weights(trial)
    queries = weights["encoder.self_attn.q_proj.weight"]
    assert record.metrics["cost/params_dense"] == sum(p.numel() for p in AttentiveNetwork(3).parameters())
    if granularity == "unit":
        assert record.metrics["cost/params"] == sum(value.numel() for value in weights.values())
        assert queries.shape[0] in (4, 8)
    else:
        assert queries.shape == (8, 8)
    assert 0.3 < record.metrics["sparsity/params"] < 0.7


class DecodingNetwork(nn.Module):
    """Features become maps, which transposed convolutions make larger."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.width = 6
        self.code, self.maps = nn.Linear(36, 10), nn.Linear(10, 6 * 4)
        self.up, self.norm = nn.ConvTranspose2d(6, 6, 2, 2, bias=False), nn.BatchNorm2d(6)
        self.wide, self.head = nn.ConvTranspose2d(6, 8, 3), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maps(torch.relu(self.code(x.flatten(1)))).view(-1, self.width, 2, 2)
        x = torch.relu(self.norm(self.up(torch.relu(x))))
        return self.head(torch.relu(self.wide(x)).mean((2, 3)))


class Decoding(benchsuite.ModelPlugin):
    """A network of transposed convolutions, which have their units first while it is pruned."""

    name = "decoding"
    recipe = benchsuite.TrainingRecipe(epochs=3, batch_size=40, learning_rate=0.05)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return DecodingNetwork(classes)


@pytest.fixture(scope="module")
def with_decoding(workshop: Workshop) -> Workshop:
    workshop.worker.plugins.add("model", Decoding, "this test", "-")
    return workshop


@pytest.mark.parametrize("control", ["", "scratch"])
@pytest.mark.parametrize(
    ("scorer", "schedule", "granularity"),
    [
        *itertools.product(["magnitude-l1"], SCHEDULES, ["unit", "weight"]),
        *itertools.product(["taylor-activation"], SCHEDULES, ["unit"]),
        *itertools.product(["karnin"], ["one-shot"], ["unit", "weight"]),
    ],
)
def test_transposed_convolutions_are_pruned_with_their_units_first(
    with_decoding, scorer, schedule, granularity, control
):
    rounds = {"pruning_rounds": "2"} if schedule == "rewind" else {}
    controls = {"suite_controls": f'["{control}"]'} if control else {}
    trials = with_decoding.plan(
        model="decoding",
        scorer=f'"{scorer}"',
        pruning_schedule=f'"{schedule}"',
        pruning_granularity=f'"{granularity}"',
        **rounds,
        **controls,
    )
    trial = next(each for each in trials if (each.variant or "") == control)
    record = with_decoding.run(trial)
    assert record.status == "done"
    as_built = dict(DecodingNetwork(3).named_parameters())
    dense, weights = with_decoding.dense_weights(trial), with_decoding.weights(trial)
    assert all(dense[name].shape == value.shape for name, value in as_built.items())
    assert record.metrics["cost/params_dense"] == sum(value.numel() for value in as_built.values())
    up, wide = weights["up.weight"], weights["wide.weight"]
    assert up.shape[0] == weights["norm.weight"].shape[0] == wide.shape[1]
    if granularity == "unit":
        named = sum(value.numel() for name, value in weights.items() if name in as_built)
        assert record.metrics["cost/params"] == named
        assert up.shape[0] < 6
        assert wide.shape[0] < 8
    else:
        assert (up.shape, wide.shape) == ((6, 6, 2, 2), (8, 6, 3, 3))
        assert 0 < int((wide == 0).sum()) < wide.numel()
    assert 0.3 < record.metrics["sparsity/params"] < 0.7
    network = load_pruned(with_decoding.worker, trial).model
    assert with_decoding.accuracy(trial, network) == record.metrics["accuracy/top1"]


def test_latencies_are_those_of_the_transposed_convolutions_of_torch(with_decoding, monkeypatch):
    (trial,) = with_decoding.plan(model="decoding")
    with_decoding.run(trial)
    timed: list[dict[str, nn.Module]] = []

    def measured(dense: nn.Module, pruned: nn.Module, example: Tensor, size: int, *_: Any) -> Latency:
        timed.extend(dict(each.named_modules()) for each in (dense, pruned))
        timing = Timing(1.0, 2.0, 3.0)
        return Latency(timing, timing, MedianInterval(1.0, 0.9, 1.1), True, size, samples=12, threads=1)

    monkeypatch.setattr(latency, "measure_latency", measured)
    latency.latency_metrics(with_decoding.worker, replace(trial, latency=LatencySettings(batch_sizes=[1])))
    assert [type(each["up"]) for each in timed] == [nn.ConvTranspose2d] * 2
    assert [each["wide"].weight.shape[1] < 8 for each in timed] == [False, True]
