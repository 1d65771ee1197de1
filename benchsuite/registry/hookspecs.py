"""The hooks that a plugin can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.contracts.concepts import ConceptPlugin
    from benchsuite.contracts.dataset import DatasetPlugin
    from benchsuite.contracts.model import ModelPlugin
    from benchsuite.metrics.metric import Metric
    from benchsuite.scoring.scorer import Scorer
    from benchsuite.store.record import TrialRecord

PROJECT = "benchsuite"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class RegisterScorer(Protocol):
    """Adds a scorer class to the registry."""

    def __call__(self, scorer: type[Scorer], /) -> None:
        """Register the class under its name."""
        ...


class RegisterModel(Protocol):
    """Adds a model class to the registry."""

    def __call__(self, model: type[ModelPlugin], /) -> None:
        """Register the class under its name."""
        ...


class RegisterMetric(Protocol):
    """Adds a metric class to the registry."""

    def __call__(self, metric: type[Metric], /) -> None:
        """Register the class under its name."""
        ...


class RegisterDataset(Protocol):
    """Adds a data set or concept set class to the registry; a class can be both."""

    def __call__(self, dataset: type[DatasetPlugin] | type[ConceptPlugin], /) -> None:
        """Register the class under its name."""
        ...


@hookspec
def benchsuite_register_scorers(register: RegisterScorer) -> None:
    """Call `register(MyScorer)` for each scorer."""


@hookspec
def benchsuite_register_models(register: RegisterModel) -> None:
    """Call `register(MyModel)` for each model."""


@hookspec
def benchsuite_register_datasets(register: RegisterDataset) -> None:
    """Call `register(MyDataset)` for each data set."""


@hookspec
def benchsuite_register_metrics(register: RegisterMetric) -> None:
    """Call `register(MyMetric)` for each metric."""


@hookspec
def benchsuite_trial_started(key: str, axes: Mapping[str, object]) -> None:
    """Observe that a trial begins; called in a process of the plugin's own."""


@hookspec
def benchsuite_trial_finished(record: TrialRecord) -> None:
    """Observe a trial's record just after it was stored; called in a process of the plugin's own."""
