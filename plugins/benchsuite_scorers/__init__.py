"""The criteria shipped with benchsuite, one file each, all through the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import hookimpl
from benchsuite_scorers.bn_scale import BatchNormScale
from benchsuite_scorers.magnitude_l1 import MagnitudeL1
from benchsuite_scorers.magnitude_l2 import MagnitudeL2
from benchsuite_scorers.random import Random
from benchsuite_scorers.taylor_weight import TaylorWeight

if TYPE_CHECKING:
    from benchsuite.hookspecs import RegisterScorer

SCORERS = (
    BatchNormScale,
    MagnitudeL1,
    MagnitudeL2,
    Random,
    TaylorWeight,
)


@hookimpl
def benchsuite_register_scorers(register: RegisterScorer) -> None:
    """Register every criterion."""
    for scorer in SCORERS:
        register(scorer)
