"""Whether a trial of a results file agrees with the same trial run again here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchsuite.publishing.merge import differing, title
from benchsuite.publishing.verify import Problem
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.store.record import TrialRecord

STANDARD_ERRORS = 2.0
"""How much the accuracy of a trial may differ when it is run again, in standard errors of the test split."""
RECALL_ERRORS = 4.0
"""How much a recall may differ on the same machine, in standard errors of its class's test samples."""
COST_TOLERANCE = 0.02
"""How far costs may differ, relative to the dense one, if the dense model was trained on another machine."""


def disagreement(claimed: TrialRecord, again: TrialRecord, test_samples: int) -> list[Problem]:
    """The values of a trial that was run again that are outside the tolerance.

    Recalls have one where the same program was given the same numbers: a network that was trained on another
    machine may confuse other classes and be as accurate.

    Args:
        claimed: the record in the file.
        again: the record made on this machine.
        test_samples: size of the test split.
    """
    where = title(claimed)
    if again.status != claimed.status:
        reason = f" ({again.error})" if again.error else ""
        return [Problem("ends otherwise", f"{where}: {claimed.status}, here {again.status}{reason[:300]}")]
    if claimed.status != "done":
        return []
    problems = []
    if claimed.provenance.get("data_digest") != again.provenance.get("data_digest"):
        problems.append(Problem("was made with other data", where))
    for name in sorted(n for n in claimed.metrics.keys() | again.metrics if n.startswith(metric_names.TOP)):
        ours, theirs = again.metrics.get(name, math.nan), claimed.metrics.get(name, math.nan)
        if not abs(ours - theirs) <= accuracy_tolerance(ours, theirs, test_samples):
            problems.append(Problem(f"{name} differs", f"{where}: {theirs:.4f}, here {ours:.4f}"))
    problems += _other_recalls(claimed, again)
    if not _losses_agree(claimed, again, test_samples):
        problems.append(Problem(f"{metric_names.LOSS} differs", _values(claimed, again, metric_names.LOSS)))
    for name in (
        metric_names.PARAMS,
        metric_names.MACS,
        metric_names.PARAMS_NONZERO,
        metric_names.MACS_NONZERO,
    ):
        ours, theirs = again.metrics[name], claimed.metrics.get(name, math.nan)
        if not abs(ours - theirs) <= _cost_tolerance(claimed, again, name):
            problems.append(Problem(f"{name} differs", f"{where}: {theirs:,.0f}, here {ours:,.0f}"))
    return problems


def unexpected(pairs: Sequence[tuple[TrialRecord, TrialRecord]]) -> list[Problem]:
    """The values that differ at all, where they should not, of trials that agree within the tolerance.

    They should not where the key, device, torch and threads are the same in both records, as the same
    program was given the same numbers then, and where another trial came out exactly. It is no proof of a
    forgery: libraries choose their kernels by the processor too.

    Args:
        pairs: of each trial the record in the file and the one made on this machine.
    """
    exact = any(claimed.status == "done" and not differing(claimed, again) for claimed, again in pairs)
    return [
        Problem(f"{name} is not the same", _values(claimed, again, name))
        for claimed, again in pairs
        if exact or _same_program(claimed, again)
        for name in differing(claimed, again)
    ]


def _other_recalls(claimed: TrialRecord, again: TrialRecord) -> list[Problem]:
    counts = again.provenance.get("test_samples")
    if not isinstance(counts, dict) or not _same_program(claimed, again):
        return []
    problems = []
    for label, samples in ((label, samples) for label, samples in counts.items() if samples):
        name = metric_names.class_recall(label)
        ours, theirs = again.metrics.get(name, math.nan), claimed.metrics.get(name, math.nan)
        allowed = accuracy_tolerance(ours, theirs, samples) * RECALL_ERRORS / STANDARD_ERRORS
        if not abs(ours - theirs) <= allowed:
            problems.append(Problem("recalls differ", _values(claimed, again, name)))
    return problems


def loss_tolerance(loss: float, top1: float, samples: int) -> float:
    """How much a mean cross-entropy may differ: by the share by which the error rate may.

    A cross-entropy lies for the most part on the samples that are wrong or nearly so. If it lies on a share p
    of n samples, its relative standard error is sqrt((1 - p) / (p n)), as that of p itself.
    """
    wrong = min(max(1 - top1, 1 / samples), 1.0)
    return abs(loss) * accuracy_tolerance(1 - wrong, 1 - wrong, samples) / wrong


def _losses_agree(claimed: TrialRecord, again: TrialRecord, samples: int) -> bool:
    theirs, ours = claimed.metrics.get(metric_names.LOSS), again.metrics.get(metric_names.LOSS)
    if theirs is None or ours is None:  # one that is not finite is in no record
        return theirs is ours
    return abs(ours - theirs) <= loss_tolerance(
        (ours + theirs) / 2, again.metrics[metric_names.TOP1], samples
    )


def _values(claimed: TrialRecord, again: TrialRecord, name: str) -> str:
    theirs, ours = (
        "none" if name not in record.metrics else repr(float(record.metrics[name]))
        for record in (claimed, again)
    )
    return f"{title(claimed)}: {theirs}, here {ours}"


def accuracy_tolerance(first: float, second: float, samples: int) -> float:
    """Two standard errors of an accuracy on this many test samples; at least those for one wrong sample."""
    mean = min(max((first + second) / 2, 1 / samples), 1 - 1 / samples)
    return STANDARD_ERRORS * math.sqrt(mean * (1 - mean) / samples)


def _cost_tolerance(claimed: TrialRecord, again: TrialRecord, name: str) -> float:
    """Zero if the suite alone decides how much is removed from each layer, or the machines are the same."""
    if _same_machine(claimed, again) or claimed.axes.get("scope") == "layer":
        return 0.0
    return COST_TOLERANCE * again.metrics[f"{name.removesuffix('_nonzero')}_dense"]


def _same_program(claimed: TrialRecord, again: TrialRecord) -> bool:
    """Whether one program was given the same numbers on machines of one name."""
    return claimed.key == again.key and _same_machine(claimed, again)


def _same_machine(claimed: TrialRecord, again: TrialRecord) -> bool:
    fields = ("device", "torch", "threads")
    return all(claimed.provenance.get(f) == again.provenance.get(f) for f in fields)
