"""The run directory: the truth of a run, from which MLflow and the leaderboard are made."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError
from benchsuite.store.files import (
    StorageError,
    append_durably,
    own_file,
    read_regular,
    storing,
    write_atomically,
)
from benchsuite.store.record import TrialRecord, read_records
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Results:
    """What a run directory holds.

    Attributes:
        records: the cells of the suite as it now stands that have an outcome, in the order of the plan.
        superseded: outcomes of cells that the suite no longer has, such as those of an older recipe.
        pending: number of the suite's cells without an outcome.
        problems: lines that could not be read, each with file and line number.
    """

    records: tuple[TrialRecord, ...]
    superseded: tuple[TrialRecord, ...]
    pending: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A cell of the suite as `plan.json` notes it.

    Attributes:
        key: content key of the trial.
        axes: its axes.
        stages: content keys of the stages it stands on, as in a record.
    """

    key: str
    axes: Mapping[str, Any]
    stages: Mapping[str, str] = field(default_factory=dict)


class RunDirectory:
    """A folder with a suite, its results and its stages. One writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results_file = path / "results.jsonl"
        self.plan_file = path / "plan.json"
        self.suite_file = path / "suite.toml"
        self._results: int | None = None
        """While it is locked, a descriptor of the results."""
        self._seen: set[Path] = set()
        """Further files that a run has left."""
        self._size = 0
        """Bytes of the results when this process last wrote them."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory as its only writer.

        The lock goes with the process, however that ends. A torn last line, left by a crash, is dropped.

        Raises:
            UsageError: another run holds it.
            OSError: it cannot be written, which is found here and not after hours of work.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with own_file(self.path / ".lock") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{self.path} is being written by another run") from None
            self._check_writable()
            self._drop_torn_line()
            with own_file(self.results_file) as self._results:
                self._size = os.fstat(self._results).st_size
                try:
                    yield
                finally:
                    self._results = None

    def _check_writable(self) -> None:
        """Try what a run will do: add to the results, and make stages."""
        with own_file(self.results_file):
            pass
        stages = self.own_folder("stages")
        stages.mkdir(exist_ok=True)
        probe = stages / ".writable"
        probe.unlink(missing_ok=True)  # whatever it is, a link for one
        probe.touch(exist_ok=False)
        probe.unlink()

    def own_folder(self, name: str) -> Path:
        """A folder of this directory that is written into.

        Raises:
            UsageError: it is a link; what lies at its end is not the run's.
        """
        folder = self.path / name
        if folder.is_symlink():
            raise UsageError(f"{folder} is a link; a run directory has its own folder there")
        return folder

    def stage(self, key: str) -> Path:
        """The folder of a stage."""
        return self.path / "stages" / key

    def append(self, record: TrialRecord) -> None:
        """Write one record durably.

        Raises:
            StorageError: it cannot be written, or another program took away or changed the results.
        """
        if self._results is None:
            append_durably(self.results_file, record.to_json())
            return
        self.check_kept()
        append_durably(self.results_file, record.to_json())
        self._size = os.fstat(self._results).st_size

    def check_kept(self) -> None:
        """Raise `StorageError` if another program took away or changed what a run has written here.

        Results that are gone are written back.
        """
        assert self._results is not None, "only a run that holds the directory can tell"
        own = os.fstat(self._results)
        try:
            found = self.results_file.lstat()
        except FileNotFoundError:
            write_atomically(self.results_file, os.pread(self._results, own.st_size, 0))
            raise self._taken(
                self.results_file, "removed it while the run worked; it is written back"
            ) from None
        if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
            aside = self.results_file.with_name("results.of-run.jsonl")
            write_atomically(aside, os.pread(self._results, own.st_size, 0))
            raise self._taken(
                self.results_file, f"replaced it while the run worked; what the run had written is in {aside}"
            )
        if found.st_size != self._size:
            raise self._taken(self.results_file, "changed it while the run worked")
        for file in (self.plan_file, self.suite_file):
            if os.path.lexists(file):
                self._seen.add(file)
            elif file in self._seen:
                raise self._taken(file, "removed it while the run worked")

    @staticmethod
    def _taken(file: Path, how: str) -> StorageError:
        return StorageError(errno.EIO, f"another program {how}", str(file))

    def write_plan(self, cells: Iterable[Cell], threads: int = 1) -> None:
        """Note which cells the suite now has, and the CPU threads of a worker."""
        plan = {"threads": threads, "cells": [vars(cell) for cell in cells]}
        text = json.dumps(plan, ensure_ascii=False)
        write_atomically(self.plan_file, text)

    def threads(self) -> int:
        """The CPU threads of a worker that the plan was made for; 1 where nothing says it."""
        try:
            threads = read_json(read_regular(self.plan_file).decode()).get("threads", 1)
        except (OSError, ValueError, AttributeError):
            return 1
        return threads if isinstance(threads, int) and threads > 0 else 1

    def records(self) -> tuple[dict[str, TrialRecord], list[str]]:
        """The last record of each key, and what could not be read."""
        return read_records(self.results_file)

    def results(self) -> Results:
        """The outcomes of the suite's cells; raises `UsageError` where this is no run directory."""
        if not any(os.path.lexists(file) for file in (self.results_file, self.plan_file)):
            raise UsageError(f"{self.path} is not a run directory: it has no results.jsonl")
        records, problems = self.records()
        if not os.path.lexists(self.plan_file):
            return Results(tuple(records.values()), (), 0, tuple(problems))
        try:
            cells = [str(cell["key"]) for cell in read_json(read_regular(self.plan_file).decode())["cells"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(
                f"{self.plan_file} is damaged ({reason}); run the suite again to rewrite it"
            ) from error
        known = set(cells)
        return Results(
            tuple(records[key] for key in cells if key in records),
            tuple(record for key, record in records.items() if key not in known),
            sum(key not in records for key in cells),
            tuple(problems),
        )

    def _drop_torn_line(self) -> None:
        with storing(self.results_file), own_file(self.results_file) as number:
            content = self.results_file.read_bytes()
            if content and not content.endswith(b"\n"):
                os.ftruncate(number, content.rfind(b"\n") + 1)
