"""Where a worker works: what the run tells it, its plugins, its device."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchsuite.contracts.digests import source_digest
from benchsuite.contracts.plugin import content_of, planned_facts
from benchsuite.errors import BenchsuiteError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch

    from benchsuite.contracts.plugin import Kind, Plugin, PluginChoice, Plugins

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfiguration:
    """What every worker of a run is told.

    Attributes:
        run: the run directory.
        data: the data folder.
        imports: large modules that shipped scorers need, imported once for all workers.
    """

    run: Path
    data: Path
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerContext:
    """Where a worker works.

    Attributes:
        configuration: what the run tells it.
        plugins: makes the plugins that a task names.
        device: where it computes.
        threads: CPU threads of one operation.
        reads_old_runs: whether stages from before checksums are taken as they are.
        apart: has a criterion score, or a metric measure, in a process of its own; None does it in this one.
        tell: told in a sentence what the run should show, such as that a damaged stage was made anew.
    """

    configuration: RunConfiguration
    plugins: Plugins
    device: torch.device
    threads: int
    reads_old_runs: bool = False
    # Of a `RoundTask` or a `MeasureTask`, not named here: training does not depend on either.
    apart: Callable[[Any], None] | None = None
    tell: Callable[[str], None] = field(default=_logger.warning)

    def create(self, kind: Kind, choice: PluginChoice) -> Plugin:
        """An instance of a plugin; raises `BenchsuiteError` if its source is not the one of the plan."""
        plugin = choice.create(kind, self.plugins)
        if choice.planned is not None:
            _check_as_planned(kind, choice, planned_facts(plugin))
        if choice.source and source_digest(type(plugin)) != choice.source:
            raise BenchsuiteError(
                f"the source of {kind} {choice.label} is not that of the plan: it changed after the run "
                "began (then run again), or it imports other modules here than alone"
            )
        return plugin

    def check_content(self, kind: Kind, choice: PluginChoice, fingerprint: Callable[[], str]) -> None:
        """Raise an error if the files that a plugin reads are not those of the plan."""
        if not choice.source:
            return
        now = content_of(fingerprint)
        if now.startswith("fingerprint()"):
            raise PluginError(f"{kind} {choice.label}: {now}")
        if now != choice.content:
            raise BenchsuiteError(
                f"the files that {kind} {choice.label} reads changed after the start; run again"
            )

    def folder(self, key: str) -> Path:
        """The folder of a stage."""
        return self.configuration.run / "stages" / key


def _check_as_planned(kind: Kind, choice: PluginChoice, now: Mapping[str, Any]) -> None:
    """Raise an error if a plugin is another here than where the plan was made, and its keys."""
    planned = choice.planned or {}
    for name in dict.fromkeys((*planned, *now)):
        if (then := planned.get(name)) != (here := now.get(name)):
            raise PluginError(
                f"{kind} {choice.label}: its {name} is {here!r} where it is used and {then!r} where the plan "
                "was made; it must be the same in every process"
            )
