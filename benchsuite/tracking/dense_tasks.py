"""Which dense model a trial's record speaks of, by the run's suite, and what has to be loaded for it."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from typing import TYPE_CHECKING

from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.errors import UsageError
from benchsuite.plan.dense_task import DenseTask
from benchsuite.store.files import described, read_regular
from benchsuite.suite import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchsuite.contracts.plugin import Kind, PluginChoice
    from benchsuite.registry.loading import PluginSource
    from benchsuite.store.record import TrialRecord
    from benchsuite.tracking.model_choice import ChosenModel

    Sources = tuple[PluginSource, ...]


def dense_task(suite_file: Path, record: TrialRecord) -> DenseTask:
    """The task of a record's dense model, from the suite's workloads and the record's own stages.

    Raises:
        UsageError: the suite cannot be read, or does not have the data set or model.
    """
    dataset, model = _data_and_model(suite_file, record)
    return DenseTask(
        dataset=dataset,
        model=model,
        recipe=TrainingRecipe.model_validate(record.provenance["training_recipe"]),
        seed=record.axes["seed"],
        network="",
        data_key=record.stages["data"],
        key=record.stages["train"],
    )


def by_sources(
    suite_file: Path,
    choices: Sequence[ChosenModel],
    source_of: Callable[[Kind, str], PluginSource | None],
) -> tuple[dict[Sources, list[ChosenModel]], list[str]]:
    """Networks by where the plugins of their own model and data set come from; none for shipped ones.

    Args:
        suite_file: the run's suite.
        choices: the networks.
        source_of: where a plugin comes from that is not shipped.

    Returns:
        The networks, and a sentence for each whose model or data set the suite does not have.
    """
    found: dict[Sources, list[ChosenModel]] = defaultdict(list)
    troubles = []
    for choice in choices:
        try:
            dataset, model = _data_and_model(suite_file, choice.record)
        except UsageError as error:
            troubles.append(f"{choice.name}: {error}")
            continue
        origins = (source_of("model", model.name), source_of("dataset", dataset.name))
        sources = dict.fromkeys(origin.resolved() for origin in origins if origin is not None)
        found[tuple(sources)].append(choice)
    return dict(found), troubles


def _data_and_model(suite_file: Path, record: TrialRecord) -> tuple[PluginChoice, PluginChoice]:
    # Without a registry: plugins that are not needed here, such as somebody's scorer, may be missing.
    try:
        suite = tomllib.loads(read_regular(suite_file).decode())
        found = [Workload.model_validate(workload) for workload in suite["workload"]]
    except OSError as error:
        raise UsageError(described(error)) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(f"{suite_file} has no workloads that can be read") from error
    wanted = record.axes.get("dataset"), record.axes.get("model")
    dataset = next((w.dataset for w in found if w.dataset.label == wanted[0]), None)
    model = next((m for w in found for m in w.models if m.label == wanted[1]), None)
    if dataset is None or model is None:
        raise UsageError(f"{suite_file} has no {wanted[1]} on {wanted[0]} any more")
    return dataset.choice, model.choice
