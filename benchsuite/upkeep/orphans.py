"""Stages that nothing in a run directory refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchsuite.upkeep.inspection import Inspected
    from benchsuite.upkeep.stage_state import StageState


def orphans_of(seen: Inspected) -> list[str]:
    """Keys of the stages that no record and no cell refers to, directly or through another stage.

    There are none where it is not known what is referred to. What is damaged or was never completed is not
    among them.
    """
    if seen.references.unclear:
        return []
    return [
        key
        for key, state in seen.stages.items()
        if key not in seen.references.kinds
        and state.form != "half-made"
        and not state.fault
        and not _is_used(seen, state)
    ]


def _is_used(seen: Inspected, state: StageState) -> bool:
    """Whether a stage that has no name in records is one that dissections of the run's networks use."""
    if state.kind not in ("dissection", "concepts") or not seen.dissects:
        return False
    dense = [key for key, kind in seen.references.kinds.items() if kind == "train"]
    contents = {seen.stages[key].content if key in seen.stages else "" for key in dense}
    # A dense model that is not there, or of which nothing is known, may be the one.
    return state.kind == "concepts" or "" in contents or state.made_from in contents
