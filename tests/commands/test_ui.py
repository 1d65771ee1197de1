"""`ui`: the address is printed when the server answers, and it opens the list that the run was given."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from benchsuite import cli
from benchsuite.tracking.run_list import VIEW_TAG

if TYPE_CHECKING:
    from pathlib import Path

SERVER = """
import http.server, sys, time
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
time.sleep(float(sys.argv[2]))
open(sys.argv[3], "w").write("listening")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
COMMAND = """
import sys
from pathlib import Path
from benchsuite import cli, tracking
tracking.ui_command = lambda directory, port: {command}
sys.exit(cli.main(["ui", *sys.argv[1:]]))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A run directory with as much of MLflow's database as `ui` reads."""
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute(
            "CREATE TABLE experiments (experiment_id INTEGER, lifecycle_stage TEXT, last_update_time INTEGER)"
        )
        connection.execute("CREATE TABLE experiment_tags (experiment_id INTEGER, key TEXT, value TEXT)")
        connection.executemany(
            "INSERT INTO experiments VALUES (?, ?, ?)",
            [(0, "active", 9), (1, "deleted", 8), (3, "active", 2), (2, "active", 1)],
        )
    connection.close()
    return tmp_path


def start(store: Path, port: int, command: str) -> subprocess.Popen[str]:
    script = COMMAND.format(command=command)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(store), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def gone(port: int) -> bool:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_address_comes_when_the_server_answers_and_nothing_stays_behind(store, port, ending):
    listening = store / "listening"
    script = store / "server.py"
    script.write_text(SERVER)
    command = f"{[sys.executable, str(script), str(port), '1', str(listening)]!r}"
    shown = start(store, port, command)
    try:
        assert shown.stdout is not None
        first = shown.stdout.readline()
        assert listening.exists(), "the address was printed before the server was there"
        assert first.startswith(f"MLflow UI of {store}: http://127.0.0.1:{port}/#/experiments/3/runs?")
        shown.send_signal(ending)
        shown.communicate(timeout=30)
        assert shown.returncode == 0
        assert gone(port), "the server stayed behind"
    finally:
        shown.kill()


def test_a_server_that_does_not_start_is_a_sentence_with_its_last_words(store, port):
    command = "[sys.executable, '-c', 'import sys; sys.exit(\"no such table\")']"
    shown = start(store, port, command)
    out, error = shown.communicate(timeout=60)
    assert (shown.returncode, out) == (1, "")
    assert error == "benchsuite: the MLflow server did not start: no such table\n"


def test_a_port_that_is_taken_or_none_is_bad_usage(store, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert cli.main(["ui", str(store), "--port", str(taken.getsockname()[1])]) == 4
    assert "address already in use; name another one with --port" in capsys.readouterr().err
    assert cli.main(["ui", str(store), "--port", "70000"]) == 4
    assert "ports go up to 65535" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "mlflow.db is damaged (it was never finished); benchsuite doctor "),
        (b"no database at all, but long enough to be read as one" * 30, "mlflow.db is damaged (file is not"),
    ],
)
def test_what_is_no_store_is_said(tmp_path, capsys, content, said):
    (tmp_path / "mlflow.db").write_bytes(content)
    assert cli.main(["ui", str(tmp_path)]) == 4
    assert said in capsys.readouterr().err


def test_the_address_names_the_view_where_the_store_has_it(store):
    from benchsuite.tracking import ui_address

    assert ui_address(store, port=1).endswith(
        "/3/runs?workflowType=machine_learning&orderByKey=metrics.%60accuracy%2Ftop1%60&orderByAsc=false"
    )
    with sqlite3.connect(store / "mlflow.db") as connection:
        connection.execute("INSERT INTO experiment_tags VALUES (3, ?, ?)", (VIEW_TAG, json.dumps({})))
    connection.close()
    assert ui_address(store, port=1).endswith("workflowType=machine_learning&viewStateShareKey=benchsuite")
