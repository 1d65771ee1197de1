"""Which of a run's networks are not yet logged models in a store, and logging them in another process."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.execution import fork_server
from benchsuite.tracking import mlflow_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from benchsuite.tracking.model_choice import ChosenModel
    from benchsuite.tracking.request import Request

_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class LoggedModels:
    """The logged models of one experiment.

    Attributes:
        client: the store.
        experiment: the experiment's ID.
        origin: host and folder of the run directory, which identify the models logged from it.
    """

    client: MlflowClient
    experiment: str
    origin: str

    def missing(self, choices: Sequence[ChosenModel]) -> list[ChosenModel]:
        """The networks that the store does not have, either from this run or from another."""
        there = {m.tags.get(mlflow_fields.KEY_TAG) for m in self._all() if str(m.status) == "READY"}
        return [choice for choice in choices if choice.key not in there]

    def tidy(self, choices: Sequence[ChosenModel]) -> None:
        """Delete this run's models that are incomplete or no longer chosen."""
        chosen = {choice.key for choice in choices}
        for model in self._all():
            wanted = str(model.status) == "READY" and model.tags.get(mlflow_fields.KEY_TAG) in chosen
            if model.tags.get(mlflow_fields.ORIGIN_TAG) == self.origin and not wanted:
                self.client.delete_logged_model(model.model_id)

    def _all(self) -> list[LoggedModel]:
        found: list[LoggedModel] = []
        token: str | None = None
        while True:
            page = self.client.search_logged_models([self.experiment], page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def log_models(
    request: Request, stop: Callable[[], bool], work: Callable[[Connection, Request], None] | None = None
) -> list[str]:
    """Log the models in another process; return a sentence for each that could not be logged.

    That process needs torch, which the main process of a run does not import; it is forked like the run's
    workers.

    Args:
        request: what to log.
        stop: returns whether the process should be stopped early.
        work: what the process does; by default it logs the models.
    """
    context = fork_server.fork_server()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work or _log, args=(theirs, request), daemon=True)
    fork_server.start(process)
    theirs.close()
    told: list[str] = []
    while True:
        if ours.poll(_SECONDS_BETWEEN_LOOKS):
            try:
                told.append(ours.recv())
            except EOFError:
                break
        elif stop():
            process.terminate()
    process.join()
    ours.close()
    if process.exitcode == 0:
        return told
    return [*told, f"the process that logs them ended early: exit code {process.exitcode}"]


def _log(connection: Connection, request: Request) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    # The output of torch.export and MLflow should not appear on the run's screen.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        from benchsuite.tracking import models

        models.log_all(request, connection.send)
    except Exception as error:  # noqa: BLE001 - whatever a plugin or MLflow raises is reported
        connection.send(f"{type(error).__name__}: {error}")
