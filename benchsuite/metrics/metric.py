"""What a metric plugin is: something that is measured on dense and on pruned networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from benchsuite.contracts.plugin import Plugin
from benchsuite.metrics.metric_stage import STAGES, Stage

if TYPE_CHECKING:
    from benchsuite.metrics.metric_context import MetricContext

QUANTITY = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What quantities may be called."""
MOST_QUANTITIES = 50
_LONGEST = 80
"""Letters of a title or a unit."""


class Quantity(NamedTuple):
    """A number that a metric measures.

    Attributes:
        title: what people read on pages and axes.
        unit: such as "ms" or "pixels"; empty for a share or a plain number.
        better: which numbers are better; None where neither is.
    """

    title: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None


class Metric(Plugin):
    """Measures quantities of its own on the networks of trials.

    A run gives it each network in a process where no other stranger's plugin is loaded. Its numbers stand in
    the records of trials as `measured/<name>/<quantity>`, those of the dense network with `_dense` behind.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {}
    """By name, what it measures: lower-case words joined by underscores."""
    stages: ClassVar[tuple[Stage, ...]] = ("dense", "end")
    """When it is measured."""
    _planned_by: ClassVar[tuple[str, ...]] = ("version", "quantities", "stages")

    def measure(self, context: MetricContext) -> Mapping[str, float]:
        """Return finite numbers of the context's network.

        Args:
            context: the network, the dense one, what was removed, and the data.

        Returns:
            By name of a quantity, its value. A quantity of several parts, such as one of each layer, has a
            value for each: `error/conv1`, where `error` is declared. One that this network does not have is
            left out.

        Raises:
            Unsupported: this network cannot be measured; the trial goes on without these numbers.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define measure()")

    def fingerprint(self) -> str:
        """Identify the content of files that `measure` reads without importing them; empty without any."""
        return ""


def declaration_problem(quantities: object, stages: object) -> str | None:
    """What is wrong with what a metric declares, in words; None if nothing is.

    Args:
        quantities: its class variable, or lists in place of `Quantity` from another process.
        stages: likewise.
    """
    if not isinstance(quantities, Mapping) or not 0 < len(quantities) <= MOST_QUANTITIES:
        return (
            f"quantities is {quantities!r:.80}; it must be a dict of 1 to {MOST_QUANTITIES} names, each "
            "with a benchsuite.Quantity"
        )
    for name, quantity in quantities.items():
        if not isinstance(name, str) or not QUANTITY.fullmatch(name) or name.endswith("_dense"):
            return (
                f"its quantity {name!r:.60} must be called by lower-case letters, digits and underscores, at "
                'most 40, not ending in "_dense", which stands for the dense network'
            )
        if not _is_quantity(quantity):
            return (
                f"its quantity {name} is {quantity!r:.80}; it must be benchsuite.Quantity(title, unit, "
                f'better) with texts of at most {_LONGEST} letters, and better "higher", "lower" or None'
            )
    if not isinstance(stages, list | tuple) or not stages or not set(stages) <= set(STAGES):
        return f"stages is {stages!r:.80}; it must be a tuple of some of {', '.join(STAGES)}"
    return None


def _is_quantity(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != len(Quantity._fields):
        return False
    title, unit, better = value
    texts = all(isinstance(text, str) and len(text) <= _LONGEST for text in (title, unit))
    return texts and bool(title) and better in ("higher", "lower", None)
