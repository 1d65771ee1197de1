"""Runs a metric plugin and checks what it returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING

from torch import Tensor

from benchsuite.errors import BenchsuiteError, PluginError
from benchsuite.hardware import devices
from benchsuite.scoring.guard import untouched

if TYPE_CHECKING:
    from collections.abc import Collection

    from benchsuite.metrics.metric import Metric
    from benchsuite.metrics.metric_context import MetricContext

MOST_NUMBERS = 1000
_LONGEST = 120


def run_metric(metric: Metric, context: MetricContext) -> dict[str, float]:
    """What a metric measures on the context's network; tables and the like are in `context.shown`.

    Raises:
        Unsupported: the metric says that it cannot measure this network.
        PluginError: it raised another error, returned something invalid, or changed a network.
    """
    culprit = f"metric {metric.name}"
    try:
        with (
            devices.exact_float32(),
            untouched(context.dense, culprit),
            untouched(context.model, culprit),
        ):
            returned = metric.measure(context)
    except BenchsuiteError:
        raise
    except Exception as error:
        raise PluginError(f"{culprit}: measure() raised {type(error).__name__}: {error}") from error
    return checked_numbers(returned, metric.quantities, culprit)


def checked_numbers(returned: object, declared: Collection[str], culprit: str) -> dict[str, float]:
    """What was returned, as plain numbers.

    Args:
        returned: by name of a quantity or a part of one, its value.
        declared: names of quantities.
        culprit: who returned it, for messages.

    Raises:
        PluginError: a name or a value is none that can stand in a record.
    """
    if not isinstance(returned, Mapping) or len(returned) > MOST_NUMBERS:
        raise PluginError(
            f"{culprit}: measure() must return a dict of at most {MOST_NUMBERS} numbers, not "
            f"{type(returned).__name__}"
        )
    numbers = {}
    for name, value in returned.items():
        if not isinstance(name, str) or name.partition("/")[0] not in declared or not _is_path(name):
            raise PluginError(
                f"{culprit}: it returned {name!r:.80}, and its quantities are {', '.join(declared)}; parts "
                "are named quantity/part"
            )
        if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
            value = value.item()
        if not isinstance(value, Real) or not math.isfinite(value):
            raise PluginError(f"{culprit}: {name[:_LONGEST]} is {value!r:.60}, no finite number")
        numbers[name] = float(value)
    return numbers


def _is_path(name: str) -> bool:
    parts = name.split("/")
    return len(name) <= _LONGEST and name.isprintable() and all(parts) and not parts[-1].endswith("_dense")
