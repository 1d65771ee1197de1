"""What a finished trial leaves for people to look at, by its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.pruning.rounds import rounds_of
from benchsuite.pruning.settings import ScheduleSettings

if TYPE_CHECKING:
    from benchsuite.store.record import TrialRecord

_ALWAYS = ("recovery.json", "layers.csv", "confusion.csv", "confusion.svg")


def artifacts_of(record: TrialRecord) -> tuple[str, ...]:
    """Names of the files in the folder of a trial that is done, as `trials/artifacts.py` leaves them.

    Pictures of a dissection are not among them, since a suite may leave them out and no record says so.
    """
    found = list(_ALWAYS)
    if _rounds(record) > 1:
        found.append("rounds.json")
    dissected = record.provenance.get("dissection")
    if isinstance(dissected, dict) and "layers" in dissected:
        found.append("dissection.npz")
    return tuple(found)


def _rounds(record: TrialRecord) -> int:
    """How many rounds the trial's schedule had; 1 where the record does not say it."""
    schedule, sparsity = record.axes.get("schedule"), record.axes.get("sparsity")
    settings = record.settings.get("pruning")
    if schedule not in ("iterative", "rewind") or not isinstance(settings, dict):
        return 1
    rounds, share = settings.get("rounds"), settings.get("rewind_share")
    if not isinstance(sparsity, float) or not isinstance(rounds, int) or not isinstance(share, float):
        return 1
    if not (0 < sparsity < 1 and 0 < rounds < 10_000 and 1e-4 < share < 1):
        return 1
    return len(rounds_of(ScheduleSettings(schedule, rounds, share, 0.0), sparsity))
