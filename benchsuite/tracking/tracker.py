"""Keeps MLflow up to date with the run directory, in a thread that the run never waits for."""

from __future__ import annotations

import os
import shlex
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.store.counting import counted
from benchsuite.store.files import described, write_atomically
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking.connection import why
from benchsuite.tracking.mlflow_fields import run_name
from benchsuite.tracking.model_choice import chosen_models
from benchsuite.tracking.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from benchsuite.contracts.plugin import Kind
    from benchsuite.plan.trial import Trial
    from benchsuite.registry.loading import PluginSource
    from benchsuite.store.record import TrialRecord

_SECONDS_BETWEEN_TRIES = 30.0
_SQLITE = b"SQLite format 3\0"
"""What every database of SQLite begins with."""


def server_address() -> str | None:
    """The tracking server that the environment names; None for the store in the run directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def _is_database(path: Path) -> bool:
    """Whether a file is there and a database, by its first bytes; what is no file is not looked into."""
    if not path.is_file():
        return path.exists()
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def sync_command(directory: Path) -> str:
    """The command that shows in MLflow what of a run is not there yet."""
    return f"benchsuite mlflow-sync {shlex.quote(str(directory))}"


def is_behind(directory: Path) -> bool:
    """Whether MLflow may lack trials of this run, because an invocation was killed or its server was down.

    Starting and closing a `Tracker` adds them, as `benchsuite mlflow-sync` does.
    """
    return _marker(directory).exists()


def has_lost_store(directory: Path) -> bool:
    """Whether a run that fills its own store finds none, or no database in its place."""
    return server_address() is None and not _is_database(directory / "mlflow.db")


class Tracker:
    """Shows a run directory's trials in MLflow.

    After `start`, a separate thread opens the store, logs every stored record that is missing or changed, and
    then every record given to `log`. A store that does not answer never stops the run: `tell` is told once,
    when that is found, the store is tried again from time to time and once at the end, and `lacks` then says
    what is missing. The class is an observer of a run.

    Args:
        directory: the run directory; it contains the SQLite store `mlflow.db` and `mlartifacts/`, unless the
            environment variable MLFLOW_TRACKING_URI names a server.
        suite: the suite's name.
        description: the suite's description, in Markdown.
        tell: told in a sentence, at once, that the store does not answer; without it a warning says so.
    """

    def __init__(
        self, directory: Path, suite: str, description: str = "", tell: Callable[[str], None] | None = None
    ) -> None:
        self._directory = directory
        self._suite = suite
        self._description = description
        self._tell = tell
        self._told = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._pending: dict[str, TrialRecord] = {}
        self._closing = False
        self._interrupted = False
        self._knows_stored = False
        self._seconds = 0.0
        self._summarise: Callable[[], Path | None] | None = None
        self.source_of: Callable[[Kind, str], PluginSource | None] = lambda _kind, _name: None
        """Where a plugin comes from that is not shipped, which a model may need; set before `close`."""
        self.shown = 0
        """Number of trials that were new or had changed; available after `close`."""
        self.warnings: list[str] = []
        """Messages for the user; complete after `close`."""
        self.lacks = ""
        """What the store lacks because it did not answer, such as "2 trials", or nothing; after `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(interrupted=kind is not None)

    def start(self, invocation: Mapping[str, str]) -> None:
        """Start the thread; `invocation` has facts about this invocation, such as the command."""
        uri = server_address()
        size = self._stored_bytes()
        view = View(uri, self._directory, self._suite, self._description, invocation, size)
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            write_atomically(_marker(self._directory), b"")
        except OSError as error:
            self.warnings.append(f"{described(error)}: without it nobody sees later what MLflow lacks")
        self._thread = threading.Thread(target=self._work, args=(view,), name="mlflow", daemon=True)
        self._thread.start()

    def log(self, record: TrialRecord) -> None:
        """Show this record; returns at once. Later records of the same trial replace earlier ones."""
        with self._changed:
            self._pending[record.key] = record
            self._changed.notify()

    def summarise(self, make: Callable[[], Path | None]) -> None:
        """Add files to the invocation's run when it is closed; `summary.md` becomes part of its note.

        Args:
            make: makes the files and returns their folder, or None. It is called only if the invocation has a
                run, that is, if there was something to show; an error in it becomes a warning.
        """
        self._summarise = make

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Pause inside the block, such as while latencies are measured; new records are shown afterwards."""
        with self._turn:
            yield

    def close(self, *, interrupted: bool = False) -> float:
        """Wait until everything is shown or given up, and return how many seconds the thread worked.

        Args:
            interrupted: whether the invocation was interrupted; its run is then shown as killed.
        """
        if self._thread is not None:
            with self._changed:
                self._closing, self._interrupted = True, interrupted
                self._changed.notify()
            self._thread.join()
            self._thread = None
        return self._seconds

    def working(self, slot: int, what: str) -> None:
        """Not shown."""

    def idle(self, slot: int) -> None:
        """Not shown."""

    def trial_started(self, trial: Trial) -> None:
        """Not shown."""

    def recorded(self, trial: Trial, record: TrialRecord, *, complete: bool) -> None:  # noqa: ARG002 - Observer's form
        """Show the record, complete or not."""
        self.log(record)

    def _work(self, view: View) -> None:
        complaint = self._attempt(lambda: self._show(view))
        closing = False
        self._tell_once(view, complaint)
        while not closing:
            with self._changed:
                if complaint is None:
                    self._changed.wait_for(lambda: self._closing or bool(self._pending))
                else:
                    self._changed.wait_for(lambda: self._closing, timeout=_SECONDS_BETWEEN_TRIES)
                closing = self._closing
            complaint = self._attempt(lambda: self._show(view))
            self._tell_once(view, complaint)
        if complaint is None:
            complaint = self._attempt(lambda: self._finish(view))
        self.shown = len(view.shown)
        if complaint is None:
            with suppress(OSError):  # the next invocation then looks once more, and finds everything there
                _marker(self._directory).unlink(missing_ok=True)
        else:
            self.lacks = self._missing()
            if not self._told:
                self.warnings.append(
                    f"MLflow at {view.address} does not answer ({complaint}): {self.lacks} "
                    f"not shown there; {sync_command(self._directory)} brings them in"
                )

    def _tell_once(self, view: View, complaint: str | None) -> None:
        if complaint is not None and self._tell is not None and not self._told:
            self._told = True
            self._tell(
                f"MLflow at {view.address} does not answer ({complaint}); the run goes on without it, and "
                f"{sync_command(self._directory)} shows there later what it misses"
            )

    def _missing(self) -> str:
        """The trials that the store lacks, as a number with its noun, as far as it is known."""
        if self._knows_stored:
            return counted(len(self._pending), "trial")
        with suppress(OSError):
            self._pending |= RunDirectory(self._directory).records()[0]
        return f"up to {counted(len(self._pending), 'trial')}"

    def _attempt(self, action: Callable[[], None]) -> str | None:
        """Do something with the store; return the reason if it does not answer."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever a view raises, the run continues
            return why(error)
        return None

    def _show(self, view: View) -> None:
        """Show what is pending; raises what the store raised if it does not answer."""
        with self._at_work():
            view.open()
        if not self._knows_stored:
            self._bring_in_stored(view)
        while True:
            with self._changed:
                if not self._pending:
                    return
                key = next(iter(self._pending))
                record = self._pending.pop(key)
            try:
                with self._at_work():
                    view.put(record)
            except Exception as error:
                if not view.answers():
                    with self._changed:
                        self._pending.setdefault(key, record)
                    raise
                self.warnings.append(f"MLflow does not take the trial {run_name(record.axes)}: {error}")

    def _bring_in_stored(self, view: View) -> None:
        """Add the run directory's records to the pending ones, unless the store is known to have all."""
        stored, _ = RunDirectory(self._directory).records()
        view.older = frozenset(stored)
        with self._changed:
            for key, record in stored.items() if view.behind else ():
                self._pending.setdefault(key, record)
        self._knows_stored = True

    def _finish(self, view: View) -> None:
        complete = self._stored_bytes() if not self.warnings else None
        with suppress(UsageError):  # nothing was stored yet
            view.results = RunDirectory(self._directory).results().records
        if view.has_invocation and self._summarise is not None and not self._interrupted:
            try:
                view.summary = self._summarise()
            except Exception as error:  # noqa: BLE001 - the renderer may be a plugin
                self.warnings.append(f"no summary was made for MLflow: {type(error).__name__}: {error}")
        with self._at_work():
            view.put_rest()
            if not self._interrupted:
                self._log_models(view)
            view.finish(complete, interrupted=self._interrupted)

    def _log_models(self, view: View) -> None:
        """Log models; errors become warnings, unless the store has stopped answering."""
        choices = chosen_models(view.results)
        try:
            troubles = view.log_models(choices, self.source_of, lambda: self._interrupted)
        except Exception as error:
            if not view.answers():
                raise
            troubles = [f"{type(error).__name__}: {error}"]
        if troubles and not view.answers():
            raise BenchsuiteError(troubles[-1])
        self.warnings += [f"not logged as a model: {trouble}" for trouble in troubles]

    def _stored_bytes(self) -> int:
        results = RunDirectory(self._directory).results_file
        return results.stat().st_size if results.exists() else 0

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Count the time inside the block, and start only when no pause is requested."""
        with self._turn:
            started = time.perf_counter()
            try:
                yield
            finally:
                self._seconds += time.perf_counter() - started


def _marker(directory: Path) -> Path:
    return directory / "mlflow.behind"
