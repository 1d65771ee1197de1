"""The settings of scoring in a suite file, as plain data."""

from __future__ import annotations

from pydantic import Field

from benchsuite.contracts.table import Table


class ScoringSettings(Table):
    """`[scoring]`: which part of the training split scorers get."""

    samples: int = Field(default=512, ge=1, description="training samples that scorers see")
    batch_size: int = Field(default=64, ge=1)
