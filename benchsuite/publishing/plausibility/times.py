"""Durations, latencies and energies against each other."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

from benchsuite.publishing.plausibility.oddity import Oddities, Oddity
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    Numbers = Mapping[str, float]

RATIO_TOLERANCE = 1.25
"""How far the dense median may be from the speedup times the pruned durations, as a factor.

A speedup is a median of quotients over blocks of pairs of rounds, the medians are of all rounds. Where a
machine changes between two speeds the medians may fall into different ones: so the ends of the speedup's
interval are multiplied with the quartiles. Where other programs interrupt it nothing can be said.
"""
SMALLER_BATCH_TOLERANCE = 2.0
"""A batch may take less time than a smaller one, which other kernels compute, by at most this factor."""
LARGER_BATCH_TOLERANCE = 10.0
"""A sample of a larger batch may take longer than one of a smaller batch, by at most this factor."""
LEAST_WATTS, MOST_WATTS = 0.1, 10_000.0
"""The power of one device."""
WIDEST = 0.03
"""A settled speedup's 95% interval is at most this wide, as a fraction of it."""
_CLOCK = 1e-3
_LATENCY = re.compile(r"latency/((?:sparse_half/)?batch(\d{1,9})(?:_threads\d{1,9})?)_([a-z_]+)")
_ENERGY = re.compile(r"energy/(batch(\d{1,9})(?:_threads\d{1,9})?)_(mj|dense_mj)")


def times(metrics: Numbers) -> Oddities:
    """Durations that cannot be beside each other."""
    parts = [metrics.get(name, 0.0) for name in (metric_names.PRUNE_SECONDS, metric_names.RECOVER_SECONDS)]
    whole, reused = metrics.get(metric_names.TRIAL_SECONDS), metrics.get(metric_names.REUSED_SECONDS, 0.0)
    if whole is not None and whole + reused < sum(parts) - _CLOCK:
        yield Oddity("time/trial_s is less than its parts", f"{whole}, pruning and recovery {sum(parts)}")
    settings = _by_setting(_LATENCY, metrics)
    for setting, (_, found) in settings.items():
        yield from _latency(setting, found)
    # Durations of a machine that other programs hold up may be hundreds of times as long.
    settled = {setting: each for setting, each in settings.items() if each[1].get("speedup_wide") == 0}
    yield from _batches(settled)
    for setting, (size, found) in _by_setting(_ENERGY, metrics).items():
        if setting in settled:
            yield from _energy(setting, size, found, settled[setting][1])


def _by_setting(pattern: re.Pattern[str], metrics: Numbers) -> dict[str, tuple[int, dict[str, float]]]:
    """By setting, its batch size and what was measured."""
    found: dict[str, tuple[int, dict[str, float]]] = {}
    for name, value in metrics.items():
        if match := pattern.fullmatch(name):
            found.setdefault(match[1], (int(match[2]), {}))[1][match[3]] = value
    return found


def _latency(setting: str, found: Numbers) -> Oddities:
    name = f"latency/{setting}"
    lower, median, upper = (found.get(what) for what in ("lower_ms", "ms", "upper_ms"))
    if lower is None or median is None or upper is None:
        return
    if not lower <= median <= upper:
        yield Oddity(f"the quartiles of {name}_ms are not in order", f"{lower}, {median}, {upper}")
    ratio, low, high = (found.get(what) for what in ("speedup", "speedup_low", "speedup_high"))
    if ratio is None or low is None or high is None:
        return
    if not low <= ratio <= high:
        yield Oddity(f"{name}_speedup is outside its interval", f"{ratio}, from {low} to {high}")
        return
    if found.get("speedup_wide") != 0:
        return
    if high - low > WIDEST * ratio * (1 + _CLOCK):
        width = f"from {low} to {high}, which is wider than {WIDEST:.0%}"
        yield Oddity(f"{name}_speedup is no settled one", width)
    dense = found.get("dense_ms")
    least, most = low * lower / RATIO_TOLERANCE, high * upper * RATIO_TOLERANCE
    if dense is not None and not least <= dense <= most:
        yield Oddity(f"{name}_speedup does not fit the latencies", f"{ratio}, but {dense} over {median}")


def _batches(settings: Mapping[str, tuple[int, Numbers]]) -> Oddities:
    """Larger batches beside smaller ones, with as many threads and the same kernels."""
    alike: dict[str, list[tuple[int, Numbers]]] = defaultdict(list)
    for setting, (size, found) in settings.items():
        alike[re.sub(r"batch\d+", "batch", setting)].append((size, found))
    for sizes in alike.values():
        for (few, small), (many, large) in combinations(sorted(sizes, key=lambda each: each[0]), 2):
            for what in ("ms", "dense_ms"):
                short, long = small.get(what), large.get(what)
                if short is None or long is None or not few:
                    continue
                most = LARGER_BATCH_TOLERANCE * short * many / few
                if not short / SMALLER_BATCH_TOLERANCE <= long <= most:
                    detail = f"{what}: {short} for {few} samples, {long} for {many}"
                    yield Oddity("latencies of two batch sizes do not fit each other", detail)


def _energy(setting: str, size: int, found: Numbers, latency: Numbers) -> Oddities:
    """The energy of a batch over its duration is a power that a device can have."""
    for energy, duration in (("mj", "ms"), ("dense_mj", "dense_ms")):
        used, took = found.get(energy), latency.get(duration)
        if used is not None and took and not LEAST_WATTS <= used * size / took <= MOST_WATTS:
            what = f"energy/{setting}_{energy} does not fit the latency"
            yield Oddity(what, f"{used} mJ a sample, {took} ms a batch")
