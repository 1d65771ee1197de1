"""Accuracies against each other, against the number of test samples, and the loss against them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchsuite.publishing.plausibility.oddity import ROUNDING, Oddities, Oddity, is_close, is_whole
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.store.record import TrialRecord

_MOST_SAMPLES = 10**12
_LOSS_ROUNDING = 1e-4
"""The loss of a sample is computed in float32, of outputs that may be large."""
_CHANGED_SAMPLES = 2
"""Of a network that nothing has trained in between, samples that a GPU may classify otherwise."""
_TOP = re.compile(r"accuracy/top(\d{1,6})(_\w+)?")


def accuracies(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """Accuracies that no counts of test samples give, and losses that no such accuracy has."""
    counts = _counts(record.provenance.get("test_samples"))
    if counts is None and "test_samples" in record.provenance:
        yield Oddity("provenance.test_samples are no counts", f"{record.provenance['test_samples']!r}"[:200])
    recalls = {
        name.removeprefix(metric_names.CLASS): value
        for name, value in metrics.items()
        if name.startswith(metric_names.CLASS)
    }
    top1 = metrics.get(metric_names.TOP1)
    if top1 is not None:
        yield from _without_counts(top1, recalls) if counts is None else _weighted(top1, recalls, counts)
    yield from accuracies_of_samples(record, metrics)
    yield from _untrained(record, metrics, counts)


def accuracies_of_samples(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """Accuracies that no number of samples gives, and losses that no such accuracy has, without recalls."""
    counts = _counts(record.provenance.get("test_samples"))
    if (top1 := metrics.get(metric_names.TOP1)) is not None:
        yield from _loss(metrics.get(metric_names.LOSS), top1, counts)
    if counts is not None:
        yield from _of_samples(metrics, sum(counts.values()))
    yield from _more_guesses(metrics)


def _counts(told: Any) -> dict[str, int] | None:
    """The test samples of each class; None if the record does not say them."""
    if not isinstance(told, dict) or not told:
        return None
    numbers = list(told.values())
    if not all(type(n) is int and 0 <= n <= _MOST_SAMPLES for n in numbers) or not any(numbers):
        return None
    return told


def _without_counts(top1: float, recalls: Mapping[str, float]) -> Oddities:
    """A mean of the recalls, whatever their weights, lies between the least and the greatest."""
    if recalls and not min(recalls.values()) - ROUNDING <= top1 <= max(recalls.values()) + ROUNDING:
        low, high = min(recalls.values()), max(recalls.values())
        yield Oddity("accuracy/top1 is no mean of the recalls", f"{top1}, recalls from {low} to {high}")


def _weighted(top1: float, recalls: Mapping[str, float], counts: Mapping[str, int]) -> Oddities:
    present = {name: count for name, count in counts.items() if count}
    if recalls.keys() != present.keys():
        odd = ", ".join(sorted(recalls.keys() ^ present.keys()))
        yield Oddity("recalls are not those of the classes with test samples", odd[:200])
        return
    for name, recall in recalls.items():
        if not is_whole(recall * present[name]):
            detail = f"{metric_names.class_recall(name)[:80]} is {recall} of {present[name]} samples"
            yield Oddity("a recall is no share of its class's samples", detail)
    total = sum(present.values())
    mean = sum(recall * present[name] for name, recall in recalls.items()) / total
    if not is_close(mean, top1):
        yield Oddity("accuracy/top1 is not the mean of the recalls", f"{top1}, by the recalls {mean}")


def _of_samples(metrics: Mapping[str, float], samples: int) -> Oddities:
    for name, value in metrics.items():
        if name.startswith(metric_names.TOP) and not is_whole(value * samples):
            yield Oddity(f"{name[:80]} is no share of the test samples", f"{value} of {samples} samples")


def _loss(loss: float | None, top1: float, counts: Mapping[str, int] | None) -> Oddities:
    """A wrong sample's class has at most half of the probability, a right one's at least its even share."""
    if loss is None:
        return
    least = (1 - top1) * math.log(2)
    if loss < least * (1 - _LOSS_ROUNDING) - ROUNDING:
        yield Oddity("accuracy/loss is less than the wrong samples cost", f"{loss}, at least {least:.6f}")
    if counts is not None and top1 == 1 and loss > math.log(len(counts)) + _LOSS_ROUNDING:
        most = f"at most {math.log(len(counts)):.6f} where all samples are right"
        yield Oddity("accuracy/loss is more than right samples cost", f"{loss}, {most}")


def _more_guesses(metrics: Mapping[str, float]) -> Oddities:
    """Of accuracies among the first k guesses, those with more guesses are not lower."""
    families: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for name, value in metrics.items():
        if match := _TOP.fullmatch(name):
            families[match[2] or ""].append((int(match[1]), value))
    for suffix, found in families.items():
        found.sort()
        for (few, low), (many, high) in pairwise(found):
            if high < low - ROUNDING:
                what = f"accuracy/top{many}{suffix[:60]} is below top{few}"
                yield Oddity(what, f"{high} and {low}")


def _untrained(
    record: TrialRecord, metrics: Mapping[str, float], counts: Mapping[str, int] | None
) -> Oddities:
    """Without recovery a network is as it was before it."""
    before, after = metrics.get(metric_names.TOP1_BEFORE_RECOVERY), metrics.get(metric_names.TOP1)
    trained = record.axes.get("recovery_epochs") != 0 or record.axes.get("schedule") == "rewind"
    if trained or before is None or after is None:
        return
    tolerance = 0.01 if counts is None else (_CHANGED_SAMPLES + ROUNDING) / sum(counts.values())
    if not is_close(before, after, tolerance):
        yield Oddity("accuracies before and after no recovery differ", f"{before} and {after}")
