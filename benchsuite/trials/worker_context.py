"""Where a worker works: what the run tells it, its plugins, its device."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from benchsuite.contracts.plugin import PluginChoice, Plugins

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfiguration:
    """What every worker of a run is told.

    Attributes:
        run: the run directory.
        data: the data folder.
        plugin_files: files given with `--plugin`.
        scorers: every scorer of the suite, so that one forward pass serves all of them.
        imports: large modules that the scorers need, imported once for all workers.
    """

    run: Path
    data: Path
    plugin_files: tuple[Path, ...] = ()
    scorers: tuple[PluginChoice, ...] = ()
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerContext:
    """Where a worker works.

    Attributes:
        configuration: what the run tells it.
        plugins: makes the plugins that a task names.
        device: where it computes.
        threads: CPU threads of one operation.
        tell: told in a sentence what the run should show, such as that a damaged stage was made anew.
    """

    configuration: RunConfiguration
    plugins: Plugins
    device: torch.device
    threads: int
    tell: Callable[[str], None] = field(default=_logger.warning)

    def folder(self, key: str) -> Path:
        """The folder of a stage."""
        return self.configuration.run / "stages" / key
