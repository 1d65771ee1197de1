"""When a run is to stop: after what is in work at the first Ctrl-C or after some hours, then at once."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord


class Stopping:
    """Says whether a run is to start nothing more. It observes the run, to know whether anything is in work.

    Args:
        hours: after which it is; None is never.
        tell: told once why.
    """

    def __init__(self, hours: float | None, tell: Callable[[str], None]) -> None:
        self._deadline = None if hours is None else time.monotonic() + 3600 * hours
        self._hours = hours
        self._tell = tell
        self._asked = self._told = self._begun = False
        self._in_work: dict[int, str] = {}
        """What is in work, by slot."""

    def listen(self) -> None:
        """React to signals from now on; as long as nothing is in work, the first stops at once."""
        # Set for SIGINT too: shells start what runs in the background with that signal ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __call__(self) -> bool:
        """Whether to start nothing more."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        if (self._asked or late) and not self._told:
            self._told = True
            why, again = ("", " again") if self._asked else (f"{self._hours:g} hours are over: ", "")
            now = f" ({', '.join(self._in_work.values())})" if self._in_work else ""
            self._tell(f"{why}finishing what is in work{now}; Ctrl-C{again} stops at once")
        return self._asked or late

    def working(self, slot: int, what: str) -> None:
        """Something is in work."""
        self._begun = True
        self._in_work[slot] = what

    def idle(self, slot: int) -> None:
        """It is not any more."""
        self._in_work.pop(slot, None)

    def trial_started(self, trial: Trial) -> None:
        """Nothing to be known."""

    def recorded(self, trial: Trial, record: TrialRecord, *, complete: bool) -> None:
        """Nothing to be known."""

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT or not self._begun or self._asked or self._told:
            raise KeyboardInterrupt
        self._asked = True
