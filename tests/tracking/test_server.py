from __future__ import annotations

import json
import os
import shutil
import urllib.request

import pytest
from tracked import Shown, closed_port, key, record, serving, shown, sync, track

from benchsuite.cli import main
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import is_behind, ui_address


@pytest.mark.slow
def test_what_a_server_missed_is_brought_in_once_by_mlflow_sync(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    port, run = closed_port(), tmp_path / "run"
    track(tmp_path / "server", record(key("own")))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    run.mkdir()
    (run / "suite.toml").write_text("[suite]\nname = 'quick'\n")
    (warning,) = track(run, record(key("a")), record(key("b"), "failed")).warnings
    assert "mlflow-sync" in warning
    code, output = sync(run, capsys)
    assert code == 1
    assert "does not answer" in output
    assert is_behind(run)
    with serving(tmp_path / "server", port, tmp_path / "server.log") as address:
        code, output = sync(run, capsys)
        assert (code, output) == (0, "2 of 2 trials were new to MLflow or had changed\n")
        once = Shown(address)
        assert set(once.trials) == {key("own"), key("a"), key("b")}
        assert once.trials[key("a")].data.metrics["accuracy/top1"] == 0.9
        (parent,) = (p for p in once.parents if p.data.tags["benchsuite.run_directory"].endswith("/run"))
        assert parent.data.metrics == {"trials/done": 1, "trials/failed": 1}
        assert "summary.md" in [f.path for f in once.client.list_artifacts(parent.info.run_id)]
        assert "| place | criterion |" in parent.data.tags["mlflow.note.content"]
        code, output = sync(run, capsys)
        assert (code, output) == (0, "0 of 2 trials were new to MLflow or had changed\n")
        assert len(Shown(address).runs) == len(once.runs)
    assert not is_behind(run)
    assert not (run / "mlflow.db").exists()


def test_mlflow_sync_fills_the_runs_own_store_and_leaves_a_run_at_work_alone(tmp_path, capsys):
    assert main(["mlflow-sync", str(tmp_path)]) == 4
    assert "not a run directory" in capsys.readouterr().err
    store = RunDirectory(tmp_path)
    (tmp_path / "suite.toml").write_text("[suite]\nname = 'quick'\ndescription = 'Every *scorer*.'\n")
    store.append(record())
    with store.locked():
        assert main(["mlflow-sync", str(tmp_path)]) == 4
        assert "another run" in capsys.readouterr().err
    assert sync(tmp_path, capsys) == (0, "1 of 1 trials were new to MLflow or had changed\n")
    assert sync(tmp_path, capsys) == (0, "0 of 1 trials were new to MLflow or had changed\n")
    view = shown(tmp_path)
    assert view.experiment.tags["mlflow.note.content"] == "Every *scorer*."
    assert set(view.trials) == {key("k1")}


@pytest.mark.slow
def test_the_ui_serves_the_run_and_a_server_is_logged_to_like_a_file(finished, tmp_path, monkeypatch):
    with serving(finished, closed_port(), tmp_path / "server.log") as address:
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"MLflow" in answer.read()
        assert set(Shown(address).trials) == {key("k1"), key("k2"), key("k3"), key("k4")}

        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        (tmp_path / "run" / "stages" / key("far")).mkdir(parents=True)
        (tmp_path / "run" / "stages" / key("far") / "recovery.json").write_text(json.dumps([2]))
        tracker = track(tmp_path / "run", record(key("far")))
        assert tracker.warnings == []
        assert not (tmp_path / "run" / "mlflow.db").exists()
        far = Shown(address)
        assert far.trials[key("far")].data.metrics["accuracy/top1"] == 0.9
        assert [f.path for f in far.client.list_artifacts(far.trials[key("far")].info.run_id)] == [
            "recovery.json"
        ]


@pytest.mark.slow
def test_a_browser_opens_on_a_list_of_trials_by_accuracy(tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium here")
    run, port = tmp_path / "run", closed_port()
    run.mkdir()
    low, high = (record(key(f"{top1}"), metrics={"accuracy/top1": top1}) for top1 in (0.25, 0.75))
    track(run, low, high, record(key("no"), "unsupported"))
    with serving(run, port, tmp_path / "server.log"), api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1900, "height": 1000})
        page.goto(ui_address(run, port=port))
        page.get_by_text("Sort: accuracy/top1").wait_for(timeout=60_000)
        # MLflow sorts before it puts the columns in order, and may leave one of its own at the end.
        page.locator(".ag-header-cell[col-id='tags.`status`']").wait_for(timeout=60_000)
        page.wait_for_function(
            "document.querySelectorAll('.ag-center-cols-container [role=row]').length == 4"
        )
        rows = page.evaluate(
            """() => [...document.querySelectorAll('.ag-center-cols-container [role=row]')]
                .sort((a, b) => a.getAttribute('row-index') - b.getAttribute('row-index'))
                .map(row => [...row.querySelectorAll('[role=gridcell]')]
                    .sort((a, b) => a.getAttribute('aria-colindex') - b.getAttribute('aria-colindex'))
                    .map(cell => cell.innerText))"""
        )
        browser.close()
    assert [row[:4] for row in rows[:2]] == [
        ["weight-entropy", "0.5", "done", top1] for top1 in ("0.75", "0.25")
    ]
    assert any("unsupported" in row for row in rows[2:])
