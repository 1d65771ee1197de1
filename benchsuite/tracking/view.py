"""The MLflow side: one experiment a suite, a parent run an invocation, a nested run a trial."""

from __future__ import annotations

import getpass
import json
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchsuite.tracking import content
from benchsuite.tracking.connection import connect, search

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from benchsuite.store import TrialRecord

_ENTITIES_PER_BATCH = 1000


@dataclass
class _Logged:
    """What MLflow holds of a trial."""

    run_id: str
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
        self.shown: dict[str, str] = {}
        """Outcomes of the trials that were shown, by key."""
        self.summary: Path | None = None
        """A folder of files for the invocation's run; its `summary.md` becomes part of the run's note."""
        self.behind = True
        """Whether stored trials may be missing; known once the store is open."""
        self.older: frozenset[str] = frozenset()
        """Keys of trials that an earlier invocation stored."""

    @property
    def address(self) -> str:
        """Where the store is, for messages."""
        return self._uri or str(self._directory / "mlflow.db")

    @property
    def has_invocation(self) -> bool:
        """Whether there is a run for the invocation: there is once a trial was shown."""
        return self._parent is not None

    def open(self) -> None:
        """Connect, create what is not there, and learn what is, unless everything stored is shown already."""
        if self._experiment:
            return
        client = connect(self._uri, self._directory / "mlflow.db")
        experiment = client.get_experiment_by_name(self._suite)
        if experiment is None:
            location = None if self._uri else (self._directory / "mlartifacts").as_uri()
            tags = {"mlflow.experimentKind": "custom_model_development"}  # the UI guesses wrong without it
            if self._description:
                tags[content.NOTE_TAG] = self._description
            identity = client.create_experiment(self._suite, artifact_location=location, tags=tags)
        else:
            identity = experiment.experiment_id
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(identity)
            self.behind = experiment.tags.get(content.SHOWN_TAG) != self._progress(self._stored_bytes)
            if self.behind:
                self._learn(client, identity)
        self._client, self._experiment = client, identity

    def _learn(self, client: MlflowClient, experiment: str) -> None:
        """Read which trials MLflow has, and close what a killed invocation from here left open."""
        for run in search(client, experiment, content.KIND_TAG, "trial"):
            self._remember(run)
        for run in search(client, experiment, content.KIND_TAG, "invocation"):
            if run.info.status == "RUNNING" and run.data.tags.get(content.ORIGIN_TAG) == self._origin:
                client.set_terminated(run.info.run_id, status="KILLED")

    def _remember(self, run: Run) -> None:
        tags = dict(run.data.tags)
        # A run that is still open was cut off while it was written: its digest is not to be trusted.
        digest = "" if run.info.status == "RUNNING" else tags.get(content.DIGEST_TAG, "")
        status = tags.get("status", "") if digest else ""
        self._logged[tags[content.KEY_TAG]] = _Logged(
            run.info.run_id, digest, status, dict(run.data.metrics), tags
        )

    def _progress(self, stored_bytes: int) -> str:
        """What the experiment notes once all of an append-only results file of that size is shown."""
        return f"{stored_bytes} bytes of {self._origin}"

    def answers(self) -> bool:
        """Whether the store answers at all."""
        try:
            self._connected().get_experiment(self._experiment)
        except Exception:  # noqa: BLE001 - whatever it raises, it does not answer
            return False
        return True

    def put(self, record: TrialRecord) -> None:
        """Make the trial's run say what the record says; nothing happens if it does already."""
        if not self.behind and record.key in self.older and record.key not in self._logged:
            for run in search(self._connected(), self._experiment, content.KEY_TAG, record.key):
                self._remember(run)
        logged = self._logged.get(record.key)
        digest = content.digest(record)
        if logged is not None and logged.digest == digest:
            return
        tags = content.tags(record)
        if logged is None:
            logged = self._logged[record.key] = self._create(record, tags)
        if not logged.digest:
            self._log_dataset(logged.run_id, record)
        self._log_batches(logged, record, tags)
        if logged.status != record.status:
            for path in self._artifacts(record):
                self._connected().log_artifact(logged.run_id, str(path))
            self._connected().set_terminated(logged.run_id, status=content.run_status(record))
        logged.digest, logged.status = digest, record.status
        self.shown[record.key] = record.status

    def _create(self, record: TrialRecord, tags: dict[str, str]) -> _Logged:
        started = time.time() - record.metrics.get("time/trial_s", 0.0)
        run = self._connected().create_run(
            self._experiment,
            start_time=int(started * 1000),
            tags={**tags, "mlflow.parentRunId": self._parent_run(), "mlflow.user": self._user},
            run_name=content.run_name(record.axes),
        )
        return _Logged(run.info.run_id, tags=tags)

    def _log_dataset(self, run_id: str, record: TrialRecord) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name = str(record.axes.get("dataset", ""))
        data = Dataset(name, content.dataset_digest(record), "benchsuite", json.dumps({"dataset": name}))
        self._connected().log_inputs(
            run_id, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
        )

    def _log_batches(self, logged: _Logged, record: TrialRecord, tags: dict[str, str]) -> None:
        """Log what is new, in one batch if that fits MLflow's limits."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        metrics = content.metrics(record)
        new = [
            Metric(name, value, now, 0)
            for name, value in metrics.items()
            if logged.metrics.get(name) != value
        ]
        if content.RECOVERY_LOSS in logged.metrics:
            metrics[content.RECOVERY_LOSS] = logged.metrics[content.RECOVERY_LOSS]
        else:
            for epoch, loss in content.recovery_curve(self._folder(record)):
                new.append(Metric(content.RECOVERY_LOSS, loss, now, epoch))
                metrics[content.RECOVERY_LOSS] = loss
        labels = [RunTag(name, value) for name, value in tags.items() if logged.tags.get(name) != value]
        axes = {} if logged.digest else content.params(record.axes)
        params = [Param(name, value) for name, value in axes.items()]
        room = _ENTITIES_PER_BATCH - len(params) - len(labels)
        self._connected().log_batch(logged.run_id, metrics=new[:room], params=params, tags=labels)
        for start in range(room, len(new), _ENTITIES_PER_BATCH):
            self._connected().log_batch(logged.run_id, metrics=new[start : start + _ENTITIES_PER_BATCH])
        for name in ("error", content.NOTE_TAG):  # of an earlier failure
            if name in logged.tags and name not in tags:
                self._connected().delete_tag(logged.run_id, name)
        logged.metrics, logged.tags = metrics, tags

    def _connected(self) -> MlflowClient:
        assert self._client is not None, "open() comes first"
        return self._client

    def _artifacts(self, record: TrialRecord) -> list[Path]:
        """The trial's own files but for checkpoints, which stay in the run directory alone."""
        folder = self._folder(record)
        if not folder.is_dir():
            return []
        return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix != ".safetensors")

    def _folder(self, record: TrialRecord) -> Path:
        """The trial's stage."""
        return self._directory / "stages" / record.key

    def _parent_run(self) -> str:
        """The invocation's run, created when its first trial needs it."""
        if self._parent is None:
            tags = {f"invocation.{name}": value for name, value in self._invocation.items()}
            tags |= {
                content.KIND_TAG: "invocation",
                content.ORIGIN_TAG: self._origin,
                content.NOTE_TAG: self._note(""),
                "mlflow.user": self._user,
                **content.SOURCE_TAGS,
            }
            name = f"{self._suite} · {time.strftime('%Y-%m-%d %H:%M:%S')}"
            self._parent = (
                self._connected().create_run(self._experiment, tags=tags, run_name=name).info.run_id
            )
        return self._parent

    def finish(self, stored_bytes: int | None, *, interrupted: bool) -> None:
        """Close the invocation's run with the number of trials by outcome.

        Args:
            stored_bytes: size of the results file, all of which is shown; None if something is missing.
            interrupted: whether the invocation was cut short.
        """
        if self._parent is not None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            counts = Counter(self.shown.values())
            metrics = [Metric(f"trials/{status}", number, now, 0) for status, number in counts.items()]
            self._connected().log_batch(self._parent, metrics=metrics)
            if self.summary is not None:
                self._log_summary(self._parent, self.summary)
            self._connected().set_terminated(self._parent, status="KILLED" if interrupted else "FINISHED")
        if stored_bytes is not None:
            progress = self._progress(stored_bytes)
            self._connected().set_experiment_tag(self._experiment, content.SHOWN_TAG, progress)

    def _log_summary(self, run_id: str, folder: Path) -> None:
        text = folder / "summary.md"
        if text.is_file():
            note = self._note(text.read_text("utf-8"))
            self._connected().set_tag(run_id, content.NOTE_TAG, note)
        self._connected().log_artifacts(run_id, str(folder))

    def _note(self, summary: str) -> str:
        return content.invocation_note(self._description, self._invocation.get("command", ""), summary)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that the system does not know
        return "unknown"
