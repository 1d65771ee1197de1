"""Made-up records with a known order of criteria."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTILE = "<script>alert('x')</script>&\"quoted\" 分類 \u202eright-to-left"


def make_record(scorer: str, sparsity: float | str, value: float | None, **changes: Any) -> TrialRecord:
    """One record; a `value` of None means a trial that did not finish."""
    status = changes.pop("status", "done" if value is not None else "failed")
    error = changes.pop("error", None if status == "done" else "it broke")
    classes = changes.pop("classes", 0)
    settings = changes.pop("settings", {"aggregate": "mean"})
    axes: dict[str, Any] = {
        "dataset": "digits",
        "model": "mlp",
        "seed": 0,
        "scorer": scorer,
        "scorer_params": {},
        "granularity": "unit",
        "scope": "protected",
        "budget": "macs",
        "schedule": "one-shot",
        "recovery_epochs": 2.0,
        "sparsity": sparsity,
        "draw": 0,
    } | changes
    metrics = (
        {}
        if value is None
        else {
            "accuracy/top1": value,
            "accuracy/top1_before_recovery": value / 2,
            "accuracy/top1_dense": 0.97,
            "cost/params": 1000.0,
            "cost/params_dense": 4000.0,
            "cost/macs": 5000.0,
            "cost/macs_dense": 10000.0,
            "sparsity/units": 0.4,
            "sparsity/params": 0.75,
            "sparsity/macs": 0.5,
            "latency/batch1_ms": 0.5,
            "latency/batch1_speedup": 1.5,
            "time/score_s": 0.01,
        }
        | {f"accuracy/class/{i}": value for i in range(classes)}
    )
    key = "|".join(map(str, axes.values())) + str(settings)
    return TrialRecord(
        key=key,
        axes=axes,
        status=status,
        metrics=metrics,
        provenance={"benchsuite": "0.1.0", "torch": "2.6", "device": "cpu"},
        settings=settings,
        error=error,
    )


def make_matrix(
    scorers: Sequence[str] = ("alpha", "beta", "gamma", "random", "reversed(alpha)"),
    workloads: Sequence[tuple[str, str]] = (("digits", "mlp"), ("digits", "resnet")),
    seeds: Sequence[int] = (0, 1, 2),
    sparsities: Sequence[float] = (0.5, 0.9),
    noise: float = 0.004,
) -> list[TrialRecord]:
    """Records in which each scorer is two percentage points worse than the one before it."""
    chance = random.Random(1)
    records = []
    for dataset, model in workloads:
        for seed in seeds:
            for place, scorer in enumerate(scorers):
                for sparsity in sparsities:
                    for draw in range(3 if scorer == "random" else 1):
                        value = 0.95 - 0.02 * place - 0.2 * sparsity + chance.gauss(0, noise)
                        records.append(
                            make_record(
                                scorer, sparsity, value, dataset=dataset, model=model, seed=seed, draw=draw
                            )
                        )
    return records
