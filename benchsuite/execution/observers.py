"""Plugins that observe a run through hooks, each in a process of its own."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchsuite.errors import BenchsuiteError
from benchsuite.registry.stranger_process import StrangerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchsuite.plan.trial import Trial
    from benchsuite.registry.loading import PluginSource
    from benchsuite.store.record import TrialRecord

_logger = logging.getLogger(__name__)

_SECONDS = 60.0
"""How long a hook may take; and how long the end of a run waits for the hooks that are still to be called."""


class PluginObservers:
    """Passes trials and records on to the hooks of observers, in order, beside the run.

    What a hook raises is a warning; a process that dies or hangs is one too, and is told nothing more.

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

    def close(self) -> None:
        """Let the hooks that are still to be called be called, and end the processes."""
        for watcher in self._watchers:
            watcher.calls.put(None)
        for watcher in self._watchers:
            watcher.thread.join(_SECONDS)
            watcher.process.close()

    def _call(self, hook: str, **arguments: Any) -> None:
        for watcher in self._watchers:
            watcher.calls.put((hook, arguments))


class _Watcher:
    """One observer: its process, and a thread that waits for it so that the run need not."""

    def __init__(self, source: PluginSource) -> None:
        self.source = source
        self.calls: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self.process = StrangerProcess(source)
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        try:
            self.process.description()
            while (call := self.calls.get()) is not None:
                hook, arguments = call
                question = {"ask": "observe", "hook": hook, "arguments": arguments}
                for raised in self.process.ask(question, _SECONDS):
                    _logger.warning("%s of %s", hook, raised)
        except BenchsuiteError as error:
            _logger.warning("%s observes no more: %s", self.source.origin, error)
