"""Whether a device changes accuracies: one small matrix over many seeds, on the CPU and twice on the device.

Two trainings on two devices part by chance once roundings differ: means over seeds tell chance from a fault.
The device trains in its usual precision, and once more in float32.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from gpurun.parts import matrices

if TYPE_CHECKING:
    from gpurun.figures import Figures

_METRICS = {
    "dense": "accuracy/top1_dense",
    "before recovery": "accuracy/top1_before_recovery",
    "after": "accuracy/top1",
}


def run(found: Figures) -> None:
    """Run it three times and compare by seed."""
    outcomes = {
        "CPU": _accuracies(found, "cpu", "float32", 0.3, jobs=16),
        "device": _accuracies(found, "cuda:0", "auto", 0.5, jobs=5),
        "device in float32": _accuracies(found, "cuda:0", "float32", 0.9, jobs=5),
    }
    for metric in _METRICS:
        means = {name: _mean(by_seed, metric) for name, by_seed in outcomes.items()}
        row: dict[str, Any] = {"accuracy": metric, **means}
        for name in list(outcomes)[1:]:
            row[f"{name} less CPU"] = _difference(outcomes["CPU"], outcomes[name], metric)
        found.cell("Mean test accuracy over seeds and criteria, and differences with 95% intervals", row)


def _accuracies(
    found: Figures, device: str, precision: str, share: float, jobs: int
) -> dict[int, dict[str, float]]:
    """The mean over criteria of each accuracy, by seed, of the seeds that were finished."""

    def change(suite: dict[str, Any]) -> None:
        suite["suite"] |= {
            "seeds": list(range(found.size(10, 2))),
            "sparsities": [0.5],
            "scorers": ["magnitude-l2", "taylor-weight"][: found.size(2, 1)],
            "controls": [],
        }
        suite["workload"] = [w for w in suite["workload"] if w["models"] == ["small-resnet"]]
        suite["training"] = {"precision": precision} | ({"epochs": 1} if found.dry else {})
        suite["recovery"] = {"epochs": found.size(2, 1), "precision": precision}
        suite["metrics"] = {"latency": False}

    suite = matrices.part_of("quick.toml", change, found.scratch / f"seeds-{precision}.toml")
    records = matrices.run_suite(found, suite, device, jobs, share * found.seconds_left(), None)[0]
    found.fact(f"trials on {device} in precision {precision}", len(records))
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for record in records.values():
        by_seed.setdefault(record["axes"]["seed"], []).append(record)
    most = max((len(group) for group in by_seed.values()), default=0)
    return {
        seed: {short: statistics.mean(r["metrics"][name] for r in group) for short, name in _METRICS.items()}
        for seed, group in sorted(by_seed.items())
        if len(group) == most and all(r["status"] == "done" for r in group)
    }


def _mean(by_seed: dict[int, dict[str, float]], metric: str) -> float | None:
    return statistics.mean(values[metric] for values in by_seed.values()) if by_seed else None


def _difference(one: dict[int, dict[str, float]], other: dict[int, dict[str, float]], metric: str) -> str:
    """The mean over common seeds and its interval by Student's t."""
    from scipy.stats import t

    differences = [other[seed][metric] - one[seed][metric] for seed in one.keys() & other.keys()]
    if len(differences) < 2:
        return "too few seeds were finished"
    error = statistics.stdev(differences) / len(differences) ** 0.5
    half = error * float(t.ppf(0.975, len(differences) - 1))
    return f"{statistics.mean(differences):+.4f} ± {half:.4f} ({len(differences)} seeds)"
