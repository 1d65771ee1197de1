"""Plugins that observe a run through hooks, each in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchsuite.errors import BenchsuiteError
from benchsuite.registry.stranger_process import StrangerProcess
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchsuite.plan.trial import Trial
    from benchsuite.registry.loading import PluginSource
    from benchsuite.store.record import TrialRecord

_logger = logging.getLogger(__name__)

_SECONDS = 60.0
"""How long a hook may take; and how long an interrupted run waits at its end for those still to come."""
_SECONDS_AT_END = 300.0
"""How long a run waits at its end for the hooks that are still to be called."""
_GRACE_SECONDS = 5.0
_MOST_RAISED = 10
"""Exceptions of one call that are told."""


class PluginObservers:
    """Passes trials and records on to the hooks of observers, in order, beside the run.

    What a hook raises is a warning; a process that dies or hangs is one too, and is told nothing more. At the
    end of the run a warning says how many calls an observer did not get.

    Args:
        sources: the plugins that observe.
    """

    def __init__(self, sources: Iterable[PluginSource]) -> None:
        self._watchers = [_Watcher(source) for source in sources]

    def working(self, slot: int, what: str) -> None:
        """Not a hook."""

    def idle(self, slot: int) -> None:
        """Not a hook."""

    def trial_started(self, trial: Trial) -> None:
        """Call `benchsuite_trial_started`."""
        self._call("benchsuite_trial_started", key=trial.key, axes=trial.axes)

    def recorded(self, trial: Trial, record: TrialRecord, *, complete: bool) -> None:  # noqa: ARG002 - Observer's form
        """Call `benchsuite_trial_finished`, once the record is complete."""
        if complete:
            self._call("benchsuite_trial_finished", record=asdict(record))

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Call no hook inside the block, such as while latencies are measured; the calls follow afterwards.

        What is in work when the block begins is waited for, and no other call.
        """
        with contextlib.ExitStack() as stack:
            for watcher in self._watchers:
                stack.enter_context(watcher.quiet())
            yield

    def close(self, *, hurried: bool = False) -> None:
        """Let the hooks that are still to be called be called, and end the processes.

        Args:
            hurried: do not wait long, because somebody waits for the end.
        """
        patience = _SECONDS if hurried else _SECONDS_AT_END
        deadline = time.monotonic() + patience
        for watcher in self._watchers:
            watcher.finish()
        for watcher in self._watchers:
            watcher.close(deadline, patience)

    def _call(self, hook: str, **arguments: Any) -> None:
        for watcher in self._watchers:
            watcher.call(hook, arguments)


class _Watcher:
    """One observer: its process, and a thread that waits for it so that the run need not."""

    def __init__(self, source: PluginSource) -> None:
        self._source = source
        self._calls: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._given = self._got = 0
        self._given_up = False
        self._working = threading.Lock()
        """Held while the process does what it was asked for."""
        self._next = threading.Lock()
        """Held by whoever is the next to hold `_working`: of a lock alone one thread may get hold again and
        again, however long another waits for it."""
        self._process = StrangerProcess(source)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def call(self, hook: str, arguments: dict[str, Any]) -> None:
        """Call a hook when its turn has come; returns at once."""
        self._given += 1
        self._calls.put((hook, arguments))

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Call nothing inside the block; what is in work is waited for first."""
        with self._next, self._working:
            yield

    def finish(self) -> None:
        """No call follows."""
        self._calls.put(None)

    def close(self, deadline: float, patience: float) -> None:
        """End the process when every call has come, or at the deadline, and say how many have not."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        lost = self._given - self._got
        if self._thread.is_alive():
            self._given_up = True
            _logger.warning(
                "%s observes too slowly: the run waited %g s for it at the end, and %d of %d calls are lost",
                self._source.origin,
                patience,
                lost,
                self._given,
            )
            self._process.kill()
            self._thread.join(_GRACE_SECONDS)
        elif lost:
            _logger.warning("%s did not get %d of %d calls", self._source.origin, lost, self._given)
        self._process.close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._next:
            self._working.acquire()
        try:
            yield
        finally:
            self._working.release()

    def _watch(self) -> None:
        try:
            with self._turn():
                self._process.description()
            while (call := self._calls.get()) is not None:
                hook, arguments = call
                question = {"ask": "observe", "hook": hook, "arguments": arguments}
                with self._turn():
                    raised = self._process.ask(question, _SECONDS)
                self._got += 1
                for text in raised[:_MOST_RAISED] if isinstance(raised, list) else ():
                    _logger.warning("%s of %s", hook, printable(str(text)))
        except BenchsuiteError as error:
            if not self._given_up:  # then its process was killed here
                _logger.warning("%s observes no more: %s", self._source.origin, printable(str(error)))
