"""The section `[pruning]` of a suite file, with its tables `[[pruning.layers]]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from benchsuite.contracts.layers import Granularity
from benchsuite.contracts.table import Axis, Table
from benchsuite.pruning.settings import Aggregate, Budget, Declared, Normalise, Restriction, Schedule, Scope
from benchsuite.pruning.targets import LayerTarget, Threshold, Width
from benchsuite.suite.amounts import Target
from benchsuite.suite.references import ScorerRef

if TYPE_CHECKING:
    from collections.abc import Mapping

Fraction = Annotated[float, Field(ge=0, lt=1)]
MOST_PATTERNS = 1000
Pattern = Annotated[str, Field(min_length=1, max_length=300)]
"""A layer's name, in which `*` stands for any letters."""


def _joined(widths: Mapping[str, object]) -> dict[str, object]:
    """A layer's name without quotes, `block.conv1 = 5`, is a table in a table of TOML: as one name again."""
    found: dict[str, object] = {}
    waiting = list(reversed(list(widths.items())))
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [(f"{name}.{part}", inner) for part, inner in reversed(list(value.items()))]
        elif name in found:
            raise ValueError(f"{name} stands there twice")
        else:
            found[name] = value
    return found


class LayersTable(Table):
    """`[[pruning.layers]]`: some layers, and how much of them goes where the sparsity is "layers"."""

    pattern: Annotated[list[Pattern], Field(min_length=1, max_length=MOST_PATTERNS)] = Field(
        description="the layers' names, or patterns of them, such as blocks.*"
    )
    target: Target = Field(
        description="how much goes: a fraction of these layers' units or weights; native: as the criterion "
        "itself decides; { width = 5 }: so that each keeps so many units; { threshold = 0.05 }: what scores "
        "less"
    )

    granularity: Granularity | None = Field(
        default=None, description="whether these layers lose units or weights; default: the cell's"
    )
    scorer: ScorerRef | None = Field(
        default=None,
        description="the criterion of these layers, whatever the cell's is; default: the cell's",
    )

    @field_validator("pattern", mode="before")
    @classmethod
    def _one_or_several(cls, pattern: object) -> object:
        return [pattern] if isinstance(pattern, str) else pattern

    @field_validator("pattern", mode="after")
    @classmethod
    def _in_any_order(cls, pattern: list[str]) -> list[str]:
        return sorted(set(pattern))

    @field_validator("scorer", mode="after")
    @classmethod
    def _one_scorer(cls, scorer: ScorerRef | None) -> ScorerRef | None:
        if scorer is not None and scorer.name == "all":
            raise ValueError('the scorer of some layers is one of them, not "all"')
        if scorer is not None and scorer.draws is not None:
            raise ValueError("the scorer of some layers is drawn as often as the cell's: leave out 'draws'")
        return scorer

    @model_validator(mode="after")
    def _units_have_widths(self) -> LayersTable:
        if self.granularity == "weight" and isinstance(self.target, dict) and "width" in self.target:
            raise ValueError('a width is a number of units: it needs granularity = "unit"')
        return self

    @property
    def by(self) -> str | None:
        """What tells the criterion that the table names from others; None where it is the cell's."""
        return None if self.scorer is None else self.scorer.identity

    def scored(self, granularity: Granularity) -> tuple[str | None, Granularity]:
        """By which criterion and granularity its layers are scored in cells of a granularity; see `by`."""
        return self.by, self.granularity or granularity

    def as_recorded(self, granularity: Granularity | None) -> object:
        """The target as records have it.

        Args:
            granularity: that of the layers, where it is another than that of other tables; else None.
        """
        own = {"granularity": granularity, "scorer": self.scorer and self.scorer.label}
        named = {name: value for name, value in own.items() if value is not None}
        return {**named, "target": self.target} if named else self.target

    @property
    def layer_target(self) -> LayerTarget:
        """As the engine has it."""
        target = self.target
        if isinstance(target, dict):
            ((name, number),) = target.items()
            return LayerTarget(
                tuple(self.pattern), Width(int(number)) if name == "width" else Threshold(float(number))
            )
        return LayerTarget(tuple(self.pattern), target)


def _form(entry: object) -> str:
    return "pattern" if isinstance(entry, str) else "table"


class Pruning(Table):
    """`[pruning]`: how units or weights are chosen; the same for every criterion."""

    granularity: Axis[Granularity] = Field(default=["unit"])
    scope: Axis[Scope] = Field(default=["protected"])
    budget: Axis[Budget] = Field(default=["macs"])
    schedule: Axis[Schedule] = Field(default=["one-shot"])
    rounds: int = Field(default=5, ge=2, description="rounds of the schedule iterative, in geometric steps")
    rewind_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share of what is left that a round of the schedule rewind removes",
    )
    rewind_to: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="share of the dense training's steps that rewinding goes back to",
    )
    floor: Fraction = Field(default=0.1, description="share of each group that the scope protected keeps")
    layers: (
        list[
            Annotated[
                Annotated[Pattern, Tag("pattern")] | Annotated[LayersTable, Tag("table")],
                Discriminator(_form),
            ]
        ]
        | None
    ) = Field(
        default=None,
        min_length=1,
        max_length=MOST_PATTERNS,
        description="patterns of the layers that may lose units or weights, such as blocks.*; default: all; "
        "or tables [[pruning.layers]] for the sparsity layers",
    )
    keep: list[Pattern] = Field(
        default=[], max_length=MOST_PATTERNS, description="patterns of layers that stay whole"
    )
    widths: dict[Pattern, Annotated[int, Field(ge=1, strict=True)]] = Field(
        default={},
        max_length=MOST_PATTERNS,
        description="by layer, how many units it keeps, for the sparsity widths",
    )
    aggregate: Literal[Declared, Aggregate] = Field(
        default="declared",
        description="how scores of coupled units become one; declared: as the criterion says",
    )
    normalise: Literal[Declared, Normalise] = Field(
        default="declared",
        description="what each layer's scores are divided by; declared: as the criterion's scale says",
    )

    @field_validator("widths", mode="before")
    @classmethod
    def _dots_of_a_name_are_no_tables(cls, widths: object) -> object:
        return _joined(widths) if isinstance(widths, dict) else widths

    @model_validator(mode="after")
    def _one_way_to_name_layers(self) -> Pruning:
        if self.targets and (self.widths or self.keep or len(self.targets) < len(self.layers or ())):
            raise ValueError(
                "[[pruning.layers]] already says which layers lose something: leave out patterns under "
                "'layers', 'keep' and 'widths'"
            )
        patterns = [pattern for table in self.targets for pattern in table.pattern]
        if twice := sorted({pattern for pattern in patterns if patterns.count(pattern) > 1}):
            raise ValueError(f"two of [[pruning.layers]] name {twice[0]!r}, and a layer has one target")
        below = [
            table for table in self.targets if isinstance(table.target, dict) and "threshold" in table.target
        ]
        if below and self.normalise not in ("declared", "none"):
            raise ValueError("a threshold is one on the scores as they are: leave out 'normalise'")
        if self.targets and all(table.scorer is not None for table in self.targets):
            raise ValueError(
                "each of [[pruning.layers]] has a scorer of its own, so that those under [suite] would "
                "decide nothing: leave out 'scorer' in one of the tables"
            )
        if self.widths and self.restriction:
            raise ValueError("widths already says which layers lose units: leave out 'layers' and 'keep'")
        return self

    @property
    def restriction(self) -> Restriction:
        """Which layers may lose something, whatever the sparsity."""
        patterns = tuple(each for each in self.layers or () if isinstance(each, str))
        return Restriction(patterns or None, tuple(self.keep))

    @property
    def targets(self) -> tuple[LayersTable, ...]:
        """The tables `[[pruning.layers]]`, in an order that is not the file's: it decides nothing."""
        tables = (each for each in self.layers or () if isinstance(each, LayersTable))
        return tuple(sorted(tables, key=lambda table: table.pattern))
