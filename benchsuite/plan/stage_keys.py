"""Content keys of stages: each covers the code, libraries, inputs and settings that decide its numbers.

Where a key holds the key of another stage, it covers what that one covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite.contracts.digests import code_digest, code_libraries, source_digest, source_libraries
from benchsuite.contracts.plugin import content_of, planned_facts
from benchsuite.store.keys import content_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchsuite.contracts.plugin import Plugin
    from benchsuite.contracts.recipe import TrainingRecipe
    from benchsuite.metrics.latency_settings import LatencySettings

DATA = "benchsuite.trials.data"
TRAIN = "benchsuite.trials.dense_training"
TRACE = "benchsuite.trials.training_trace"
SCORE = "benchsuite.trials.scores"
TRIAL = "benchsuite.trials.run_trial"
LATENCY = "benchsuite.trials.latency"
METRIC = "benchsuite.trials.measuring"
"""The module that makes each kind of stage; what it imports makes the stage too."""


def plugin_content(plugin: Plugin, fingerprint: Callable[[], str]) -> dict[str, Any]:
    """What of a plugin decides a result; of one whose files are absent, whose trials fail, too.

    Args:
        plugin: with its parameters.
        fingerprint: gives the content of what it reads.
    """
    cls = type(plugin)
    return {
        "name": cls.name,
        "source": source_digest(cls),
        "libraries": source_libraries(cls),
        "planned": planned_facts(plugin),
        "content": content_of(fingerprint),
    }


def data_key(dataset: Mapping[str, Any]) -> str:
    """The key of a data set's splits."""
    return _key("data", DATA, dataset=dataset)


def train_key(
    data: str,
    model: Mapping[str, Any],
    recipe: TrainingRecipe,
    threads: int,
    labels: tuple[str, str],
    seed: int,
) -> str:
    """The key of a dense model.

    Its random numbers come from the labels, of the data set and the model, and the seed.
    """
    return _key(
        "train",
        TRAIN,
        data=data,
        model=model,
        recipe=recipe.model_dump(),
        threads=threads,
        drawn_by=[*labels, seed],
    )


def trace_key(train: str, *, updates: bool, rewind_to: float | None) -> str:
    """The key of what is recorded of a training."""
    return _key("trace", TRACE, train=train, updates=updates, rewind_to=rewind_to)


def score_key(train: str, trace: str | None, scorer: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The key of a criterion's scores of a dense model; `settings` are those of the scoring."""
    return _key("score", SCORE, train=train, trace=trace, scorer=scorer, settings=settings)


def trial_key(score: str, settings: Mapping[str, Any]) -> str:
    """The key of a trial; `settings` are those of pruning, recovery and what is measured with it."""
    return _key("trial", TRIAL, score=score, settings=settings)


def metric_key(train: str, metric: Mapping[str, Any]) -> str:
    """The key of what a metric plugin measures on a dense model."""
    return _key("metric", METRIC, train=train, metric=metric)


def round_key(earlier: str, settings: Mapping[str, Any], target: float) -> str:
    """The key of a round of a schedule: what the network is after it.

    Args:
        earlier: key of the round before, or of the scoring before the first.
        settings: those of the cut and of the recovery.
        target: the sparsity that the round cuts to.
    """
    return _key("round", TRIAL, earlier=earlier, settings=settings, target=target)


def point_key(settings: Mapping[str, Any]) -> str:
    """The key of what is measured of the network after a round, and how."""
    return _key("point", TRIAL, settings=settings)


def latency_key(settings: LatencySettings) -> str:
    """The key of how latencies are measured: the code, the libraries and the settings."""
    return _key("latency", LATENCY, settings=settings.model_dump())


def _key(stage: str, module: str, **content: Any) -> str:
    return content_key(
        {"stage": stage, "code": code_digest(module), "libraries": code_libraries(module), **content}
    )
