from __future__ import annotations

import json
import os

import pytest
from tracked import closed_port, dense_trial, key, shown, track, trained

from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import connection, dense_runs, is_behind


def test_a_dense_model_is_a_run_beside_its_trials_with_its_training_as_a_curve(tmp_path):
    trained(tmp_path)
    os.utime(tmp_path / "stages" / key("t1") / "stage.json", (1_000_000, 1_000_000))
    assert track(tmp_path, dense_trial(key("a")), dense_trial(key("b"))).warnings == []
    view = shown(tmp_path)
    assert set(view.trials) == {key("a"), key("b")}
    run = view.dense[key("t1")]
    assert run.info.run_name == "dense · mlp · digits · seed 2"
    assert run.data.tags["mlflow.parentRunId"] == view.parents[0].info.run_id
    assert {trial.data.tags["benchsuite.dense"] for trial in view.trials.values()} == {key("t1")}
    assert run.data.tags["benchsuite.dense"] == key("t1")
    assert view.curve(run, "training/loss") == [(1, 2.0), (2, 1.0), (3, 2.0 / 3)]
    assert view.curve(run, "training/learning_rate") == [(1, 0.1), (2, 0.1), (3, 0.1)]
    moments = [m.timestamp for m in view.client.get_metric_history(run.info.run_id, "training/loss")]
    assert moments == [999_996_000, 999_998_000, 1_000_000_000], "epochs are spread over the training"
    assert (run.info.start_time, run.info.end_time) == (999_994_000, 1_000_000_000)
    assert run.info.status == "FINISHED"


def test_its_accuracy_cost_recipe_and_files_are_there(tmp_path):
    trained(tmp_path)
    track(tmp_path, dense_trial())
    view = shown(tmp_path)
    run = view.dense[key("t1")]
    wanted = {
        "accuracy/top1": 0.95,
        "accuracy/class/a/b": 0.5,
        "time/train_s": 6.0,
        "cost/params": 100,
        "cost/macs": 1000,
        "cost/flops": 2000,
        "cost/params_nonzero": 90,
        "cost/macs_nonzero": 900,
        "sparsity/macs": 0,
    }
    assert wanted.items() <= run.data.metrics.items()
    assert not {"accuracy/loss", "accuracy/class/c"} & run.data.metrics.keys(), "what is not known"
    assert run.data.params == {
        "dataset": "digits",
        "model": "mlp",
        "seed": "2",
        "scorer": "dense",
        "sparsity": "0.0",
        "training_recipe.epochs": "3.0",
        "training_recipe.milestones": "[0.5, 0.75]",
    }
    assert run.data.tags["provenance.device"] == "a chip"
    assert run.data.tags["provenance.torch"] == "2.6"
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "digits"
    names = [file.path for file in view.client.list_artifacts(run.info.run_id)]
    assert names == ["stage.json", "training.json"], "no checkpoint, no lock, no empty log"


def test_later_invocations_and_new_stores_make_no_second_one(tmp_path):
    trained(tmp_path)
    track(tmp_path, dense_trial(key("a")))
    first = shown(tmp_path).dense[key("t1")]
    track(tmp_path, dense_trial(key("b")))  # knows that everything is shown
    RunDirectory(tmp_path).append(dense_trial(key("c")))
    track(tmp_path)  # reads what is shown
    view = shown(tmp_path)
    assert set(view.trials) == set(map(key, "abc"))
    assert view.dense[key("t1")].info.run_id == first.info.run_id
    assert len(view.curve(first, "training/loss")) == 3
    (tmp_path / "mlflow.db").unlink()
    track(tmp_path)
    assert set(shown(tmp_path).dense) == {key("t1")}


def test_one_that_was_cut_off_is_written_to_its_end_once(tmp_path, monkeypatch):
    trained(tmp_path, epochs=1500)

    def cut_off(*args: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(dense_runs, "log_dataset", cut_off)
    (warning,) = track(tmp_path, dense_trial(key("a")), dense_trial(key("b"))).warnings
    assert "gone" in warning
    assert shown(tmp_path).dense[key("t1")].info.status == "RUNNING"
    monkeypatch.setattr(dense_runs, "log_dataset", connection.log_dataset)
    track(tmp_path)
    view = shown(tmp_path)
    assert view.dense[key("t1")].info.status == "FINISHED"
    losses = view.curve(view.dense[key("t1")], "training/loss")
    assert 300 < len(losses) <= 400
    assert len(set(losses)) == len(losses)
    assert losses[-1] == (1500, 2.0 / 1500)
    assert set(view.trials) == {key("a"), key("b")}, "its trials are there whatever becomes of it"


def test_a_server_that_is_down_is_made_up_for(tmp_path, monkeypatch):
    trained(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    track(tmp_path, dense_trial())
    assert is_behind(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    track(tmp_path)
    assert set(shown(tmp_path).dense) == {key("t1")}
    assert not is_behind(tmp_path)


def test_the_recipe_is_waited_for_and_done_without_if_no_trial_is_done(tmp_path):
    trained(tmp_path, key("t1"))
    trained(tmp_path, key("t2"))
    unsupported = dense_trial(key("a"), "unsupported"), dense_trial(key("c"), "unsupported", key("t2"))
    track(tmp_path, *unsupported, dense_trial(key("b")))
    view = shown(tmp_path)
    assert view.dense[key("t1")].data.params["training_recipe.epochs"] == "3.0"
    assert "training_recipe.epochs" not in view.dense[key("t2")].data.params
    assert view.curve(view.dense[key("t2")], "training/loss")


@pytest.mark.parametrize("broken", ["absent", "cut short", "other"])
def test_a_training_that_is_not_complete_has_no_run(tmp_path, broken):
    trained(tmp_path)
    facts = tmp_path / "stages" / key("t1") / "stage.json"
    if broken == "absent":
        facts.unlink()
    else:
        facts.write_text(facts.read_text()[:20] if broken == "cut short" else json.dumps([1]))
    assert track(tmp_path, dense_trial()).warnings == []
    view = shown(tmp_path)
    assert (set(view.trials), view.dense) == ({key("k1")}, {})


def test_what_an_earlier_form_of_the_store_lacks_is_added(tmp_path):
    track(tmp_path, dense_trial(key("a")))
    view = shown(tmp_path)
    view.client.delete_tag(view.trials[key("a")].info.run_id, "benchsuite.dense")
    size = (tmp_path / "results.jsonl").stat().st_size
    tag = view.experiment.tags["benchsuite.shown"].partition(" in form")[0]
    assert tag.startswith(f"{size} bytes")
    view.client.set_experiment_tag(view.experiment.experiment_id, "benchsuite.shown", tag)
    trained(tmp_path)
    assert track(tmp_path).shown == 0
    view = shown(tmp_path)
    assert set(view.dense) == {key("t1")}
    assert view.trials[key("a")].data.tags["benchsuite.dense"] == key("t1")


def ranking_artifacts(directory):
    view = shown(directory)
    found = view.client.list_artifacts(view.dense[key("t1")].info.run_id, "ranking")
    return {each.path.removeprefix("ranking/") for each in found}


def test_its_ranking_is_added_when_it_is_there_and_again_when_it_changes(tmp_path):
    trained(tmp_path)
    track(tmp_path, dense_trial(key("a")))
    assert ranking_artifacts(tmp_path) == set()
    folder = tmp_path / "ranking" / key("t1")
    folder.mkdir(parents=True)
    for name in ("first-and-last.csv", "maps.svg", "maps.png", "scores.json", ".first-and-last.csv.1"):
        (folder / name).write_text("layer\n")
    (folder / "secret.csv").symlink_to(tmp_path / "results.jsonl")
    (tmp_path / "agreement").mkdir()
    (tmp_path / "agreement" / f"{key('t1')}.pairs.csv").write_text("layer\n")
    (tmp_path / "agreement" / f"{key('t2')}.pairs.csv").write_text("layer\n")
    track(tmp_path, dense_trial(key("b")))
    names = {"first-and-last.csv", "maps.svg", f"{key('t1')}.pairs.csv"}
    assert ranking_artifacts(tmp_path) == names
    tag = shown(tmp_path).dense[key("t1")].data.tags["benchsuite.ranking"]
    (folder / "confusion-test.csv").write_text("true\n")
    track(tmp_path, dense_trial(key("c")))
    assert ranking_artifacts(tmp_path) == names | {"confusion-test.csv"}
    assert shown(tmp_path).dense[key("t1")].data.tags["benchsuite.ranking"] != tag
