"""Which weights of a run directory were freed on purpose, as `clean` notes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.store.files import read_regular
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from pathlib import Path

FREED = "freed.json"
"""Where it stands, in the run directory."""


def was_freed(stage: Path) -> bool:
    """Whether the weights of the stage in this folder were freed on purpose."""
    try:
        return stage.name in read_json(read_regular(stage.parent.parent / FREED))["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
