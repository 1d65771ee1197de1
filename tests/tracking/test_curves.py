from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from tracked import key, record, shown, track

from benchsuite.tracking import curves


def test_of_a_long_recovery_a_hundred_epochs_are_shown_with_the_last(tmp_path):
    losses = [float(number) for number in range(1, 1051)]
    (tmp_path / "recovery.json").write_text(json.dumps({"losses": [*losses[:-1], float("nan"), 1050.0]}))
    points = [(point.step, point.value) for point in curves.trial_curves(tmp_path)]
    assert 90 <= len(points) <= 100
    assert points[-1] == (1051, 1050.0)
    assert points == sorted(points)
    assert len({later[0] - earlier[0] for earlier, later in itertools.pairwise(points[:-1])}) == 1


def test_the_rounds_of_a_schedule_are_curves_by_round(tmp_path):
    folder = tmp_path / "stages" / key("k1")
    folder.mkdir(parents=True)
    rounds = [
        {"round": 1, "sparsity": 0.5, "params_nonzero": 50, "validation_top1": 0.9, "loss": 0.25},
        {"round": 2, "sparsity": 0.75, "params_nonzero": 25, "validation_top1": 0.8, "loss": None},
    ]
    (folder / "rounds.json").write_text(json.dumps(rounds))
    track(tmp_path, record(), record(key("k2")))
    track(tmp_path, replace(record(), metrics={**record().metrics, "latency/batch1_ms": 1.5}))
    view = shown(tmp_path)
    found = {name: view.curve(view.trials[key("k1")], f"rounds/{name}") for name in (*rounds[0], "round")}
    assert found == {
        "round": [],
        "sparsity": [(1, 0.5), (2, 0.75)],
        "params_nonzero": [(1, 50), (2, 25)],
        "validation_top1": [(1, 0.9), (2, 0.8)],
        "loss": [(1, 0.25)],
    }
    assert not any(name.startswith("rounds/") for name in view.trials[key("k2")].data.metrics)


def test_what_a_trial_came_to_after_each_round_is_a_curve_by_round(tmp_path):
    points = ({"accuracy/top1": 0.9, "odd/näme?": 2.0}, {"accuracy/top1": 0.8, "odd/näme?": 1.0})
    track(tmp_path, replace(record(), rounds=points), record(key("k2")))
    view = shown(tmp_path)
    run = view.trials[key("k1")]
    assert view.curve(run, "rounds/accuracy/top1") == [(1, 0.9), (2, 0.8)]
    assert view.curve(run, "rounds/odd/näme_") == [(1, 2.0), (2, 1.0)]
    assert view.curve(run, "accuracy/top1") == [(0, 0.9)]
    assert not any(name.startswith("rounds/") for name in view.trials[key("k2")].data.metrics)


SAMPLES = "unix_s,seconds,cpu_percent,memory_mb,gpu_percent\n"


def test_samples_of_the_system_have_their_own_times(tmp_path):
    folder = tmp_path / "stages" / key("k1")
    folder.mkdir(parents=True)
    (folder / "system.csv").write_text(f"{SAMPLES}1000.5,20.1,99.0,512.0,\n1005.5,25.1,98.0,600.0,50\n10")
    track(tmp_path, record())
    view = shown(tmp_path)
    run = view.trials[key("k1")]
    assert view.curve(run, "system/cpu_percent") == [(20, 99.0), (25, 98.0)]
    assert view.curve(run, "system/memory_mb") == [(20, 512.0), (25, 600.0)]
    assert view.curve(run, "system/gpu_percent") == [(25, 50.0)]
    history = view.client.get_metric_history(run.info.run_id, "system/cpu_percent")
    assert [point.timestamp for point in history] == [1_000_500, 1_005_500]


def test_a_new_attempt_adds_its_samples(tmp_path):
    folder = tmp_path / "stages" / key("k1")
    folder.mkdir(parents=True)
    (folder / "system.csv").write_text(f"{SAMPLES}1000,20,99,512,\n")
    track(tmp_path, record(status="timeout"))
    track(tmp_path, replace(record(status="timeout"), error="told otherwise"))
    (folder / "system.csv").write_text(f"{SAMPLES}2000,30,10,100,\n")
    track(tmp_path, record())
    view = shown(tmp_path)
    assert view.curve(view.trials[key("k1")], "system/cpu_percent") == [(20, 99.0), (30, 10.0)]


def test_of_a_long_course_some_hundred_samples_are_shown_with_the_last(tmp_path):
    rows = "".join(f"{1000 + 5 * n},{5 * n},{n},1,\n" for n in range(3001))
    (tmp_path / "system.csv").write_text(SAMPLES + rows)
    points = [p for p in curves.system_load(tmp_path) if p.name == "system/cpu_percent"]
    assert 300 < len(points) <= 400
    assert (points[-1].step, points[-1].value) == (15000, 3000.0)


@pytest.mark.parametrize(
    "text", ["", "[1]", "null", "{", '{"losses": 3}', '[{"round": "x", "a": 1}]', "a,b\n1"]
)
def test_files_of_another_form_give_no_curve(tmp_path, text):
    for name in ("recovery.json", "rounds.json", "training.json", "system.csv"):
        (tmp_path / name).write_text(text)
    assert curves.trial_curves(tmp_path) == []
    assert curves.dense_curves(tmp_path, 0.0, 1.0) == []
