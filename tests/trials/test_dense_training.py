"""What a training tells of the dense network that it ends with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from scipy.stats import binom  # type: ignore[import-untyped]

from benchsuite import cli
from benchsuite.metrics.accuracy import Evaluation
from benchsuite.trials.dense_training import no_better_than_naive

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
import benchsuite
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, several):
        super().__init__()
        self.several = several
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        hidden = self.first(x.flatten(1)).relu()
        scores = self.last(hidden)
        return {"hidden": hidden, "scores": scores} if self.several else scores

class Idle(benchsuite.ModelPlugin):
    "Learns next to nothing."
    name = "idle"
    recipe = benchsuite.TrainingRecipe(epochs=1, learning_rate=1e-9)

    def build(self, input_shape, classes):
        return Net(False)

class Several(benchsuite.ModelPlugin):
    name = "several"
    recipe = benchsuite.TrainingRecipe(epochs=5, learning_rate=0.05)

    def build(self, input_shape, classes):
        return Net(True)

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Idle)
    register(Several)
"""
SUITE = """
[suite]
name = "told"
seeds = [0]
sparsities = [0.3]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = ["idle", "several"]

[recovery]
epochs = 0

[metrics]
latency = false
"""


def evaluation(right: int, counts: tuple[int, ...]) -> Evaluation:
    """So many samples of each class, the first ones of all classified well."""
    confusion = torch.zeros(len(counts), len(counts), dtype=torch.int64)
    for label, count in enumerate(counts):
        fine = min(right, count)
        right -= fine
        confusion[label, label], confusion[label, label - 1] = fine, count - fine
    return Evaluation(confusion, 1.0)


@pytest.mark.parametrize("counts", [(50, 50), (100, 80, 20), (1000,) * 10, (1, 1, 2)])
def test_a_network_that_guesses_is_told_in_nearly_all_cases(counts: tuple[int, ...]) -> None:
    """The second computation: the binomial distribution of how many a constant answer gets right."""
    samples, naive = sum(counts), max(counts) / sum(counts)
    told = [no_better_than_naive(evaluation(right, counts)) is not None for right in range(samples + 1)]
    assert told == sorted(told, reverse=True)
    assert binom.cdf(sum(told) - 1, samples, naive) > 0.95
    assert sum(told) - 1 <= samples * naive + 2 * math.sqrt(samples * naive * (1 - naive))


def test_a_run_says_that_a_network_learnt_nothing_and_which_output_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "told.py").write_text(PLUGIN)
    (tmp_path / "suite.toml").write_text(SUITE)
    words: list[Any] = [
        tmp_path / "suite.toml",
        "--plugin",
        tmp_path / "told.py",
        "--output",
        tmp_path / "run",
    ]
    assert cli.main(["run", *map(str, words), "--jobs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (naive,) = [line for line in lines if "always naming the most frequent class" in line]
    assert "the dense network idle on digits, seed 0, is right on " in naive
    assert naive.endswith("what is pruned from it says nothing about criteria")
    (several,) = [line for line in lines if "several outputs" in line]
    assert several.endswith(
        "the dense network several on digits, seed 0, returns several outputs: 'scores' is taken as its "
        "class scores"
    )
