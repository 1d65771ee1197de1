"""Rounds of a schedule: each is a point of its trial, and trials that begin alike share them."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import benchsuite
from benchsuite.errors import BenchsuiteError
from benchsuite.hardware.devices import prepare
from benchsuite.plan.matrix import build_plan
from benchsuite.pruning.rounds import rounds_of_share
from benchsuite.publishing.verify import plausibility
from benchsuite.registry.discovery import discover
from benchsuite.store.stages import Stage, load_tensors, save_tensors
from benchsuite.suite import load_suite
from benchsuite.trials import recovery, round_points
from benchsuite.trials.data import load_data
from benchsuite.trials.facts import CUT, MASKS, RECOVERED, SCORES, ScoreFacts, round_stage
from benchsuite.trials.pruned_model import load_pruned
from benchsuite.trials.run_trial import run_trial
from benchsuite.trials.scores import score_dense
from benchsuite.trials.training_trace import train_with_traces
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord

SPARSITIES = (0.3, 0.51, 0.657)
"""What the first three rounds remove, with a share of 0.3."""


class Patterns(benchsuite.DatasetPlugin):
    """Noisy pictures of three patterns."""

    name = "patterns"

    def load(self, folder: Path) -> benchsuite.Dataset:
        generator = torch.Generator().manual_seed(0)
        patterns = torch.rand(3, 3, 8, 8, generator=generator) * 200

        def split(count: int) -> benchsuite.Split:
            labels = torch.randint(3, (count,), generator=generator)
            noise = torch.rand(count, 3, 8, 8, generator=generator) * 55
            return benchsuite.Split((patterns[labels] + noise).to(torch.uint8), labels)

        return benchsuite.Dataset(split(120), split(30), split(90), ("a", "b", "c"), mean=(0.4,), std=(0.2,))


class Block(benchsuite.ModelPlugin):
    """A convolution, a residual block with batch normalisation, and dropout."""

    name = "block"
    recipe = benchsuite.TrainingRecipe(epochs=6, batch_size=20, learning_rate=0.05)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return BlockNetwork(classes)


class BlockNetwork(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.inner, self.back = nn.Conv2d(8, 10, 3, padding=1), nn.Conv2d(10, 8, 1)
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.last(self.drop((x + self.back(self.inner(x).relu())).relu().mean((2, 3))))


@dataclass
class Workshop:
    """Plans suites of one workload and runs their trials in one run directory."""

    folder: Path
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        registry, _ = discover()
        registry.add("dataset", Patterns, "this test", "-")
        registry.add("model", Block, "this test", "-")
        self.folder.mkdir(exist_ok=True)
        run = RunConfiguration(self.folder, self.folder)
        self.worker = WorkerContext(run, registry, prepare("cpu", 1), 1, tell=self.told.append)

    def plan(
        self,
        sparsities: Any = SPARSITIES,
        granularity: str = "unit",
        scorer: str = "taylor-weight",
        more: str = "",
        suite: str = "",
        pruning: str = "",
        schedule: str = "rewind",
    ) -> list[Trial]:
        file = self.folder / "suite.toml"
        file.write_text(
            f"""
            [suite]
            name = "t"
            seeds = [0]
            scorers = ["{scorer}"]
            sparsities = {list(sparsities)}
            {suite}
            [[workload]]
            dataset = "patterns"
            models = ["block"]
            [pruning]
            granularity = "{granularity}"
            scope = "global"
            budget = "params"
            schedule = "{schedule}"
            rewind_share = 0.3
            rewind_to = 0.25
            rounds = 3
            {pruning}
            {more or "[metrics]"}
            latency = false
            """
        )
        return build_plan(load_suite(file, self.worker.plugins), self.worker.plugins, self.folder)

    def run(self, trial: Trial) -> TrialRecord:
        train_with_traces(self.worker, trial.dense, trial.traces)
        return run_trial(self.worker, trial, [score_dense(self.worker, trial.score)])

    def accuracy(self, trial: Trial, model: nn.Module) -> float:
        """The accuracy on the test split, computed from the raw pictures."""
        data, _ = load_data(self.worker, trial.dense.dataset, trial.dense.data_key)
        with torch.no_grad():
            logits = model.eval()((data.test.inputs.float() / 255 - 0.4) / 0.2)
        return int((logits.argmax(1) == data.test.labels).sum()) / len(data.test)


@pytest.fixture
def workshop(tmp_path) -> Workshop:
    return Workshop(tmp_path / "run")


@pytest.fixture
def trainings(monkeypatch) -> list[nn.Module]:
    """A copy of the network after each training that follows a cut."""
    seen: list[nn.Module] = []
    train = recovery.train

    def observed(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        log = train(model, *arguments, **options)
        seen.append(copy.deepcopy(model))
        return log

    monkeypatch.setattr(recovery, "train", observed)
    return seen


def timeless(record: TrialRecord) -> dict[str, float]:
    """Metrics but for durations and memory."""
    return {n: v for n, v in record.metrics.items() if n.partition("/")[0] not in ("time", "memory")}


def same_tensors(one: Path, other: Path) -> bool:
    first, second = load_tensors(one), load_tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


MORE = """
[recovery]
recalibrate = 80
[metrics]
"""


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_a_round_is_the_trial_of_its_sparsity_to_the_bit(tmp_path, granularity, trainings):
    deep = Workshop(tmp_path / "deep")
    *_, longest = deep.plan(granularity=granularity, more=MORE)
    record = deep.run(longest)
    assert len(record.rounds) == len(trainings) == 3
    for number, sparsity in enumerate(SPARSITIES, start=1):
        alone = Workshop(tmp_path / f"alone{number}")
        (trial,) = alone.plan([sparsity], granularity, more=MORE)
        found = alone.run(trial)
        assert record.rounds[number - 1] == found.rounds[-1]
        assert found.rounds[-1].items() <= found.metrics.items()
        names = {"accuracy/top1", "accuracy/loss", "accuracy/top1_before_recovery", "cost/params_nonzero"}
        assert names | {"accuracy/top1_recalibrated", "sparsity/units"} <= found.rounds[-1].keys()
        kept = deep.worker.folder(longest.rounds[number - 1])
        assert same_tensors(kept / RECOVERED, alone.worker.folder(trial.key) / "model.safetensors")
        # The number itself, from raw pictures, of the network as the training left it.
        assert record.rounds[number - 1]["accuracy/top1"] == deep.accuracy(longest, trainings[number - 1])
    assert record.rounds[0]["accuracy/loss"] != record.rounds[1]["accuracy/loss"]
    assert plausibility([record]) == []


@pytest.mark.parametrize(
    ("granularity", "order", "control"),
    [("unit", 1, ""), ("unit", -1, "shuffled"), ("weight", 1, "shuffled"), ("weight", -1, "")],
)
def test_trials_that_begin_alike_share_rounds_and_numbers_stay_the_same(
    tmp_path, granularity, order, control, trainings
):
    chosen = f'controls = ["{control}"]' if control else ""
    together = Workshop(tmp_path / "together")
    trials = [t for t in together.plan(granularity=granularity, suite=chosen) if (t.variant or "") == control]
    assert [trial.sparsity for trial in trials] == list(SPARSITIES)
    records = {trial.sparsity: together.run(trial) for trial in trials[::order]}
    assert len(trainings) == 3  # and not 1 + 2 + 3
    assert together.told == []
    reused = {s: record.metrics.get("time/reused_s", 0.0) for s, record in records.items()}
    assert [reused[s] > 0 for s in SPARSITIES] == ([False, True, True] if order > 0 else [True, True, False])
    for trial in trials:
        alone = Workshop(tmp_path / f"alone{trial.sparsity}")
        (same,) = [
            each for each in alone.plan(granularity=granularity, suite=chosen) if each.key == trial.key
        ]
        found, record = alone.run(same), records[trial.sparsity]
        assert timeless(found) == timeless(record)
        assert found.rounds == record.rounds
        assert "time/reused_s" not in found.metrics
        for name in ("model.safetensors", "outputs.safetensors"):
            assert same_tensors(
                together.worker.folder(trial.key) / name, alone.worker.folder(same.key) / name
            )
        for name in ("layers.csv", "rounds.json", "confusion.csv"):
            one, other = (w.worker.folder(trial.key) / name for w in (together, alone))
            assert one.exists() == other.exists() == (name != "rounds.json" or len(found.rounds) > 1)
            assert not one.exists() or one.read_text() == other.read_text()
        # Times are those of all rounds, whoever made them.
        parts = record.metrics["time/prune_s"] + record.metrics["time/recover_s"]
        assert record.metrics["time/trial_s"] + record.metrics.get("time/reused_s", 0) > parts
    assert plausibility(list(records.values())) == []


def test_twenty_sparsities_that_are_the_rounds_of_the_last_have_its_rounds():
    for share in (0.2, 0.1, 0.3):
        rounds = rounds_of_share(1 - (1 - share) ** 20, share)
        assert len(rounds) == 20
        for number, sparsity in enumerate(rounds, start=1):
            assert rounds_of_share(sparsity, share) == rounds[:number]
    written = [0.2, 0.36, 0.488, 0.5904, 0.67232, 0.737856]
    assert rounds_of_share(written[-1], 0.2) == written


def test_rounds_of_iterative_are_points_and_are_not_shared(workshop, trainings):
    first, second = workshop.plan([0.4, 0.7], schedule="iterative")
    assert first.rounds == second.rounds == ()
    for trial in (first, second):
        trainings.clear()
        record = workshop.run(trial)
        assert len(trainings) == len(record.rounds) == 3
        accuracies = [workshop.accuracy(trial, model) for model in trainings]
        assert [point["accuracy/top1"] for point in record.rounds] == accuracies
        sizes = [sum(p.numel() for p in model.parameters()) for model in trainings]
        assert [point["cost/params"] for point in record.rounds] == sizes
        assert record.rounds[-1].items() <= record.metrics.items()
        assert plausibility([record]) == []


def test_a_schedule_without_rounds_has_no_points(workshop):
    (trial,) = workshop.plan([0.4], schedule="one-shot")
    record = workshop.run(trial)
    assert record.rounds == ()
    assert "rounds" not in json.loads(record.to_json())


def test_an_interrupted_trial_goes_on_after_its_last_whole_round(workshop, trainings, monkeypatch):
    *_, trial = workshop.plan()
    train = recovery.train

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if len(trainings) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workshop.run(trial)
    record = workshop.run(trial)
    assert len(trainings) == 3
    assert len(record.rounds) == 3
    assert workshop.told == []


@pytest.mark.parametrize(
    ("granularity", "name", "again"),
    [("unit", RECOVERED, 1), ("weight", MASKS, 1), ("unit", CUT, 1), ("unit", "stage.json", 1)],
)
def test_a_damaged_round_is_made_anew_and_the_run_says_so(workshop, trainings, granularity, name, again):
    *_, trial = workshop.plan(granularity=granularity)
    before = workshop.run(trial)
    path = workshop.worker.folder(trial.rounds[1]) / name
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    trainings.clear()
    after = workshop.run(trial)
    assert len(trainings) == again  # the same numbers come out, so the third round is the same
    assert timeless(after) == timeless(before)
    assert after.rounds == before.rounds
    assert any(f"{trial.rounds[1]}" in said and "made anew" in said for said in workshop.told)


def test_a_round_made_by_other_scores_is_made_anew(workshop, trainings):
    """What is scored anew under its key may differ, as on a GPU."""
    *_, trial = workshop.plan()
    before = workshop.run(trial)
    folder = workshop.worker.folder(trial.score.key)
    stored = json.loads((folder / "stage.json").read_text())
    scores = load_tensors(folder / SCORES)
    save_tensors(folder / SCORES, {name: 1 - value for name, value in scores.items()})
    stage = Stage(folder, ScoreFacts, [SCORES], stored["made_from"])
    stage.complete(ScoreFacts.model_validate(stored["facts"]))
    trainings.clear()
    after = workshop.run(trial)
    assert len(trainings) == 3
    assert after.rounds[0] != before.rounds[0]
    # Three rounds, and what was measured after each.
    assert sum("was made from other stages" in said for said in workshop.told) == 2 * 3


def test_a_round_that_is_none_of_the_network_is_an_error_that_names_it(workshop):
    """Whoever writes a stage can write its checksums too."""
    *_, trial = workshop.plan()
    workshop.run(trial)
    folder = workshop.worker.folder(trial.rounds[-1])
    stored = json.loads((folder / "stage.json").read_text())
    stage = round_stage(folder, stored["made_from"])
    facts = stage.read()
    assert facts is not None
    stage.complete(facts.model_copy(update={"removed": {"no such group": (0,)}}))
    with pytest.raises(
        BenchsuiteError, match=rf"{trial.rounds[-1]} holds no round of this network.*delete it"
    ):
        workshop.run(trial)


def test_what_decides_a_round_is_in_its_key(workshop):
    def first(**changes: Any) -> str:
        return workshop.plan(**changes)[-1].rounds[0]

    key = first()
    assert workshop.plan()[0].rounds == workshop.plan()[-1].rounds[:1]
    others = [
        first(pruning="floor = 0.3"),
        first(granularity="weight"),
        first(scorer="magnitude-l1"),
        first(pruning='normalise = "l2"'),
        first(more="[training]\nepochs = 2\n[metrics]"),
        first(more="[scoring]\nsamples = 20\n[metrics]"),
        first(suite='controls = ["shuffled"]'),
        first(suite='controls = ["reversed"]'),
    ]
    assert len({key, *others}) == len(others) + 1
    # What is only measured decides no round, but the point that is kept of it.
    measured = [MORE, '[metrics]\ndissection = { concepts = "shapes", samples = 20 }']
    for more in measured:
        trial = workshop.plan(more=more)[-1]
        assert trial.rounds[0] == key
        assert trial.point != workshop.plan()[-1].point
    each = '[metrics]\ndissection = { concepts = "shapes", samples = 20, each_round = true }'
    assert workshop.plan(more=each)[-1].point != workshop.plan(more=measured[1])[-1].point


def test_scratch_shares_the_rounds_before_its_own_training(workshop, trainings):
    trials = workshop.plan([0.51], suite='controls = ["scratch"]')
    own, scratch = trials
    assert scratch.variant == "scratch"
    assert own.rounds[:1] == scratch.rounds
    first, second = workshop.run(own), workshop.run(scratch)
    assert len(trainings) == 3
    assert second.rounds[0] == first.rounds[0]
    assert second.rounds[1].items() <= second.metrics.items()
    assert "accuracy/top1_before_recovery" not in second.rounds[1]
    assert second.metrics["cost/params"] == first.metrics["cost/params"]


def test_a_point_is_measured_once_for_all_trials(workshop, monkeypatch):
    read: list[str] = []

    def observed(*arguments: Any, network: str) -> Any:
        read.append(network)
        return evaluate(*arguments, network=network)

    evaluate = round_points.evaluate
    monkeypatch.setattr(round_points, "evaluate", observed)
    trials = workshop.plan()
    for trial in trials:
        workshop.run(trial)
    assert read == []  # each was the last round of a trial
    for key in trials[-1].rounds:
        shutil.rmtree(workshop.worker.folder(key) / trials[-1].point)
    for trial in trials[::-1]:
        workshop.run(trial)
    assert read == ["the network after round 1", "the network after round 2"]


def test_dissection_of_each_round_is_that_of_the_trial_of_its_sparsity(tmp_path):
    more = (
        '[metrics]\ndissection = { concepts = "shapes", samples = 60, each_round = true, layers = "inner" }'
    )
    deep = Workshop(tmp_path / "deep")
    *_, longest = deep.plan(SPARSITIES[:2], more=more)
    record = deep.run(longest)
    alone = Workshop(tmp_path / "alone")
    (trial,) = alone.plan(SPARSITIES[:1], more=more)
    found = alone.run(trial)
    assert record.rounds[0] == found.rounds[0]
    own = {n: v for n, v in found.metrics.items() if n.startswith("interpretability/")}
    of_round = {n: v for n, v in record.rounds[0].items() if n.startswith("interpretability/")}
    assert of_round == {name: value for name, value in own.items() if not name.endswith("_dense")}
    assert of_round["interpretability/units"] > record.rounds[1]["interpretability/units"] > 0
    # Without it the rounds have none, and the trial has its own.
    (once,) = alone.plan(SPARSITIES[:1], more=more.replace("each_round = true", "each_round = false"))
    without = alone.run(once)
    assert timeless(without) == timeless(found)
    assert not any(name.startswith("interpretability/") for name in without.rounds[0])


def test_the_trial_keeps_its_network_for_others(workshop):
    *_, trial = workshop.plan()
    workshop.run(trial)
    model = load_pruned(workshop.worker, trial).model
    kept = load_tensors(workshop.worker.folder(trial.rounds[-1]) / RECOVERED)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


class Seen(benchsuite.Metric):
    """Sums of weights, and which network it is."""

    name = "seen"
    quantities: ClassVar = {
        "total": benchsuite.Quantity("sum of absolute weights"),
        "number": benchsuite.Quantity("cuts", better="lower"),
        "at_end": benchsuite.Quantity("whether it is the end of a trial"),
    }
    stages = ("dense", "round", "end")
    fails_after: int = 99

    def measure(self, context: benchsuite.MetricContext) -> dict[str, float]:
        if self.fails_after <= context.round_number < 2 and context.stage == "round":
            raise benchsuite.Unsupported("not this one")
        total = sum(float(weight.detach().abs().sum()) for weight in context.model.parameters())
        found = {"total": total, "number": float(context.round_number)}
        return found | ({"at_end": 1.0} if context.stage == "end" else {})


def test_metric_plugins_measure_after_each_round_and_a_trial_s_end_stands_for_no_round(workshop):
    workshop.worker.plugins.add("metric", Seen, "this test", "-")
    more = '[metrics]\nplugins = ["seen"]'
    first, _, third = workshop.plan(more=more)
    assert workshop.plan()[0].rounds == first.rounds
    assert workshop.plan()[0].point != first.point
    records = {trial.sparsity: workshop.run(trial) for trial in (first, third)}
    points = records[third.sparsity].rounds
    assert [point["measured/seen/number"] for point in points] == [1, 2, 3]
    assert ["measured/seen/at_end" in point for point in points] == [False, False, True]
    assert not any(name.endswith("_dense") for name in points[0])
    for key, point in zip(third.rounds, points, strict=True):
        kept = load_tensors(workshop.worker.folder(key) / RECOVERED)
        weights = (value for name, value in kept.items() if "running" not in name and "num_" not in name)
        total = sum(float(weight.abs().sum()) for weight in weights)
        assert point["measured/seen/total"] == pytest.approx(total, rel=1e-6)
    assert records[first.sparsity].rounds[0]["measured/seen/at_end"] == 1
    assert points[0].items() <= records[first.sparsity].rounds[0].items()


def test_that_a_plugin_measured_nothing_of_a_round_is_noted_by_every_trial_that_has_it(workshop):
    workshop.worker.plugins.add("metric", Seen, "this test", "-")
    more = '[metrics]\nplugins = [{ name = "seen", fails_after = 1 }]'
    for trial in workshop.plan(more=more)[1:]:
        record = workshop.run(trial)
        assert record.provenance["measured"]["seen"]["unsupported"] == "not this one"
        assert "measured/seen/total" not in record.rounds[0]
        assert "measured/seen/total" in record.rounds[1]
