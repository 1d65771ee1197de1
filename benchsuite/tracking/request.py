"""What the process that drives a run asks of the one that logs models."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchsuite.store import TrialRecord
from benchsuite.tracking.choice import Choice

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Request:
    """Models to log.

    Attributes:
        directory: the run directory.
        uri: a tracking server's address, or None for the SQLite store in the run directory.
        experiment: the experiment's identity in the store.
        origin: host and folder of the run directory.
        plugin_files: files given with `--plugin`.
        choices: the networks.
    """

    directory: str
    uri: str | None
    experiment: str
    origin: str
    plugin_files: Sequence[str]
    choices: Sequence[Choice]

    def to_json(self) -> str:
        """As text between processes."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """What `to_json` wrote."""
        data = json.loads(text)
        choices = [
            Choice(entry["kind"], TrialRecord(**entry["record"]), entry["reason"])
            for entry in data.pop("choices")
        ]
        return cls(**data, choices=choices)
