"""What a person sees while a suite runs: one live view on a terminal, plain lines in a pipe."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from benchsuite.drawing.terminal import Printable
from benchsuite.store import metric_names
from benchsuite.store.counting import counted
from benchsuite.store.record import SETTLED
from benchsuite.store.texts import in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord

SILENCE_SECONDS = 30.0
"""How long a pipe may stay silent while something new begins."""
_STATUS_STYLES = {"done": "green", "unsupported": "yellow", "collapsed": "yellow"}


class _View:
    """Counts outcomes and estimates what is left from the trials that really ran."""

    def __init__(self, total: int, varied: Sequence[str]) -> None:
        self.total = total
        self.varied = varied
        self.outcomes: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._since = time.monotonic()

    def count(self, record: TrialRecord) -> bool:
        """Count a trial's first record of this run; returns whether it was."""
        if record.key in self._seen:
            return False
        self._seen.add(record.key)
        self.outcomes[record.status] += 1
        return True

    @property
    def ended(self) -> int:
        return len(self._seen)

    def left(self) -> str:
        """The time left in words, once there is something to judge by."""
        if self.ended < 3 or self.ended >= self.total:
            return ""
        seconds = (time.monotonic() - self._since) / self.ended * (self.total - self.ended)
        return f"about {duration(seconds)} left"


class PlainView:
    """One line per trial, for pipes and logs.

    Args:
        total: trials that will be shown.
        console: where to.
        varied: axes that a line names because the trials differ in them (see `varied_axes`).
    """

    def __init__(self, total: int, console: Console, varied: Sequence[str] = ()) -> None:
        self._view = _View(total, varied)
        self._console = console
        self._last = -math.inf

    def working(self, slot: int, what: str) -> None:  # noqa: ARG002 - Observer's form
        """Print what begins, but only at first and where nothing was printed for long."""
        if time.monotonic() - self._last > SILENCE_SECONDS:
            self._print(f"{self._count()}  {what} …")

    def idle(self, slot: int) -> None:
        """Nothing to say."""

    def trial_started(self, trial: Trial) -> None:
        """Nothing: its line comes when it has an outcome."""

    def recorded(self, trial: Trial, record: TrialRecord, *, complete: bool) -> None:  # noqa: ARG002 - Observer's form
        """Print the trial's line once."""
        if self._view.count(record):
            self._print(f"{self._count()}  {outcome_line(record, self._view.varied)}")

    def say(self, text: str) -> None:
        """Print a line of the run itself."""
        self._print(text)

    def _count(self) -> str:
        return f"{f'{self._view.ended}/{self._view.total}':>9}"

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to take down."""


class LiveView:
    """Progress over the work that really runs, a line per device, and what went wrong."""

    def __init__(
        self, total: int, slots: Sequence[str], console: Console, varied: Sequence[str] = ()
    ) -> None:
        self._view = _View(total, varied)
        self._slots = list(slots)
        self._work = ["" for _ in slots]
        self._idle = "starting"
        self._told: set[tuple[object, ...]] = set()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            expand=True,
        )
        self._task = self._progress.add_task("trials", total=total, left="")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)
        self._console = console

    def working(self, slot: int, what: str) -> None:
        """Show what a slot does."""
        self._work[slot % len(self._work)] = what
        self._idle = "waiting"

    def idle(self, slot: int) -> None:
        """Show that a slot waits."""
        self._work[slot % len(self._work)] = ""

    def trial_started(self, trial: Trial) -> None:
        """Nothing beyond the slot's own line."""

    def recorded(self, trial: Trial, record: TrialRecord, *, complete: bool) -> None:  # noqa: ARG002 - Observer's form
        """Move the bar; outcomes other than done scroll by above it, each reason once."""
        if self._view.count(record):
            self._progress.update(self._task, completed=self._view.ended, left=self._view.left())
            reason = (record.status, record.axes.get("scorer"), record.error)
            if record.status != "done" and reason not in self._told:
                self._told.add(reason)
                told = outcome_line(record, self._view.varied)
                line = Text(told, style=_STATUS_STYLES.get(record.status, "red"))
                self._console.print(line, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line above the live view."""
        self._console.print(Text(text), soft_wrap=True)

    def __enter__(self) -> LiveView:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for slot, (device, work) in enumerate(zip(self._slots, self._work, strict=True)):
            table.add_row(f"{device} #{slot}", Text(work or self._idle, style="" if work else "dim"))
        counts = Text(
            "   ".join(f"{n} {status}" for status, n in sorted(self._view.outcomes.items())), style="dim"
        )
        return Printable(Group(self._progress, table, counts))


_SETTINGS = ("granularity", "scope", "budget", "schedule", "recovery_epochs")
"""Axes of a suite's settings: a line names those in which the run's trials differ."""


def varied_axes(trials: Iterable[Trial]) -> list[str]:
    """The settings in which trials differ: a line that leaves them out would stand there twice."""
    axes = [trial.axes for trial in trials]
    return [name for name in _SETTINGS if len({each[name] for each in axes}) > 1]


def outcome_line(record: TrialRecord, varied: Sequence[str] = ()) -> str:
    """A trial's outcome in one line, with the axes named as varied."""
    axes = record.axes
    names = (axes["scorer"], axes["model"], axes["dataset"])
    settings = [f"{axes[name]:g} epochs" if name == "recovery_epochs" else str(axes[name]) for name in varied]
    cell = " · ".join([*names, f"seed {axes['seed']}", *settings, f"sparsity {axes['sparsity']}"])
    if axes["draw"]:
        cell += f" · draw {axes['draw']}"
    if record.status != "done":
        return in_one_line(f"{record.status}: {cell}: {record.error}")
    before = record.metrics.get(metric_names.TOP1_BEFORE_RECOVERY)
    accuracy, dense = (record.metrics[name] for name in (metric_names.TOP1, metric_names.TOP1_DENSE))
    told = f"{100 * accuracy:.1f}"
    if before is not None:
        told = f"{100 * before:.1f} before recovery, {told} after"
    return f"{cell}: accuracy {told} (dense {100 * dense:.1f})"


def duration(seconds: float) -> str:
    """Seconds in words, coarsely: 40 s, 3 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def summary(
    records: Sequence[TrialRecord], log: Callable[[TrialRecord], Path | None] = lambda _: None
) -> str:
    """How many trials have which outcome, and the reasons of those that have no result.

    Args:
        records: of the trials.
        log: finds the log of one that failed, timed out or was killed.
    """
    counts = Counter(record.status for record in records)
    lines = [", ".join(f"{n} {status}" for status, n in counts.most_common()) or "no trials"]
    told = {r.key: in_one_line(f"{r.status}: {r.error}") for r in records if r.status != "done"}
    examples = {told[r.key]: r for r in records if r.key in told}
    reasons = Counter(told.values())
    for reason, n in reasons.most_common(10):
        lines.append(f"  {n} x {reason}")
        if examples[reason].status not in SETTLED and (file := log(examples[reason])) is not None:
            lines.append(f"      log{' of one' if n > 1 else ''}: {file}")
    if len(reasons) > 10:
        lines.append(f"  and {counted(len(reasons) - 10, 'other reason')}")
    return "\n".join(lines)
