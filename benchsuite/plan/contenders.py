"""Which criteria and controls a suite compares, and how many cells that makes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from benchsuite.errors import UsageError
from benchsuite.pruning.targets import LAYERS
from benchsuite.scoring.scorer import Scorer
from benchsuite.suite import ScorerRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchsuite.contracts.layers import Granularity
    from benchsuite.plan.trial import Variant
    from benchsuite.registry.registry import Registry
    from benchsuite.suite import Suite

MOST_CELLS = 1_000_000
"""How many cells a plan lists at most."""


@dataclass(frozen=True)
class Contender:
    """A criterion or a control of a suite.

    Attributes:
        scorer: which scorer.
        variant: what a control makes of its scores.
        draws: how many independent draws there are.
        named: whether the suite names it; one that "all" stands for has no cells that it cannot serve.
    """

    scorer: ScorerRef
    variant: Variant | None
    draws: int
    named: bool


def contenders(suite: Suite, registry: Registry) -> Iterator[Contender]:
    """Every criterion of a suite, and then its controls."""
    section = suite.suite
    cells = [
        decided_in(suite, g, s) for g, s in itertools.product(suite.pruning.granularity, section.sparsities)
    ]
    listed: list[tuple[ScorerRef, bool]] = []
    named = {ref.name for ref in section.scorers}
    for ref in section.scorers:
        if ref.name == "all":
            # A scorer that the suite also names, to set its parameters, is not added again with its defaults.
            for name in registry.names("scorer"):
                one = ScorerRef(name=name)
                served = any(serves(_scorer_class(registry, one), cell) for cell in cells)
                if name != "random" and name not in named and served:
                    listed.append((one, False))
        elif ref.label not in {other.label for other, _ in listed}:
            listed.append((ref, True))
    for ref, is_named in listed:
        yield Contender(ref, None, ref.draws or _scorer_class(registry, ref).draws, is_named)
    for control in section.controls:
        if control.name == "random":
            random = ScorerRef(name="random")
            draws = control.draws or _scorer_class(registry, random).draws
            yield Contender(random, None, draws, named=True)
        else:
            wanted = control.of or [ScorerRef(name="all")]
            every = any(ref.name == "all" for ref in wanted)
            for ref, is_named in listed if every else [(ref, True) for ref in wanted]:
                if ref.name != "random":
                    yield Contender(ref, control.name, control.draws or 1, is_named)


def criteria_of(suite: Suite, registry: Registry) -> frozenset[str]:
    """Names of the scorers that a suite compares, those of its controls among them."""
    return frozenset(contender.scorer.name for contender in contenders(suite, registry))


def scorers_of(suite: Suite, registry: Registry) -> frozenset[str]:
    """Names of the scorers that a suite runs: what it compares, and those that it names for some layers."""
    own = {table.scorer.name for table in suite.pruning.targets if table.scorer is not None}
    return criteria_of(suite, registry) | own


def decided_in(suite: Suite, granularity: Granularity, sparsity: object) -> set[Granularity]:
    """What the criterion of a cell decides of: units, weights, or units of some layers, weights of others."""
    tables = suite.pruning.targets if sparsity == LAYERS else ()
    return {t.scored(granularity)[1] for t in tables if t.by is None} or {granularity}


def serves(scorer: type[Scorer], decided: set[Granularity]) -> bool:
    """Whether "all" means a scorer there: not a criterion of weights whose sums say nothing of a unit."""
    if "weight" in decided and scorer.granularity == "unit":
        return False
    return "unit" not in decided or scorer.granularity != "weight" or scorer.sums_to_units


def _scorer_class(registry: Registry, ref: ScorerRef) -> type[Scorer]:
    cls = registry.get("scorer", ref.name)
    assert issubclass(cls, Scorer)
    return cls


def check_size(suite: Suite, registry: Registry) -> None:
    """Raise `UsageError` for a suite that spans more cells than anybody can run."""
    most = most_cells(suite, registry)
    if most > MOST_CELLS:
        raise UsageError(f"the suite {suite.name!r} spans {most} cells, more than {MOST_CELLS}")


def most_cells(suite: Suite, registry: Registry) -> int:
    """At most how many trials a suite has, told without listing them: some may coincide."""
    draws = sum(contender.draws for contender in contenders(suite, registry))
    models = sum(len(workload.models) for workload in suite.workload)
    section, pruning = suite.suite, suite.pruning
    axes = (section.seeds, section.sparsities, suite.recovery.epochs)
    axes_of_pruning = (pruning.granularity, pruning.scope, pruning.budget, pruning.schedule)
    return draws * models * prod(len(axis) for axis in (*axes, *axes_of_pruning))
