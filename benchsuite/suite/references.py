"""How a suite file names plugins: by name, or by a table of name and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, model_serializer, model_validator

from benchsuite.errors import UsageError
from benchsuite.plugins import Kind, Registry
from benchsuite.suite.table import Table, registry_of

if TYPE_CHECKING:
    from benchsuite.datasets import DatasetPlugin
    from benchsuite.models import ModelPlugin
    from benchsuite.parameters import Plugin
    from benchsuite.scoring.scorer import Scorer


class PluginRef(Table):
    """A plugin by name, or a table of its name and parameters."""

    kind: ClassVar[Kind]
    name: str
    parameters: dict[str, Any] = Field(default={})

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
        registry = registry_of(info)
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
