"""Plugins that observe a run through hooks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pluggy

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord

logger = logging.getLogger(__name__)


class PluginObserver:
    """Passes trials and records on to the observers' hooks; what one raises is logged as a warning."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager

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
            self._call("benchsuite_trial_finished", record=record)

    def _call(self, hook: str, **arguments: object) -> None:
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            try:
                implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:  # noqa: BLE001 - a stranger's code
                logger.warning(
                    "%s of %s raised %s: %s", hook, implementation.plugin_name, type(error).__name__, error
                )
