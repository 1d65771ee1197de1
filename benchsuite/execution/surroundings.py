"""What every worker of a run is told, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.contracts.plugin import Kind
    from benchsuite.registry.loading import PluginSource
    from benchsuite.trials.worker_context import RunConfiguration


@dataclass(frozen=True)
class Limits:
    """What a worker may take.

    Attributes:
        timeout: seconds for one stage or trial.
        memory: resident bytes of its processes together; None is no limit.
        log: bytes of a log; what goes beyond is cut off.
    """

    timeout: float = math.inf
    memory: float | None = None
    log: int = 20 << 20


@dataclass(frozen=True)
class Surroundings:
    """What every worker of a run is told.

    Attributes:
        configuration: the folders.
        threads: CPU threads of one operation.
        strangers: by kind and name, where plugins come from that are not shipped; a worker loads those that
            its job needs.
        limits: what a worker may take.
    """

    configuration: RunConfiguration
    threads: int
    strangers: Mapping[tuple[Kind, str], PluginSource] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
