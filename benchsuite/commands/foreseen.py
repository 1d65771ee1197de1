"""What of a suite is known to be unsupported before anything is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from benchsuite.plan.contenders import criteria_of
from benchsuite.pruning.threshold import threshold_of

if TYPE_CHECKING:
    from benchsuite.registry.registry import Registry
    from benchsuite.scoring.scorer import Scorer
    from benchsuite.suite import Suite


def foreseen(suite: Suite, registry: Registry) -> list[str]:
    """A line on the criteria for which a threshold of the suite means nothing, if there are any."""
    tables = [t for t in suite.pruning.targets if isinstance(t.target, dict) and "threshold" in t.target]
    below = {table.scorer.name for table in tables if table.scorer is not None}
    if any(table.scorer is None for table in tables) or any(
        threshold_of(each) is not None for each in suite.suite.sparsities
    ):
        below |= criteria_of(suite, registry)
    scorers = cast("dict[str, type[Scorer]]", registry.classes("scorer"))
    lacking = sorted(name for name in below if not scorers[name].absolute)
    having = sorted(name for name, scorer in scorers.items() if scorer.absolute)
    if not lacking:
        return []
    return [
        f"cells with a threshold will be unsupported for {', '.join(lacking)}, whose scores have no fixed "
        f"zero and unit (absolute = False); those of {', '.join(having)} have"
    ]
