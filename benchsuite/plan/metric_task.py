"""What a metric plugin is to measure, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.metrics.metric import Quantity

if TYPE_CHECKING:
    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.plan.dense_task import DenseTask


@dataclass(frozen=True)
class MetricTask:
    """A metric of a suite with the dense model of a trial.

    Attributes:
        called: what records call it.
        metric: the plugin, with what the plan knows of it.
        dense: the dense model.
        key: content key of the stage that holds what it measures on the dense network.
    """

    called: str
    metric: PluginChoice
    dense: DenseTask
    key: str

    @property
    def stages(self) -> tuple[str, ...]:
        """When it is measured; see `benchsuite.metrics.metric.Stage`."""
        return tuple((self.metric.planned or {})["stages"])

    @property
    def quantities(self) -> dict[str, Quantity]:
        """What it measures, by name."""
        return {name: Quantity(*each) for name, each in (self.metric.planned or {})["quantities"].items()}


@dataclass(frozen=True)
class MeasureTask:
    """One measurement in a process of its own.

    Attributes:
        metric: which metric.
        folder: content key of the stage in whose folder the answer is left.
        handed_over: whether a network of a trial lies in that folder; else the dense one is measured.
        seed: see `MetricContext`.
    """

    metric: MetricTask
    folder: str
    handed_over: bool
    seed: int
