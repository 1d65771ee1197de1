"""A whole suite file."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from benchsuite.contracts.table import Table
from benchsuite.pruning.targets import LAYERS
from benchsuite.pruning.threshold import threshold_of
from benchsuite.scoring.settings import ScoringSettings
from benchsuite.suite.pruning_section import Pruning
from benchsuite.suite.published import MOST, PublishedValue
from benchsuite.suite.sections import (
    Metrics,
    RecipeOverrides,
    Recovery,
    SuiteSection,
    Workload,
)

if TYPE_CHECKING:
    from benchsuite.contracts.layers import Granularity

_SHARED_PRUNING = {"floor", "aggregate", "normalise", "rounds", "rewind_share", "rewind_to"}
_DENSE_RECIPE = {"at-init", "rewind"}
"""Schedules whose training after a cut is the dense one."""


class Suite(Table):
    """A validated suite file."""

    suite: SuiteSection
    workload: Annotated[list[Workload], Field(min_length=1)]
    training: RecipeOverrides = RecipeOverrides()
    pruning: Pruning = Pruning()
    recovery: Recovery = Recovery()
    scoring: ScoringSettings = ScoringSettings()
    metrics: Metrics = Metrics()
    reference: Annotated[list[PublishedValue], Field(max_length=MOST)] = Field(
        default=[], description="published values, which pages show beside ours"
    )

    @field_validator("pruning", mode="after")
    @classmethod
    def _fits_the_sparsities(cls, pruning: Pruning, info: ValidationInfo) -> Pruning:
        suite = info.data.get("suite")
        if suite is not None and pruning.widths and "widths" not in suite.sparsities:
            raise ValueError('widths would do nothing: add "widths" to [suite] sparsities')
        if suite is not None and not pruning.widths and "widths" in suite.sparsities:
            raise ValueError(
                'the sparsity "widths" needs widths here, such as widths = { conv1 = 5, conv2 = 7 }'
            )
        if suite is not None and pruning.targets and LAYERS not in suite.sparsities:
            raise ValueError('[[pruning.layers]] would do nothing: add "layers" to [suite] sparsities')
        if suite is not None and not pruning.targets and LAYERS in suite.sparsities:
            raise ValueError(
                'the sparsity "layers" needs tables [[pruning.layers]], each with a pattern and a target'
            )
        thresholds = suite is not None and any(threshold_of(each) is not None for each in suite.sparsities)
        if thresholds and pruning.normalise not in ("declared", "none"):
            raise ValueError("a threshold is one on the scores as they are: leave out 'normalise'")
        return pruning

    @field_validator("recovery", mode="after")
    @classmethod
    def _some_schedule_recovers(cls, recovery: Recovery, info: ValidationInfo) -> Recovery:
        pruning = info.data.get("pruning")
        default = Recovery()
        # A run's own suite.toml has the defaults written out.
        unused = [
            name
            for name in Recovery.model_fields
            if name != "recalibrate" and getattr(recovery, name) != getattr(default, name)
        ]
        if unused and pruning is not None and _DENSE_RECIPE.issuperset(pruning.schedule):
            raise ValueError(
                f"{', '.join(unused)} would do nothing: after a cut the schedule "
                f"{' and '.join(pruning.schedule)} trains by the dense recipe, "
                "whose fields stand under [training]"
            )
        return recovery

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.suite.name

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The settings that are not axes: results are only comparable if these are equal.

        Cells of the sparsities "widths" and "layers" have these beside them: see `shared_at`.
        """
        restriction = {name: value for name, value in vars(self.pruning.restriction).items() if value}
        return {
            "pruning": {**self.pruning.model_dump(include=_SHARED_PRUNING), **restriction},
            "training": self.training.model_dump(mode="json", exclude_none=True),
            "recovery": self.recovery.model_dump(mode="json", exclude_none=True, exclude={"epochs"}),
            "scoring": self.scoring.model_dump(),
        }

    def shared_at(self, sparsity: object, granularity: Granularity) -> dict[str, Any]:
        """The same for the cells of one sparsity and granularity."""
        own: dict[str, Any] = {}
        if sparsity == "widths":
            own["widths"] = self.pruning.widths
        elif sparsity == LAYERS:
            tables = [(each, each.scored(granularity)[1]) for each in self.pruning.targets]
            mixed = len({of_table for _, of_table in tables}) > 1
            own[LAYERS] = {
                ", ".join(each.pattern): each.as_recorded(of_table if mixed else None)
                for each, of_table in tables
            }
        return {**self.shared, "pruning": {**self.shared["pruning"], **own}} if own else self.shared
