"""What of a suite is known to be unsupported before anything is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from benchsuite.plan.matrix import scorers_of
from benchsuite.pruning.threshold import threshold_of

if TYPE_CHECKING:
    from benchsuite.registry.registry import Registry
    from benchsuite.scoring.scorer import Scorer
    from benchsuite.suite import Suite


def foreseen(suite: Suite, registry: Registry) -> list[str]:
    """A line on the criteria for which a threshold of the suite means nothing, if there are any."""
    targets = [table.target for table in suite.pruning.targets]
    named = any(isinstance(target, dict) and "threshold" in target for target in targets)
    if not named and all(threshold_of(each) is None for each in suite.suite.sparsities):
        return []
    scorers = cast("dict[str, type[Scorer]]", registry.classes("scorer"))
    lacking = sorted(name for name in scorers_of(suite, registry) if not scorers[name].absolute)
    having = sorted(name for name, scorer in scorers.items() if scorer.absolute)
    if not lacking:
        return []
    return [
        f"cells with a threshold will be unsupported for {', '.join(lacking)}, whose scores have no fixed "
        f"zero and unit (absolute = False); those of {', '.join(having)} have"
    ]
