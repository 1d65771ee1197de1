"""One invocation of a suite: from the plan to a full run directory."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from benchsuite.execution.fitting import MEASURED_APART
from benchsuite.execution.messages import Ended, Message, NotStored, Started, Told
from benchsuite.execution.pending_work import PendingWork, needs_latency, pending_work
from benchsuite.execution.phases import DescribePhase, LatencyPhase, TrialPhase, drain
from benchsuite.store.counting import counted
from benchsuite.store.files import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchsuite.execution.jobs import Executor, Job
    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord
    from benchsuite.store.run_directory import RunDirectory
    from benchsuite.trials.description import DescribeTask

_logger = logging.getLogger(__name__)
_PARAMETERS = "scorer_parameters"
"""Where a record says every parameter of a criterion that its suite sweeps."""


class Observer(Protocol):
    """Told what happens during a run: the live view, MLflow, plugins."""

    def working(self, slot: int, what: str) -> None:
        """A slot turns to something new."""
        ...

    def idle(self, slot: int) -> None:
        """A slot has nothing to do."""
        ...

    def trial_started(self, trial: Trial) -> None:
        """A trial begins."""
        ...

    def recorded(self, trial: Trial, record: TrialRecord, *, complete: bool) -> None:
        """A record was stored; it is complete unless its latency is still to be measured."""
        ...


class Run:
    """Drives an executor through what there is to do and writes what comes back.

    Args:
        directory: the run directory, locked by the caller.
        records: its records by key; kept up to date.
        provenance: facts about this invocation that every record carries.
        observers: told of everything as it happens.
        tell: told what a person should know, in a sentence.
        stop: says whether to start nothing more and to end when what is in work has.
    """

    def __init__(
        self,
        directory: RunDirectory,
        records: dict[str, TrialRecord],
        provenance: Mapping[str, Any],
        observers: Sequence[Observer],
        tell: Callable[[str], None] = _logger.warning,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._directory = directory
        self._records = records
        self._provenance = dict(provenance)
        self._observers = observers
        self._tell = tell
        self._stop = stop
        self._conditions: dict[str, str] = {}

    def run_trials(self, work: PendingWork, executor: Callable[[], Executor]) -> None:
        """Train, score, prune, recover and measure.

        Trials whose stages turn out to be damaged, and are made anew with other numbers, are run again once.
        """
        self._say_parameters(work.cached)
        self._run(work.to_run, executor)
        if self._stop():
            return
        again = pending_work(work.selected, self._records, self._directory, retry_failed=False).remade
        if again:
            self._tell(
                f"run again: {counted(len(again), 'trial')}; stages that they stand on were made anew, with "
                "other numbers"
            )
            self._run(again, executor)

    def _say_parameters(self, trials: Sequence[Trial]) -> None:
        """Add to records from before what records of criteria that the suite sweeps say."""
        for trial in trials:
            record, scorer = self._records[trial.key], trial.score.scorer
            if scorer.swept and _PARAMETERS not in record.provenance:
                self._records[trial.key] = replace(record, provenance={**record.provenance, **_swept(trial)})
                self._directory.append(self._records[trial.key])

    def _run(self, trials: Sequence[Trial], executor: Callable[[], Executor]) -> None:
        if not trials:
            return
        phase = TrialPhase(trials, self._record)
        slots = executor()
        try:
            drain(phase.queue, slots, self._observed(phase.handle, {t.key: t for t in trials}), self._stop)
        finally:
            slots.close()

    def measure_latencies(
        self, work: PendingWork, executor: Callable[[], Executor], conditions: Mapping[str, str]
    ) -> None:
        """Time each distinct architecture once.

        One that was timed before in the same way and under the same conditions is not timed again.

        Args:
            work: the trials.
            executor: makes what measures.
            conditions: of this measurement: the device, the host, versions.
        """
        trials = [
            t for t in work.selected if t.key in self._records and needs_latency(t, self._records[t.key])
        ]
        self._conditions = dict(conditions)
        known = self._known_latencies()
        alike: dict[tuple[str, str], list[Trial]] = {}
        for trial in trials:
            what = str(self._records[trial.key].stages.get("architecture")), str(trial.latency_key)
            if what in known:
                self._share([trial], known[what])
            else:
                alike.setdefault(what, []).append(trial)
        if not alike:
            return
        same = {trials[0].key: trials for trials in alike.values()}
        phase = LatencyPhase(
            (trials[0] for trials in same.values()),
            lambda key, metrics: self._share(same[key], metrics),
            lambda key, error: self._note_missing(same[key], error),
        )
        slots = executor()
        try:
            drain(phase.queue, slots, self._observed(phase.handle, {}), self._stop)
        finally:
            slots.close()

    def describe_networks(self, tasks: Sequence[DescribeTask], executor: Callable[[], Executor]) -> None:
        """Count the errors of dense models by class and draw feature maps of their units."""
        if not tasks or self._stop():
            return
        phase = DescribePhase(tasks, self._tell)
        slots = executor()
        try:
            drain(phase.queue, slots, self._observed(phase.handle, {}), self._stop)
        finally:
            slots.close()

    def _observed(
        self, handle: Callable[[int, Job, Message], None], trials: Mapping[str, Trial]
    ) -> Callable[[int, Job, Message], None]:
        def handle_and_tell(slot: int, job: Job, message: Message) -> None:
            if isinstance(message, NotStored):
                raise StorageError(message.error)
            if isinstance(message, Told):
                self._tell(message.text)
            handle(slot, job, message)
            for observer in self._observers:
                if isinstance(message, Started):
                    observer.working(slot, message.what)
                    if (trial := trials.get(message.trial or "")) is not None:
                        observer.trial_started(trial)
                elif isinstance(message, Ended):
                    observer.idle(slot)

        return handle_and_tell

    def _record(self, trial: Trial, record: TrialRecord) -> None:
        provenance = {**self._provenance, **_swept(trial), **record.provenance}
        record = replace(record, provenance=provenance)
        self._directory.append(record)
        self._records[record.key] = record
        complete = not needs_latency(trial, record)
        for observer in self._observers:
            observer.recorded(trial, record, complete=complete)

    def _known_latencies(self) -> dict[tuple[str, str], dict[str, float]]:
        """By architecture and key of the measurement, what was measured under the conditions of now."""
        known: dict[tuple[str, str], dict[str, float]] = {}
        for record in self._records.values():
            if record.provenance.get("latency") == self._conditions and "latency" in record.stages:
                what = str(record.stages.get("architecture")), str(record.stages["latency"])
                known[what] = {n: v for n, v in record.metrics.items() if n.startswith(MEASURED_APART)}
        return known

    def _share(self, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        for trial in trials:
            record = self._records[trial.key]
            kept = {n: v for n, v in record.metrics.items() if not n.startswith(MEASURED_APART)}
            assert trial.latency_key is not None
            self._record(
                trial,
                replace(
                    record,
                    metrics={**kept, **metrics},
                    stages={**record.stages, "latency": trial.latency_key},
                    provenance={**record.provenance, "latency": self._conditions},
                    error=None,
                ),
            )

    def _note_missing(self, trials: Sequence[Trial], error: str) -> None:
        self._tell(f"the latency of {counted(len(trials), 'trial')} was not measured: {error}")
        for trial in trials:
            self._record(trial, replace(self._records[trial.key], error=f"latency was not measured: {error}"))


def _swept(trial: Trial) -> dict[str, Any]:
    """Every parameter of a criterion that the suite sweeps, defaults too: charts have a place for it."""
    scorer = trial.score.scorer
    return {_PARAMETERS: scorer.all_parameters} if scorer.swept else {}
