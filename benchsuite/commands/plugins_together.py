"""Plugins that one process loads for a trial, and whether they can share it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import PluginError, UsageError
from benchsuite.plan.contenders import scorers_of
from benchsuite.registry.clashes import refuse_clashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchsuite.contracts.plugin import Kind
    from benchsuite.plan.trial import Trial
    from benchsuite.registry.registry import Registry
    from benchsuite.registry.strangers import Strangers
    from benchsuite.suite import Suite


@dataclass(frozen=True)
class PluginsOfTrial:
    """Names of the plugins that a trial needs."""

    dataset: str
    model: str
    scorer: str
    concepts: str | None
    metrics: tuple[str, ...] = ()

    def by_process(self) -> Iterator[tuple[tuple[Kind, str], ...]]:
        """Those that one process loads: a scorer or a metric is in none with others of its kind."""
        network: tuple[tuple[Kind, str], ...] = (("dataset", self.dataset), ("model", self.model))
        yield (*network, ("scorer", self.scorer))
        if self.concepts is not None:
            yield (*network, ("concepts", self.concepts))
        for metric in self.metrics:
            yield (*network, ("metric", metric))


def plugins_of(trial: Trial) -> Iterator[PluginsOfTrial]:
    """The plugins that a trial needs, with each of the scorers that it prunes by."""
    dense, dissection = trial.dense, trial.dissection
    concepts = None if dissection is None else dissection.concepts
    metrics = tuple(metric.metric.name for metric in trial.metrics)
    for score in trial.scores:
        yield PluginsOfTrial(dense.dataset.name, dense.model.name, score.scorer.name, concepts, metrics)


def plugins_of_suite(suite: Suite, registry: Registry) -> Iterator[PluginsOfTrial]:
    """The plugins of each trial that a suite may have."""
    dissection = suite.metrics.dissection
    concepts = dissection.concepts if dissection else None
    metrics = tuple(ref.name for ref in suite.metrics.plugins)
    for workload in suite.workload:
        for model, scorer in product(workload.models, scorers_of(suite, registry)):
            yield PluginsOfTrial(workload.dataset.name, model.name, scorer, concepts, metrics)


def check_together(trials: Iterable[PluginsOfTrial], strangers: Strangers) -> None:
    """Raise `UsageError` if plugins that a worker loads for one of the trials cannot share its process."""
    together: dict[tuple[Path, ...], None] = {}
    for plugins in dict.fromkeys(trials):
        for group in plugins.by_process():
            sources = (strangers.source_of(*plugin) for plugin in group)
            files = {Path(source.value) for source in sources if source and source.kind == "file"}
            together[tuple(sorted(files))] = None
    for files_of_one in sorted(together):
        try:
            refuse_clashes(*files_of_one)
        except PluginError as error:
            raise UsageError(str(error)) from error
