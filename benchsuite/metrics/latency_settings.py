"""The settings of latency in a suite file, as plain data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchsuite.contracts.table import Axis, Table


class LatencySettings(Table):
    """`latency`: at which batch sizes inference is timed, and with how many threads, each with each."""

    batch_sizes: Axis[Annotated[int, Field(ge=1)]] = Field(default=[1, 128])
    threads: Axis[Annotated[int, Field(ge=1)]] = Field(
        default=[1], description="CPU threads while inference is timed"
    )
