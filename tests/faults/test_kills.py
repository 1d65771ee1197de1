"""`kill -9` at random moments, of a run or of a process of it: nothing is lost, left over or different."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from small_runs import call, check_sentence, command, numbers_of, records_of, write_suite

from benchsuite.tracking import mlflow_fields

if TYPE_CHECKING:
    from pathlib import Path

SCORERS = ("magnitude-l1", "taylor-weight", "mean-activation")
LONGEST = 120.0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_suite(folder, SCORERS)
    done = call("run", "small.toml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs/small"


class Killer:
    """Runs the suite in a folder, and kills something of it after some seconds."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.run = folder / "runs/small"
        self.chance = chance
        self.log: list[str] = []

    def command(self) -> list[str]:
        """The same command; what was killed with its worker has an outcome, and is asked for again."""
        lost = (self.run / "results.jsonl").is_file() and any(
            record["status"] != "done" for record in records_of_torn(self.run).values()
        )
        return command("run", "small.toml", *(["--retry-failed"] if lost else []))

    def once(self) -> bool:
        """Start the command and kill something; False if it came to its end before."""
        with (self.folder / "said").open("w+") as said:
            process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            killed = self._kill_later(process)
            code = process.wait(LONGEST)
            said.seek(0)
            text = said.read()
        self.check_nothing_left(process.pid)
        check_sentence(text)
        if killed == "run":
            assert code == -signal.SIGKILL
        else:
            assert code in (0, 1), text
        return killed is not None

    def _kill_later(self, process: subprocess.Popen[bytes]) -> str | None:
        wanted = self.chance.choice(["run", "run", "child"])
        deadline = time.monotonic() + self.chance.uniform(0.5, 14.0)
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return None
            time.sleep(0.01)
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
            victim = process.pid
            if wanted == "child" and children:
                victim = self.chance.choice(sorted(child.pid for child in children))
            self.log.append(" ".join(psutil.Process(victim).cmdline()[:4]))
            os.kill(victim, signal.SIGKILL)
            return "run" if victim == process.pid else "child"
        return None

    def check_nothing_left(self, session: int) -> None:
        """All processes of the run are gone soon, those in process groups of their own too."""
        deadline = time.monotonic() + 120
        while left := [pid for pid in psutil.pids() if _belongs(pid, session)]:
            assert time.monotonic() < deadline, [psutil.Process(pid).cmdline() for pid in left]
            time.sleep(0.1)

    def finish(self) -> None:
        """Let the command come to its end."""
        words = self.command()
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (self.log, done.stdout + done.stderr)


def records_of_torn(run: Path) -> dict[str, dict[str, object]]:
    """The records, also after a kill in the middle of a line."""
    content = (run / "results.jsonl").read_bytes()
    (run.parent / "whole").mkdir(exist_ok=True)
    (run.parent / "whole/results.jsonl").write_bytes(content[: content.rfind(b"\n") + 1])
    return records_of(run.parent / "whole")


def _belongs(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


def check_as_undisturbed(killer: Killer, undisturbed: Path) -> None:
    """Each cell once, with the same numbers, and MLflow in step."""
    assert numbers_of(killer.run) == numbers_of(undisturbed), killer.log
    again = call("run", "small.toml", cwd=killer.folder)
    assert again.returncode == 0
    assert f"{len(records_of(undisturbed))} cached, 0 to run" in again.stdout
    assert not (killer.run / "mlflow.behind").exists()
    found = shown_in_mlflow(killer.run)
    records = records_of(killer.run)
    assert sorted(key for key, _, _ in found) == sorted(records), killer.log
    for key, status, accuracy in found:
        assert status == "FINISHED"
        assert accuracy == records[key]["metrics"]["accuracy/top1"]


def shown_in_mlflow(run: Path) -> list[tuple[str, str, float]]:
    """Key, status and accuracy of each trial's run."""
    with contextlib.closing(sqlite3.connect(run / "mlflow.db")) as store:
        return store.execute(
            "SELECT keys.value, runs.status, latest_metrics.value FROM runs "
            "JOIN tags AS kinds ON kinds.run_uuid = runs.run_uuid AND kinds.key = ? "
            "AND kinds.value = 'trial' "
            "JOIN tags AS keys ON keys.run_uuid = runs.run_uuid AND keys.key = ? "
            "JOIN latest_metrics ON latest_metrics.run_uuid = runs.run_uuid "
            "AND latest_metrics.key = 'accuracy/top1' WHERE runs.lifecycle_stage = 'active'",
            (mlflow_fields.KIND_TAG, mlflow_fields.KEY_TAG),
        ).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_kills_cost_nothing(seed: int, undisturbed: Path, tmp_path: Path) -> None:
    chance = random.Random(seed)
    kills = number = 0
    while kills < 6:
        folder = tmp_path / str(number)
        folder.mkdir()
        write_suite(folder, SCORERS)
        killer = Killer(folder, chance)
        number += 1
        while kills < 6 and killer.once():
            kills += 1
        killer.finish()
        check_as_undisturbed(killer, undisturbed)


@pytest.mark.parametrize("victim", [pytest.param("run", marks=pytest.mark.slow), "worker"])
def test_a_kill_in_a_trial_costs_that_trial(victim: str, finished: Path, tmp_path: Path) -> None:
    """The quick form: one kill when the only trial is about to run."""
    write_suite(tmp_path, ["magnitude-l1"], ["one-shot"])
    process = subprocess.Popen(
        command("run", "small.toml"), cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
    )
    killer = Killer(tmp_path, random.Random(0))
    while not list(killer.run.glob("stages/*/training.json")):
        assert process.poll() is None
        time.sleep(0.01)
    if victim == "run":
        process.kill()
    else:
        workers: list[psutil.Process] = []
        while not workers:
            assert process.poll() is None
            workers = [p for p in psutil.Process(process.pid).children(recursive=True) if _leads(p)]
        for worker in workers:
            worker.kill()
    code = process.wait(LONGEST)
    assert code == (-signal.SIGKILL if victim == "run" else code)
    killer.check_nothing_left(process.pid)
    killer.finish()
    check_as_undisturbed(killer, finished / "runs/small")


def _leads(process: psutil.Process) -> bool:
    """Whether it is a worker: these lead their own process group."""
    try:
        return os.getpgid(process.pid) == process.pid
    except OSError:
        return False
