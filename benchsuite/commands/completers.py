"""Values that the shell offers at the Tab key: files, names of plugins, axes, metrics, keys of trials.

Only what lies in files is offered, and the plugins that come with benchsuite: no stranger's code runs because
somebody pressed Tab. What cannot be read offers nothing.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter

from benchsuite.store.record import read_records
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.texts import without_controls

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from benchsuite.contracts.plugin import Kind
    from benchsuite.store.record import TrialRecord

Completer = Callable[..., Any]

_LARGEST = 64 << 20
"""Bytes of a results file that is read while somebody waits."""
_AXES = ("dataset", "model", "seed", "scorer", "granularity", "scope", "budget", "schedule")
_FURTHER_AXES = ("recovery_epochs", "sparsity", "draw")
_SHIPPED: dict[str, Kind] = {"scorer": "scorer", "model": "model", "dataset": "dataset"}


def complete(parser: ArgumentParser) -> None:
    """Answer the shell, and end the process."""
    for each in _all_parsers(parser):
        for action in each._actions:  # argparse offers no other way to its arguments
            if (found := COMPLETERS.get(action.dest)) is not None:
                action.completer = found  # type: ignore[attr-defined]  # this is how argcomplete is told
    argcomplete.autocomplete(parser, always_complete_options=False, default_completer=FilesCompleter())


def _all_parsers(parser: ArgumentParser) -> Iterable[ArgumentParser]:
    yield parser
    for action in parser._actions:
        if action.dest == "command" and isinstance(action.choices, dict):
            yield from action.choices.values()


def _records(parsed: Namespace) -> list[TrialRecord]:
    """The records of the run directory that the command line names, or that its suite has."""
    folder = getattr(parsed, "run", None) or getattr(parsed, "output", None)
    if folder is None and (suite := getattr(parsed, "suite", None)) is not None:
        try:
            folder = Path("runs") / str(tomllib.loads(Path(suite).read_text("utf-8"))["suite"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            return []
    if folder is None:
        return []
    file = RunDirectory(Path(folder)).results_file
    try:
        return list(read_records(file)[0].values()) if file.stat().st_size <= _LARGEST else []
    except OSError:
        return []


def keys(prefix: str, parsed_args: Namespace, **_: object) -> dict[str, str]:
    """Keys of finished trials, each with the trial in words where the shell shows that."""
    return {
        record.key: " · ".join(without_controls(str(record.axes.get(axis, ""))) for axis in _IN_WORDS)
        for record in _records(parsed_args)
        if record.status == "done" and record.key.startswith(prefix)
    }


_IN_WORDS = ("scorer", "model", "dataset", "sparsity", "seed")


def axes(prefix: str, parsed_args: Namespace, **_: object) -> list[str]:
    """Names of axes, after those that are there."""
    return _listed(prefix, _names_of_axes(_records(parsed_args)))


def metrics(prefix: str, parsed_args: Namespace, **_: object) -> list[str]:
    """Names of metrics, after those that are there."""
    return _listed(prefix, _names_of_metrics(_records(parsed_args)))


def order(prefix: str, parsed_args: Namespace, **_: object) -> list[str]:
    """What rows can be sorted by, after what is there; a minus before it stays."""
    records = _records(parsed_args)
    names = [*_names_of_axes(records), *_names_of_metrics(records)]
    return _listed(prefix, [*names, *(f"-{name}" for name in names)])


def filters(prefix: str, parsed_args: Namespace, **_: object) -> list[str]:
    """Axes with `=`, and after that the values: of the run's trials, and names of plugins."""
    records = _records(parsed_args)
    done, comma, part = prefix.rpartition(",")
    axis, equals, value = part.partition("=")
    if not equals:
        # What follows a comma is another axis, or another value of the axis before.
        names = [f"{done}{comma}{name}=" for name in _names_of_axes(records) or (*_AXES, *_FURTHER_AXES)]
        before = done.rpartition("=")[0].rpartition(",")[2]
        return [*names, *(f"{done},{each}" for each in _values(before, part, records) if before)]
    return [f"{done}{comma}{axis}={each}" for each in _values(axis, value, records)]


def _values(axis: str, beginning: str, records: list[TrialRecord]) -> list[str]:
    name = axis.removesuffix("!")
    values = dict.fromkeys(str(record.axes.get(name, "")) for record in records)
    if name in _SHIPPED:
        from benchsuite.registry.discovery import discover_shipped

        values |= dict.fromkeys(discover_shipped().names(_SHIPPED[name]))
    return [without_controls(each) for each in values if each and each.startswith(beginning)]


def devices(prefix: str, **_: object) -> list[str]:
    """Kinds of devices, without asking the machine, which takes seconds."""
    return _listed(prefix, ["auto", "cpu", "cuda:0", "cuda:1"])


def _names_of_axes(records: Iterable[TrialRecord]) -> list[str]:
    found = dict.fromkeys(axis for record in records for axis in record.axes if axis != "scorer_params")
    return [without_controls(name) for name in found]


def _names_of_metrics(records: Iterable[TrialRecord]) -> list[str]:
    return sorted({without_controls(name) for record in records for name in record.metrics})


def _listed(prefix: str, names: Iterable[str]) -> list[str]:
    """Names for the last place of a list with commas; those that stand before are not offered again."""
    done, comma, _ = prefix.rpartition(",")
    taken = {name.removeprefix("-") for name in done.split(",")}
    return [f"{done}{comma}{name}" for name in names if name.removeprefix("-") not in taken]


_FOLDERS = DirectoriesCompleter()
COMPLETERS: dict[str, Completer] = {
    "suite": FilesCompleter(["toml"]),
    "plugin": FilesCompleter(["py"]),
    "run": _FOLDERS,
    "data": _FOLDERS,
    "key": keys,
    "again": keys,
    "filter": filters,
    "by": axes,
    "sort": order,
    "metrics": metrics,
    "devices": devices,
}
"""By the name under which a command finds the value; files for all others."""


def words_before_the_cursor() -> list[str]:
    """The words of the command line that is being completed, roughly: to see which command it is."""
    line, point = os.environ.get("COMP_LINE", ""), os.environ.get("COMP_POINT", "")
    return line[: int(point) if point.isdecimal() else len(line)].split()
