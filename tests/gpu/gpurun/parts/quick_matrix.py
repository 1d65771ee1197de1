"""One seed and one sparsity of the quick suite, on the CPU and on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpurun.parts import matrices

if TYPE_CHECKING:
    from gpurun.figures import Figures


def run(found: Figures) -> None:
    """Run it on both."""

    def change(suite: dict[str, Any]) -> None:
        suite["suite"] |= {"seeds": [0], "sparsities": [0.5]}
        suite["metrics"]["latency"] = {"batch_sizes": [1]}
        if found.dry:
            suite["suite"] |= {"scorers": ["magnitude-l2"], "controls": []}
            suite["workload"] = [{"dataset": "digits", "models": ["mlp"]}]
            suite["training"] = {"epochs": 1}
            suite["metrics"] = {"latency": {"batch_sizes": [1]}}

    def without_latencies(suite: dict[str, Any]) -> None:
        change(suite)
        suite["metrics"] = {"latency": False}

    (found.scratch / "cpu").mkdir()
    suite = matrices.part_of("quick.toml", change, found.scratch / "quick.toml")
    on_cpu = matrices.part_of("quick.toml", without_latencies, found.scratch / "cpu/quick.toml")
    matrices.side_by_side(found, suite, (found.size(16, 1), found.size(4, 1)), on_cpu=on_cpu)
