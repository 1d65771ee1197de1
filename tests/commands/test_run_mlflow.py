"""What `run` says of MLflow at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchsuite.commands.run import _mlflow


@pytest.mark.parametrize(
    ("server", "lacks", "line"),
    [
        ("", "", "runs/a b/mlflow.db  (benchsuite ui 'runs/a b')"),
        ("http://host:5000", "", "http://host:5000"),
        (
            "http://host",
            "up to 4 trials",
            "http://host lacks up to 4 trials  (benchsuite mlflow-sync 'runs/a b')",
        ),
        ("https://me:secret@host/x", "", "https://…@host/x"),
    ],
)
def test_the_last_line_names_the_place_and_what_it_lacks(monkeypatch, server, lacks, line):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert _mlflow(Path("runs/a b"), lacks) == line
