"""Logs are cut where they lie, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchsuite.execution.logs import LOG, cap_log, log_of
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from pathlib import Path

LONG = b"x" * 5000


def test_a_long_log_is_cut_and_says_so(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(LONG)
    cap_log(tmp_path / LOG, 1000)
    text = (tmp_path / LOG).read_bytes()
    assert text.startswith(LONG[:1000] + b"\n[cut: ")
    cap_log(tmp_path / LOG, 1000)
    assert (tmp_path / LOG).read_bytes() == text


@pytest.mark.parametrize("kind", ["link", "hard-link", "folder-link", "pipe", "folder", "nothing"])
def test_nothing_but_a_log_is_cut(tmp_path: Path, kind: str) -> None:
    victim, folder = tmp_path / "victim" / LOG, tmp_path / "stage"
    victim.parent.mkdir()
    victim.write_bytes(LONG)
    if kind == "folder-link":
        folder.symlink_to(victim.parent)
    else:
        folder.mkdir()
    if kind == "link":
        (folder / LOG).symlink_to(victim)
    elif kind == "hard-link":
        (folder / LOG).hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(folder / LOG)
    elif kind == "folder":
        (folder / LOG).mkdir()
    cap_log(folder / LOG, 1000)
    assert victim.read_bytes() == LONG


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_what_lies_in_the_place_of_a_log_leads_no_output_elsewhere(tmp_path: Path, kind: str) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "stage"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / LOG)
    else:
        (folder / LOG).symlink_to(victim)
    if kind == "link":
        victim.write_bytes(LONG)
    code = (
        "import sys; from pathlib import Path; from benchsuite.execution.logs import redirect_output; "
        f"redirect_output(Path({str(folder)!r})); print('said')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (folder / LOG).read_text() == "said\n"
    assert not (folder / LOG).is_symlink()
    assert victim.read_bytes() == LONG if kind == "link" else not victim.exists()


@pytest.mark.parametrize("busy", ["time.sleep(60)", "sum(range(10**12))"])
def test_what_takes_too_long_has_said_where_it_was(tmp_path: Path, busy: str) -> None:
    (tmp_path / "slow.py").write_text(f"import time\n\ndef stuck():\n    {busy}\n")
    code = (
        "from benchsuite.execution.logs import log_where_it_is; import slow; "
        "log_where_it_is(1.0); slow.stuck()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any('slow.py", line 4 in stuck' in line for line in lines)
    process.kill()
    process.wait()
    process.stderr.close()


def test_without_an_end_nothing_is_said() -> None:
    code = "from benchsuite.execution.logs import log_where_it_is; log_where_it_is(float('inf'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def written(stages: Path, key: str, text: str, when: int) -> Path:
    (stages / key).mkdir()
    (stages / key / LOG).write_text(text)
    os.utime(stages / key / LOG, (when, when))
    return stages / key / LOG


def test_the_log_of_a_failure_is_the_newest_of_its_stages(tmp_path: Path) -> None:
    record = TrialRecord("trial", {}, "failed", stages={"train": "dense", "score": "score"}, error="no")
    assert log_of(record, tmp_path) is None
    dense = written(tmp_path, "dense", "Traceback", 100)
    written(tmp_path, "other", "of another trial", 500)
    assert log_of(record, tmp_path) == dense
    score = written(tmp_path, "score", "Traceback", 200)
    assert log_of(record, tmp_path) == score
    written(tmp_path, "trial", "", 300)
    assert log_of(record, tmp_path) is None, "an older one would be that of something else"


def test_a_forged_key_leads_to_no_log_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    written(tmp_path, "elsewhere", "secret", 100)
    record = TrialRecord("../elsewhere", {}, "failed", stages={"score": "../elsewhere"}, error="no")
    assert log_of(record, tmp_path / "stages") is None
