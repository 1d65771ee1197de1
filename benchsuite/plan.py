"""A suite as a list of trials with content keys."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from benchsuite.concepts import ConceptPlugin
from benchsuite.errors import DataError
from benchsuite.keys import content_key
from benchsuite.models import ModelPlugin
from benchsuite.plugins import Registry, host_digest, source_digest
from benchsuite.pruning.settings import PruningSettings
from benchsuite.scoring.scorer import Scorer
from benchsuite.suite import (
    DatasetRef,
    ModelRef,
    Schedule,
    ScorerRef,
    Suite,
    Workload,
)
from benchsuite.tasks import DenseTask, ScheduleSettings, ScoreTask, Trial, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchsuite.parameters import Plugin
    from benchsuite.recipes import TrainingRecipe


@dataclass(frozen=True)
class _Contender:
    scorer: ScorerRef
    variant: Variant | None
    draws: int


def build_plan(suite: Suite, registry: Registry, data_folder: Path) -> list[Trial]:
    """Every trial of a suite, in the order of the file, without repeats."""
    trials: dict[str, Trial] = {}
    contenders = list(_contenders(suite, registry))
    trace = any(_scorer_class(registry, c.scorer).needs_training_trace for c in contenders)
    concepts = _concepts_content(suite, registry, data_folder)
    for workload in suite.workload:
        for model in workload.models:
            recipe = _dense_recipe(suite, workload, registry.get("model", model.name))
            for dense in _dense_tasks(suite, workload.dataset, model, recipe, trace, registry, data_folder):
                for contender in contenders:
                    for trial in _trials(suite, registry, dense, contender, concepts):
                        trials.setdefault(trial.key, trial)
    return list(trials.values())


def _contenders(suite: Suite, registry: Registry) -> Iterator[_Contender]:
    section = suite.suite
    listed: list[ScorerRef] = []
    named = {ref.name for ref in section.scorers}
    for ref in section.scorers:
        if ref.name == "all":
            # A scorer that the suite also names, to set its parameters, is not added again with its defaults.
            listed += [
                ScorerRef(name=name)
                for name in registry.names("scorer")
                if name != "random" and name not in named
            ]
        elif ref.label not in {r.label for r in listed}:
            listed.append(ref)
    for ref in listed:
        yield _Contender(ref, None, ref.draws or _scorer_class(registry, ref).draws)
    for control in section.controls:
        if control.name == "random":
            random = ScorerRef(name="random")
            yield _Contender(random, None, control.draws or _scorer_class(registry, random).draws)
        else:
            wanted = control.of or [ScorerRef(name="all")]
            varied = listed if any(r.name == "all" for r in wanted) else wanted
            for ref in varied:
                if ref.name != "random":
                    yield _Contender(ref, control.name, control.draws or 1)


def _scorer_class(registry: Registry, ref: ScorerRef) -> type[Scorer]:
    cls = registry.get("scorer", ref.name)
    assert issubclass(cls, Scorer)
    return cls


def _dense_recipe(suite: Suite, workload: Workload, cls: type[Plugin]) -> TrainingRecipe:
    assert issubclass(cls, ModelPlugin)
    return workload.training.applied_to(suite.training.applied_to(cls.recipe))


def _plugin_content(
    registry: Registry, kind: Literal["dataset", "model"], ref: DatasetRef | ModelRef
) -> dict[str, Any]:
    cls = registry.get(kind, ref.name)
    plugin = ref.create(registry)
    return {
        "name": ref.name,
        "version": cls.version,
        "source": source_digest(cls),
        "parameters": plugin.parameters,
    }


def _concepts_content(suite: Suite, registry: Registry, data_folder: Path) -> dict[str, Any] | None:
    """What of the concept set decides a result."""
    settings = suite.metrics.dissection
    if settings is None:
        return None
    cls = registry.get("concepts", settings.concepts)
    plugin = registry.create("concepts", settings.concepts, settings.parameters)
    assert isinstance(plugin, ConceptPlugin)
    try:
        fingerprint = plugin.fingerprint(data_folder)
    except DataError:
        fingerprint = "absent"
    return {"version": cls.version, "source": source_digest(cls), "content": fingerprint}


def _dense_tasks(
    suite: Suite,
    dataset: DatasetRef,
    model: ModelRef,
    recipe: TrainingRecipe,
    trace: bool,
    registry: Registry,
    data_folder: Path,
) -> Iterator[DenseTask]:
    data = _plugin_content(registry, "dataset", dataset)
    try:
        data["content"] = dataset.dataset(registry).fingerprint(data_folder)
    except DataError:
        data["content"] = "absent"  # its trials will fail with what to put where
    network = _plugin_content(registry, "model", model)
    try:
        network["content"] = model.model(registry).fingerprint()
    except DataError:
        network["content"] = "absent"
    content = {
        "stage": "train",
        "host": host_digest(),
        "dataset": data,
        "model": network,
        "recipe": recipe.model_dump(),
        "trace": trace,
    }
    rewind_to = suite.pruning.rewind_to if "rewind" in suite.pruning.schedule else None
    if rewind_to is not None:
        content["rewind_to"] = rewind_to
    data_key = content_key({"stage": "data", "dataset": data})
    for seed in suite.suite.seeds:
        key = content_key({**content, "seed": seed})
        yield DenseTask(dataset, model, recipe, seed, trace, rewind_to, data_key, key)


def _trials(
    suite: Suite,
    registry: Registry,
    dense: DenseTask,
    contender: _Contender,
    concepts: dict[str, Any] | None,
) -> Iterator[Trial]:
    cls = _scorer_class(registry, contender.scorer)
    scorer = {
        "name": cls.name,
        "version": cls.version,
        "source": source_digest(cls),
        "parameters": contender.scorer.create(registry).parameters,
    }
    pruning = suite.pruning
    ref = ScorerRef(name=contender.scorer.name, parameters=contender.scorer.parameters)
    for granularity, draw, schedule, sparsity in itertools.product(
        pruning.granularity, range(contender.draws), pruning.schedule, suite.suite.sparsities
    ):
        # The draws of a shuffled variant permute one and the same scoring.
        scoring_draw = 0 if contender.variant else draw
        at_init, native = schedule == "at-init", sparsity == "native"
        content = {
            "stage": "score",
            "dense": dense.key,
            "scorer": scorer,
            "draw": scoring_draw,
            "granularity": granularity,
            "scoring": suite.scoring.model_dump(),
            "at_init": at_init,
            "native": native,
        }
        key = content_key(content)
        score = ScoreTask(dense, ref, scoring_draw, granularity, suite.scoring, at_init, native, key)
        yield from _cells(suite, score, contender.variant, draw, schedule, sparsity, concepts)


def _cells(
    suite: Suite,
    score: ScoreTask,
    variant: Variant | None,
    draw: int,
    schedule: Schedule,
    sparsity: float | Literal["native"],
    concepts: dict[str, Any] | None,
) -> Iterator[Trial]:
    pruning = suite.pruning
    rounds = ScheduleSettings(schedule, pruning.rounds, pruning.rewind_share, pruning.rewind_to)
    recipes = _recoveries(suite, score.dense.recipe, schedule)
    for scope, budget, recovery in itertools.product(pruning.scope, pruning.budget, recipes):
        settings = PruningSettings(scope, budget, pruning.floor, pruning.aggregate, pruning.normalise)
        content = {
            "stage": "trial",
            "score": score.key,
            "variant": [variant, draw] if variant else None,
            "settings": vars(settings),
            "schedule": rounds.content,
            "recovery": recovery.model_dump(),
            "metrics": suite.metrics.model_dump(mode="json"),
            "concepts": concepts,
            "sparsity": sparsity,
        }
        yield Trial(
            score=score,
            variant=variant,
            draw=draw,
            settings=settings,
            schedule=rounds,
            recovery=recovery,
            sparsity=sparsity,
            latency=suite.metrics.latency,
            dissection=suite.metrics.dissection,
            shared=suite.shared,
            key=content_key(content),
        )


def _recoveries(suite: Suite, dense: TrainingRecipe, schedule: Schedule) -> list[TrainingRecipe]:
    """What follows a cut: fine-tuning, or where the network is trained anew, the dense training."""
    if schedule in ("rewind", "at-init"):
        return [dense]
    return [suite.recovery.recipe(dense, epochs) for epochs in suite.recovery.epochs]


def most_cells(suite: Suite, registry: Registry) -> int:
    """At most how many trials a suite has, told without listing them: some may coincide."""
    draws = sum(contender.draws for contender in _contenders(suite, registry))
    models = sum(len(workload.models) for workload in suite.workload)
    section, pruning = suite.suite, suite.pruning
    axes = (section.seeds, section.sparsities, suite.recovery.epochs)
    axes_of_pruning = (pruning.granularity, pruning.scope, pruning.budget, pruning.schedule)
    return draws * models * prod(len(axis) for axis in (*axes, *axes_of_pruning))


def count_by_axis(trials: Sequence[Trial]) -> dict[str, dict[str, int]]:
    """For each axis, how many trials each of its values has, in the order of the plan."""
    counts: dict[str, dict[str, int]] = {}
    for trial in trials:
        for axis, value in trial.axes.items():
            if axis != "scorer_params":
                of_axis = counts.setdefault(axis, {})
                of_axis[str(value)] = of_axis.get(str(value), 0) + 1
    return counts
