"""What a finished trial leaves for people to look at, by its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.pruning.recorded_rounds import recorded_rounds

if TYPE_CHECKING:
    from benchsuite.store.record import TrialRecord

_ALWAYS = ("recovery.json", "layers.csv", "confusion.csv", "confusion.svg")


def artifacts_of(record: TrialRecord) -> tuple[str, ...]:
    """Names of the files in the folder of a trial that is done, as `trials/artifacts.py` leaves them.

    Pictures of a dissection are not among them, since a suite may leave them out and no record says so.
    """
    found = list(_ALWAYS)
    if len(recorded_rounds(record)) > 1:
        found.append("rounds.json")
    dissected = record.provenance.get("dissection")
    if isinstance(dissected, dict) and "layers" in dissected:
        found.append("dissection.npz")
    return tuple(found)
