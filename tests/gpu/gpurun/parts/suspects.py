"""Every test that needs a GPU: first those of what reading the code has made suspicious."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from gpurun.environment import HERE, ROOT, absent
from gpurun.outcomes import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

    from gpurun.figures import Figures

_MARK = "mark." + "gpu"
_LONGEST_TEST = 60
"""Seconds after which a test is ended, where the library that can do so is there."""


_ON_A_STAND_IN = ("tests/gpu", "tests/training")
"""Folders whose tests a stand-in passes in a few seconds; the others need kernels that only a GPU has."""


def files() -> list[Path]:
    """Test files with such tests, those of this folder first."""
    marked = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if _MARK in path.read_text()]
    return sorted(marked, key=lambda path: not path.is_relative_to(HERE))


def run(found: Figures) -> int:
    """Run them; each outcome is kept as soon as it is known."""
    chosen = files()
    if found.dry:
        kept = [path for path in chosen if str(path.parent.relative_to(ROOT)) in _ON_A_STAND_IN]
        for path in sorted(set(chosen) - set(kept)):
            found.left_out(str(path.relative_to(ROOT)), "its tests need a real device")
        chosen = kept
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "gpurun.outcomes"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly", "--continue-on-collection-errors"]
    # Warnings of other versions of libraries than those of the lock are no faults of the code.
    command += ["-o", "filterwarnings=default", *map(str, chosen)]
    if not absent(["pytest_timeout"]):
        command += ["-o", f"timeout={_LONGEST_TEST}"]
    # What it says goes where this part's own words go, so that it is kept when the part is cut off.
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, VARIABLE: str(found.file)}, check=False)
    if done.returncode not in (0, 1):
        found.failure("pytest", f"exit code {done.returncode}; its last lines are in the log")
    return 0
