"""How one trial prunes, as plain data: how units are chosen, and over how many rounds."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from benchsuite.errors import UsageError, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

UNNAMED = "[pruning] layers does not name it"
"""Why a layer stays that no pattern matches."""
Scope = Literal["layer", "global", "protected", "row", "2:4"]
Budget = Literal["units", "params", "macs"]
Aggregate = Literal["mean", "sum", "max"]
Normalise = Literal["mean", "max", "l2", "none"]
Declared = Literal["declared"]
"""What a suite says where each criterion declares itself how its scores are put together."""
Schedule = Literal["one-shot", "iterative", "rewind", "at-init"]


@dataclass(frozen=True)
class PruningSettings:
    """The settings that are the same for every criterion of a comparison.

    Attributes:
        scope: "layer" removes the same fraction of each group, "global" ranks the whole network at once,
            "protected" does so with a floor per group, "row" removes the same fraction of each unit's
            weights, "2:4" removes two of every four consecutive weights.
        budget: what the sparsity is a fraction of.
        floor: share of each group that the scope "protected" always keeps.
        aggregate: how the scores of coupled units are combined into one.
        normalise: divide each layer's scores by their mean or largest absolute value or Euclidean norm first.

    The last two may differ between criteria; see `declared`.
    """

    scope: Scope = "protected"
    budget: Budget = "macs"
    floor: float = 0.1
    aggregate: Aggregate = "mean"
    normalise: Normalise = "mean"


@dataclass(frozen=True)
class Restriction:
    """Which layers may lose units or weights, by patterns of names in which `*` stands for any letters.

    Attributes:
        layers: patterns of those that may; None: all.
        keep: patterns of those that may not, whatever `layers` says.
    """

    layers: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.layers is not None or bool(self.keep)

    def reasons(self, names: Sequence[str]) -> dict[str, str]:
        """By name of each layer that stays, why.

        Args:
            names: of the network's layers.

        Raises:
            UsageError: a pattern matches none of them.
        """
        for setting, patterns in (("layers", self.layers or ()), ("keep", self.keep)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise UsageError(
                        f"[pruning] {setting} has {pattern!r}, which no layer of this network is called"
                        f"{suggestion(pattern, names)}"
                    )
        found = {}
        for name in names:
            if any(fnmatchcase(name, pattern) for pattern in self.keep):
                found[name] = "[pruning] keep names it"
            elif not self.names(name):
                found[name] = UNNAMED
        return found

    def names(self, name: str) -> bool:
        """Whether a layer is among `layers`."""
        return self.layers is None or any(fnmatchcase(name, pattern) for pattern in self.layers)


WEIGHT_SCOPES = ("row", "2:4")
"""Scopes that say which single weights go; units have none of them."""


def declared(
    aggregate: Aggregate | Declared, normalise: Normalise | Declared, *, scale: str, coupled: bool
) -> tuple[Aggregate, Normalise]:
    """How one criterion's scores are put together, where a suite may leave that to the criterion.

    Scores of the scale "layer" are divided by the layer's mean and averaged over a coupled group; those of
    the scale "network" are used as they are and added up. Scores that are already those of coupled units are
    never added up: they are the same number at each unit.

    Args:
        aggregate: the suite's; a value other than "declared" holds for every criterion.
        normalise: likewise.
        scale: `Scorer.scale`.
        coupled: `Scorer.coupled`.
    """
    network = scale == "network"
    if normalise == "declared":
        normalise = "none" if network else "mean"
    if coupled:
        return "mean", normalise
    if aggregate == "declared":
        aggregate = "sum" if network else "mean"
    return aggregate, normalise


@dataclass(frozen=True)
class ScheduleSettings:
    """How a trial's pruning is spread over rounds.

    Attributes:
        name: one-shot, iterative, rewind or at-init.
        rounds: number of rounds of "iterative".
        rewind_share: share of what is left that each round of "rewind" removes.
        rewind_to: the point of the dense training that "rewind" goes back to, as a share of its steps.
    """

    name: Schedule
    rounds: int
    rewind_share: float
    rewind_to: float

    @property
    def has_rounds(self) -> bool:
        """Whether it cuts and recovers round by round."""
        return self.name in ("iterative", "rewind")

    @property
    def content(self) -> list[Any]:
        """The part of it that affects a result."""
        own: dict[str, list[float]] = {
            "iterative": [self.rounds],
            "rewind": [self.rewind_share, self.rewind_to],
        }
        return [self.name, *own.get(self.name, [])]
