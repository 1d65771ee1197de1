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
    dense = {
        state.content
        for key, state in seen.stages.items()
        if seen.references.kinds.get(key) == "train" and state.content
    }
    return [
        key
        for key, state in seen.stages.items()
        if key not in seen.references.kinds
        and state.form != "half-made"
        and not state.fault
        and not _is_used(seen, state, dense)
    ]


def _is_used(seen: Inspected, state: StageState, dense: set[str]) -> bool:
    """Whether a stage that has no name in records is one that dissections of the run's networks use."""
    if state.kind == "concepts":
        return seen.dissects
    return state.kind == "dissection" and seen.dissects and state.made_from in dense
