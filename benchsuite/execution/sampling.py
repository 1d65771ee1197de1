"""What a worker takes of its machine while a stage is made, sampled beside the work."""

from __future__ import annotations

import csv
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from benchsuite.hardware import nvml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

SYSTEM_FILE = "system.csv"
"""In a stage's folder: one line a sample, under the columns that `SystemSampler` names."""


class _Watch:
    """The file of one piece of work; its columns are those of the first sample."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._since = time.monotonic()
        self._columns: list[str] = []

    def seconds(self) -> float:
        return time.monotonic() - self._since

    def note(self, sample: dict[str, float]) -> None:
        row = {"unix_s": f"{time.time():.3f}", "seconds": f"{self.seconds():.1f}"}
        row |= {name: f"{value:.1f}" for name, value in sample.items()}
        first = not self._columns
        self._columns = self._columns or list(row)
        with self._file.open("w" if first else "a", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, self._columns, extrasaction="ignore", lineterminator="\n")
            if first:
                writer.writeheader()
            writer.writerow(row)


class SystemSampler:
    """A thread that looks at the process and its GPU every few seconds, and notes it for long work only.

    Beginning and ending a watch costs a few microseconds: the thread wakes by itself and finds out whether
    the work it then sees has lasted long enough. Columns of the file: `unix_s` (seconds since 1970),
    `seconds` (since the work began), `cpu_percent` (of one core, since the sample before), `memory_mb`
    (resident, 10^6 bytes), and where NVML answers `gpu_percent` and `gpu_memory_mb` (of the whole GPU; of a
    slice of a divided one its memory alone, or nothing).

    Args:
        device: the device whose use is sampled; nothing but the process for a CPU.
        after: seconds of work that leave no file.
        every: seconds between samples.
    """

    def __init__(self, device: torch.device, *, after: float = 20.0, every: float = 5.0) -> None:
        # Asked here, since a capture of CUDA graphs bears no calls of CUDA from another thread.
        self._gpu = nvml.identity(device)
        self._after = after
        self._every = every
        self._current: _Watch | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system", daemon=True)

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Sample into the folder while the context lasts, if it lasts long."""
        self._current = _Watch(folder / SYSTEM_FILE)
        if self._thread.ident is None:
            self._thread.start()
        try:
            yield
        finally:
            self._current = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        process = psutil.Process()
        process.cpu_percent()  # the first answer is the start of the first interval
        gpu: nvml.Gpu | None = None
        asked = False
        while not self._stopped.wait(self._every):
            # A full disk or a process table that is closed to us must not fail a trial.
            with suppress(OSError, psutil.Error):
                cpu = process.cpu_percent()
                watch = self._current
                if watch is None or watch.seconds() < self._after:
                    continue
                if not asked:
                    gpu, asked = nvml.find(self._gpu), True
                sample = {"cpu_percent": cpu, "memory_mb": process.memory_info().rss / 1e6, **_gpu_use(gpu)}
                watch.note(sample)


def _gpu_use(gpu: nvml.Gpu | None) -> dict[str, float]:
    """What NVML tells now of the GPU's use; nothing of what it counts only for a whole divided board."""
    if gpu is None:
        return {}
    found = {"gpu_percent": gpu.load_percent(), "gpu_memory_mb": gpu.memory_mb()}
    return {name: value for name, value in found.items() if value is not None}
