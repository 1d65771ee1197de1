"""The sections of a suite file."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from benchsuite.contracts.table import Axis, Table
from benchsuite.errors import UsageError
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite.metrics.latency_settings import LatencySettings
from benchsuite.suite.amounts import SparsityEntry
from benchsuite.suite.references import DatasetRef, MetricRef, ModelRef, ScorerRef
from benchsuite.suite.registry_context import registry_of
from benchsuite.suite.sweeps import ScorerEntry, flat

if TYPE_CHECKING:
    from benchsuite.contracts.recipe import TrainingRecipe


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
    sparsities: Axis[SparsityEntry] = Field(
        description="fractions of the budget to remove, in [0, 1); native: as the criterion itself decides; "
        "widths: so that layers keep as many units as [pruning] widths says; layers: by the targets of "
        "[[pruning.layers]]; { threshold = 0.05 }: what scores less, for criteria whose scores have a fixed "
        "zero and unit; { thresholds = { from = 0.001, to = 0.45, count = 20 } }: so many, equally spaced"
    )
    scorers: Axis[ScorerEntry]
    controls: list[Control] = Field(default=[])

    @field_validator("scorers", "sparsities")
    @classmethod
    def _each_alone(cls, entries: list[Any]) -> list[Any]:
        return flat(entries)

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
    plugins: list[MetricRef] = Field(default=[], max_length=50, description="metric plugins")

    @field_validator("latency", "dissection", mode="before")
    @classmethod
    def _on_or_off(cls, value: object) -> object:
        return {} if value is True else None if value is False else value

    @field_validator("plugins", mode="before")
    @classmethod
    def _one_or_several(cls, plugins: object) -> object:
        return [plugins] if isinstance(plugins, str | dict) else plugins

    @field_validator("plugins", mode="after")
    @classmethod
    def _told_apart(cls, plugins: list[MetricRef]) -> list[MetricRef]:
        names = [plugin.name_in_records for plugin in plugins]
        if twice := [name for name, number in Counter(names).items() if number > 1]:
            raise ValueError(
                f"two metrics are called {twice[0]}: give one another name in records, such as "
                f'{{ name = "{twice[0]}", called = "{twice[0]}-2" }}'
            )
        return plugins

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
