"""What of a suite is left to do in a run directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.store.record import SETTLED
from benchsuite.store.stages import Stage, StageDamaged, content_digest
from benchsuite.trials.facts import TraceFacts, dense_stage, pruned_stage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord
    from benchsuite.store.run_directory import RunDirectory


TRACE_FILES = ("trace.safetensors",)
"""As `trials/training_trace.py` names it, which this module does not import: it needs torch."""


@dataclass(frozen=True)
class PendingWork:
    """What an invocation has to do.

    Attributes:
        selected: the trials of the suite that the filters leave.
        cached: those that have their outcome already.
        to_run: those to run now.
        to_time: those that are done but for their latency.
        remade: of those to run the ones that were done, but on stages that were made anew since, with other
            numbers.
    """

    selected: tuple[Trial, ...]
    cached: tuple[Trial, ...]
    to_run: tuple[Trial, ...]
    to_time: tuple[Trial, ...]
    remade: tuple[Trial, ...]


def pending_work(
    trials: Iterable[Trial],
    records: Mapping[str, TrialRecord],
    directory: RunDirectory,
    *,
    retry_failed: bool,
    again: Collection[str] = (),
) -> PendingWork:
    """Sort trials by what is left to do for them.

    Args:
        trials: of the suite, those that the filters leave.
        records: by key, what the run directory has.
        directory: where the stages are.
        retry_failed: run again what failed, timed out or was killed.
        again: keys of trials to run whatever their outcome.
    """
    selected = tuple(trials)
    cached, to_run, to_time, remade = [], [], [], []
    contents: dict[str, str | None] = {}
    checked: dict[str, bool] = {}
    for trial in selected:
        record = records.get(trial.key)
        if record is None or trial.key in again or (retry_failed and record.status not in SETTLED):
            to_run.append(trial)
        elif _stands_on_others(trial, record, directory, contents):
            to_run.append(trial)
            remade.append(trial)
        elif not needs_latency(trial, record):
            cached.append(trial)
        elif _networks_are_there(trial, directory, checked):
            to_time.append(trial)
        else:
            to_run.append(trial)
    return PendingWork(selected, tuple(cached), tuple(to_run), tuple(to_time), tuple(remade))


def needs_latency(trial: Trial, record: TrialRecord) -> bool:
    """Whether the suite asks for latencies that the record does not have, or has of another measurement."""
    if trial.latency is None or record.status != "done":
        return False
    return record.stages.get("latency") != trial.latency_key


def _stands_on_others(
    trial: Trial, record: TrialRecord, directory: RunDirectory, contents: dict[str, str | None]
) -> bool:
    """Whether the record was made from stages that hold other numbers now."""
    made_from = {"train": trial.dense.key}
    made_from |= trial.stages_of_scores
    for stage, key in made_from.items():
        if key not in contents:
            contents[key] = content_digest(directory.stage(key))
        if contents[key] is not None and record.stages.get(f"{stage}_content") not in (None, contents[key]):
            return True
    return False


def trainings(work: PendingWork, directory: RunDirectory) -> tuple[int, int]:
    """How many dense models are to be trained, and how many trained ones again for their trace.

    Damaged ones count as those that are not there.
    """
    checked: dict[str, bool] = {}
    absent = {t.dense.key for t in work.to_run if not _dense_is_there(t, directory, checked)}
    again = {
        t.dense.key
        for t in work.to_run
        if t.dense.key not in absent
        and any(not _trace_is_there(t, trace.key, directory, checked) for trace in t.traces)
    }
    return len(absent), len(again)


def _trace_is_there(trial: Trial, key: str, directory: RunDirectory, checked: dict[str, bool]) -> bool:
    if key not in checked:
        made_from = content_digest(directory.stage(trial.dense.key)) or ""
        checked[key] = _is_whole(Stage(directory.stage(key), TraceFacts, TRACE_FILES, made_from))
    return checked[key]


def _networks_are_there(trial: Trial, directory: RunDirectory, checked: dict[str, bool]) -> bool:
    """Whether the trial's network and its dense model can be timed; a damaged one is made anew first."""
    whole = _is_whole(pruned_stage(directory.stage(trial.key)))
    return _dense_is_there(trial, directory, checked) and whole


def _dense_is_there(trial: Trial, directory: RunDirectory, checked: dict[str, bool]) -> bool:
    """Whether the trial's dense model is there and whole."""
    dense = trial.dense
    if dense.key not in checked:
        stage = dense_stage(directory.stage(dense.key), directory.stage(dense.data_key))
        checked[dense.key] = _is_whole(stage)
    return checked[dense.key]


def _is_whole(stage: Stage[Any]) -> bool:
    try:
        return stage.read() is not None
    except StageDamaged:
        return False


def computed_otherwise(work: PendingWork, records: Mapping[str, TrialRecord]) -> int:
    """How many trials to run have an outcome that other code, settings, libraries or data have come to."""
    missing = [trial for trial in work.to_run if trial.key not in records]
    there = {_cell(record.axes) for record in records.values()} if missing else set()
    return sum(_cell(trial.axes) in there for trial in missing)


def _cell(axes: Mapping[str, object]) -> str:
    return json.dumps(axes, sort_keys=True, default=str)
