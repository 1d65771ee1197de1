from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from tracked import key, record, shown, track

from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import Tracker, is_behind, ui_address
from benchsuite.tracking.run_list import VIEW_TAG

if TYPE_CHECKING:
    from pathlib import Path


def test_a_trial_is_a_nested_run_with_axes_metrics_and_provenance(finished):
    view = shown(finished)
    assert len(view.parents) == 1
    run = view.trials[key("k1")]
    assert run.data.tags["mlflow.parentRunId"] == view.parents[0].info.run_id
    assert run.info.run_name == "weight-entropy · mlp · digits · 0.5 · seed 2"
    assert run.data.params == {
        "dataset": "digits",
        "model": "mlp",
        "seed": "2",
        "scorer": "weight-entropy",
        "scorer_params.bins": "32",
        "granularity": "unit",
        "sparsity": "0.5",
        "draw": "0",
    }
    assert run.data.metrics == {"accuracy/top1": 0.9, "time/trial_s": 2.0}
    assert run.data.tags["provenance.torch"] == "2.6"
    assert run.data.tags["provenance.threads"] == "1"
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    assert run.info.end_time - run.info.start_time >= 2000
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "d" * 12)
    assert {tag.key: tag.value for tag in data.tags} == {"mlflow.data.context": "training"}


def test_the_list_of_runs_opens_with_columns_that_exist(finished):
    view = shown(finished)
    listed = json.loads(view.experiment.tags[VIEW_TAG])
    assert listed["orderByKey"] == "metrics.`accuracy/top1`"
    run = view.trials[key("k1")].data
    there = {f"params.`{n}`" for n in run.params} | {f"tags.`{n}`" for n in run.tags}
    columns = [name for name in listed["selectedColumns"] if not name.startswith("metrics.")]
    assert columns == ["params.`scorer`", "params.`sparsity`", "tags.`status`", "params.`seed`"]
    assert there >= set(columns)
    assert ui_address(finished).endswith("&viewStateShareKey=benchsuite")


def test_a_status_of_an_earlier_form_is_mended_and_the_times_stay(tmp_path):
    track(tmp_path, record(status="killed"))
    view = shown(tmp_path)
    run = view.trials[key("k1")].info
    view.client.set_terminated(run.run_id, status="FAILED", end_time=run.end_time)
    view.client.set_experiment_tag(view.experiment.experiment_id, "benchsuite.shown", "")
    track(tmp_path)
    mended = shown(tmp_path).trials[key("k1")].info
    assert (mended.status, mended.end_time) == ("KILLED", run.end_time)


def test_artifacts_are_the_trials_files_without_checkpoints(finished):
    view = shown(finished)
    run_id = view.trials[key("k1")].info.run_id
    assert [file.path for file in view.client.list_artifacts(run_id)] == ["recovery.json"]
    assert list((finished / "mlartifacts").rglob("recovery.json"))


def test_outcomes_are_statuses_and_errors_are_readable(finished):
    view = shown(finished)
    assert {key: run.info.status for key, run in view.trials.items()} == {
        key("k1"): "FINISHED",
        key("k2"): "FINISHED",
        key("k3"): "FAILED",
        key("k4"): "FAILED",
    }
    assert [view.trials[of].data.tags["status"] for of in (key("k1"), key("k2"), key("k4"))] == [
        "done",
        "collapsed",
        "timeout",
    ]
    assert view.trials[key("k2")].data.tags["error"] == "<script>alert('层')</script>"
    assert view.trials[key("k3")].data.tags["mlflow.note.content"] == "**failed**\n\n```text\nit failed\n```"


def test_the_parent_run_tells_of_the_invocation(finished):
    view = shown(finished)
    assert f"/experiments/{view.experiment.experiment_id}/runs?" in ui_address(finished)
    (parent,) = view.parents
    assert view.experiment.tags["mlflow.note.content"] == "Every *scorer*."
    assert re.fullmatch(r"quick · \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", parent.info.run_name)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["invocation.command"] == "run quick.toml"
    assert "`benchsuite run quick.toml`" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == {
        "trials/done": 1,
        "trials/collapsed": 1,
        "trials/failed": 1,
        "trials/timeout": 1,
    }


def test_metrics_that_come_later_are_added_and_the_others_not_repeated(tmp_path):
    early = record()
    track(tmp_path, early)
    track(tmp_path, replace(early, metrics={**early.metrics, "latency/batch1_ms": 1.5}))
    view = shown(tmp_path)
    run = view.trials[key("k1")]
    assert run.data.metrics == {"accuracy/top1": 0.9, "time/trial_s": 2.0, "latency/batch1_ms": 1.5}
    for metric in run.data.metrics:
        assert len(view.client.get_metric_history(run.info.run_id, metric)) == 1


def test_the_recovery_is_a_curve_and_is_logged_once(tmp_path):
    losses = [2.0, 1.0, 0.5]
    for one, content_ in ((key("k1"), {"losses": losses}), (key("k2"), [1]), (key("k3"), {"losses": [None]})):
        (tmp_path / "stages" / one).mkdir(parents=True)
        (tmp_path / "stages" / one / "recovery.json").write_text(json.dumps(content_))
    track(tmp_path, record(), record(key("k2")), record(key("k3")), record(key("k4")))
    track(tmp_path, replace(record(), metrics={**record().metrics, "latency/batch1_ms": 1.5}))
    view = shown(tmp_path)
    history = view.client.get_metric_history(view.trials[key("k1")].info.run_id, "recovery/loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert not any(
        "recovery/loss" in view.trials[of].data.metrics for of in (key("k2"), key("k3"), key("k4"))
    )


def test_the_parent_run_gets_the_summary_if_there_was_something_to_show(tmp_path):
    made = []

    def make() -> Path:
        folder = tmp_path / "summary"
        folder.mkdir(exist_ok=True)
        (folder / "summary.md").write_text("| place |\n" + "x" * 9000)
        (folder / "ranking.csv").write_text("a,b\n")
        made.append(folder)
        return folder

    RunDirectory(tmp_path).append(record())
    for expected in (1, 1):
        with Tracker(tmp_path, "quick", "Every *scorer*.") as tracker:
            tracker.summarise(make)
            tracker.start({"command": "run quick.toml"})
        assert (len(made), tracker.warnings) == (expected, [])
    view = shown(tmp_path)
    (parent,) = view.parents
    assert [f.path for f in view.client.list_artifacts(parent.info.run_id)] == ["ranking.csv", "summary.md"]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("Every *scorer*.\n\n`benchsuite run quick.toml`\n\n| place |\n")
    assert len(note) == 8000


def test_a_summary_that_cannot_be_made_is_a_warning_and_loses_nothing(tmp_path):
    def fail() -> Path:
        raise ValueError("a renderer of somebody's")

    RunDirectory(tmp_path).append(record())
    with Tracker(tmp_path, "quick") as tracker:
        tracker.summarise(fail)
        tracker.start({})
    assert tracker.warnings == ["no summary was made for MLflow: ValueError: a renderer of somebody's"]
    assert shown(tmp_path).parents[0].info.status == "FINISHED"
    assert not is_behind(tmp_path)
