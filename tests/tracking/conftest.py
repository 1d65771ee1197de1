from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchsuite.tracking import is_behind

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tracked import key, record, track

    directory = tmp_path_factory.mktemp("run of ünits #1")
    folder = directory / "stages" / key("k1")
    folder.mkdir(parents=True)
    (folder / "worker.log").touch()
    (folder / "recovery.json").write_text("[1]")
    (folder / "model.safetensors").write_bytes(b"large")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = track(
            directory,
            record(),
            record(key("k2"), "collapsed", error="<script>alert('层')</script>"),
            record(key("k3"), "failed"),
            record(key("k4"), "timeout"),
        )
    assert tracker.warnings == []
    assert not is_behind(directory)
    return directory
