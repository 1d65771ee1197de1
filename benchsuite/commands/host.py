"""What commands know of this machine: its device slots, and the facts that records name."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchsuite._version import __version__
from benchsuite.hardware import devices


def slots_of(chosen: list[str], jobs: int | None) -> list[str]:
    """The device of each slot; by default one a GPU, or on a CPU one a core."""
    count = jobs or (_cores() if chosen == ["cpu"] else len(chosen))
    return [chosen[n % len(chosen)] for n in range(count)]


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def latency_conditions(device: str) -> dict[str, str]:
    """What a latency depends on beside the network and how it is measured."""
    return {
        "device": devices.device_name(device),
        "host": platform.node(),
        "platform": platform.platform(),
        "cores": str(_cores()),
        "python": platform.python_version(),
        "torch": version("torch"),
        **devices.device_libraries(device),
    }


def host_provenance() -> dict[str, Any]:
    """Facts about this benchsuite and this host, for every record of an invocation."""
    facts: dict[str, Any] = {
        "benchsuite": __version__,
        "torch": version("torch"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
    }
    commit = _commit(Path(__file__).parents[1])
    return {**facts, "commit": commit} if commit else facts


def _commit(folder: Path) -> str | None:
    """The commit of the source tree that runs, marked if it was changed; None for an installed copy."""
    tracked = _git(folder, "ls-files", "--error-unmatch", "_version.py")
    return _git(folder, "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*") if tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
