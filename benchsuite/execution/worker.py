"""A worker process: does one job, tells the parent about it, and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import BenchsuiteError, Collapsed, Unsupported
from benchsuite.execution.jobs import (
    Finished,
    Job,
    LatencyJob,
    Measured,
    Message,
    StageFailed,
    Started,
    Told,
    TrainJob,
    TrialsJob,
    without_result,
)
from benchsuite.execution.sampling import SYSTEM_FILE, SystemSampler
from benchsuite.hardware import devices
from benchsuite.registry.discovery import discover
from benchsuite.trials.latency import latency_metrics
from benchsuite.trials.run_trial import run_trial
from benchsuite.trials.scores import score_dense
from benchsuite.trials.training_trace import train_with_traces
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from benchsuite.store.record import Status


def main(
    connection: Connection, job: Job, configuration: RunConfiguration, device: str, threads: int
) -> None:
    """Do the job. Entry point of the process; whatever happens is a message or an exit code."""
    with contextlib.suppress(OSError):
        os.setsid()  # its own process group, so that all it started can be killed with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_leave_with_parent, args=(connection,), daemon=True).start()
    _redirect_output(configuration.run / "stages" / job.key)
    warnings.simplefilter("default")

    def tell(message: Message) -> None:
        connection.send(message)

    registry, _ = discover(configuration.plugin_files)
    worker = WorkerContext(
        configuration,
        registry,
        devices.prepare(device, threads),
        threads,
        tell=lambda text: tell(Told(text)),
    )
    sampler = SystemSampler(worker.device)
    tell(Started(None, job.title))
    try:
        if isinstance(job, TrainJob):
            with sampler.watching(worker.folder(job.key)):
                train_with_traces(worker, job.dense, job.traces)
        elif isinstance(job, LatencyJob):
            for trial in job.trials:
                tell(Started(trial.key, f"latency of {trial.scorer_label} at sparsity {trial.sparsity}"))
                tell(Measured(trial.key, latency_metrics(worker, trial)))
        else:
            _run_trials(worker, job, tell, sampler)
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit included
        tell(StageFailed(*outcome_of(error)))
    # No interpreter shutdown: a plugin's threads or exit handlers must not hold the slot.
    sys.stdout.flush()
    sys.stderr.flush()
    connection.close()
    os._exit(0)


def _run_trials(
    worker: WorkerContext, job: TrialsJob, tell: Callable[[Message], None], sampler: SystemSampler
) -> None:
    shared = score_dense(worker, job.score)
    for trial in job.trials:
        tell(Started(trial.key, f"{job.title} · {trial.scorer_label} at {trial.sparsity}"))
        folder = worker.folder(trial.key)
        _redirect_output(folder)
        (folder / SYSTEM_FILE).unlink(missing_ok=True)  # of an earlier attempt
        try:
            with sampler.watching(folder):
                record = run_trial(worker, trial, shared)
        except BaseException as error:  # noqa: BLE001 - as above
            status, text = outcome_of(error)
            record = without_result(trial, status, text)
        tell(Finished(record))


def outcome_of(error: BaseException) -> tuple[Status, str]:
    """The status and reason that an exception stands for; unexpected ones go to the log in full."""
    if isinstance(error, Unsupported):
        return "unsupported", str(error)
    if isinstance(error, Collapsed):
        return "collapsed", str(error)
    traceback.print_exception(error)
    if isinstance(error, BenchsuiteError):
        return "failed", str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return "failed", f"{type(error).__name__}: {error}{where}"


def _leave_with_parent(connection: Connection) -> None:
    """Exit when the parent is gone: it never sends anything, so the end of the pipe is its end."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv_bytes()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _redirect_output(folder: Path) -> None:
    """Send all output, that of native code included, to the log in a stage's folder from now on."""
    sys.stdout.flush()
    sys.stderr.flush()
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
