"""Which of a run's networks a store lacks as logged models, and having them logged by another process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.tracking import content

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from benchsuite.tracking.choice import Choice
    from benchsuite.tracking.request import Request

COMMAND = (sys.executable, "-m", "benchsuite.tracking.models")

_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class LoggedModels:
    """The logged models of one experiment.

    Attributes:
        client: the store.
        experiment: the experiment's identity.
        origin: host and folder of the run directory, which marks the models that it answers for.
    """

    client: MlflowClient
    experiment: str
    origin: str

    def missing(self, choices: Sequence[Choice]) -> list[Choice]:
        """Those of the networks that are not there, from this run or from another."""
        there = {m.tags.get(content.KEY_TAG) for m in self._all() if str(m.status) == "READY"}
        return [choice for choice in choices if choice.key not in there]

    def tidy(self, choices: Sequence[Choice]) -> None:
        """Delete this run's models that were cut off or are chosen no more."""
        chosen = {choice.key for choice in choices}
        for model in self._all():
            wanted = str(model.status) == "READY" and model.tags.get(content.KEY_TAG) in chosen
            if model.tags.get(content.ORIGIN_TAG) == self.origin and not wanted:
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


def log_models(request: Request, stop: Callable[[], bool]) -> list[str]:
    """Have another process log the models; returns a sentence for each that did not come about.

    Args:
        request: what to log.
        stop: whether the process is to be ended early.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(  # noqa: S603 - a fixed program
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        text: str | None = request.to_json()
        while True:
            try:
                output, errors = process.communicate(text, timeout=_SECONDS_BETWEEN_LOOKS)
                break
            except subprocess.TimeoutExpired:
                text = None  # it goes on sending what it was given first
                if stop():
                    process.terminate()
    if process.returncode == 0:
        return output.splitlines()
    last = next(reversed(errors.strip().splitlines()), f"exit code {process.returncode}")
    return [*output.splitlines(), f"the process that logs them ended early: {last}"]
