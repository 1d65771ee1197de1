"""The range of each number on its own: fractions, counts, quantities that are never negative."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchsuite.publishing.plausibility.oddity import Oddities, Oddity, is_whole
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping

_FRACTIONS = re.compile(
    r"accuracy/top\d.*|accuracy/class/.*|sparsity/(units|params|macs)"
    r"|interpretability/((null_)?(detectors_share|mean_best_iou)(_dense)?|still_interpretable|same_concept)"
)
_CORRELATIONS = frozenset({metric_names.STABILITY, "interpretability/iou_correlation"})
_FLAGS = re.compile(r"latency/(.*_speedup_wide|sparse_kernels)")
_COUNTS = re.compile(
    r"cost/.*|scoring/ties|selection/ties|interpretability/(units|detectors|concepts)(_dense)?"
    r"|interpretability/[^/]+/(detectors|concepts)"
)
_POSITIVE = re.compile(r"latency/.*_(ms|speedup|speedup_low|speedup_high)|cost/(params|macs)_dense")
_NEVER_NEGATIVE = (
    *(metric_names.COST, metric_names.TIME, metric_names.LATENCY, metric_names.ENERGY, "memory/"),
    *("interpretability/null_", "interpretability/median_images_with"),
    *(
        metric_names.LOSS,
        metric_names.SURGERY_DIFFERENCE,
        metric_names.SCORE_TIES,
        metric_names.SELECTION_TIES,
    ),
)


def ranges(metrics: Mapping[str, float]) -> Oddities:
    """Numbers outside their range; metrics that this benchsuite does not know are not judged."""
    for name, value in metrics.items():
        shown = name[:80]
        if _FRACTIONS.fullmatch(name) and not 0 <= value <= 1:
            yield Oddity(f"{name.partition('/')[0]} is no fraction", f"{shown} is {value}")
        elif name in _CORRELATIONS and not -1 <= value <= 1:
            yield Oddity(f"{shown} is not between -1 and 1", f"{value}")
        elif _FLAGS.fullmatch(name) and value not in (0, 1):
            yield Oddity(f"{shown} is neither 0 nor 1", f"{value}")
        elif name == metric_names.LATENCY_THREADS and value != 1:
            yield Oddity(f"{shown} is not 1", f"{value}; names of other numbers of threads say theirs")
        elif value < 0 and name.startswith(_NEVER_NEGATIVE):
            yield Oddity(f"{shown} is negative", f"{value}")
        elif value == 0 and _POSITIVE.fullmatch(name):
            yield Oddity(f"{shown} is zero", f"{value}")
        elif _COUNTS.fullmatch(name) and (value < 0 or not is_whole(value)):
            yield Oddity(f"{shown} is no whole number", f"{value}")
