"""Registers the metrics that come with benchsuite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import hookimpl
from benchsuite_metrics.tree_accuracy import TreeAccuracy

if TYPE_CHECKING:
    from benchsuite import RegisterMetric

__all__ = ["TreeAccuracy", "benchsuite_register_metrics"]


@hookimpl
def benchsuite_register_metrics(register: RegisterMetric) -> None:
    """Register every metric of this package."""
    register(TreeAccuracy)
