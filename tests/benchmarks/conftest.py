"""Shows the extra results of the benchmarks besides their times, mainly ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List the extra information of every benchmark."""
    session = getattr(config, "_benchmarksession", None)
    for measured in session.benchmarks if session else ():
        if measured.extra_info:
            found = ", ".join(f"{name} {value}" for name, value in measured.extra_info.items())
            terminalreporter.write_line(f"{measured.name}: {found}")
