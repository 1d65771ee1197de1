"""Writing to MLflow: one experiment per suite, a parent run per invocation, a nested run per trial."""

from __future__ import annotations

import getpass
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchsuite.store import metric_names
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import mlflow_fields
from benchsuite.tracking.connection import (
    connect,
    log_dataset,
    log_files,
    log_points,
    search,
    without_password,
)
from benchsuite.tracking.curves import Point, trial_curves
from benchsuite.tracking.dense_runs import DenseRuns
from benchsuite.tracking.dense_tasks import by_sources
from benchsuite.tracking.headline import headline
from benchsuite.tracking.logged_models import LoggedModels
from benchsuite.tracking.model_process import log_models
from benchsuite.tracking.request import Request
from benchsuite.tracking.run_list import VIEW_TAG, list_view
from benchsuite.upkeep.own_files import files_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run, RunInfo

    from benchsuite.contracts.plugin import Kind
    from benchsuite.registry.loading import PluginSource
    from benchsuite.store.record import TrialRecord
    from benchsuite.tracking.model_choice import ChosenModel

_FORM = 3
"""Version of the form that this module writes; a store with another version is read through again."""


@dataclass
class _Logged:
    """What MLflow has of a trial."""

    run: RunInfo
    digest: str = ""
    status: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class View:
    """Writes trials to one MLflow store; used by one thread only.

    Args:
        uri: a tracking server's address, or None for the SQLite store in the run directory.
        directory: the run directory.
        suite: the suite's name, which is the experiment's.
        description: the suite's description, in Markdown.
        invocation: facts about this invocation.
        stored_bytes: size of the run directory's results file before this invocation adds to it.
    """

    def __init__(
        self,
        uri: str | None,
        directory: Path,
        suite: str,
        description: str,
        invocation: Mapping[str, str],
        stored_bytes: int,
    ) -> None:
        self._uri = uri
        self._directory = directory.resolve()
        self._suite = suite
        self._description = description
        self._invocation = dict(invocation)
        self._stored_bytes = stored_bytes
        self._user = _user()
        self._origin = f"{platform.node()}:{self._directory}"
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._parent: str | None = None
        self._logged: dict[str, _Logged] = {}
        self._dense = DenseRuns()
        self._arranged = ""
        self.shown: dict[str, str] = {}
        """Outcomes of the trials shown, by key."""
        self.summary: Path | None = None
        """A folder of files for the invocation's run; its `summary.md` becomes part of the run's note."""
        self.results: Sequence[TrialRecord] = ()
        """All trials of the run, which the invocation's run sums up when it is closed."""
        self.behind = True
        """Whether stored trials may be missing; known once the store is open."""
        self.older: frozenset[str] = frozenset()
        """Keys of trials that an earlier invocation stored."""

    @property
    def address(self) -> str:
        """The address of the store, for messages."""
        return without_password(self._uri) if self._uri else str(self._directory / "mlflow.db")

    @property
    def has_invocation(self) -> bool:
        """Whether the invocation has a run, which is created when the first trial is shown."""
        return self._parent is not None

    def open(self) -> None:
        """Connect, create what is missing, and read what exists, unless all stored trials are shown."""
        if self._experiment:
            return
        client = connect(self._uri, self._directory / "mlflow.db")
        experiment = client.get_experiment_by_name(self._suite)
        if experiment is None:
            location = None if self._uri else (self._directory / "mlartifacts").as_uri()
            tags = {"mlflow.experimentKind": "custom_model_development"}  # the UI guesses wrong without it
            if self._description:
                tags[mlflow_fields.NOTE_TAG] = self._description
            identity = client.create_experiment(self._suite, artifact_location=location, tags=tags)
        else:
            identity = experiment.experiment_id
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(identity)
            self.behind = experiment.tags.get(mlflow_fields.SHOWN_TAG) != self._progress(self._stored_bytes)
            if self.behind:
                self._learn(client, identity)
            self._arranged = experiment.tags.get(VIEW_TAG, "")
        self._client, self._experiment = client, identity
        if not self._arranged:
            self._arrange(())

    def _arrange(self, records: Sequence[TrialRecord]) -> None:
        """Let the list of runs open with the columns of these trials."""
        view = list_view(records)
        if view != self._arranged:
            self._connected().set_experiment_tag(self._experiment, VIEW_TAG, view)
            self._arranged = view

    def _learn(self, client: MlflowClient, experiment: str) -> None:
        """Read which trials MLflow has, and close the runs that a killed invocation of this run left open."""
        for run in search(client, experiment, mlflow_fields.KIND_TAG, "trial"):
            self._remember(run)
        for run in search(client, experiment, mlflow_fields.KIND_TAG, "dense"):
            self._dense.remember(run)
        for run in search(client, experiment, mlflow_fields.KIND_TAG, "invocation"):
            if run.info.status == "RUNNING" and run.data.tags.get(mlflow_fields.ORIGIN_TAG) == self._origin:
                client.set_terminated(run.info.run_id, status="KILLED")

    def _remember(self, run: Run) -> None:
        tags = dict(run.data.tags)
        # A run that is still open was interrupted while it was written: its digest cannot be trusted.
        digest = "" if run.info.status == "RUNNING" else tags.get(mlflow_fields.DIGEST_TAG, "")
        status = tags.get("status", "") if digest else ""
        self._logged[tags[mlflow_fields.KEY_TAG]] = _Logged(
            run.info, digest, status, dict(run.data.metrics), tags
        )

    def _progress(self, stored_bytes: int) -> str:
        """What is noted in the experiment when all records of a results file of that size are shown."""
        return f"{stored_bytes} bytes of {self._origin} in form {_FORM}"

    def answers(self) -> bool:
        """Whether the store answers."""
        try:
            self._connected().get_experiment(self._experiment)
        except Exception:  # noqa: BLE001 - whatever it raises, it does not answer
            return False
        return True

    def put(self, record: TrialRecord) -> None:
        """Bring the runs of the trial and of its dense model up to date; does nothing if they already are.

        Raises:
            Exception: whatever MLflow raised. If the dense model was the cause, the trial's run is complete.
        """
        self._put_trial(record)
        if "train" in record.stages:
            self._put_dense(record, record.stages["train"])

    def put_rest(self) -> None:
        """Show the dense models that no finished trial prunes; called when all trials are shown."""
        for key, record in self._dense.without_recipe.items():
            self._put_dense(record, key, last=True)

    def _put_dense(self, record: TrialRecord, key: str, *, last: bool = False) -> None:
        folder = self._directory / "stages" / key
        try:
            self._dense.put(self._connected(), self._experiment, record, folder, self._ties, last=last)
        except Exception:
            if self.answers():
                self._dense.give_up(key)
            raise

    def _put_trial(self, record: TrialRecord) -> None:
        if not self.behind and record.key in self.older and record.key not in self._logged:
            for run in search(self._connected(), self._experiment, mlflow_fields.KEY_TAG, record.key):
                self._remember(run)
        logged = self._logged.get(record.key)
        digest = mlflow_fields.digest(record)
        tags = mlflow_fields.tags(record)
        if logged is not None and logged.digest == digest:
            if (
                mlflow_fields.DENSE_TAG in tags and mlflow_fields.DENSE_TAG not in logged.tags
            ):  # in the first form
                self._connected().set_tag(
                    logged.run.run_id, mlflow_fields.DENSE_TAG, tags[mlflow_fields.DENSE_TAG]
                )
            self._mend_status(logged, record)
            return
        if logged is None:
            logged = self._logged[record.key] = self._create(record, tags)
        if not logged.digest:
            log_dataset(self._connected(), logged.run.run_id, record)
        self._log_batches(logged, record, tags)
        if logged.status != record.status:
            log_files(self._connected(), logged.run, self._artifacts(record))
            self._connected().set_terminated(logged.run.run_id, status=mlflow_fields.run_status(record))
        logged.digest, logged.status = digest, record.status
        self.shown[record.key] = record.status

    def _mend_status(self, logged: _Logged, record: TrialRecord) -> None:
        """Change the status of a run that was written in an earlier form."""
        status = mlflow_fields.run_status(record)
        if logged.run.status != status:
            ended = logged.run.end_time
            self._connected().set_terminated(logged.run.run_id, status=status, end_time=ended)

    def _create(self, record: TrialRecord, tags: dict[str, str]) -> _Logged:
        started = time.time() - record.metrics.get(metric_names.TRIAL_SECONDS, 0.0)
        run = self._connected().create_run(
            self._experiment,
            start_time=int(started * 1000),
            tags={**tags, **self._ties()},
            run_name=mlflow_fields.run_name(record.axes),
        )
        return _Logged(run.info, tags=tags)

    def log_models(
        self,
        choices: Sequence[ChosenModel],
        source_of: Callable[[Kind, str], PluginSource | None],
        stop: Callable[[], bool],
    ) -> list[str]:
        """Log the networks that are not yet logged as models, and delete models that are no longer chosen.

        Those whose plugins come from the same places are logged in one process, where no other stranger's
        plugin is loaded: it could change what their models compute.

        Args:
            choices: the networks.
            source_of: where a plugin comes from that is not shipped, by kind and name.
            stop: returns whether to stop early.

        Returns:
            A sentence for each that could not be logged.
        """
        if not choices:
            return []
        models = LoggedModels(self._connected(), self._experiment, self._origin)
        suite_file = RunDirectory(self._directory).suite_file
        groups, troubles = by_sources(suite_file, models.missing(choices), source_of)
        for plugins, group in groups.items():
            request = Request(
                str(self._directory), self._uri, self._experiment, self._origin, plugins, tuple(group)
            )
            troubles += log_models(request, stop)
        if not troubles:
            models.tidy(choices)
        return troubles

    def _ties(self) -> dict[str, str]:
        """Tags of a run of this invocation."""
        return {"mlflow.parentRunId": self._parent_run(), "mlflow.user": self._user}

    def _log_batches(self, logged: _Logged, record: TrialRecord, tags: dict[str, str]) -> None:
        """Log what is new."""
        metrics = mlflow_fields.metrics(record)
        points = [
            Point(name, 0, value) for name, value in metrics.items() if logged.metrics.get(name) != value
        ]
        again = logged.status != record.status  # a new attempt, with new samples of the system load
        points += [
            point
            for point in (*trial_curves(self._folder(record)), *_rounds(record))
            if point.name not in logged.metrics or (again and point.name.startswith(metric_names.SYSTEM))
        ]
        labels = {name: value for name, value in tags.items() if logged.tags.get(name) != value}
        axes = {} if logged.digest else mlflow_fields.params(record.axes)
        log_points(self._connected(), logged.run.run_id, points, axes, labels)
        for name in ("error", mlflow_fields.NOTE_TAG):  # of an earlier failure
            if name in logged.tags and name not in tags:
                self._connected().delete_tag(logged.run.run_id, name)
        logged.metrics = logged.metrics | {point.name: point.value for point in points}
        logged.tags = tags

    def _connected(self) -> MlflowClient:
        assert self._client is not None, "open() comes first"
        return self._client

    def _artifacts(self, record: TrialRecord) -> list[Path]:
        """The trial's own files except checkpoints, which are only kept in the run directory."""
        return [
            file
            for file in files_in(self._folder(record))
            if file.suffix != ".safetensors" and not file.name.startswith(".") and file.stat().st_size
        ]

    def _folder(self, record: TrialRecord) -> Path:
        """The trial's stage."""
        return self._directory / "stages" / record.key

    def _parent_run(self) -> str:
        """The invocation's run, created when its first trial needs it."""
        if self._parent is None:
            tags = {f"invocation.{name}": value for name, value in self._invocation.items()}
            tags |= {
                mlflow_fields.KIND_TAG: "invocation",
                mlflow_fields.ORIGIN_TAG: self._origin,
                mlflow_fields.NOTE_TAG: self._note(""),
                "mlflow.user": self._user,
                **mlflow_fields.SOURCE_TAGS,
            }
            name = f"{self._suite} · {time.strftime('%Y-%m-%d %H:%M:%S')}"
            self._parent = (
                self._connected().create_run(self._experiment, tags=tags, run_name=name).info.run_id
            )
        return self._parent

    def finish(self, stored_bytes: int | None, *, interrupted: bool) -> None:
        """Close the invocation's run with the best accuracies and the number of trials by outcome.

        Args:
            stored_bytes: size of the results file, all of which is shown; None if something is missing.
            interrupted: whether the invocation was interrupted.
        """
        self._dense.put_rankings(self._connected(), self._directory)
        if self._parent is not None:
            first = headline(self.results)
            counts = Counter(self.shown.values())
            numbers = [Point(f"trials/{status}", 0, number) for status, number in counts.items()]
            log_points(self._connected(), self._parent, [*first.points, *numbers], first.params)
            if self.summary is not None:
                self._log_summary(self._parent, self.summary)
            self._connected().set_terminated(self._parent, status="KILLED" if interrupted else "FINISHED")
        if self.results:
            self._arrange(self.results)
        if stored_bytes is not None:
            progress = self._progress(stored_bytes)
            self._connected().set_experiment_tag(self._experiment, mlflow_fields.SHOWN_TAG, progress)

    def _log_summary(self, run_id: str, folder: Path) -> None:
        for file in files_in(folder):
            if file.name == "summary.md":
                note = self._note(file.read_text("utf-8"))
                self._connected().set_tag(run_id, mlflow_fields.NOTE_TAG, note)
            self._connected().log_artifact(run_id, str(file))

    def _note(self, summary: str) -> str:
        return mlflow_fields.invocation_note(self._description, self._invocation.get("command", ""), summary)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that the system does not know
        return "unknown"


def _rounds(record: TrialRecord) -> list[Point]:
    """What the trial came to after each round, with the round as the step."""
    return [
        Point(name, number, value)
        for number, found in enumerate(mlflow_fields.round_metrics(record), start=1)
        for name, value in found.items()
    ]
