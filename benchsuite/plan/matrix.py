"""A suite as a list of trials with content keys."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchsuite.contracts.concepts import ConceptPlugin
from benchsuite.contracts.dataset import DatasetPlugin
from benchsuite.contracts.model import ModelPlugin
from benchsuite.metrics.metric import Metric
from benchsuite.plan.contenders import check_size, contenders, decided_in, serves
from benchsuite.plan.dense_task import DenseTask, TraceTask
from benchsuite.plan.metric_task import MetricTask
from benchsuite.plan.score_task import ScoreTask
from benchsuite.plan.stage_keys import (
    data_key,
    latency_key,
    metric_key,
    plugin_content,
    point_key,
    round_key,
    score_key,
    trace_key,
    train_key,
    trial_key,
)
from benchsuite.plan.trial import Trial, TrialTarget, Variant
from benchsuite.pruning.rounds import rounds_of
from benchsuite.pruning.settings import PruningSettings, Restriction, ScheduleSettings, declared
from benchsuite.pruning.targets import LAYERS
from benchsuite.pruning.threshold import threshold_of
from benchsuite.scoring.scorer import Scorer
from benchsuite.store.keys import content_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchsuite.contracts.layers import Granularity
    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.contracts.recipe import TrainingRecipe
    from benchsuite.metrics.dissection.settings import DissectionSettings
    from benchsuite.plan.contenders import Contender
    from benchsuite.plan.trial import OwnAmount
    from benchsuite.pruning.settings import Budget, Schedule, Scope
    from benchsuite.registry.registry import Registry
    from benchsuite.suite import MetricRef, ModelRef, PluginRef, ScorerRef, Suite, Workload
    from benchsuite.suite.pruning_section import LayersTable


@dataclass(frozen=True)
class _Criterion:
    """A scorer of the suite, with what identifies it."""

    ref: ScorerRef
    scorer: Scorer
    content: dict[str, Any]


_Scores = dict[tuple["str | None", "Granularity"], ScoreTask]
"""The scorings of a cell; see `LayersTable.scored`."""


def build_plan(suite: Suite, registry: Registry, data_folder: Path, threads: int = 1) -> list[Trial]:
    """Every trial of a suite, in the order of the file, without repeats.

    Args:
        suite: what to run.
        registry: its plugins.
        data_folder: where data sets are.
        threads: CPU threads of a worker, which decide results.
    """
    check_size(suite, registry)
    trials: dict[str, Trial] = {}
    for trial in _Plan(suite, registry, data_folder, threads).trials():
        trials.setdefault(trial.key, trial)
    return list(trials.values())


class _Plan:
    """Lists the trials of one suite. What many keys share is found once.

    Args:
        suite: what to run.
        registry: its plugins.
        data_folder: where data sets are.
        threads: CPU threads of a worker.
    """

    def __init__(self, suite: Suite, registry: Registry, data_folder: Path, threads: int) -> None:
        self._suite = suite
        self._registry = registry
        self._folder = data_folder
        self._threads = threads
        self._contenders = [(each, self._described(each.scorer)) for each in contenders(suite, registry)]
        own = ((t.by, t.scorer) for t in suite.pruning.targets if t.scorer is not None)
        self._own = {by: self._described(ref) for by, ref in own}
        latency, dissection = suite.metrics.latency, suite.metrics.dissection
        self._latency_key = latency_key(latency) if latency else None
        self._each_round = dissection is not None and dissection.each_round
        self._metrics = [(ref, self._described_metric(ref)) for ref in suite.metrics.plugins]
        self._measured: dict[str, Any] = {
            "dissection": dissection and dissection.of_a_network,
            "concepts": self._concepts(dissection) if dissection else None,
        }
        if self._metrics:
            self._measured["metrics"] = [[ref.name_in_records, content] for ref, content in self._metrics]

    def _described(self, ref: ScorerRef) -> _Criterion:
        scorer = ref.create(self._registry)
        assert isinstance(scorer, Scorer)
        return _Criterion(ref, scorer, plugin_content(scorer, scorer.fingerprint))

    def _described_metric(self, ref: MetricRef) -> dict[str, Any]:
        metric = ref.create(self._registry)
        assert isinstance(metric, Metric)
        return plugin_content(metric, metric.fingerprint)

    def _concepts(self, settings: DissectionSettings) -> dict[str, Any]:
        """What of the concept set decides a result."""
        plugin = self._registry.create("concepts", settings.concepts, settings.parameters)
        assert isinstance(plugin, ConceptPlugin)
        return plugin_content(plugin, lambda: plugin.fingerprint(self._folder))

    def trials(self) -> Iterator[Trial]:
        """Every trial, in the order of the file; some may come twice."""
        for workload in self._suite.workload:
            dataset = workload.dataset.create(self._registry)
            assert isinstance(dataset, DatasetPlugin)
            content = plugin_content(dataset, partial(dataset.fingerprint, self._folder))
            data, chosen = data_key(content), _planned(workload.dataset, content)
            for model in workload.models:
                for dense in self._dense_tasks(workload, model, chosen, data):
                    for contender, criterion in self._contenders:
                        yield from self._of_scorer(dense, contender, criterion)

    def _dense_tasks(
        self, workload: Workload, ref: ModelRef, dataset: PluginChoice, data: str
    ) -> Iterator[DenseTask]:
        model = ref.create(self._registry)
        assert isinstance(model, ModelPlugin)
        recipe = workload.training.applied_to(self._suite.training.applied_to(type(model).recipe))
        content = plugin_content(model, model.fingerprint)
        network = content_key([content, data])
        for seed in self._suite.suite.seeds:
            key = train_key(data, content, recipe, self._threads, (dataset.label, ref.label), seed)
            yield DenseTask(dataset, _planned(ref, content), recipe, seed, network, data, key)

    def _of_scorer(self, dense: DenseTask, contender: Contender, criterion: _Criterion) -> Iterator[Trial]:
        suite, pruning = self._suite, self._suite.pruning
        for granularity, draw, schedule, sparsity in itertools.product(
            pruning.granularity, range(contender.draws), pruning.schedule, suite.suite.sparsities
        ):
            decided = decided_in(suite, granularity, sparsity)
            if not (contender.named or serves(type(criterion.scorer), decided)):
                continue
            # The draws of a shuffled variant permute one and the same scoring.
            scoring_draw = 0 if contender.variant else draw
            if sparsity == LAYERS:
                scores = self._scores_by_layers(dense, criterion, scoring_draw, granularity, schedule)
            else:
                target = self._target(criterion.scorer, schedule, sparsity)
                task = self._score(
                    *(dense, criterion, scoring_draw, granularity, schedule, pruning.restriction),
                    native=sparsity == "native",
                    target=target,
                )
                scores = {(None, granularity): task}
            yield from self._cells(
                criterion, scores, granularity, contender.variant, draw, schedule, sparsity
            )

    def _score(
        self,
        dense: DenseTask,
        criterion: _Criterion,
        draw: int,
        granularity: Granularity,
        schedule: Schedule,
        restriction: Restriction,
        *,
        native: bool,
        target: float | None = None,
        stream: str = "",
    ) -> ScoreTask:
        at_init, scoring = schedule == "at-init", self._suite.scoring
        trace = None
        if type(criterion.scorer).needs_training_trace and not at_init:
            trace = TraceTask(True, None, trace_key(dense.key, updates=True, rewind_to=None))
        settings: dict[str, Any] = {
            "draw": draw,
            "granularity": granularity,
            "scoring": scoring.model_dump(),
            "at_init": at_init,
            "native": native,
            "target": target,
            "restriction": vars(restriction),
            **({"stream": stream} if stream else {}),
        }
        return ScoreTask(
            dense=dense,
            trace=trace,
            scorer=_planned(criterion.ref, criterion.content),
            draw=draw,
            granularity=granularity,
            scoring=scoring,
            at_init=at_init,
            native=native,
            target=target,
            restriction=restriction,
            stream=stream,
            key=score_key(dense.key, trace.key if trace else None, criterion.content, settings),
        )

    def _scores_by_layers(
        self,
        dense: DenseTask,
        criterion: _Criterion,
        draw: int,
        granularity: Granularity,
        schedule: Schedule,
    ) -> _Scores:
        """The scorings of `[[pruning.layers]]`. Each scores the layers of all its tables at once.

        Those by a criterion that a table names are the same in all cells. Each has its own random numbers.
        """
        by: dict[tuple[str | None, Granularity], list[LayersTable]] = {}
        for table in self._suite.pruning.targets:
            by.setdefault(table.scored(granularity), []).append(table)
        found: _Scores = {}
        for (own, of_tables), tables in by.items():
            restriction = Restriction(tuple(pattern for each in tables for pattern in each.pattern))
            first = own is None and of_tables == granularity
            found[own, of_tables] = self._score(
                dense,
                criterion if own is None else self._own[own],
                draw if own is None else 0,
                of_tables,
                schedule,
                restriction,
                native=any(each.target == "native" for each in tables),
                stream="" if first else ", ".join(restriction.layers or ()),
            )
        return found

    def _target_of(
        self,
        table: LayersTable,
        criterion: _Criterion,
        score: ScoreTask,
        scope: Scope,
        budget: Budget,
    ) -> TrialTarget:
        of = type((criterion if table.by is None else self._own[table.by]).scorer)
        settings, own = self._settings(of, scope, budget), table.by is not None
        return TrialTarget(table.layer_target, score, settings, of.absolute, own)

    def _settings(self, scorer: type[Scorer], scope: Scope, budget: Budget) -> PruningSettings:
        pruning = self._suite.pruning
        aggregate, normalise = declared(
            pruning.aggregate, pruning.normalise, scale=scorer.scale, coupled=scorer.coupled
        )
        return PruningSettings(scope, budget, pruning.floor, aggregate, normalise)

    def _schedule(self, name: Schedule) -> ScheduleSettings:
        pruning = self._suite.pruning
        return ScheduleSettings(name, pruning.rounds, pruning.rewind_share, pruning.rewind_to)

    def _target(self, scorer: Scorer, schedule: Schedule, sparsity: float | OwnAmount) -> float | None:
        """What the first cut removes, for scorers that depend on it."""
        if isinstance(sparsity, str) or not type(scorer).needs_target:
            return None
        return rounds_of(self._schedule(schedule), sparsity)[0]

    def _cells(
        self,
        criterion: _Criterion,
        scores: _Scores,
        granularity: Granularity,
        variant: Variant | None,
        draw: int,
        schedule: Schedule,
        sparsity: float | OwnAmount,
    ) -> Iterator[Trial]:
        suite, pruning = self._suite, self._suite.pruning
        rounds, scorer = self._schedule(schedule), type(criterion.scorer)
        score = next(score for (own, _), score in scores.items() if own is None)
        widths = dict(pruning.widths) if sparsity == "widths" else {}
        tables = pruning.targets if sparsity == LAYERS else ()
        amount: Any = {"widths": widths} if widths else sparsity
        if tables:
            by = [scores[table.scored(granularity)].key for table in tables]
            targets = [table.model_dump(include={"pattern", "target"}) for table in tables]
            amount = {LAYERS: targets, "by": by}
        early = None
        if schedule == "rewind":
            key = trace_key(score.dense.key, updates=False, rewind_to=pruning.rewind_to)
            early = TraceTask(False, pruning.rewind_to, key)
        recipes = recoveries(suite, score.dense.recipe, schedule)
        for scope, budget, recovery in itertools.product(pruning.scope, pruning.budget, recipes):
            settings = self._settings(scorer, scope, budget)
            if threshold_of(sparsity) is not None:  # it is one on the scores as they are
                settings = replace(settings, normalise="none")
            cuts = {
                "variant": [variant, draw] if variant else None,
                "settings": vars(settings),
                "schedule": rounds.content,
                "early": early.key if early else None,
                "recovery": recovery.model_dump(),
            }
            measured = {
                "recalibrate": suite.recovery.recalibrate,
                **self._measured,
                **({"dissected": "each round"} if rounds.has_rounds and self._each_round else {}),
            }
            content = {**cuts, **measured, "sparsity": amount}
            shared = _shared_rounds(score.key, cuts, rounds, sparsity)
            yield Trial(
                score=score,
                variant=variant,
                draw=draw,
                settings=settings,
                schedule=rounds,
                early=early,
                recovery=recovery,
                recalibrate=suite.recovery.recalibrate,
                sparsity=sparsity,
                widths=widths,
                targets=tuple(
                    self._target_of(table, criterion, scores[table.scored(granularity)], scope, budget)
                    for table in tables
                ),
                absolute=scorer.absolute,
                latency=suite.metrics.latency,
                latency_key=self._latency_key,
                dissection=suite.metrics.dissection,
                metrics=tuple(
                    MetricTask(
                        ref.name_in_records,
                        _planned(ref, content),
                        score.dense,
                        metric_key(score.dense.key, content),
                    )
                    for ref, content in self._metrics
                ),
                shared=suite.shared_at(sparsity, granularity),
                key=trial_key(score.key, content),
                rounds=shared,
                point=point_key(measured) if shared else "",
            )


def _shared_rounds(
    score: str, cuts: dict[str, Any], schedule: ScheduleSettings, sparsity: float | OwnAmount
) -> tuple[str, ...]:
    """Content keys of a trial's first rounds, which trials with other sparsities may share.

    Those of "rewind" begin alike whatever the sparsity; those of "iterative" depend on it from the first on.

    Args:
        score: key of the scoring before the first cut.
        cuts: what decides cuts and recoveries besides.
        schedule: the rounds.
        sparsity: where the last one ends.
    """
    if schedule.name != "rewind" or isinstance(sparsity, str):
        return ()
    targets = rounds_of(schedule, sparsity)
    if cuts["variant"] is not None and cuts["variant"][0] == "scratch":
        # Until its last recovery it is the criterion's own trial.
        cuts, targets = {**cuts, "variant": None}, targets[:-1]
    found: list[str] = []
    for target in targets:
        found.append(round_key(found[-1] if found else score, cuts, target))
    return tuple(found)


def _planned(ref: PluginRef, content: dict[str, Any]) -> PluginChoice:
    """The plugin that a suite names, with what a worker checks before it uses it."""
    planned = content["planned"]
    return replace(ref.choice, source=content["source"], content=content["content"], planned=planned)


def recoveries(suite: Suite, dense: TrainingRecipe, schedule: Schedule) -> list[TrainingRecipe]:
    """What follows a cut: fine-tuning, or where the network is trained anew, the dense training."""
    if schedule in ("rewind", "at-init"):
        return [dense]
    return [suite.recovery.recipe(dense, epochs) for epochs in suite.recovery.epochs]


def count_by_axis(trials: Sequence[Trial]) -> dict[str, dict[str, int]]:
    """For each axis, how many trials each of its values has, in the order of the plan."""
    counts: dict[str, dict[str, int]] = {}
    for trial in trials:
        for axis, value in trial.axes.items():
            if axis != "scorer_params":
                of_axis = counts.setdefault(axis, {})
                of_axis[str(value)] = of_axis.get(str(value), 0) + 1
    return counts
