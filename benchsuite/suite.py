"""The suite file: validated, with every error's line and the nearest valid name."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from benchsuite.errors import UsageError, suggestion
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite.plugins import Kind, Registry
from benchsuite.pruning.settings import Aggregate, Budget, Normalise, Scope
from benchsuite.scoring.scorer import Granularity, Scorer
from benchsuite.toml_source import TomlSource, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchsuite.datasets import DatasetPlugin
    from benchsuite.models import ModelPlugin
    from benchsuite.parameters import Plugin
    from benchsuite.recipes import TrainingRecipe

T = TypeVar("T")

Axis = Annotated[list[T], BeforeValidator(lambda v: v if isinstance(v, list) else [v]), Field(min_length=1)]
"""A value or a list of values; each becomes a position on that axis of the matrix."""

Fraction = Annotated[float, Field(ge=0, lt=1)]


def _sparsity(value: object) -> object:
    if value == "native" or (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    ):
        return value
    raise ValueError(
        f'a sparsity is a fraction in [0, 1), or "native" for the criterion\'s own rule, not {value!r}'
    )


Sparsity = Annotated[
    float | Literal["native"],
    BeforeValidator(_sparsity),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"const": "native"}]}),
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _axes_without_repeats(self) -> _Table:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, list) and any(value.count(v) > 1 for v in value):
                repeated = next(v for v in value if value.count(v) > 1)
                raise ValueError(f"{name} lists {_plain(repeated)} twice")
        return self


def _plain(value: object) -> str:
    return repr(value.label) if isinstance(value, PluginRef) else repr(value)


Schedule = Literal["one-shot", "iterative", "rewind", "at-init"]


class PluginRef(_Table):
    """A plugin by name, or a table of its name and parameters."""

    kind: ClassVar[Kind]
    name: str
    parameters: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_name_or_table(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and set(value) - {"name", "parameters"}:
            own = {k for k in cls.model_fields if k not in ("name", "parameters")}
            rest = {k: v for k, v in value.items() if k not in own | {"name", "parameters"}}
            kept = {k: v for k, v in value.items() if k in own | {"name"}}
            return {**kept, "parameters": {**value.get("parameters", {}), **rest}}
        if not isinstance(value, dict):
            raise ValueError(f"a {cls.kind} is a name or a table with a name, not {value!r}")
        return value

    @model_validator(mode="after")
    def _exists(self, info: ValidationInfo) -> PluginRef:
        registry = _registry(info)
        if registry is not None and not self._is_wildcard():
            try:
                registry.create(self.kind, self.name, self.parameters)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return self

    def _is_wildcard(self) -> bool:
        return False

    @model_serializer(mode="wrap")
    def _as_table(self, _handler: SerializerFunctionWrapHandler) -> object:
        own = {k: getattr(self, k) for k in type(self).model_fields if k not in ("name", "parameters")}
        extra = {k: v for k, v in own.items() if v is not None}
        return {"name": self.name, **extra, **self.parameters} if self.parameters or extra else self.name

    @property
    def label(self) -> str:
        """How records and pages name it: the name, with the parameters that a suite sets."""
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in sorted(self.parameters.items()))})"

    def create(self, registry: Registry) -> Plugin:
        """An instance of the plugin."""
        return registry.create(self.kind, self.name, self.parameters)


class ScorerRef(PluginRef):
    """A scorer; "all" stands for every registered one."""

    kind: ClassVar[Kind] = "scorer"
    draws: Annotated[int, Field(ge=1)] | None = None

    def _is_wildcard(self) -> bool:
        return self.name == "all"

    def scorer(self, registry: Registry) -> Scorer:
        """An instance of the scorer."""
        return cast("Scorer", self.create(registry))


class ModelRef(PluginRef):
    """A model."""

    kind: ClassVar[Kind] = "model"

    def model(self, registry: Registry) -> ModelPlugin:
        """An instance of the model plugin."""
        return cast("ModelPlugin", self.create(registry))


class DatasetRef(PluginRef):
    """A data set."""

    kind: ClassVar[Kind] = "dataset"

    def dataset(self, registry: Registry) -> DatasetPlugin:
        """An instance of the data set plugin."""
        return cast("DatasetPlugin", self.create(registry))


class Control(_Table):
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


class SuiteSection(_Table):
    """`[suite]`: the axes that every workload shares."""

    name: str = Field(description="letters, digits, dots, hyphens and underscores")
    description: str = ""
    seeds: Axis[Annotated[int, Field(ge=0)]]
    sparsities: Axis[Sparsity] = Field(
        description="fractions of the budget to remove, in [0, 1); or native: as the criterion itself decides"
    )
    scorers: Axis[ScorerRef]
    controls: list[Control] = []

    @field_validator("name")
    @classmethod
    def _usable_as_a_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("the name must be letters, digits, dots, hyphens or underscores, at most 100")
        return name


class RecipeOverrides(_Table):
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


class Workload(_Table):
    """`[[workload]]`: a data set and the models trained on it."""

    dataset: DatasetRef
    models: Axis[ModelRef]
    training: RecipeOverrides = RecipeOverrides()


class Pruning(_Table):
    """`[pruning]`: how units or weights are chosen; the same for every criterion."""

    granularity: Axis[Granularity] = ["unit"]
    scope: Axis[Scope] = ["protected"]
    budget: Axis[Budget] = ["macs"]
    schedule: Axis[Schedule] = ["one-shot"]
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
    aggregate: Aggregate = Field(default="mean", description="how scores of coupled units become one")
    normalise: Normalise = Field(default="mean", description="what each layer's scores are divided by")


class Recovery(RecipeOverrides):
    """`[recovery]`: the fine-tuning after pruning. What is not set is taken from the model's dense recipe."""

    epochs: Axis[Annotated[float, Field(ge=0)]] = [1.0]  # type: ignore[assignment]  # an axis here, one number there
    learning_rate: float | None = Field(
        default=None, gt=0, description="default: a fifth of the dense recipe's"
    )

    def recipe(self, dense: TrainingRecipe, epochs: float) -> TrainingRecipe:
        """The recovery recipe for a model whose dense recipe is given."""
        update = self.model_dump(exclude_none=True, exclude={"epochs"})
        return dense.model_copy(update={"learning_rate": dense.learning_rate / 5, **update, "epochs": epochs})


class Scoring(_Table):
    """`[scoring]`: what scorers see of the training split."""

    samples: int = Field(default=512, ge=1, description="training samples that scorers see")
    batch_size: int = Field(default=64, ge=1)


class LatencySettings(_Table):
    """`latency`: at which batch sizes inference is timed."""

    batch_sizes: Axis[Annotated[int, Field(ge=1)]] = [1, 128]


class Metrics(_Table):
    """`[metrics]`: what is measured beside accuracy and cost."""

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
        registry = _registry(info)
        if registry is not None and settings is not None:
            try:
                registry.create("concepts", settings.concepts, settings.parameters)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return settings


_SHARED_PRUNING = {"floor", "aggregate", "normalise", "rounds", "rewind_share", "rewind_to"}


class Suite(_Table):
    """A validated suite file."""

    suite: SuiteSection
    workload: Annotated[list[Workload], Field(min_length=1)]
    training: RecipeOverrides = RecipeOverrides()
    pruning: Pruning = Pruning()
    recovery: Recovery = Recovery()
    scoring: Scoring = Scoring()
    metrics: Metrics = Metrics()

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.suite.name

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What all trials have in common beside the axes: results that differ in it are not comparable."""
        return {
            "pruning": self.pruning.model_dump(include=_SHARED_PRUNING),
            "training": self.training.model_dump(mode="json", exclude_none=True),
            "recovery": self.recovery.model_dump(mode="json", exclude_none=True, exclude={"epochs"}),
            "scoring": self.scoring.model_dump(),
        }


def load_suite(path: Path, registry: Registry) -> Suite:
    """Read and validate a suite file; raises `UsageError` that lists every error with its line."""
    source = read_toml(path)
    try:
        return Suite.model_validate(source.data, context={"registry": registry})
    except ValidationError as error:
        raise UsageError("\n".join(_messages(error, source))) from error


def _registry(info: ValidationInfo) -> Registry | None:
    context = info.context
    return context.get("registry") if isinstance(context, dict) else None


def _messages(error: ValidationError, source: TomlSource) -> Iterator[str]:
    seen = set[str]()
    found = []
    for item in error.errors():
        where = [part for part in item["loc"] if part != "parameters"]
        message = _message(item["type"], item["msg"], where, item["input"], item.get("ctx", {}))
        value = None if item["type"] == "extra_forbidden" else item["input"]
        if isinstance(value, dict):
            value = value.get("name")
        found.append((source.line_of(where, value), f"{_dotted(where)}: {message}"))
    for line, text in sorted(found):
        if text not in seen:
            seen.add(text)
            yield f"{source.path}:{line}: {text}"


def _message(kind: str, text: str, where: list[str | int], value: object, context: dict[str, Any]) -> str:
    if kind == "extra_forbidden":
        return f"unknown key{suggestion(str(where[-1]), _fields_at(where[:-1]))}"
    if kind == "missing":
        return "is required"
    if kind == "literal_error":
        known = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        return f"{value!r} is not one of {', '.join(known)}{_near(value, known)}"
    if kind == "too_short":
        return "must not be empty"
    text = text.removeprefix("Value error, ")
    got = "" if kind == "value_error" else f" (got {value!r})"
    return f"{text[:1].lower()}{text[1:]}{got}"


def _near(value: object, known: list[str]) -> str:
    return suggestion(value, known) if isinstance(value, str) and len(known) > 1 else ""


def _fields_at(where: list[str | int]) -> list[str]:
    model: Any = Suite
    for part in where:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = next(iter(_models_in(annotation)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _dotted(where: list[str | int]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "suite file"
