"""One trial as an independent script: trains, scores, prunes, recovers and measures, and shares nothing.

python one_trial.py SUITE NUMBER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchsuite.dense import Bench, train_dense
from benchsuite.devices import prepare
from benchsuite.execution import Workplace
from benchsuite.plan import build_plan
from benchsuite.plugins import discover
from benchsuite.scored import score_dense
from benchsuite.suite import load_suite
from benchsuite.trial import run_trial


def main(suite: Path, number: int) -> None:
    """Run one trial of the suite's plan in a folder of its own."""
    registry, _ = discover()
    with tempfile.TemporaryDirectory() as folder:
        trial = build_plan(load_suite(suite, registry), registry, Path(folder))[number]
        workplace = Workplace(Path(folder), Path(folder), (), (trial.score.scorer,))
        bench = Bench(workplace, registry, prepare("cpu", 1), 1)
        train_dense(bench, trial.dense)
        record = run_trial(bench, trial, score_dense(bench, trial.score))
        assert record.status == "done"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
