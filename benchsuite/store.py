"""The run directory: the truth of a run, from which MLflow and the leaderboard are made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

SCHEMA_VERSION = 1

Status = Literal["done", "unsupported", "collapsed", "failed", "timeout", "killed"]
STATUSES: tuple[Status, ...] = get_args(Status)
SETTLED: frozenset[Status] = frozenset({"done", "unsupported", "collapsed"})
"""Outcomes that running again would not change."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial's outcome: one line of `results.jsonl`.

    Attributes:
        key: content key of the trial.
        axes: dataset, model, seed, scorer, scorer_params, granularity, scope, budget, schedule,
            recovery_epochs, sparsity, draw.
        status: see `Status`.
        metrics: flat names as in MLflow, such as `accuracy/top1`.
        provenance: versions, device, host, commit.
        settings: what all trials of the suite share: aggregation, normalisation, recipes.
        stages: content keys of the stages behind the trial: train, score, prune.
        error: the reason of any status but done.
    """

    key: str
    axes: dict[str, Any]
    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """One line of JSON without a line break."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)
