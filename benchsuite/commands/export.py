"""`export`: a finished trial's pruned network, as files that need no benchsuite."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.commands.again import again_command
from benchsuite.commands.arguments import add_data, add_plugins
from benchsuite.commands.exit_codes import OK
from benchsuite.commands.loading import data_folder, discover_checked
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.plan.matrix import build_plan
from benchsuite.store import metric_names
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import StageDamaged, is_complete
from benchsuite.suite import load_suite

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence

    from benchsuite.contracts.plugin import Kind
    from benchsuite.plan.trial import Trial
    from benchsuite.registry.registry import Registry
    from benchsuite.store.record import TrialRecord

_SHOWN = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("key", metavar="KEY", help="the trial's key, or enough of its beginning")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write it (default: RUN/exports/KEY)"
    )
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that is not empty, over an older export"
    )
    add_plugins(parser)
    add_data(parser)


def run(options: Namespace) -> int:
    """Write the network of a finished trial, and say how to load it."""
    directory = RunDirectory(options.run)
    if not directory.suite_file.is_file():
        raise UsageError(f"{options.run} is not a run directory: it has no suite.toml")
    registry, strangers = discover_checked(options)
    data = data_folder(options.data)
    trials = planned(directory, registry, data)
    records, _ = directory.records()
    record = _finished(options.run, options.key, trials, records)
    trial = as_recorded(trials, record)
    folder: Path = options.output or directory.own_folder("exports") / record.key
    if not options.force and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"not overwritten: {folder} is not empty; choose another folder with --output, or add --force"
        )

    from benchsuite.hardware.devices import prepare
    from benchsuite.registry.loading import installed, load_plugins
    from benchsuite.trials.export import export_trial
    from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

    needed: list[tuple[Kind, str]] = [
        ("dataset", trial.dense.dataset.name),
        ("model", trial.dense.model.name),
    ]
    sources = [source for plugin in needed if (source := strangers.source_of(*plugin)) is not None]
    shipped = [source for source in installed() if source.shipped]
    worker = WorkerContext(
        RunConfiguration(directory.path.resolve(), data.resolve()),
        load_plugins([*shipped, *dict.fromkeys(sources)]).registry,  # here the network is really built
        prepare("cpu", 1),
        1,
        reads_old_runs=True,
    )
    try:
        if not is_complete(directory.stage(trial.dense.key)):
            raise StageDamaged(f"the dense model {trial.dense.key} is not there")
        difference = export_trial(worker, trial, record, folder)
    except StageDamaged as damage:
        again = again_command(directory, [record.key], options)
        raise BenchsuiteError(f"{damage}; it is made anew by: {again}") from damage
    console = open_console()
    for line in (
        f"{_described(record.axes)}: top-1 {record.metrics[metric_names.TOP1]:.4f}",
        f"the program and the network differ by at most {difference:.3g}",
        f'{folder / "model.pt2"}  torch.export.load("model.pt2").module(); see README.md beside it',
    ):
        console.print(line, markup=False, soft_wrap=True)
    return OK


def planned(directory: RunDirectory, registry: Registry, data: Path) -> list[Trial]:
    """The trials of a run's own suite; raises `UsageError`, also where a plugin of the run is not there."""
    suite = load_suite(directory.suite_file, registry)
    return build_plan(suite, registry, data, directory.threads())


def as_recorded(trials: Sequence[Trial], record: TrialRecord) -> Trial:
    """The planned trial that a record is of, with the record's own stages.

    A record from before a change of benchsuite or of a plugin has another key than the plan has now; its
    axes then say which trial it is.

    Raises:
        UsageError: the suite has no such trial any more.
    """
    for trial in trials:
        if trial.key == record.key:
            return trial
    for trial in trials:
        if json.loads(json.dumps(trial.axes)) == record.axes:
            stages = record.stages
            if lacking := [name for name in ("train", "data", "score") if name not in stages]:
                raise UsageError(f"the record of {record.key} does not name its stages {', '.join(lacking)}")
            dense = replace(trial.dense, key=stages["train"], data_key=stages["data"])
            return replace(
                trial, key=record.key, score=replace(trial.score, dense=dense, key=stages["score"])
            )
    raise UsageError(
        f"trial {record.key} ({_described(record.axes)}) is of a suite that the run no longer has"
    )


def _finished(
    run: Path, text: str, trials: Sequence[Trial], records: Mapping[str, TrialRecord]
) -> TrialRecord:
    """The record of the one trial whose key begins so, if it is done."""
    axes: dict[str, Mapping[str, Any]] = {key: record.axes for key, record in records.items()}
    # A cell that has a record, made by other code perhaps, is not planned beside it.
    recorded = {_cell(each) for each in axes.values()}
    axes |= {trial.key: trial.axes for trial in trials if _cell(trial.axes) not in recorded}
    found = [key for key in axes if key.startswith(text)]
    if len(found) != 1:
        done = [key for key in found or axes if key in records and records[key].status == "done"]
        lines = [f"  {key}  {_described(axes[key])}" for key in done[:_SHOWN]]
        if len(done) > _SHOWN:
            lines.append(f"  and {len(done) - _SHOWN} more: benchsuite results {run} --format csv")
        what = f"{len(found)} trials whose keys begin with" if found else "no trial with the key"
        there = "; finished ones are" if lines else "; none of them is finished"
        raise UsageError("\n".join([f"{run} has {what} {text!r}{there}", *lines]))
    record = records.get(found[0])
    if record is None:
        raise UsageError(f"trial {found[0]} ({_described(axes[found[0]])}) has not been run yet")
    if record.status != "done":
        raise UsageError(
            f"trial {record.key} ({_described(record.axes)}) left no network: it is {record.status}"
            + (f", {record.error}" if record.error else "")
        )
    return record


def _cell(axes: Mapping[str, Any]) -> str:
    return json.dumps(axes, sort_keys=True)


def _described(axes: Mapping[str, Any]) -> str:
    return " · ".join(f"{axes.get(name)}" for name in ("dataset", "model", "scorer", "sparsity")) + (
        f" · seed {axes.get('seed')}"
    )
