"""How the parts are started: the checkout's packages on the path, with their entry points, not installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gpurun.carry import carried_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[3]
HERE = ROOT / "tests/gpu"
COMMIT = "BENCHSUITE_GPU_COMMIT"
"""Tells the parts which commit is checked out."""


def prepare_environment(scratch: Path, wheels: Path, *, dry: bool) -> dict[str, str]:
    """The environment of the parts; writes what it needs into a folder.

    Args:
        scratch: gets the entry points of the packages in the checkout, which nobody has installed.
        wheels: what was carried along, if it is there.
        dry: put a stand-in for a GPU on the path.
    """
    points = scratch / "entry-points"
    write_entry_points(points)
    folders = [points, ROOT, ROOT / "plugins", ROOT / "leaderboard", HERE, *carried_folder(wheels)]
    if dry:
        folders.insert(0, HERE / "fake")
    inherited = os.environ.get("PYTHONPATH")
    path = [*map(str, folders), *([inherited] if inherited else [])]
    offline = {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    return {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


def write_entry_points(folder: Path) -> None:
    """Make the project's entry points known to a process with this folder on its path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version: dict[str, str] = {}
    exec((ROOT / "benchsuite/_version.py").read_text(), version)
    groups = dict(project["entry-points"])
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    info = folder / f"{project['name']}-{version['__version__']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "entry_points.txt").write_text("\n".join(lines))
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version['__version__']}\n"
    )


def commit() -> str:
    """The day and the name of the commit that is checked out, and whether files were changed since."""
    words = []
    for command in (["log", "-1", "--format=%cs %H"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(
                ["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False
            )
        except OSError:
            return "unknown: there is no git"
        if done.returncode:
            return "unknown: this is no checkout"
        words.append(done.stdout.strip())
    return words[0] + (", with changes" if words[1] else "")


def absent(names: Iterable[str]) -> list[str]:
    """Those of the modules that are not there."""
    return [name for name in names if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):
        return False
