"""Which of a run's networks are not yet logged models in a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.tracking import mlflow_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from benchsuite.tracking.model_choice import ChosenModel


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
