"""The rounds of a trial's schedule, by what its record says, which may come from anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.pruning.rounds import rounds_of
from benchsuite.pruning.settings import ScheduleSettings

if TYPE_CHECKING:
    from benchsuite.store.record import TrialRecord


def recorded_rounds(record: TrialRecord) -> list[float]:
    """The sparsity after each round; none of another schedule, or where the record does not say it."""
    schedule, sparsity = record.axes.get("schedule"), record.axes.get("sparsity")
    settings = record.settings.get("pruning")
    if schedule not in ("iterative", "rewind") or not isinstance(settings, dict):
        return []
    rounds, share = settings.get("rounds"), settings.get("rewind_share")
    if not isinstance(sparsity, float) or not isinstance(rounds, int) or not isinstance(share, float):
        return []
    if not (0 < sparsity < 1 and 0 < rounds < 10_000 and 1e-4 < share < 1):
        return []
    return rounds_of(ScheduleSettings(schedule, rounds, share, 0.0), sparsity)
