from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchsuite.registry.discovery import discover_shipped

SCRIPT = """
import gc
import json
import os
import sys

from benchsuite.execution.fork_server import fork_server


def report(connection):
    found = {name: getattr(sys.modules.get(name), "__file__", None) for name in ("wave", "exits", "raises")}
    found |= {"loaded": [name for name in ("torch", "benchsuite_scorers", "talks") if name in sys.modules]}
    found |= {"variables": [name for name in os.environ if name.endswith(("_MODULES", "SAFEPATH"))]}
    found |= {"frozen": gc.get_freeze_count()}
    connection.send(found)


if __name__ == "__main__":
    context = fork_server(["wave", "exits", "raises", "absent", "talks"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=report, args=(theirs,))
    process.start()
    print(json.dumps(ours.recv() | {"parent": "torch" in sys.modules}))
    process.join()
"""


def born(tmp_path: Path) -> dict[str, object]:
    """The state of a new worker after the server was asked to load modules of all kinds."""
    script, modules, here = tmp_path / "script.py", tmp_path / "modules", tmp_path / "here"
    script.write_text(SCRIPT)
    for folder in (modules, here):
        folder.mkdir()
    (here / "wave.py").write_text("")
    (modules / "exits.py").write_text("raise SystemExit(3)")
    (modules / "raises.py").write_text("raise ValueError('no')")
    (modules / "talks.py").write_text("print('hello')")
    environment = {**os.environ, "PYTHONPATH": str(modules)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=here, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_workers_are_born_with_what_the_server_could_load(tmp_path: Path) -> None:
    found = born(tmp_path)
    assert found["loaded"] == ["torch", "benchsuite_scorers", "talks"]
    assert found["exits"] is None
    assert found["raises"] is None
    assert found["frozen"] > 100_000
    assert found["variables"] == []
    assert not found["parent"], "the process that drives a run has imported torch"
    assert Path(str(found["wave"])).parent != tmp_path / "here", "a module of the current directory was taken"


def test_what_scorers_name_can_be_imported() -> None:
    registry = discover_shipped()
    named = {m for name in registry.names("scorer") for m in registry.get("scorer", name).imports}
    assert named
    assert [module for module in named if importlib.util.find_spec(module) is None] == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="signals of a process are read from /proc")
def test_ctrl_c_is_not_for_the_server_from_its_first_moment_on() -> None:
    """It loads for seconds, and would end with a traceback of whatever it loads then."""
    code = (
        "from benchsuite.execution.fork_server import fork_server\n"
        "from multiprocessing import forkserver\n"
        "fork_server()\n"
        "print(open(f'/proc/{forkserver._forkserver._forkserver_pid}/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    blocked = next(line for line in done.stdout.splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) >> (signal.SIGINT - 1) & 1


KILLED = """
import multiprocessing
import os
import signal

from benchsuite.execution.fork_server import fork_server


def work(connection):
    semaphore = multiprocessing.get_context("spawn").Semaphore()
    connection.send(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    context = fork_server([])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs,))
    process.start()
    ours.recv()
    process.join()
    print(process.exitcode)
"""


def test_what_a_killed_worker_leaves_is_cleaned_up_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(KILLED)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("-9\n", "")


def test_a_folder_for_temporary_files_with_too_long_a_path_is_named(tmp_path: Path) -> None:
    long = tmp_path / ("t" * 120)
    long.mkdir()
    code = "from benchsuite.execution.fork_server import fork_server; fork_server([])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(long)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert "set TMPDIR to a shorter one" in last
    assert str(long) in last
