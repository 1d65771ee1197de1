"""The request that the main process of a run sends to the process that logs models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.registry.loading import PluginSource
    from benchsuite.tracking.model_choice import ChosenModel


@dataclass(frozen=True)
class Request:
    """Models to log.

    Attributes:
        directory: the run directory.
        uri: a tracking server's address, or None for the SQLite store in the run directory.
        experiment: the experiment's ID in the store.
        origin: host and folder of the run directory.
        plugins: where the networks' own models and data sets come from that are not shipped; nothing else of
            strangers is loaded.
        choices: the networks.
    """

    directory: str
    uri: str | None
    experiment: str
    origin: str
    plugins: Sequence[PluginSource]
    choices: Sequence[ChosenModel]
