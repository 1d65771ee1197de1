"""The suite file: validated, with every error's line and the nearest valid name."""

from __future__ import annotations

from benchsuite.suite.pruning_section import Pruning
from benchsuite.suite.published import PublishedValue
from benchsuite.suite.reading import load_suite
from benchsuite.suite.references import DatasetRef, MetricRef, ModelRef, PluginRef, ScorerRef
from benchsuite.suite.sections import (
    Metrics,
    RecipeOverrides,
    Recovery,
    SuiteSection,
    Workload,
)
from benchsuite.suite.suite import Suite

__all__ = [
    "DatasetRef",
    "MetricRef",
    "Metrics",
    "ModelRef",
    "PluginRef",
    "Pruning",
    "PublishedValue",
    "RecipeOverrides",
    "Recovery",
    "ScorerRef",
    "Suite",
    "SuiteSection",
    "Workload",
    "load_suite",
]
