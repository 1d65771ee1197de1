"""Running a suite on the CPU and on the device, and laying the outcomes side by side."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import tomllib
from typing import TYPE_CHECKING, Any

from gpurun.environment import ROOT, absent
from gpurun.figures import last_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpurun.figures import Figures

_UNDONE = "No module named "


def part_of(suite: str, change: Callable[[dict[str, Any]], None], file: Path) -> Path:
    """A shipped suite with something changed, as a file."""
    import tomli_w

    content = tomllib.loads((ROOT / "suites" / suite).read_text())
    change(content)
    file.write_text(tomli_w.dumps(content))
    return file


def side_by_side(
    found: Figures,
    suite: Path,
    jobs: tuple[int, int],
    data: Path | None = None,
    *,
    on_cpu: Path | None = None,
) -> None:
    """Run a suite on the device and on the CPU, with so many jobs at a time (CPU, device), and compare.

    Args:
        found: where the figures go.
        suite: what to run.
        jobs: how many at a time.
        data: the folder with data sets.
        on_cpu: what to run on the CPU instead, of the same trials.
    """
    cores = len(os.sched_getaffinity(0))
    outcomes = {}
    for device, share, number in (("cuda:0", 0.55, jobs[1]), ("cpu", 0.9, jobs[0])):
        limit = share * found.seconds_left()
        chosen = on_cpu or suite if device == "cpu" else suite
        outcomes[device] = run_suite(found, chosen, device, min(number, cores), limit, data)
    (gpu, gpu_seconds), (cpu, cpu_seconds) = outcomes["cuda:0"], outcomes["cpu"]
    for device, records in (("cpu", cpu), ("cuda:0", gpu)):
        _count(found, device, records)
    if cpu and gpu:
        found.ratio(
            f"a trial of {suite.stem}",
            (f"on the CPU, {min(jobs[0], cores)} jobs", cpu_seconds / len(cpu)),
            (f"on the device, {min(jobs[1], cores)} jobs", gpu_seconds / len(gpu)),
        )
    _compare(found, cpu, gpu)


def on_device(found: Figures, suite: Path, jobs: int, data: Path | None = None) -> None:
    """Run a suite on the device alone."""
    records, _ = run_suite(found, suite, "cuda:0", jobs, 0.9 * found.seconds_left(), data)
    _count(found, "cuda:0", records)


def run_suite(
    found: Figures, suite: Path, device: str, jobs: int, limit: float, data: Path | None
) -> tuple[dict[str, dict[str, Any]], float]:
    """The records by their axes, and the seconds that they took; what is not done in time is left."""
    output = found.scratch / f"{suite.stem}-{device.partition(':')[0]}"
    command = [sys.executable, "-m", "benchsuite.cli", "run", str(suite), "--output", str(output)]
    command += ["--devices", device, "--jobs", str(jobs)] + (["--data", str(data)] if data else [])
    started = time.monotonic()
    log = found.scratch / f"{output.name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=found.scratch, stdout=file, stderr=file)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            found.left_out(f"the rest of {suite.stem} on {device}", f"it was stopped after {limit:.0f} s")
            _stop(process)
            code = 0
    seconds = time.monotonic() - started
    found.fact(f"{suite.stem} on {device}, s", seconds)
    records = _records(output / "results.jsonl")
    if code not in (0, 1):
        text = log.read_text(errors="replace")
        missing = absent(["jinja2", "vl_convert"])
        if records and missing:
            found.left_out(f"the page of {suite.stem} on {device}", f"not installed: {', '.join(missing)}")
        else:
            found.failure(f"{suite.stem} on {device}", f"exit code {code}\n{last_lines(text)}")
    return records, seconds


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a run twice: it keeps what it has and ends its workers."""
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()


def _records(file: Path) -> dict[str, dict[str, Any]]:
    lines = file.read_text().splitlines() if file.exists() else []
    records = {}
    for line in lines:
        if line.endswith("}"):  # the last one may be torn
            record = json.loads(line)
            records[json.dumps(record["axes"], sort_keys=True)] = record
    return records


def _count(found: Figures, device: str, records: dict[str, dict[str, Any]]) -> None:
    counts: dict[str, int] = {}
    for record in records.values():
        counts[record["status"]] = counts.get(record["status"], 0) + 1
        if record["status"] in ("failed", "timeout", "killed"):
            error = str(record.get("error"))
            axes = record["axes"]
            what = f"{axes['scorer']} on {axes['model']} at {axes['sparsity']}, {device}"
            if _UNDONE in error:
                found.left_out(what, error)
            else:
                found.failure(what, error)
    found.fact(f"trials on {device}", ", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    latencies = [r for r in records.values() if "latency/batch1_ms" in r["metrics"]]
    energies = [r for r in records.values() if "energy/batch1_mj" in r["metrics"]]
    found.fact(f"of them with latency and with energy, {device}", f"{len(latencies)} and {len(energies)}")


def _compare(found: Figures, cpu: dict[str, dict[str, Any]], gpu: dict[str, dict[str, Any]]) -> None:
    differences: dict[str, list[float]] = {}
    for axes, record in cpu.items():
        other = gpu.get(axes)
        if other is None or record["status"] != "done" or other["status"] != "done":
            continue
        values = {
            "trial": " ".join(
                str(record["axes"][name]) for name in ("dataset", "model", "scorer", "sparsity")
            )
        }
        for short, name in (
            ("dense", "accuracy/top1_dense"),
            ("before", "accuracy/top1_before_recovery"),
            ("after", "accuracy/top1"),
        ):
            pair = record["metrics"][name], other["metrics"][name]
            values |= {f"{short}, CPU": f"{pair[0]:.4f}", f"{short}, device": f"{pair[1]:.4f}"}
            differences.setdefault(short, []).append(pair[1] - pair[0])
        found.cell("Test accuracy of the same trial on the CPU and on the device", values)
    for short, values in differences.items():
        found.fact(f"mean difference of accuracy, device less CPU, {short}", statistics.mean(values))
    if not differences:
        found.failure("CPU against device", "no trial was done on both")
