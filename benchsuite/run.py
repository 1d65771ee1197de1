"""One invocation of a suite: from the plan to a full run directory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from benchsuite.execution import Ended, Executor, Job, Message, Started
from benchsuite.execution.phases import LatencyPhase, TrialPhase, drain
from benchsuite.store import SETTLED, RunDirectory, TrialRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchsuite.tasks import Trial


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


@dataclass(frozen=True)
class Agenda:
    """What an invocation has to do.

    Attributes:
        selected: the trials of the suite that the filters leave.
        cached: those that have their outcome already.
        to_run: those to run now.
        to_time: those that are done but for their latency.
    """

    selected: tuple[Trial, ...]
    cached: tuple[Trial, ...]
    to_run: tuple[Trial, ...]
    to_time: tuple[Trial, ...]


def agenda(trials: Iterable[Trial], records: Mapping[str, TrialRecord], *, retry_failed: bool) -> Agenda:
    """Sort trials by what is left to do for them."""
    selected = tuple(trials)
    cached, to_run, to_time = [], [], []
    for trial in selected:
        record = records.get(trial.key)
        if record is None or (retry_failed and record.status not in SETTLED):
            to_run.append(trial)
        elif needs_latency(trial, record):
            to_time.append(trial)
        else:
            cached.append(trial)
    return Agenda(selected, tuple(cached), tuple(to_run), tuple(to_time))


def needs_latency(trial: Trial, record: TrialRecord) -> bool:
    """Whether the suite asks for latencies that the record does not have."""
    if trial.latency is None or record.status != "done":
        return False
    return any(f"latency/batch{size}_ms" not in record.metrics for size in trial.latency.batch_sizes)


class Run:
    """Drives an executor through an agenda and writes what comes back.

    Args:
        directory: the run directory, locked by the caller.
        records: its records by key; kept up to date.
        provenance: facts about this invocation that every record carries.
        observers: told of everything as it happens.
    """

    def __init__(
        self,
        directory: RunDirectory,
        records: dict[str, TrialRecord],
        provenance: Mapping[str, Any],
        observers: Sequence[Observer],
    ) -> None:
        self._directory = directory
        self._records = records
        self._provenance = dict(provenance)
        self._observers = observers

    def run_trials(self, work: Agenda, executor: Executor) -> None:
        """Train, score, prune, recover and measure; closes the executor."""
        if not work.to_run:
            return
        phase = TrialPhase(work.to_run, self._record)
        with_observers = self._observed(phase.handle, {t.key: t for t in work.to_run})
        try:
            drain(phase.queue, executor, with_observers)
        finally:
            executor.close()

    def measure_latencies(self, work: Agenda, executor: Callable[[], Executor]) -> None:
        """Time each distinct architecture once; those timed on this host before are not timed again."""
        trials = [
            t for t in work.selected if t.key in self._records and needs_latency(t, self._records[t.key])
        ]
        by_architecture: dict[str, list[Trial]] = {}
        for trial in trials:
            architecture = self._records[trial.key].stages["architecture"]
            by_architecture.setdefault(architecture, []).append(trial)
        known = self._known_latencies(trials)
        for architecture in [a for a in by_architecture if a in known]:
            self._share(by_architecture.pop(architecture), known[architecture])
        if not by_architecture:
            return
        same = {trials[0].key: trials for trials in by_architecture.values()}
        phase = LatencyPhase(
            (trials[0] for trials in same.values()),
            lambda key, metrics: self._share(same[key], metrics),
            lambda key, error: self._note_missing(same[key], error),
        )
        slots = executor()
        try:
            drain(phase.queue, slots, self._observed(phase.handle, {}))
        finally:
            slots.close()

    def _observed(
        self, handle: Callable[[int, Job, Message], None], trials: Mapping[str, Trial]
    ) -> Callable[[int, Job, Message], None]:
        def handle_and_tell(slot: int, job: Job, message: Message) -> None:
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
        record = replace(record, provenance={**self._provenance, **record.provenance})
        self._directory.append(record)
        self._records[record.key] = record
        complete = not needs_latency(trial, record)
        for observer in self._observers:
            observer.recorded(trial, record, complete=complete)

    def _known_latencies(self, trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
        """Latencies by architecture that were measured on this host and device with the same settings."""
        wanted = {(t.key, self._records[t.key].stages["architecture"]) for t in trials}
        architectures = {architecture for _, architecture in wanted}
        known: dict[str, dict[str, float]] = {}
        sizes = {size for t in trials if t.latency for size in t.latency.batch_sizes}
        for record in self._records.values():
            architecture = record.stages.get("architecture", "")
            if architecture not in architectures or record.provenance.get("host") != self._provenance.get(
                "host"
            ):
                continue
            metrics = {k: v for k, v in record.metrics.items() if k.startswith("latency/")}
            if all(f"latency/batch{size}_ms" in metrics for size in sizes):
                known[architecture] = metrics
        return known

    def _share(self, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        for trial in trials:
            record = self._records[trial.key]
            self._record(trial, replace(record, metrics={**record.metrics, **metrics}))

    def _note_missing(self, trials: Sequence[Trial], error: str) -> None:
        for trial in trials:
            self._record(trial, replace(self._records[trial.key], error=f"latency was not measured: {error}"))
