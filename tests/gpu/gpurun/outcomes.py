"""A plugin of pytest that writes each test's outcome as soon as it is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gpurun.figures import Figures

if TYPE_CHECKING:
    import pytest

VARIABLE = "BENCHSUITE_GPU_OUTCOMES"
"""Names the file that they go to."""


def _figures() -> Figures:
    file = Path(os.environ[VARIABLE])
    return Figures(file, dry=False, scratch=file.parent, data=None, seconds=0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write what a test came to; of set-up and tear-down only what did not pass."""
    if report.when == "call" or report.outcome != "passed":
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        text = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else report.longreprtext
        _figures().test(report.nodeid, outcome, text, report.duration)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write which file could not be read."""
    if report.failed:
        _figures().test(report.nodeid, "error", report.longreprtext)
