"""When metric plugins measure."""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal["dense", "round", "end"]
"""On the dense network, after each round of a schedule (the last is the end), after the last recovery."""
STAGES: tuple[Stage, ...] = get_args(Stage)
