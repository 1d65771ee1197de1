"""Running trials of a results file again, for `verify`."""

from __future__ import annotations

import csv
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.host import host_provenance, slots_of
from benchsuite.commands.loading import surroundings_of
from benchsuite.execution import entry
from benchsuite.execution.local import LocalExecutor
from benchsuite.execution.pending_work import pending_work
from benchsuite.execution.progress import PlainView, varied_axes
from benchsuite.execution.run import Run
from benchsuite.hardware import devices
from benchsuite.publishing.merge import differing
from benchsuite.publishing.repeated import disagreement, unexpected
from benchsuite.publishing.verify import Problem
from benchsuite.store.record import SETTLED, TrialRecord
from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from rich.console import Console

    from benchsuite.plan.trial import Trial
    from benchsuite.registry.registry import Registry
    from benchsuite.registry.strangers import Strangers


@dataclass(frozen=True)
class Again:
    """What came of running trials again.

    Attributes:
        cells: from how many was drawn.
        drawn: how many were run.
        identical: how many of them came out with the same outcome, accuracies, losses, costs and sparsities
            to the last bit.
        problems: where they disagree.
        unexpected: what differs within the tolerance although it should not differ at all.
    """

    cells: int
    drawn: int
    identical: int
    problems: list[Problem]
    unexpected: list[Problem]


def can_be_run_again(pairs: Sequence[tuple[Trial, TrialRecord]]) -> list[tuple[Trial, TrialRecord]]:
    """The cells whose outcome is the suite's and not a machine's."""
    return [pair for pair in pairs if pair[1].status in SETTLED]


def run_again(
    options: Namespace,
    pairs: Sequence[tuple[Trial, TrialRecord]],
    data: Path,
    plugins: tuple[Registry, Strangers],
    threads: int,
    console: Console,
) -> Again:
    """Run a random sample of the trials again, in a folder of its own, and compare."""
    cells = can_be_run_again(pairs)
    sample = random.SystemRandom().sample(cells, min(options.rerun, len(cells)))
    if not sample:
        nothing = Problem("no trial can be run again", "none has an outcome that is the suite's")
        return Again(0, 0, 0, [nothing], [])
    slots = slots_of(devices.parse_devices(options.devices), options.jobs)
    problems: list[Problem] = []
    agreeing: list[tuple[TrialRecord, TrialRecord]] = []
    with tempfile.TemporaryDirectory(prefix="benchsuite-verify-") as folder:
        directory = RunDirectory(Path(folder))
        trials = [trial for trial, _ in sample]
        surroundings = surroundings_of(directory, data, trials, *plugins, options, threads)
        again: dict[str, TrialRecord] = {}
        work = pending_work(trials, again, directory, retry_failed=False)
        with directory.locked():
            job = Run(
                directory, again, host_provenance(), [PlainView(len(sample), console, varied_axes(trials))]
            )
            job.run_trials(work, lambda: LocalExecutor(entry.main, surroundings, slots))
        for trial, claimed in sample:
            mine = again[trial.key]
            found = disagreement(claimed, mine, _test_samples(directory.stage(trial.key)))
            problems += found
            agreeing += [] if found else [(claimed, mine)]
    identical = sum(not differing(*pair) for pair in agreeing)
    return Again(len(cells), len(sample), identical, problems, unexpected(agreeing))


def _test_samples(stage: Path) -> int:
    """Size of the test split, from the counts that a finished trial keeps; 1 where it did not finish."""
    try:
        with (stage / "confusion.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
    except FileNotFoundError:
        return 1
    return sum(int(count) for row in rows for count in row[1:])
