"""The settings of scoring in a suite file, as plain data."""

from __future__ import annotations

from pydantic import Field

from benchsuite.contracts.table import Table


class ScoringSettings(Table):
    """`[scoring]`: which part of the training split scorers get.

    The default is the smallest power of two with which the criteria's scores of small trained networks are
    stable: with 512 samples of MNIST three criteria rank the units of a LeNet-5 with a stability below 0.5.
    """

    samples: int = Field(default=1024, ge=1, description="training samples that scorers see")
    batch_size: int = Field(default=64, ge=1)
