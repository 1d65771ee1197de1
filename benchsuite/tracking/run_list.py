"""How MLflow's list of runs opens: which columns it has, in which order, and by what it is sorted.

MLflow keeps such a view as a tag of the experiment, and opens it where the address names the tag. Sorted by
a metric the list is flat: every trial is a row, and none hides in its invocation's run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite.store.record import TrialRecord

VIEW = "benchsuite"
"""The view's name in the address."""
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"

FLAT = urlencode({"orderByKey": f"metrics.`{metric_names.TOP1}`", "orderByAsc": "false"})
"""What an address names where a store has no view: the order alone."""

_RUN_NAME, _CREATED = "attributes.`Run Name`", "runDateAndNestInfo"
_WIDTHS = {_RUN_NAME: 130, _CREATED: 110, "params.`scorer`": 170}
_WIDTH = 95
_WHERE_THEY_VARY = ("granularity", "scope", "budget", "schedule", "recovery_epochs", "dataset")


def list_view(records: Sequence[TrialRecord]) -> str:
    """The view of these trials as MLflow reads it: scorer, sparsity, outcome, accuracies and costs first."""
    columns = [
        *(f"params.`{axis}`" for axis in ("scorer", *_varied(records, ("model",)), "sparsity")),
        "tags.`status`",
        *(f"metrics.`{name}`" for name in _metrics(records)),
        *(f"params.`{axis}`" for axis in (*_varied(records, _WHERE_THEY_VARY), "seed")),
    ]
    view = {
        "orderByKey": f"metrics.`{metric_names.TOP1}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [_RUN_NAME, _CREATED, *columns],
        "columnWidths": {name: _WIDTHS.get(name, _WIDTH) for name in (_RUN_NAME, _CREATED, *columns)},
    }
    return json.dumps(view)


def _metrics(records: Iterable[TrialRecord]) -> list[str]:
    there = {name for record in records for name in record.metrics}
    speedups = [n for n in there if n.startswith(metric_names.LATENCY) and n.endswith("_speedup")]
    return [
        metric_names.TOP1,
        metric_names.TOP1_BEFORE_RECOVERY,
        metric_names.SPARSITY_MACS,
        metric_names.MACS,
        # The smallest batch with the fewest threads: its name is the shortest.
        *sorted(speedups, key=lambda name: (len(name), name))[:1],
    ]


def _varied(records: Sequence[TrialRecord], axes: Iterable[str]) -> list[str]:
    """The axes of these in which the trials differ; model and data set while there are none."""
    return [
        axis
        for axis in axes
        if len({str(record.axes.get(axis)) for record in records}) > 1
        or (not records and axis in ("model", "dataset"))
    ]
