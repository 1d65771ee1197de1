from __future__ import annotations

import csv
import threading
import time
from typing import TYPE_CHECKING

import pytest
import torch

from benchsuite.execution.sampling import SYSTEM_FILE, SystemSampler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sampler() -> Iterator[SystemSampler]:
    found = SystemSampler(torch.device("cpu"), after=0.2, every=0.05)
    yield found
    found.stop()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / SYSTEM_FILE).open(newline="") as handle:
        return list(csv.DictReader(handle))


def work_until(folder: Path, samples: int) -> None:
    """Compute until there are that many samples, or for so long that there must be enough."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        sum(range(100_000))
        if (folder / SYSTEM_FILE).exists() and len(rows(folder)) >= samples:
            return


def test_long_work_leaves_samples_of_this_process(tmp_path, sampler):
    before = time.time()
    with sampler.watching(tmp_path):
        work_until(tmp_path, 3)
    found = rows(tmp_path)
    assert len(found) >= 3
    assert list(found[0]) == ["unix_s", "seconds", "cpu_percent", "memory_mb"]
    seconds = [float(row["seconds"]) for row in found]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0.2
    assert all(before < float(row["unix_s"]) <= time.time() + 0.001 for row in found)
    assert max(float(row["cpu_percent"]) for row in found) > 10, "it was at work"
    assert all(50 < float(row["memory_mb"]) < 100_000 for row in found)


def test_short_work_leaves_nothing_and_touches_no_earlier_samples(tmp_path, sampler):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / SYSTEM_FILE).write_text("as it was")
    for name in ("new", "old"):
        with sampler.watching(tmp_path / name):
            pass
    time.sleep(0.4)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "old" / SYSTEM_FILE).read_text() == "as it was"


def test_another_attempt_begins_the_file_anew(tmp_path, sampler):
    (tmp_path / SYSTEM_FILE).write_text("as it was")
    with sampler.watching(tmp_path):
        work_until(tmp_path, 1)
    assert "as it was" not in (tmp_path / SYSTEM_FILE).read_text()


def test_a_worker_that_watches_nothing_has_no_thread_for_it():
    before = threading.active_count()
    SystemSampler(torch.device("cpu")).stop()
    assert threading.active_count() == before


def test_a_folder_that_cannot_be_written_to_harms_nobody(tmp_path, sampler):
    with sampler.watching(tmp_path / "absent"):
        time.sleep(0.4)
    with sampler.watching(tmp_path):
        work_until(tmp_path, 1)
    assert rows(tmp_path), "it goes on sampling"
