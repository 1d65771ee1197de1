"""From a command's options to the suite, its trials and the folders it works in."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import platformdirs

from benchsuite.commands.filters import parse_filters
from benchsuite.commands.foreseen import foreseen
from benchsuite.commands.own_scorers import left_out, with_scorers
from benchsuite.commands.plugins_together import check_together, plugins_of
from benchsuite.contracts.dataset import DatasetPlugin
from benchsuite.errors import DataError, UsageError
from benchsuite.execution.surroundings import Limits, Surroundings
from benchsuite.plan.contenders import check_size
from benchsuite.plan.matrix import build_plan
from benchsuite.plan.published import with_cells
from benchsuite.registry.discovery import discover_apart
from benchsuite.store.run_directory import RunDirectory
from benchsuite.suite import Suite, load_suite
from benchsuite.trials.worker_context import RunConfiguration

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence

    from benchsuite.contracts.model import ModelPlugin
    from benchsuite.contracts.plugin import Kind
    from benchsuite.metrics.metric import Metric
    from benchsuite.plan.trial import Trial
    from benchsuite.registry.registry import Registry
    from benchsuite.registry.strangers import Strangers
    from benchsuite.scoring.scorer import Scorer


@dataclass(frozen=True)
class Loaded:
    """A suite with its plugins, all of its trials, and those that the filters leave."""

    suite: Suite
    registry: Registry
    strangers: Strangers
    trials: tuple[Trial, ...]
    selected: tuple[Trial, ...]
    directory: RunDirectory
    data: Path
    notes: tuple[str, ...]
    """Lines on plugins, broken, doubtful or not run by the suite, and on cells known to be unsupported."""


def load(options: Namespace) -> Loaded:
    """Load what `run` and `plan` work on; raises `UsageError`."""
    registry, strangers = discover_checked(options)
    suite = with_scorers(load_suite(options.suite, registry), options.scorer, registry)
    check_size(suite, registry)
    suite = with_cells(suite, registry, options.suite)
    data = data_folder(options.data)
    trials = tuple(build_plan(suite, registry, data, options.threads))
    selected = select(trials, options.filter)
    check_together((each for trial in selected for each in plugins_of(trial)), strangers)
    directory = RunDirectory(options.output or Path("runs") / suite.name)
    _check_place(directory.path)
    notes = (
        *doubtful_plugins(registry),
        *left_out(options, suite, registry),
        *foreseen(suite, registry),
    )
    return Loaded(suite, registry, strangers, trials, selected, directory, data, notes)


def _check_place(folder: Path) -> None:
    """Raise `UsageError`, or what the system says, where no run directory is or could be made."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{folder} is no name for a run directory: MLflow's database needs UTF-8") from None
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise UsageError(f"{folder} is a file; the run directory is a folder, named with --output")


def discover_named(options: Namespace) -> tuple[Registry, Strangers]:
    """Discover plugins; raises `UsageError` if a file that the user named is not there."""
    check_named(options.plugin)
    return discover_apart(options.plugin, third_party=not options.no_third_party)


def check_named(files: Sequence[Path]) -> None:
    """Raise `UsageError` if a plugin file that the user named is not there."""
    for file in files:
        if not file.is_file():
            folder = f"; {file} is a folder" if file.is_dir() else ""
            raise UsageError(f"there is no plugin file {file}{folder}")


def discover_checked(options: Namespace) -> tuple[Registry, Strangers]:
    """Discover plugins; raises `UsageError` if a file that the user named cannot be loaded."""
    registry, strangers = discover_named(options)
    named = {str(file) for file in options.plugin}
    broken = [info for info in registry.infos if info.kind == "plugin" and info.origin in named]
    if broken:
        raise UsageError(
            "\n".join(f"plugin file {info.origin} cannot be loaded: {info.error}" for info in broken)
        )
    return registry, strangers


def surroundings_of(
    directory: RunDirectory,
    data: Path,
    trials: Iterable[Trial],
    registry: Registry,
    strangers: Strangers,
    options: Namespace,
    threads: int | None = None,
) -> Surroundings:
    """What workers that run these trials are told; the options are those of the machine."""
    used: dict[tuple[Kind, str], None] = {}
    for trial in trials:
        used |= dict.fromkeys(("scorer", score.scorer.name) for score in trial.scores)
        used["dataset", trial.dense.dataset.name] = None
        used["model", trial.dense.model.name] = None
        if trial.dissection is not None:
            used["concepts", trial.dissection.concepts] = None
        used |= dict.fromkeys(("metric", metric.metric.name) for metric in trial.metrics)
    sources = {plugin: source for plugin in used if (source := strangers.source_of(*plugin)) is not None}
    # Modules that a stranger's scorer imports are for its own processes.
    scorers = [name for kind, name in used if kind == "scorer" and (kind, name) not in sources]
    shipped = [cast("type[Scorer]", registry.get("scorer", name)) for name in scorers]
    imports = [module for scorer in shipped for module in scorer.imports]
    return Surroundings(
        RunConfiguration(directory.path.resolve(), data.resolve(), tuple(dict.fromkeys(imports))),
        threads or options.threads,
        {plugin: source.resolved() for plugin, source in sources.items()},
        Limits(options.timeout, None if options.memory is None else 1e9 * options.memory),
    )


def doubtful_plugins(registry: Registry) -> list[str]:
    """A line for each plugin that is listed with an error, or with what may be a mistake."""
    said = [(info, f"is broken: {info.error}") for info in registry.infos if info.status == "error"]
    said += [(info, f"may have a mistake: {info.warning}") for info in registry.infos if info.warning]
    return [f"plugin {info.name} ({info.origin}) {what}" for info, what in said]


def missing_files(suite: Suite, registry: Registry, data: Path) -> list[str]:
    """A line for each plugin of a suite that does not find the files that it reads."""
    lines: list[str] = []
    refs = [ref for workload in suite.workload for ref in (workload.dataset, *workload.models)]
    refs += [ref for ref in suite.suite.scorers if ref.name != "all"]
    refs += [table.scorer for table in suite.pruning.targets if table.scorer is not None]
    refs += suite.metrics.plugins
    for ref in refs:
        plugin = cast("Scorer | ModelPlugin | DatasetPlugin | Metric", ref.create(registry))
        try:
            found = plugin.fingerprint(data) if isinstance(plugin, DatasetPlugin) else plugin.fingerprint()
            if found.startswith("fingerprint()"):  # a stranger's, told by the process that has it
                lines.append(f"{ref.kind} {ref.label}: {found}")
        except DataError as error:
            lines.append(f"{ref.kind} {ref.label}: {error}")
        except Exception as error:  # noqa: BLE001 - a stranger's method may raise anything
            lines.append(f"{ref.kind} {ref.label}: fingerprint() raised {type(error).__name__}: {error}")
    return list(dict.fromkeys(lines))


def data_folder(chosen: Path | None) -> Path:
    """`--data`, else BENCHSUITE_DATA, else the user's cache folder."""
    if chosen is not None:
        return chosen
    from_environment = os.environ.get("BENCHSUITE_DATA")
    return (
        Path(from_environment)
        if from_environment
        else Path(platformdirs.user_cache_dir("benchsuite")) / "data"
    )


def select(trials: Sequence[Trial], filters: Sequence[str]) -> tuple[Trial, ...]:
    """The trials whose axes match: different axes all, one axis's values any."""
    chosen = parse_filters(filters, filterable(trials))
    return tuple(trial for trial in trials if chosen.holds(trial.axes))


def filterable(trials: Sequence[Trial]) -> list[str]:
    """The axes by which trials can be filtered."""
    return [axis for axis in trials[0].axes if axis != "scorer_params"] if trials else []


def nothing_selected(loaded: Loaded, filters: Sequence[str]) -> list[str]:
    """Why no trial is selected, in sentences."""
    if not loaded.trials or not filters:
        return []
    chosen = parse_filters(filters, filterable(loaded.trials))
    return chosen.why_nothing([trial.axes for trial in loaded.trials])
