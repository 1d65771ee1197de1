"""One trial as an independent script: trains, scores, prunes, recovers and measures, sharing nothing.

python one_trial.py SUITE NUMBER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchsuite.hardware.devices import prepare
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite
from benchsuite.trials.dense_training import train_dense
from benchsuite.trials.run_trial import run_trial
from benchsuite.trials.scores import score_dense
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext


def main(suite: Path, number: int) -> None:
    """Run one trial of the suite's plan in a folder of its own."""
    registry, _ = discover()
    with tempfile.TemporaryDirectory() as folder:
        trial = build_plan(load_suite(suite, registry), registry, Path(folder))[number]
        configuration = RunConfiguration(Path(folder), Path(folder))
        worker = WorkerContext(configuration, registry, prepare("cpu", 1), 1)
        train_dense(worker, trial.dense)
        record = run_trial(worker, trial, [score_dense(worker, trial.score)])
        assert record.status == "done"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
