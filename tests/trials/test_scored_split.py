"""Which samples a scoring sees: each image of the data set carries its own number, and a scorer notes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import benchsuite
from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import prepare
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite
from benchsuite.trials import run_trial
from benchsuite.trials.scores import score_dense
from benchsuite.trials.tables import fill_tables
from benchsuite.trials.training_trace import train_with_traces
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.plan.trial import Trial

TRAIN, VALIDATION, TEST = range(60), range(60, 85), range(85, 125)


class Numbered(benchsuite.DatasetPlugin):
    """Noise whose first pixel is the number of the image in the whole data set."""

    name = "numbered"
    validation: bool = True

    def load(self, folder: Path) -> benchsuite.Dataset:
        def split(numbers: range) -> benchsuite.Split:
            images = torch.randint(0, 255, (len(numbers), 1, 4, 4), generator=generator).to(torch.uint8)
            images[:, 0, 0, 0] = torch.tensor(list(numbers), dtype=torch.uint8)
            return benchsuite.Split(images, torch.tensor(list(numbers), dtype=torch.int64) % 3)

        generator = torch.Generator().manual_seed(0)
        parts = (split(TRAIN), split(VALIDATION if self.validation else range(0)), split(TEST))
        return benchsuite.Dataset(*parts, ("a", "b", "c"), mean=(0.0,), std=(1.0,))


class Tiny(benchsuite.ModelPlugin):
    """Two hidden layers."""

    name = "tiny"
    recipe = benchsuite.TrainingRecipe(epochs=1, batch_size=20, learning_rate=0.05)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        units = [nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *units, nn.Linear(5, classes))


SEEN: list[tuple[str, int, list[int]]] = []
"""Of each scoring: the scorer, the round, and the numbers of the images in the order in which they came."""


def note(scorer: benchsuite.Scorer, context: benchsuite.ScoringContext) -> dict[str, Tensor]:
    images = torch.cat([inputs for inputs, _ in context.batches()])
    numbers = (images[:, 0, 0, 0] * 255).round().int().tolist()
    assert torch.equal(torch.cat([labels for _, labels in context.batches()]), torch.tensor(numbers) % 3)
    SEEN.append((scorer.name, context.round_number, numbers))
    return {layer.name: layer.weight.abs().flatten(1).sum(1) for layer in context.layers}


class NotesA(benchsuite.Scorer):
    """Notes what it sees."""

    name = "notes-a"
    granularity = "unit"

    def score(self, context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        return note(self, context)


class NotesB(NotesA):
    """The same, as another criterion."""

    name = "notes-b"


class Workshop:
    """Plans and scores in one run directory, so that suites share their dense model and its tables."""

    def __init__(self, folder: Path) -> None:
        registry, _ = discover()
        for kind, plugin in (("dataset", Numbered), ("model", Tiny), ("scorer", NotesA), ("scorer", NotesB)):
            registry.add(kind, plugin, "this test", "-")
        self.worker = WorkerContext(RunConfiguration(folder, folder), registry, prepare("cpu", 1), 1)

    def plan(
        self, scoring: str, scorers: str = '"notes-a", "notes-b"', more: str = "", dataset: str = '"numbered"'
    ) -> list[Trial]:
        folder = self.worker.configuration.run
        (folder / "suite.toml").write_text(
            f'[suite]\nname = "t"\nseeds = [0]\nsparsities = [0.5]\nscorers = [{scorers}]\ncontrols = []\n'
            f'[[workload]]\ndataset = {dataset}\nmodels = ["tiny"]\n'
            f"[scoring]\nbatch_size = 7\n{scoring}\n[metrics]\nlatency = false\n{more}"
        )
        return build_plan(load_suite(folder / "suite.toml", self.worker.plugins), self.worker.plugins, folder)

    def seen(self, trials: list[Trial]) -> list[list[int]]:
        """What whole scorings of the trials' dense networks see, in order of the trials."""
        SEEN.clear()
        train_with_traces(self.worker, trials[0].dense, trials[0].traces)
        for trial in trials:
            score_dense(self.worker, trial.score)
        size = max(len(numbers) for _, _, numbers in SEEN)
        return [numbers for _, _, numbers in SEEN if len(numbers) == size]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.mark.parametrize(
    ("scoring", "split", "count"),
    [
        ("samples = 12", TRAIN, 12),
        ('samples = "all"', TRAIN, 60),
        ('split = "validation"', VALIDATION, 25),
        ('split = "validation"\nsamples = "all"', VALIDATION, 25),
        ('split = "validation"\nsamples = 10', VALIDATION, 10),
    ],
)
def test_each_criterion_sees_the_same_samples_of_the_named_split(workshop, scoring, split, count):
    first, second = workshop.seen(workshop.plan(scoring))
    assert first == second
    assert len(first) == len(set(first)) == count
    assert set(first) <= set(split)
    # Each half, of which the stability is made, is of the same samples.
    halves = {tuple(numbers) for _, _, numbers in SEEN if len(numbers) == count // 2}
    assert halves == {tuple(first[: count // 2]), tuple(first[count // 2 : count // 2 * 2])}


def test_later_rounds_see_what_the_first_one_saw(workshop):
    more = '[pruning]\nschedule = "iterative"\nrounds = 3\n[recovery]\nepochs = 1\n'
    (trial,) = workshop.plan('split = "validation"\nsamples = "all"', '"notes-a"', more)
    workshop.seen([trial])
    record = run_trial.run_trial(workshop.worker, trial, [score_dense(workshop.worker, trial.score)])
    by_round = {number: numbers for _, number, numbers in SEEN if len(numbers) == len(VALIDATION)}
    assert by_round.keys() == {0, 1, 2}
    assert set(by_round[0]) == set(VALIDATION)
    assert by_round[0] == by_round[1] == by_round[2]
    assert record.settings["scoring"] == {"split": "validation", "samples": "all", "batch_size": 7}


def test_tables_of_the_two_splits_lie_beside_each_other(workshop):
    """Mean activations from tables that the host has filled for both splits, against the network's own."""
    suites = {
        split: workshop.plan(f'split = "{split}"\nsamples = "all"', '"mean-activation"')
        for split in ("train", "validation")
    }
    assert len({trials[0].dense.key for trials in suites.values()}) == 1
    for trials in suites.values():
        train_with_traces(workshop.worker, trials[0].dense, trials[0].traces)
        fill_tables(workshop.worker, [trials[0].score])
    for split, trials in suites.items():
        scored = score_dense(workshop.worker, trials[0].score)
        images = getattr(scored.dense.data, split).inputs.float() / 255
        with torch.no_grad():
            expected = scored.dense.model[:3](images).relu().mean(0)
        assert torch.allclose(scored.scores["1"], expected, atol=1e-6), split


def test_without_a_validation_split_a_scoring_on_it_is_unsupported(workshop):
    (trial,) = workshop.plan(
        'split = "validation"', '"mean-activation"', dataset='{ name = "numbered", validation = false }'
    )
    train_with_traces(workshop.worker, trial.dense, trial.traces)
    fill_tables(workshop.worker, [trial.score])
    with pytest.raises(
        Unsupported, match=r"split is 'validation', but the validation split of numbered.* is empty"
    ):
        score_dense(workshop.worker, trial.score)


def test_keys_and_records_name_the_choice_only_where_it_is_not_the_default(workshop):
    def of(scoring: str) -> tuple[str, Any]:
        (trial,) = workshop.plan(scoring, '"notes-a"')
        return trial.score.key, trial.shared["scoring"]

    plain = of("samples = 12")
    assert plain == of('samples = 12\nsplit = "train"')
    assert plain[1] == {"samples": 12, "batch_size": 7}
    others = [of('samples = 12\nsplit = "validation"'), of('samples = "all"')]
    assert [settings for _, settings in others] == [
        {"split": "validation", "samples": 12, "batch_size": 7},
        {"samples": "all", "batch_size": 7},
    ]
    assert len({plain[0], *(key for key, _ in others)}) == 3
