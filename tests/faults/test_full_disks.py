"""A disk that fills up in a run: a sentence, nothing torn, and the same command goes on once there is room.

The disk is a small file system in memory, which takes root to mount; the tests are skipped elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from small_runs import (
    check_nothing_left,
    check_sentence,
    command,
    numbers_of,
    records_of,
    small_disk,
    write_suite,
)

from benchsuite.store.files import append_durably, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCORERS = ("magnitude-l1", "mean-activation")
SAFE = "what was stored is safe, and the same command resumes"


def fill(disk: Path) -> None:
    """Leave no room."""
    size = 1 << 20
    with (disk / "filler").open("ab") as filler:
        while size >= 1 << 12:
            end = filler.seek(0, os.SEEK_END)
            try:
                os.posix_fallocate(filler.fileno(), end, size)
            except OSError:
                size //= 4


def stages(run: Path, file: str) -> int:
    return len(list(run.glob(f"stages/*/{file}")))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "training": lambda run: stages(run, "worker.log") > 0,
    "scores": lambda run: stages(run, "training.json") > 0,
    "trial": lambda run: stages(run, "scores.safetensors") > 1,
    "record": lambda run: (run / "results.jsonl").is_file() and (run / "results.jsonl").stat().st_size > 0,
    "mlflow": lambda run: (
        (run / "results.jsonl").is_file() and (run / "results.jsonl").read_bytes().count(b"\n") >= 4
    ),
}


def run_until_full(disk: Path, moment: Callable[[Path], bool]) -> tuple[int, str]:
    """Run the suite on a disk that is filled, and kept full, from a moment on."""
    with (disk.parent / "said").open("w+") as said:
        process = subprocess.Popen(
            command("run", "small.toml", "--jobs", "1"),
            cwd=disk,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        full = False
        while process.poll() is None:
            full = full or moment(disk / "runs/small")
            if full:
                fill(disk)
            time.sleep(0.001 if not full else 0.05)
        said.seek(0)
        return process.returncode, said.read()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_suite(folder, SCORERS)
    done = subprocess.run(command("run", "small.toml"), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs/small"


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_a_full_disk_costs_no_result(name: str, undisturbed: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "60m"):
        write_suite(disk, SCORERS)
        run = disk / "runs/small"
        code, said = run_until_full(disk, MOMENTS[name])
        check_sentence(said)
        assert "failed" not in said
        check_nothing_left(disk)
        stored = records_of(run) if (run / "results.jsonl").is_file() else {}
        expected = numbers_of(undisturbed)
        if name == "mlflow":  # every record was there
            assert len(stored) == len(expected)
            assert "MLflow at" in said or "no page was made" in said or SAFE in said
        else:
            assert code == 1, said
            assert SAFE in said
            assert "No space left on device" in said
            assert len(stored) < len(expected)
        assert {record["status"] for record in stored.values()} <= {"done"}
        assert not list(run.rglob("*.part"))
        (disk / "filler").unlink()
        again = subprocess.run(command("run", "small.toml"), cwd=disk, capture_output=True, text=True)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "damaged" not in again.stdout, again.stdout
        assert numbers_of(run) == expected
        assert len((run / "results.jsonl").read_text().splitlines()) == len(
            expected
        )  # nothing was done twice
        assert (run / "site/index.html").is_file()
        assert not (run / "mlflow.behind").exists()


def test_a_file_that_finds_no_room_is_as_before(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m"):
        disk = tmp_path / "disk"
        write_atomically(disk / "whole", b"before")
        append_durably(disk / "lines", "first")
        fill(disk)
        with pytest.raises(OSError, match="No space left on device"):
            write_atomically(disk / "whole", b"x" * (1 << 20))
        with pytest.raises(OSError, match="No space left on device"):
            append_durably(disk / "lines", "x" * 10_000)
        assert (disk / "whole").read_bytes() == b"before"
        assert (disk / "lines").read_text() == "first\n"
        assert {path.name for path in disk.iterdir()} == {"whole", "lines", "filler"}


@pytest.mark.parametrize(
    "words",
    [
        ["leaderboard", "runs/small", "--output", "disk/site"],
        ["export", "runs/small", "KEY", "--output", "disk/network"],
        ["submit", "runs/small", "--output", "disk/sent.jsonl"],
        ["new-plugin", "mine", "--output", "disk"],
        ["run", "small.toml", "--output", "disk/run"],
    ],
    ids=lambda words: words[0],
)
def test_output_that_finds_no_room_is_said(
    words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchsuite import cli

    key = next(iter(records_of(here / "runs/small")))
    with small_disk(here / "disk", "1m"):
        fill(here / "disk")
        code = cli.main([key if word == "KEY" else word for word in words])
        said = "".join(capsys.readouterr())
        assert code == 1, said
        check_sentence(said, "disk", "No space left on device")
        assert "resumes" not in said
