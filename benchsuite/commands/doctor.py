"""`doctor`: what this machine offers and what is missing, or what a run directory lacks."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from benchsuite._version import __version__
from benchsuite.commands.arguments import add_plugins
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.loading import data_folder, discover_named
from benchsuite.commands.printing import put
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import UsageError
from benchsuite.hardware import devices

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_PACKAGES = ("torch", "torchvision", "timm", "mlflow", "scikit-learn", "xgboost", "pluggy")


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "run", type=Path, nargs="?", metavar="RUN", help="a run directory; without one, this machine"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="mend what is damaged or left over in the run directory (without it, nothing is changed)",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    add_plugins(parser)


def run(options: Namespace) -> int:
    """Report on a run directory, or on this machine; fails if something is wrong."""
    if options.run is not None:
        from benchsuite.commands.run_health import report

        return report(options)
    if options.repair:
        raise UsageError("--repair needs a run directory: benchsuite doctor RUN --repair")
    rows = _machine(options)
    if options.format == "json":
        listed = [{"name": name, "value": value, "ok": fine} for name, value, fine in rows]
        put(json.dumps(listed, indent=1, ensure_ascii=False))
    else:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for name, value, fine in rows:
            table.add_row("ok" if fine else Text("wrong", style="red"), name, Text(value))
        open_console().print(table)
    return OK if all(fine for _, _, fine in rows) else FAILED


def _machine(options: Namespace) -> list[tuple[str, str, bool]]:
    """Versions, devices, memory, disk, data folder and plugins: name, value, whether it is fine."""
    import psutil

    rows: list[tuple[str, str, bool]] = [
        ("benchsuite", f"{__version__}, Python {platform.python_version()} on {platform.platform()}", True)
    ]
    for package in _PACKAGES:
        try:
            rows.append((package, version(package), True))
        except PackageNotFoundError:
            rows.append((package, "not installed", False))
    rows.append(
        ("devices", ", ".join(f"{d} ({devices.device_name(d)})" for d in devices.parse_devices("auto")), True)
    )
    rows.append(
        (
            "CPU cores",
            str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
            True,
        )
    )
    memory = psutil.virtual_memory()
    rows.append(
        (
            "memory",
            f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free",
            memory.available > 2e9,
        )
    )
    free = shutil.disk_usage(Path.cwd()).free
    rows.append(("disk here", f"{free / 1e9:.1f} GB free", free > 1e9))
    folder = data_folder(None)
    rows.append(
        (
            "data folder",
            f"{folder}{'' if folder.is_dir() else ' (not there yet; it is made when data are fetched)'}",
            True,
        )
    )
    registry, _ = discover_named(options)
    broken = [info for info in registry.infos if info.status == "error"]
    rows.append(
        ("plugins", f"{len(registry.infos) - len(broken)} work, {len(broken)} are broken", not broken)
    )
    rows += [(info.name, info.error or "", False) for info in broken]
    return rows
