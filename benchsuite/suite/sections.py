"""The sections of a suite file."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from benchsuite.contracts.layers import Granularity
from benchsuite.contracts.table import Axis, Table
from benchsuite.errors import UsageError
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite.metrics.latency_settings import LatencySettings
from benchsuite.pruning.settings import Aggregate, Budget, Declared, Normalise, Restriction, Schedule, Scope
from benchsuite.pruning.threshold import named, threshold_of
from benchsuite.suite.references import DatasetRef, ModelRef, ScorerRef
from benchsuite.suite.registry_context import registry_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.contracts.recipe import TrainingRecipe

Fraction = Annotated[float, Field(ge=0, lt=1)]


def _is_finite(number: float) -> bool:
    """Whether it is a number of a computer's: an integer of TOML may have any number of digits."""
    try:
        return isfinite(number)
    except OverflowError:
        return False


def _sparsity(value: object) -> object:
    if value in ("native", "widths") or (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    ):
        # What a program wrote as .1 + .2 is the sparsity .3, and no other column beside it.
        return round(value, 12) if isinstance(value, float) else value
    if isinstance(value, dict) and value.keys() == {"threshold"}:
        threshold = value["threshold"]
        if isinstance(threshold, int | float) and not isinstance(threshold, bool) and _is_finite(threshold):
            return named(threshold)
        raise ValueError(f"a threshold is a number, not {threshold!r}")
    if (found := threshold_of(value)) is not None:
        return named(found)
    raise ValueError(
        'a sparsity is a fraction in [0, 1), "native" for the criterion\'s own rule, "widths" for '
        f"the widths under [pruning], or {{ threshold = 0.05 }}, not {value!r}"
    )


_THRESHOLD: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"threshold": {"type": "number"}},
    "required": ["threshold"],
    "additionalProperties": False,
}
Sparsity = Annotated[
    float | str,
    BeforeValidator(_sparsity),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                {"enum": ["native", "widths"]},
                _THRESHOLD,
                {"type": "string", "pattern": "^threshold="},
            ]
        }
    ),
]


class Control(Table):
    """What a criterion must beat: the scorer `random`, or a variant of each scorer in `of`."""

    name: Literal["random", "reversed", "shuffled", "scratch"]
    of: list[ScorerRef] | None = Field(default=None, description="scorers to vary; without it, every one")
    draws: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="independent draws per dense model"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _random_varies_nothing(self) -> Control:
        if self.name == "random" and self.of is not None:
            raise ValueError("the control random varies no scorer: leave out 'of'")
        if self.name in ("reversed", "scratch") and self.draws is not None:
            raise ValueError(f"the control {self.name} has one draw per dense model: leave out 'draws'")
        return self


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def usable_name(name: object) -> str:
    """A suite's name, which is one of a folder and of files, too; raises `ValueError` for another."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("the name must be letters, digits, dots, hyphens or underscores, at most 100")
    return name


class SuiteSection(Table):
    """`[suite]`: the axes that all workloads share."""

    name: str = Field(description="letters, digits, dots, hyphens and underscores")
    description: str = ""
    seeds: Axis[Annotated[int, Field(ge=0)]]
    sparsities: Axis[Sparsity] = Field(
        description="fractions of the budget to remove, in [0, 1); native: as the criterion itself decides; "
        "widths: so that layers keep as many units as [pruning] widths says; { threshold = 0.05 }: what "
        "scores less, for criteria whose scores have a fixed zero and unit"
    )
    scorers: Axis[ScorerRef]
    controls: list[Control] = Field(default=[])

    @field_validator("name")
    @classmethod
    def _usable_as_a_folder(cls, name: str) -> str:
        return usable_name(name)


class RecipeOverrides(Table):
    """Recipe fields that replace those of the model's own recipe."""

    epochs: float | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    nesterov: bool | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    schedule: Literal["one-cycle", "step", "constant"] | None = None
    warmup: float | None = Field(default=None, ge=0, lt=1)
    milestones: tuple[float, ...] | None = None
    gamma: float | None = Field(default=None, gt=0, le=1)
    augment: bool | None = None
    precision: Literal["auto", "float32"] | None = None

    def applied_to(self, recipe: TrainingRecipe) -> TrainingRecipe:
        """The recipe with these fields replaced."""
        return recipe.model_copy(update=self.model_dump(exclude_none=True))


class Workload(Table):
    """`[[workload]]`: a data set and the models trained on it."""

    dataset: DatasetRef
    models: Axis[ModelRef]
    training: RecipeOverrides = RecipeOverrides()


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
    layers: list[Pattern] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_PATTERNS,
        description="patterns of the layers that may lose units or weights, such as blocks.*; default: all",
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
    def _widths_name_the_layers(self) -> Pruning:
        if self.widths and self.restriction:
            raise ValueError("widths already says which layers lose units: leave out 'layers' and 'keep'")
        return self

    @property
    def restriction(self) -> Restriction:
        """Which layers may lose something."""
        return Restriction(None if self.layers is None else tuple(self.layers), tuple(self.keep))


class Recovery(RecipeOverrides):
    """`[recovery]`: the fine-tuning after pruning; fields not set are those of the model's dense recipe."""

    epochs: Axis[Annotated[float, Field(ge=0)]] = Field(default=[1.0])  # type: ignore[assignment]  # an axis here, one number there
    learning_rate: float | None = Field(
        default=None, gt=0, description="default: a fifth of the dense recipe's"
    )
    recalibrate: int = Field(
        default=1024,
        ge=0,
        strict=True,
        description="training samples on which batch normalisation's statistics are estimated anew after the "
        "cut, for accuracy/top1_recalibrated, at least two; 0: not measured",
    )

    @field_validator("recalibrate")
    @classmethod
    def _enough_for_a_variance(cls, samples: int) -> int:
        if samples == 1:
            raise ValueError("one sample has no variance: 0 (not measured) or at least 2")
        return samples

    def recipe(self, dense: TrainingRecipe, epochs: float) -> TrainingRecipe:
        """The recovery recipe for a model whose dense recipe is given."""
        update = self.model_dump(exclude_none=True, exclude={"epochs", "recalibrate"})
        return dense.model_copy(update={"learning_rate": dense.learning_rate / 5, **update, "epochs": epochs})


class Metrics(Table):
    """`[metrics]`: what is measured besides accuracy and cost."""

    latency: LatencySettings | None = LatencySettings()
    dissection: DissectionSettings | None = None

    @field_validator("latency", "dissection", mode="before")
    @classmethod
    def _on_or_off(cls, value: object) -> object:
        return {} if value is True else None if value is False else value

    @field_validator("dissection", mode="after")
    @classmethod
    def _concepts_exist(
        cls, settings: DissectionSettings | None, info: ValidationInfo
    ) -> DissectionSettings | None:
        registry = registry_of(info)
        if registry is not None and settings is not None:
            try:
                registry.create("concepts", settings.concepts, settings.parameters)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return settings
