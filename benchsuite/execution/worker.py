"""A worker process: does one job, tells the parent about it, and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import BenchsuiteError, Collapsed, DataError, PluginError, Unsupported
from benchsuite.execution.jobs import (
    DescribeJob,
    Job,
    LatencyJob,
    MeasureJob,
    RoundJob,
    ScoreJob,
    TablesJob,
    TrainJob,
    TrialsJob,
    needed_plugins,
    title_of,
    way,
    without_result,
)
from benchsuite.execution.local import LocalExecutor
from benchsuite.execution.logs import log_where_it_is, redirect_output
from benchsuite.execution.messages import (
    Completed,
    Ended,
    Finished,
    Measured,
    NotStored,
    Sent,
    StageFailed,
    Started,
    Told,
    encoded,
)
from benchsuite.execution.sampling import SYSTEM_FILE, SystemSampler
from benchsuite.hardware import devices
from benchsuite.plan.score_task import RoundTask
from benchsuite.registry.loading import installed, load_plugins
from benchsuite.registry.orphans import kill_children
from benchsuite.registry.raised_at import plugin_line
from benchsuite.store.files import StorageError, cannot_store, described
from benchsuite.trials.dense_description import describe_dense
from benchsuite.trials.dense_model import load_dense
from benchsuite.trials.latency import latency_metrics
from benchsuite.trials.layer_names import check_layer_names
from benchsuite.trials.measuring import answer_measurement
from benchsuite.trials.round_scores import answer_round
from benchsuite.trials.run_trial import run_trial
from benchsuite.trials.scores import load_scores, score_dense
from benchsuite.trials.tables import fill_tables
from benchsuite.trials.training_trace import train_with_traces
from benchsuite.trials.worker_context import WorkerContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from benchsuite.execution.surroundings import Surroundings
    from benchsuite.plan.metric_task import MeasureTask
    from benchsuite.registry.registry import Registry
    from benchsuite.store.record import Status
    from benchsuite.trials.dense_model import DenseModel


def main(connection: Connection, job: Job, surroundings: Surroundings, device: str) -> None:
    """Do the job. Entry point of the process; whatever happens is a message or an exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=leave_with_parent, args=(connection,), daemon=True).start()
    configuration = surroundings.configuration

    def tell(message: Sent) -> None:
        connection.send_bytes(encoded(message))
        if isinstance(message, Started):  # of this the parent measures the time
            log_where_it_is(surroundings.limits.timeout)

    try:
        redirect_output(configuration.run / "stages" / job.key)
    except OSError as error:
        tell(NotStored(described(error)))
        os._exit(1)
    warnings.simplefilter("default")
    torch_device = devices.prepare(device, surroundings.threads)
    tell(Started(None, title_of(job, configuration.run / "stages")))
    try:
        worker = WorkerContext(
            configuration,
            _plugins(job, surroundings),
            torch_device,
            surroundings.threads,
            apart=partial(_apart, surroundings, device),
            tell=lambda text: tell(Told(text)),
        )
        _do(worker, job, tell, SystemSampler(torch_device))
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit included
        reason = cannot_store(error, configuration.run / "stages" / job.key)
        tell(StageFailed(*outcome_of(error)) if reason is None else NotStored(reason))
    tell(Completed())
    # No interpreter shutdown: a plugin's threads or exit handlers must not hold the slot.
    connection.close()
    os._exit(0)


def _plugins(job: Job, surroundings: Surroundings) -> Registry:
    """The shipped plugins, and of strangers those that the job needs; `PluginError` if one is not loaded."""
    strangers = surroundings.strangers
    needed = dict.fromkeys(strangers[plugin] for plugin in needed_plugins(job) if plugin in strangers)
    registry = load_plugins([*(source for source in installed() if source.shipped), *needed]).registry
    origins = {source.origin for source in needed}
    for info in registry.infos:
        if info.kind == "plugin" and info.origin in origins:
            raise PluginError(f"plugin {info.name} ({info.origin}) is not loaded: {info.error}")
    return registry


def _do(worker: WorkerContext, job: Job, tell: Callable[[Sent], None], sampler: SystemSampler) -> None:
    match job:
        case TrainJob(dense=dense, traces=traces):
            check_layer_names(worker, dense, job.restriction, job.widths, job.apart)
            with sampler.watching(worker.folder(job.key)):
                train_with_traces(worker, dense, traces)
        case TablesJob(scores=scores):
            fill_tables(worker, scores)
        case DescribeJob(task=described):
            describe_dense(worker, described)
        case ScoreJob(score=score):
            score_dense(worker, score)
        case RoundJob(task=task):
            answer_round(worker, task)
        case MeasureJob(task=task):
            answer_measurement(worker, task)
        case LatencyJob(trials=trials):
            for trial in trials:
                tell(Started(trial.key, f"{job.title} by {way(trial)}"))
                tell(Measured(trial.key, latency_metrics(worker, trial)))
        case TrialsJob():
            _run_trials(worker, job, tell, sampler)


def _apart(surroundings: Surroundings, device: str, task: RoundTask | MeasureTask) -> None:
    """Score between rounds, or measure, in a process of its own, which dies with this one.

    What it tells people is not passed on: all of it is of the data, and was told when they were loaded here.
    """
    executor = LocalExecutor(main, surroundings, [device])
    try:
        job = RoundJob(task) if isinstance(task, RoundTask) else MeasureJob(task)
        executor.start(job)
        while True:
            for _, _, message in executor.wait(1.0):
                if isinstance(message, NotStored):
                    raise StorageError(message.error)
                if isinstance(message, StageFailed):
                    kinds = {"unsupported": Unsupported, "collapsed": Collapsed}
                    raise kinds.get(message.status, PluginError)(message.error)
                if isinstance(message, Ended):
                    if message.reason != "finished":
                        raise PluginError(f"{job.title}: {message.detail}")
                    return
    finally:
        executor.close()


def _run_trials(
    worker: WorkerContext, job: TrialsJob, tell: Callable[[Sent], None], sampler: SystemSampler
) -> None:
    dense: dict[bool, DenseModel] = {}
    for trial in job.trials:
        tell(Started(trial.key, f"{job.title} by {way(trial)}"))
        folder = worker.folder(trial.key)
        at_init = trial.score.at_init
        try:
            redirect_output(folder)
            (folder / SYSTEM_FILE).unlink(missing_ok=True)  # of an earlier attempt
            with sampler.watching(folder):
                if at_init not in dense:
                    dense[at_init] = load_dense(worker, trial.dense, at_init=at_init)
                scored = [load_scores(worker, score, dense[at_init]) for score in trial.scores]
                record = run_trial(worker, trial, scored)
        except BaseException as error:
            if cannot_store(error, folder) is not None:
                raise
            status, text = outcome_of(error)
            record = without_result(trial, status, text)
        tell(Finished(record))


def outcome_of(error: BaseException) -> tuple[Status, str]:
    """The status and reason that an exception stands for; unexpected ones go to the log in full."""
    if isinstance(error, Unsupported):
        return "unsupported", str(error)
    if isinstance(error, Collapsed):
        return "collapsed", str(error)
    with contextlib.suppress(OSError, ValueError):  # its log may be closed, or on a full disk
        traceback.print_exception(error)
    if isinstance(error, DataError):
        return "failed", str(error)
    if isinstance(error, BenchsuiteError):
        return "failed", f"{error}{plugin_line(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return "failed", f"{type(error).__name__}: {error}{plugin_line(error) or where}"


def leave_with_parent(connection: Connection) -> None:
    """Exit when the parent is gone: it never sends anything, so the end of the pipe is its end."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv_bytes()
    kill_children(os.getpid())
    os.killpg(os.getpgrp(), signal.SIGKILL)
