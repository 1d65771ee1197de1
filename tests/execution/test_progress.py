"""The line of a trial: says what its axes are, once."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchsuite.execution import progress
from benchsuite.execution.jobs import ScoreJob, TrialsJob, way
from benchsuite.execution.progress import outcome_line, summary, varied_axes
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store.record import TrialRecord
from benchsuite.suite import load_suite

SUITE = """
[suite]
name = "axes"
seeds = [0, 1]
sparsities = [0.3, 0.6]
scorers = ["magnitude-l1"]
controls = ["random"]

[[workload]]
dataset = "digits"
models = ["mlp"]

[pruning]
{pruning}

[recovery]
epochs = {epochs}
"""


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    registry = discover()[0]

    def make(pruning="", epochs="1"):
        path = tmp_path_factory.mktemp("suite") / "suite.toml"
        path.write_text(SUITE.format(pruning=pruning, epochs=epochs))
        return build_plan(load_suite(path, registry), registry, path.parent)

    return make


def line(trial, varied, **metrics):
    metrics = {"accuracy/top1": 0.5, "accuracy/top1_dense": 0.75, **metrics}
    return outcome_line(TrialRecord(trial.key, trial.axes, "done", metrics), varied)


@pytest.mark.parametrize(
    ("pruning", "epochs", "varied"),
    [
        ("", "1", []),
        ('scope = ["layer", "global"]', "1", ["scope"]),
        ('granularity = ["unit", "weight"]\nbudget = ["params", "units"]', "[0, 1.5]", None),
        ('schedule = ["one-shot", "iterative"]', "1", ["schedule"]),
    ],
)
def test_no_two_trials_have_one_line(trials, pruning, epochs, varied):
    found = trials(pruning, epochs)
    names = varied_axes(found)
    if varied is not None:
        assert names == varied
    lines = [line(trial, names) for trial in found]
    assert len(set(lines)) == len(lines) > 4


def test_accuracy_before_recovery_stands_only_where_there_is_one(trials):
    trial = trials()[0]
    told = line(trial, [], **{"accuracy/top1_before_recovery": 0.25})
    assert told.endswith(": accuracy 25.0 before recovery, 50.0 after (dense 75.0)")
    assert line(trial, []).endswith(": accuracy 50.0 (dense 75.0)")


def test_a_pipe_says_what_begins_first_and_after_a_silence(trials, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=300)
    view = progress.PlainView(2, console)
    trial = trials()[0]
    record = TrialRecord(trial.key, trial.axes, "unsupported", error="it cannot")
    view.working(0, "training it")
    view.working(1, "training another")
    view.recorded(trial, record, complete=True)
    now[0] += progress.SILENCE_SECONDS + 1
    view.working(0, "scoring it")
    lines = [one.strip() for one in console.file.getvalue().splitlines()]
    assert (lines[0], lines[2]) == ("0/2  training it …", "1/2  scoring it …")
    assert len(lines) == 3


def test_the_live_line_names_scorer_and_network_once(trials):
    trial = trials()[0]
    job = TrialsJob((trial,))
    told = f"{job.title} by {way(trial)}"
    assert told == "pruning mlp · digits · seed 0 by magnitude-l1 · sparsity 0.3"
    assert ScoreJob(trial.score).title == "scoring mlp · digits · seed 0 by magnitude-l1"
    drawn = next(each for each in trials() if each.axes["draw"])
    assert way(drawn).startswith("random · sparsity 0.3 · draw ")


def test_a_slot_starts_before_it_waits():
    console = Console(file=io.StringIO(), width=60, force_terminal=True)
    view = progress.LiveView(1, ["cpu"], console)
    console.print(view._render())
    view.working(0, "training it")
    view.idle(0)
    console.print(view._render())
    first, _, last = console.file.getvalue().partition("waiting")
    assert "starting" in first
    assert last


@given(st.text(st.sampled_from("ab \n\r\x0b\x85\u2028\x1b\ud800"), max_size=40))
def test_what_a_stranger_raises_makes_no_line_of_its_own(trials, error):
    trial = trials()[0]
    record = TrialRecord(trial.key, trial.axes, "failed", {}, error=error)
    told = outcome_line(record)
    assert len(told.splitlines()) == 1
    assert told.isprintable()
    first, second, *more = summary([record]).splitlines()
    assert first == "1 failed"
    assert second.startswith("  1 x failed:")
    assert more == []


def test_a_long_error_is_shortened_in_its_middle(trials):
    trial = trials()[0]
    record = TrialRecord(trial.key, trial.axes, "failed", {}, error="first\n" + "x" * 8000 + "\nlast")
    told = outcome_line(record)
    assert len(told.encode()) <= 1500
    assert told.endswith("last")
    assert "first" in told
