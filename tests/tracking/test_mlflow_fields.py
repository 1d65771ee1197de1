from __future__ import annotations

import pytest
from tracked import AXES, key, record, shown, track

from benchsuite.tracking import mlflow_fields


def test_names_that_mlflow_refuses_are_changed_until_it_takes_them(tmp_path):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    names = ["accuracy/recall_ship, sail", "/x//y/../z/.", "a" * 400, "ü?*<b>", "a/" * 200, "..", ""]
    changed = mlflow_fields.metrics(record(metrics=dict.fromkeys(names, 1.0)))
    assert "accuracy/recall_ship_ sail" in changed
    for name in changed:
        _validate_metric_name(name)
    for name in mlflow_fields.params({"scorer_params": dict.fromkeys(names, 1)}):
        _validate_param_name(name)


@pytest.mark.parametrize(
    ("status", "shown_as"),
    [
        *((settled, "FINISHED") for settled in ("done", "unsupported", "collapsed")),
        *(("failed", "FAILED"), ("timeout", "FAILED"), ("killed", "KILLED")),
    ],
)
def test_what_failed_is_no_finished_run(status, shown_as):
    assert mlflow_fields.run_status(record(status=status)) == shown_as
    assert mlflow_fields.tags(record(status=status))["status"] == status


def test_long_texts_are_cut_and_unset_axes_left_out():
    found = mlflow_fields.params({"scorer": "x" * 9000, "recovery_epochs": None, "augment": False})
    assert len(found["scorer"]) == 6000
    assert set(found) == {"scorer", "augment"}
    found = mlflow_fields.tags(record(status="failed", error="y" * 20000))
    assert len(found["error"]) == 8000
    assert found["mlflow.note.content"].endswith("y…\n```")


def test_an_error_cannot_leave_its_block_of_the_description():
    note = mlflow_fields.tags(record(status="failed", error="```\n<b>bold</b>"))["mlflow.note.content"]
    assert note == "**failed**\n\n```text\n'''\n<b>bold</b>\n```"


def test_numbers_that_are_less_certain_than_they_look_have_a_note():
    certain = {"cost/uncounted_modules": 0.0, "latency/batch1_speedup_wide": 0.0}
    assert "mlflow.note.content" not in mlflow_fields.tags(record(metrics=certain))
    metrics = {"cost/uncounted_modules": 1.0, "latency/batch1_speedup": 2, "latency/batch1_speedup_wide": 1.0}
    names = {"uncounted_modules": ["stem: aten._fft_r2c", "`<b>"]}
    note = mlflow_fields.tags(record(metrics=metrics, provenance=names))["mlflow.note.content"]
    assert "lower bound: what may multiply and has no formula is `stem: aten._fft_r2c, '<b>`" in note
    assert "wider than 3%: `latency/batch1_speedup`" in note


def test_a_run_name_tells_draws_apart():
    assert (
        mlflow_fields.run_name({**AXES, "draw": 3}) == "weight-entropy · mlp · digits · 0.5 · seed 2 · draw 3"
    )
    assert mlflow_fields.run_name({"scorer": "random"}) == "random"


def test_more_metrics_than_one_batch_holds_are_all_there(tmp_path):
    metrics = {f"accuracy/recall_{number}": number / 2500 for number in range(2500)}
    track(tmp_path, record(metrics=metrics))
    assert shown(tmp_path).trials[key("k1")].data.metrics == metrics
