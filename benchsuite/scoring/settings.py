"""What a suite file says about scoring, as plain data."""

from __future__ import annotations

from pydantic import Field

from benchsuite.contracts.table import Table


class ScoringSettings(Table):
    """`[scoring]`: what scorers see of the training split."""

    samples: int = Field(default=512, ge=1, description="training samples that scorers see")
    batch_size: int = Field(default=64, ge=1)
